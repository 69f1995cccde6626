"""The IPDLUnitTest child as a process of its own, without a sandbox: each handler does what its declaration says."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.strategies import make_descriptor

from foxden.children.ipdlunittest.process import EXIT_ASKED, IPDLUnitTestChild
from foxden.errors import BadMessage
from foxden.ipc.actor import Why
from foxden.ipc.blocking import BlockingLoop, BlockingPipe
from foxden.ipc.fields import LargePayload, Payload, RegularFile
from foxden.ipc.memory import make_payload, read_payload
from foxden.ipc.pipe import make_endpoints, make_pair
from foxden.parent.unit_test import TestActorParent, UnitTestParent
from foxden.protocols.unittest import PIPDLUnitTest, PTestActor

Top = PIPDLUnitTest
EXIT_RAISED = 70


class Child:
    """The parent's end of one, for a test that does one thing at a time."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self.pid = pid
        self.root = UnitTestParent()
        self.ended: list[tuple[Why, Exception | None]] = []
        self.pipe = BlockingPipe(sock, self.root, peer="the child", on_closed=self._closed)

    def _closed(self, pipe: BlockingPipe, why: Why, error: Exception | None) -> None:
        self.ended.append((why, error))

    def call(self, message: Any) -> Any:
        came: list[Any] = []
        self.root.call(message, came.append, came.append)
        while not came:
            self.pipe.step()
        return came[0]

    def end(self) -> int:
        """Return its exit code; minus the signal's number when one ended it."""
        self.pipe.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def be_a_child(sock: socket.socket) -> None:
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    root = IPDLUnitTestChild()
    pipe = BlockingPipe(sock, root, peer="the parent")
    root.process = SimpleNamespace(pipe=pipe, loop=BlockingLoop())  # type: ignore[assignment]
    root.process.loop.add(pipe)
    root.process.loop.run()


@contextmanager
def started() -> Iterator[Child]:
    ours, theirs = make_pair()
    pid = os.fork()
    if pid == 0:
        code = EXIT_RAISED
        try:
            ours.close()
            be_a_child(theirs)
            code = 0
        finally:
            os._exit(code)
    theirs.close()
    child = Child(ours, pid)
    try:
        yield child
    finally:
        child.pipe.close()
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # the test has reaped it


@pytest.fixture
def child() -> Iterator[Child]:
    with started() as one:
        yield one


@pytest.mark.parametrize("size", [0, 10, 1 << 20])
def test_echo_returns_its_payload(child: Child, size: int) -> None:
    reply = child.call(Top.Echo(payload=make_payload(LargePayload, b"e" * size)))
    assert read_payload(reply.payload) == b"e" * size


def test_ask_parent_makes_it_ask_in_sync_messages(child: Child) -> None:
    assert child.call(Top.AskParent(times=50)).total == 50
    assert child.call(Top.AskParent(times=0)).total == 0


def test_repeat_tells_as_often_as_asked(child: Child) -> None:
    child.root.send(Top.Repeat(text="again", times=30))
    child.call(Top.Ping(token=1))
    assert (child.root.told, child.root.last_text) == (30, "again")


def test_file_and_body_arrive_readable(child: Child) -> None:
    file = make_descriptor(RegularFile, b"12345")
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    reply = child.call(Top.SendFile(file=file, body=make_payload(Payload, b"x" * 100_000)))
    assert (reply.size, reply.body_size) == (5, 100_000)
    file.close()


@pytest.mark.parametrize("size", [1, 300, 1 << 20])
def test_memory_comes_sealed_and_filled(child: Child, size: int) -> None:
    memory = child.call(Top.GetMemory(size=size)).memory
    assert read_payload(Payload(memory=memory)) == bytes([size & 0xFF]) * size


def test_actors_of_three_generations_live_and_die(child: Child) -> None:
    actor = child.root.construct(TestActorParent("a"), PTestActor.Construct(label="a"))
    actor.send(PTestActor.Say(text="hello"))
    actor.send(PTestActor.Grow(label="leaf"))
    child.call(Top.Ping(token=1))
    assert actor.said == ["hello"]
    assert [leaf.label for leaf in actor.leaves] == ["leaf"]
    actor.delete(PTestActor.Delete())
    assert actor.leaves[0].ended is Why.ANCESTOR_DELETION
    child.call(Top.Ping(token=2))
    assert len(child.pipe.tree) == 1


def test_peers_speak_with_each_other_and_not_through_us() -> None:
    with ExitStack() as stack:
        one, other = (stack.enter_context(started()) for _ in range(2))
        for child, endpoint, side in zip((one, other), make_endpoints(), ("parent", "child"), strict=True):
            child.root.send(Top.ConnectPeer(endpoint=endpoint, side=side))  # type: ignore[arg-type]
            endpoint.close()
        assert one.call(Top.PingPeer(times=40)).answered == 40
        assert other.call(Top.PingPeer(times=1)).answered == 0, "only the parent side of a bridge calls"
        os.kill(other.pid, signal.SIGKILL)
        os.waitpid(other.pid, 0)
        assert one.call(Top.PingPeer(times=40)).answered < 40


@pytest.mark.parametrize(
    ("packet", "descriptors", "said"),
    [(b"short", 0, "expected a header"), (bytes(12), 9, "at most 8 descriptors"), (bytes(12), 253, "at most 8 descr")],
)
def test_raw_packet_reaches_us_as_it_is_and_is_refused(
    child: Child, packet: bytes, descriptors: int, said: str
) -> None:
    child.root.send(Top.SendRaw(packet=Payload(packet), descriptors=descriptors))
    child.pipe.step()
    ((why, error),) = child.ended
    assert why is Why.BAD_MESSAGE
    assert isinstance(error, BadMessage)
    assert said in str(error)


@pytest.mark.parametrize(
    ("how", "code"),
    [("exit", EXIT_ASKED), ("abort", -signal.SIGABRT), ("segv", -signal.SIGSEGV), ("raise", EXIT_RAISED)],
)
def test_it_dies_as_asked(child: Child, how: Any, code: int) -> None:
    child.root.send(Top.Die(how=how))
    child.pipe.step()
    assert child.ended[0][0] is Why.PEER_GONE
    assert child.end() == code


def test_hung_child_answers_nothing_and_lives_on(child: Child) -> None:
    child.root.send(Top.Die(how="hang"))
    child.root.call(Top.Ping(token=1), lambda reply: None, lambda why: None)
    child.pipe.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):
        child.pipe.sock.recv(100)
    os.kill(child.pid, 0)
