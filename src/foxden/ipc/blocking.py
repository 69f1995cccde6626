"""Pipes of a child that does one thing at a time: a loop that blocks, and sync messages to the parent.

Runs in: children (all but the socket process).  Trusts: nothing; a bad message from a peer ends that pipe.
Flow: poll → packet → ActorTree.receive; call_sync → send → wait for that reply, keeping what else arrives.
Source: poll(2); architecture.md "the parent runs one asyncio loop; children block".
"""

from __future__ import annotations

import _socket
import select
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from foxden.errors import BadMessage, ChildCrashed, ProtocolMisuse
from foxden.ipc.actor import Actor, ActorTree, Why
from foxden.ipc.codec import HEADER_SIZE, KIND_OFFSET, MESSAGE_OFFSET, SERIAL_OFFSET, Kind, describe
from foxden.ipc.descriptors import close_all
from foxden.ipc.pipe import PacketBuffer, send_packet_patiently
from foxden.ipc.schema import Message

Closed = Callable[["BlockingPipe", Why, Exception | None], None]


class BlockingPipe:
    """One actor tree on a blocking socket."""

    def __init__(self, sock: _socket.socket, root: Actor, *, peer: str, on_closed: Closed | None = None) -> None:
        sock.setblocking(True)
        self.sock = sock
        self.tree = ActorTree(root, self._send, peer=peer)
        self.closed = False
        self._on_closed = on_closed
        self._buffer = PacketBuffer()
        self._kept: deque[tuple[bytes, list[int]]] = deque()  # arrived while a sync message waited

    def _send(self, packet: bytes, fds: Sequence[int]) -> None:
        try:
            send_packet_patiently(self.sock, packet, fds)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the peer is gone: the reader comes to its last words, and then to the end
        except OSError as error:
            self.close(Why.PEER_GONE, error)

    @property
    def has_kept(self) -> bool:
        return bool(self._kept)

    def step(self) -> None:
        """Handle one packet; blocks until there is one.  Closes the pipe at its end or on a bad message."""
        if self._kept:
            data, fds = self._kept.popleft()
            return self._route(memoryview(data), fds)
        received = self._receive()
        if received is not None:
            self._route(*received)
        return None

    def _receive(self) -> tuple[memoryview, list[int]] | None:
        """Block for one packet.  None: none came; look whether the pipe is closed."""
        if self.closed:
            return None
        try:
            packet, fds = self._buffer.receive(self.sock)
        except ConnectionResetError:
            return None  # it died before it read all of ours; what it said last is still to be read
        except BadMessage as error:
            self.close(Why.BAD_MESSAGE, error)
            return None
        except OSError as error:
            self.close(Why.PEER_GONE, error)
            return None
        if not packet:
            self.close(Why.PEER_GONE)
            return None
        return packet, fds

    def _route(self, packet: memoryview, fds: list[int]) -> None:
        try:
            self.tree.receive(packet, fds)
        except BadMessage as error:
            self.close(Why.BAD_MESSAGE, error)

    def call_sync(self, actor: Actor, message: Message) -> Any:
        """Send a sync message and block for its reply.  Raises ChildCrashed when the other side is gone."""
        if not type(message).sync:
            raise ProtocolMisuse(f"{describe(type(message))}: not declared sync")
        replies: list[Any] = []
        lost: list[Why] = [] if actor.tree is self.tree else [Why.PEER_GONE]
        serial = 0 if lost else self.tree.call(actor, message, replies.append, lost.append)
        while not replies and not lost:
            self._wait_reply(serial)
        if replies:
            return replies[0]
        raise ChildCrashed(f"{describe(type(message))}: no reply: {lost[0].value}")

    def _wait_reply(self, serial: int) -> None:
        received = self._receive()
        if received is None:
            return
        packet, fds = received
        if _is_reply(packet, serial):
            self._route(packet, fds)
        else:
            self._kept.append((bytes(packet), fds))

    def close(self, why: Why = Why.SHUTDOWN, error: Exception | None = None) -> None:
        if self.closed:
            return
        self.closed = True
        for _, fds in self._kept:
            close_all(fds)
        self._kept.clear()
        self.sock.close()
        try:
            self.tree.close(why)
        finally:
            if self._on_closed is not None:
                self._on_closed(self, why, error)


def _is_reply(packet: memoryview, serial: int) -> bool:
    """Is it what a sync message waits for?  What is too short to tell goes to the tree, which refuses it."""
    if len(packet) < HEADER_SIZE:
        return True
    named = int.from_bytes(packet[SERIAL_OFFSET:MESSAGE_OFFSET], "little")
    return packet[KIND_OFFSET] == Kind.REPLY and named == serial


class BlockingLoop:
    """Serves several pipes in turn until the first one added (the parent's) is closed."""

    def __init__(self) -> None:
        self._pipes: dict[int, BlockingPipe] = {}
        self._poll = select.poll()
        self._main: BlockingPipe | None = None

    def add(self, pipe: BlockingPipe) -> None:
        self._forget_closed()  # its number may be the new pipe's
        fd = pipe.sock.fileno()
        self._pipes[fd] = pipe
        self._poll.register(fd, select.POLLIN)
        self._main = self._main or pipe

    def run(self) -> None:
        """Handle packets until the parent's pipe closes."""
        while self._main is not None and not self._main.closed:
            self.step()

    def step(self) -> None:
        """Block for traffic and handle one packet of each pipe that has some."""
        main = self._main
        if main is not None and (len(self._pipes) == 1 or main.has_kept) and not main.closed:
            return main.step()  # one pipe: the receive itself blocks, no poll needed
        self._forget_closed()
        for pipe in self._pipes.values():
            if pipe.has_kept:
                return pipe.step()
        for fd, _ in self._poll.poll():
            found = self._pipes.get(fd)
            if found is not None and not found.closed:
                found.step()
        return None

    def _forget_closed(self) -> None:
        for fd in [fd for fd, pipe in self._pipes.items() if pipe.closed]:
            self._poll.unregister(fd)
            del self._pipes[fd]
