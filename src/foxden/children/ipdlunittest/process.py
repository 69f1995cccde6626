"""The IPDLUnitTest child: does what its parent asks, so that tests can drive the IPC layer from both ends.

Runs in: an ipdlunittest child.  Trusts: the parent; nothing of the other test process behind ConnectPeer.
Flow: PIPDLUnitTest message → handler here → reply, message up, call to the peer, or the end of this process.
Source: protocols/unittest.py; Gecko's ipc/ipdl/test.
"""

from __future__ import annotations

import array
import ctypes
import os
import socket
import time

from foxden.errors import ProtocolMisuse
from foxden.ipc.actor import Actor, Deferred, Why
from foxden.ipc.blocking import BlockingPipe
from foxden.ipc.fields import LargePayload
from foxden.ipc.memory import make_memory, make_payload, read_payload
from foxden.ipc.pipe import bind_endpoint
from foxden.ipc.schema import Side
from foxden.launch.child_main import ChildActor, ChildContext
from foxden.protocols.unittest import PIPDLUnitTest, PTestActor, PTestBridge, PTestLeaf

EXIT_ASKED = 7  # of Die("exit"): no other end of a child looks like it


class TestLeafChild(Actor, protocol=PTestLeaf, side=Side.CHILD):
    """Lives and dies."""


class TestActorChild(Actor, protocol=PTestActor, side=Side.CHILD):
    """Says back what it is told, and grows leaves."""

    def recv_say(self, message: PTestActor.Say) -> None:
        self.send(PTestActor.Say(text=message.text))

    def recv_grow(self, message: PTestActor.Grow) -> None:
        self.construct(TestLeafChild(), PTestLeaf.Construct(label=message.label))

    def alloc_test_leaf(self, message: PTestLeaf.Construct) -> TestLeafChild:
        return TestLeafChild()


class TestBridgeParent(Actor, protocol=PTestBridge, side=Side.PARENT):
    """The end that calls."""


class TestBridgeChild(Actor, protocol=PTestBridge, side=Side.CHILD):
    """The end that answers."""

    def recv_ping(self, message: PTestBridge.Ping) -> PTestBridge.Ping.Returns:
        return PTestBridge.Ping.Returns(token=message.token)


class IPDLUnitTestChild(ChildActor, protocol=PIPDLUnitTest, side=Side.CHILD):
    """Root actor."""

    peer: TestBridgeParent | TestBridgeChild | None = None

    @property
    def pipe(self) -> BlockingPipe:
        if self.process.pipe is None:
            raise ProtocolMisuse("the child has not started: it has no pipe")
        return self.process.pipe

    def recv_echo(self, message: PIPDLUnitTest.Echo) -> PIPDLUnitTest.Echo.Returns:
        return PIPDLUnitTest.Echo.Returns(payload=make_payload(LargePayload, read_payload(message.payload)))

    def recv_ask_parent(self, message: PIPDLUnitTest.AskParent) -> PIPDLUnitTest.AskParent.Returns:
        total = 0
        started = time.monotonic_ns()
        for value in range(message.times):
            total = self.pipe.call_sync(self, PIPDLUnitTest.Compute(value=value)).value
        return PIPDLUnitTest.AskParent.Returns(total=total, elapsed_ns=time.monotonic_ns() - started)

    def recv_repeat(self, message: PIPDLUnitTest.Repeat) -> None:
        for _ in range(message.times):
            self.send(PIPDLUnitTest.Tell(text=message.text))

    def recv_first(self, message: PIPDLUnitTest.First) -> None:
        """That it came is all there is to it."""

    def recv_second(self, message: PIPDLUnitTest.Second) -> None:
        """That it came is all there is to it."""

    def recv_send_file(self, message: PIPDLUnitTest.SendFile) -> PIPDLUnitTest.SendFile.Returns:
        body_size = len(read_payload(message.body)) if message.body is not None else 0
        with os.fdopen(message.file.detach(), "rb") as file:
            size = sum(len(block) for block in iter(lambda: file.read(1 << 20), b""))
        return PIPDLUnitTest.SendFile.Returns(size=size, body_size=body_size)

    def recv_get_memory(self, message: PIPDLUnitTest.GetMemory) -> PIPDLUnitTest.GetMemory.Returns:
        """The last byte of the size fills it."""
        filled = bytes([message.size & 0xFF]) * message.size
        return PIPDLUnitTest.GetMemory.Returns(memory=make_memory(filled))

    def recv_connect_peer(self, message: PIPDLUnitTest.ConnectPeer) -> None:
        self.peer = TestBridgeParent() if message.side == "parent" else TestBridgeChild()
        sock = bind_endpoint(message.endpoint)
        self.process.loop.add(BlockingPipe(sock, self.peer, peer="the other test process"))

    def recv_ping_peer(self, message: PIPDLUnitTest.PingPeer) -> Deferred[PIPDLUnitTest.PingPeer.Returns]:
        """Counts what the peer answered before it was gone; nothing when it is not this end that calls."""
        answer: Deferred[PIPDLUnitTest.PingPeer.Returns] = Deferred()
        caller = _Caller(self.peer, message.times, answer)
        if isinstance(self.peer, TestBridgeParent):
            caller.call()
        else:
            caller.finish(Why.PEER_GONE)
        return answer

    def recv_send_raw(self, message: PIPDLUnitTest.SendRaw) -> None:
        packet = read_payload(message.packet)
        source = os.memfd_create("foxden-raw", os.MFD_CLOEXEC)
        try:
            rights = array.array("i", [source] * message.descriptors)
            self.pipe.sock.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else [])
        finally:
            os.close(source)

    def recv_die(self, message: PIPDLUnitTest.Die) -> None:
        match message.how:
            case "abort":
                os.abort()
            case "exit":
                os._exit(EXIT_ASKED)
            case "segv":
                ctypes.string_at(0)  # a real fault: a signal that init sends itself is not delivered
            case "raise":
                raise RuntimeError("the parent asked this child to fail")
            case "hang":
                while True:
                    time.sleep(3600)

    def alloc_test_actor(self, message: PTestActor.Construct) -> TestActorChild:
        return TestActorChild()


class _Caller:
    """Calls the peer again as soon as it has answered."""

    def __init__(self, peer: Actor | None, times: int, answer: Deferred[PIPDLUnitTest.PingPeer.Returns]) -> None:
        self._peer = peer
        self._times = times
        self._answer = answer
        self._answered = 0
        self._started = time.monotonic_ns()

    def call(self) -> None:
        if self._peer is not None:
            self._peer.call(PTestBridge.Ping(token=self._answered), self._answer_came, self.finish)

    def _answer_came(self, reply: PTestBridge.Ping.Returns) -> None:
        is_right = reply.token == self._answered
        self._answered += is_right
        if is_right and self._answered < self._times:
            self.call()
        else:
            self.finish(Why.DELETION)

    def finish(self, why: Why) -> None:
        elapsed_ns = time.monotonic_ns() - self._started
        self._answer.resolve(PIPDLUnitTest.PingPeer.Returns(answered=self._answered, elapsed_ns=elapsed_ns))


def prewarm() -> None:
    """Nothing beyond the imports above."""


def main(process: ChildContext) -> None:
    process.start(IPDLUnitTestChild())
    process.loop.run()
