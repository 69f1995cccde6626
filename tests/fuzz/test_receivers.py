"""Everything that receives in the parent and in the socket process is fed what its peer could send, right and wrong.

Runs in: the test process, in memory: no process is started and no packet leaves.
Flow: a world (root actor, what it manages, calls that wait) → messages of its protocol, mutated → BadMessage or fine.
FOXDEN_FUZZ_SEED=n repeats a run; FOXDEN_FUZZ_SECONDS=n makes it longer than the few seconds it takes otherwise.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import pkgutil
import random
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from tests.support import strategies
from tests.support.loopback import count_fds, packet

from foxden.errors import BadMessage
from foxden.ipc.actor import Actor, ActorTree, Why
from foxden.ipc.codec import HEADER_SIZE, Kind, describe, encode
from foxden.ipc.fields import Endpoint, Listener, RegularFile, StackPipe, Stream
from foxden.ipc.memory import make_memory
from foxden.ipc.schema import Message, Protocol, Reply, Side
from foxden.model.process_types import BY_NAME
from foxden.parent.hosts import ChildHost, State
from foxden.protocols.broker import PBroker
from foxden.protocols.content import PDocument
from foxden.protocols.forkserver import PForkServer, PStarter
from foxden.protocols.network import Access, NetworkSettings, PBackgroundData, PHttpTransaction, PSocketProcess
from foxden.protocols.process import PChildProcess
from foxden.protocols.unittest import PIPDLUnitTest, PTestActor

SEED = int(os.environ.get("FOXDEN_FUZZ_SEED") or random.randrange(1 << 32))
TOTAL_S = float(os.environ.get("FOXDEN_FUZZ_SECONDS") or 5)
STEPS = 8  # packets that one peer sends before the next one comes with a fresh world
ROOMS = ("foxden.parent", "foxden.children.socket")

# Each class that receives in these rooms, and the world below that it is reached in.  A new one must be added here.
COVERED = {
    "IdleParent": "child",
    "SocketProcessParent": "network",
    "HttpTransactionParent": "network",
    "BridgeReader": "reader",
    "BackgroundDataReader": "reader",
    "ContentParent": "content",
    "DocumentParent": "content",
    "DocumentChannelParent": "content",
    "BrokerParent": "broker",
    "ProgramParent": "program",
    "UnitTestParent": "unit test",
    "TestActorParent": "unit test",
    "TestLeafParent": "unit test",
    "UtilityParent": "worker",
    "TasksParent": "tasks",
    "SocketProcessChild": "socket process",
    "HttpTransactionChild": "socket process",
    "SocketProcessBridgeParent": "bridge",
    "BackgroundDataParent": "bridge",
}


@pytest.fixture(scope="session", autouse=True)
def listener_is_there() -> None:
    """The first one is kept for all that follow: no test is to be blamed for it."""
    strategies.make_descriptor(Listener).close()


def receivers() -> set[str]:
    """Names of the actor classes that these rooms declare."""
    for room in ROOMS:
        for module in pkgutil.walk_packages(importlib.import_module(room).__path__, f"{room}."):
            importlib.import_module(module.name)

    def below(cls: type[Actor]) -> Iterator[type[Actor]]:
        for sub in cls.__subclasses__():
            yield sub
            yield from below(sub)

    return {c.__name__ for c in below(Actor) if c.__module__.startswith(ROOMS) and "protocol" in vars(c)}


def test_every_receiver_of_parent_and_socket_process_is_fuzzed() -> None:
    assert receivers() == set(COVERED)
    assert set(COVERED.values()) | {"launcher", "starter"} == set(WORLDS)


# ---- worlds: a root actor, with what a peer finds when it begins to lie


@dataclass
class World:
    tree: ActorTree


def _tree(root: Actor) -> ActorTree:
    return ActorTree(root, lambda packet, fds: None, peer="a liar")


def _wait_for(actor: Actor, *messages: Message) -> None:
    for message in messages:
        actor.call(message, lambda reply: None, lambda why: None)


def _hosted(root: Any, name: str) -> ActorTree:
    """A root of the parent with the real host of a child that was never forked."""

    host = ChildHost(7, BY_NAME[name], None, root, level=1)
    host.state = State.LAUNCHING
    host._ready.add_done_callback(lambda ready: ready.exception())
    tree = _tree(root)
    _wait_for(root, PChildProcess.Ping(token=1), PChildProcess.RunProbe(probe="p"))
    return tree


def child_world() -> World:
    from foxden.parent.runtime import IdleParent

    return World(_hosted(IdleParent(), "utility"))


def network_world() -> World:
    from foxden.parent.network import HttpTransactionParent, SocketProcessParent

    tree = _hosted(SocketProcessParent(), "socket")
    _wait_for(tree.root, PSocketProcess.Resolve(host="a"), PSocketProcess.GetSocketData())
    for _ in range(2):
        tree.root.construct(HttpTransactionParent(), _request("http://a/"))
    return World(tree)


def reader_world() -> World:
    from foxden.parent.network import BodyReading, BridgeReader

    loop = asyncio.get_running_loop()
    readings = {1: BodyReading(lambda view: None, loop.create_future(), 1 << 30)}
    tree = _tree(BridgeReader(readings))
    for actor_id, size in ((2, 10), (4, 5000)):
        made = packet(0, PBackgroundData.number, Kind.CONSTRUCT, [1, 0], serial=actor_id, descriptors=1)
        tree.receive(memoryview(made), [make_memory(b"x" * size).detach()])
    return World(tree)


def broker_world() -> World:
    """It was given two children, one of which asks; whoever made the den says no."""
    from foxden.parent.broker import BrokerParent, Brokers
    from foxden.parent.prefs import Prefs
    from foxden.parent.processes import ProcessManager
    from foxden.parent.temporaries import Temporaries

    processes = ProcessManager.__new__(ProcessManager)  # starts nobody: the broker is there
    processes._temporaries = Temporaries()
    brokers = Brokers(processes, Prefs())
    brokers.ask = lambda record: False
    tree = _hosted(BrokerParent(brokers), "broker")
    brokers._host = tree.root.host
    for child_id in (1, 2):
        listener = strategies.make_descriptor(Listener)
        brokers.attach(_a_child(child_id), listener, strategies.make_descriptor(StackPipe))
    _wait_for(tree.root, PBroker.SetRules(child_id=1, rules=()))
    return World(tree)


def _a_child(child_id: int) -> ChildHost:
    from foxden.parent.runtime import IdleParent

    return ChildHost(child_id, BY_NAME["utility"], None, IdleParent(), level=1)


def program_world() -> World:
    from foxden.parent.programs import ProgramParent

    return World(_hosted(ProgramParent(), "plugin"))


def content_world() -> World:
    from foxden.model.origins import parse_url
    from foxden.model.sinks import LoadSink
    from foxden.parent.documents import ContentParent, DocumentParent, Load

    root = ContentParent(lambda host: None)
    file = strategies.make_descriptor(RegularFile)
    root.loads[1] = Load(parse_url("file:///x"), LoadSink.DOCUMENT, file=file)
    tree = _hosted(root, "content")
    for number in (1, 2):
        root.construct(DocumentParent(), PDocument.Construct(document_id=number, url="file:///x"))
    return World(tree)


def unit_test_world() -> World:
    from foxden.parent.unit_test import TestActorParent, UnitTestParent

    tree = _hosted(UnitTestParent(), "ipdlunittest")
    tree.root.construct(TestActorParent("ours"), PTestActor.Construct(label="ours"))
    _wait_for(tree.root, PIPDLUnitTest.GetMemory(size=1), PIPDLUnitTest.PingPeer(times=1))
    return World(tree)


def _endpoint() -> Endpoint:
    return strategies.make_descriptor(Endpoint)


def _stream() -> Stream:
    return strategies.make_descriptor(Stream)


def starter_world() -> World:
    from foxden.launch.launcher import StarterParent

    tree = _tree(StarterParent())
    _wait_for(tree.root, PStarter.StartFamily(family="web", endpoint=_endpoint(), log=_stream()))
    return World(tree)


def launcher_world() -> World:
    from foxden.launch.launcher import ForkServerParent
    from foxden.sandbox.plan import SandboxPlan

    tree = _tree(ForkServerParent())
    tree.root.send(PForkServer.Init(plan=SandboxPlan(policy="p", level=1)))
    _wait_for(tree.root, PForkServer.Fork(process_type="t", flags=0, endpoint=_endpoint(), log=_stream()))
    return World(tree)


def _request(url: str) -> PHttpTransaction.Construct:
    return PHttpTransaction.Construct(channel_id=1, method="GET", url=url, headers=(), access=Access(spaces=()))


def socket_process_world() -> World:
    """Its peer is the parent, which it trusts, but a mistake there must not look like one here."""
    from foxden.children.socket.process import SocketProcessHandlers

    class Fuzzed(SocketProcessHandlers, protocol=PSocketProcess, side=Side.CHILD):
        query = staticmethod(lambda host: ())  # no name exists, so nothing is dialled

        def recv_launch(self, message: PChildProcess.Launch) -> None:
            """launch/child_main's."""

        def recv_prepare(self, message: PChildProcess.Prepare) -> None:
            """launch/child_main's."""

        def recv_shutdown(self, message: PChildProcess.Shutdown) -> None:
            """launch/child_main's."""

        def recv_ping(self, message: PChildProcess.Ping) -> PChildProcess.Ping.Returns:
            return PChildProcess.Ping.Returns(token=message.token)

        def recv_run_probe(self, message: PChildProcess.RunProbe) -> PChildProcess.RunProbe.Returns:
            return PChildProcess.RunProbe.Returns(succeeded=False, errno=1, detail="")

    Fuzzed.__module__ = __name__
    tree = _tree(Fuzzed())
    settings = NetworkSettings(certificates=str(Path(__file__)))
    init, _ = encode(0, 0, PSocketProcess.Init.number, Kind.SEND, PSocketProcess.Init(settings=settings))
    tree.receive(memoryview(init), [])
    made, _ = encode(0, 2, PHttpTransaction.number, Kind.CONSTRUCT, _request("http://name.invalid/"))
    tree.receive(memoryview(made), [])
    return World(tree)


def bridge_world() -> World:
    from foxden.children.socket.delivery import BackgroundDataParent, SocketProcessBridgeParent
    from foxden.ipc.memory import RingWriter

    tree = _tree(SocketProcessBridgeParent())
    for _ in range(2):
        ring = RingWriter(4096)
        body = BackgroundDataParent(ring, lambda: None, lambda: None)
        tree.root.construct(body, PBackgroundData.Construct(channel_id=1, ring=ring.memory))
        body.write(b"x" * 1000)
    return World(tree)


def worker_world() -> World:
    from foxden.parent.utility import UtilityParent
    from foxden.protocols.utility import PUtility

    root = UtilityParent()
    tree = _hosted(root, "utility")
    ours, theirs = os.pipe()
    os.close(ours)
    tasks = Endpoint(theirs)
    init = PUtility.Init(
        tasks=tasks, path=(), names={}, environment={}, preload=(), returns=(), max_result=1 << 20
    )
    _wait_for(root, init)
    tasks.close()
    return World(tree)


def tasks_world() -> World:
    from foxden.parent.utility import TasksParent
    from foxden.protocols.utility import PTasks

    root = TasksParent({}, 1 << 20)
    tree = _tree(root)
    root.expected.append(1)
    root.send(PTasks.Run(call=1, work=b""))
    return World(tree)


WORLDS: dict[str, Callable[[], World]] = {
    "worker": worker_world,
    "tasks": tasks_world,
    "child": child_world,
    "network": network_world,
    "reader": reader_world,
    "content": content_world,
    "unit test": unit_test_world,
    "broker": broker_world,
    "program": program_world,
    "starter": starter_world,
    "launcher": launcher_world,
    "socket process": socket_process_world,
    "bridge": bridge_world,
}


# ---- the liar


@dataclass(frozen=True)
class Target:
    """One thing that the peer may say now: header words, and the struct of its body."""

    actor: int
    number: int
    kind: int
    serial: int
    struct: type[Message] | type[Reply]


def targets(tree: ActorTree) -> list[Target]:
    found = []
    for actor in tree._actors.values():
        for number, message in actor._accepted.items():
            if message.__name__ != "Construct":
                kind = Kind.SEND if message.Returns is None else Kind.CALL
                found.append(Target(actor.id, number, kind, 1, message))
        for protocol in managed_by(actor.protocol):
            made = protocol.construct
            if made is not None and actor.side.other in made.senders:
                found.append(Target(actor.id, protocol.number, Kind.CONSTRUCT, tree._peer_id + 2, made))
    for serial, waiting in tree._pending.items():
        found.append(Target(waiting[0].id, 0, Kind.REPLY, serial, waiting[1]))
    return found


def managed_by(protocol: type[Protocol]) -> list[type[Protocol]]:
    return [managed for owner in protocol.__mro__ for managed in vars(owner).get("managed", {}).values()]


def say(data: st.DataObject, tree: ActorTree) -> bool:
    """Send one packet.  True: the peer is at its end, refused or with nobody left to speak to."""
    choice = targets(tree)
    if not choice:
        return True
    target = data.draw(st.sampled_from(choice), label="target")
    body = data.draw(strategies.bodies(target.struct), label="body")
    valid, fds = encode(target.actor, target.serial, target.number, Kind(target.kind), body)
    how = data.draw(st.sampled_from(["valid", "valid", "body", "body", "body", "header"]), label="how")
    raw = valid if how == "valid" else data.draw(strategies.mutated(valid))
    if how == "header":
        raw = data.draw(st.binary(min_size=HEADER_SIZE, max_size=HEADER_SIZE)) + valid[HEADER_SIZE:]
    elif how == "body":
        raw = valid[:HEADER_SIZE] + raw[HEADER_SIZE:]  # so that what refuses it is the declaration of this message
    try:
        tree.receive(memoryview(raw), [os.dup(fd) for fd in fds])
    except BadMessage as error:
        check_words(str(error), target if how != "header" else None)
        return True
    return False


def check_words(said: str, target: Target | None) -> None:
    """The error names protocol, message and field, is short, and cannot steer a terminal."""
    assert said.isprintable(), said
    assert len(said) < 700, said
    assert re.match(r"(P[A-Z]\w+|packet|constructor)\b.*: ", said), said
    if target is not None and ("Expected `" in said or "Invalid" in said):
        assert said.startswith(f"{describe(target.struct)}: "), said
        assert re.search(r" - at .*(\$|header\.)", said), said


def fuzz(world: str, seconds: float) -> None:
    @hypothesis.settings(
        deadline=None, database=None, max_examples=25, suppress_health_check=list(HealthCheck), print_blob=False
    )
    @hypothesis.given(data=st.data())
    def one_liar(data: st.DataObject) -> None:
        made = WORLDS[world]()
        try:
            for _ in range(data.draw(st.integers(1, STEPS))):
                if say(data, made.tree):
                    break  # as a pipe would: the peer is ended
        finally:
            made.tree.close(Why.BAD_MESSAGE)

    deadline = time.monotonic() + seconds
    seed = SEED
    while True:
        hypothesis.seed(seed)(one_liar)()
        seed += 1
        if time.monotonic() > deadline:
            return


@pytest.mark.parametrize("world", WORLDS)
def test_receiver_refuses_what_is_wrong_by_name_and_fails_with_nothing_else(world: str) -> None:
    async def main() -> None:
        fuzz(world, TOTAL_S / len(WORLDS))
        await asyncio.sleep(0.01)

    before = count_fds()
    try:
        asyncio.run(main())
    except BaseException as error:
        error.add_note(f"FOXDEN_FUZZ_SEED={SEED}")
        raise
    gc.collect()  # actors, hosts and trees point at each other
    assert count_fds() <= before
