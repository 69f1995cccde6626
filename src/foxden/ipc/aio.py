"""Pipes on an asyncio loop: the parent's and the socket process's way to hold actor trees.

Runs in: parent, socket process.  Trusts: nothing; never blocks on a peer, never lets one flood its memory.
Flow: loop says readable → PacketBuffer → ActorTree.receive;  ActorTree → send now, or queue until writable.
Source: asyncio add_reader / add_writer; docs/concepts/ipc.md.
"""

from __future__ import annotations

import _socket
import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from foxden.errors import BadMessage, ChildCrashed, ChildTimeout
from foxden.ipc.actor import Actor, ActorTree, Why
from foxden.ipc.codec import describe
from foxden.ipc.descriptors import close_all
from foxden.ipc.pipe import NOW, PacketBuffer, send_packet
from foxden.ipc.schema import Message

_BATCH = 16  # packets read from one peer before the loop serves the others
_QUEUE_MAX = 32 << 20  # bytes queued for a peer that does not read; beyond it the peer is ended
_PACKET_COST = 256  # bytes that a queued packet takes beside its own
_DESCRIPTOR_COST = 128 << 10  # a queued descriptor counts as this many: 256 fill the queue, before our table is full
# Packets are handled before the next is received, so one buffer serves all pipes of a loop.  Not of a process: two
# dens have two loops, each on a thread of its own.
_buffers: WeakKeyDictionary[asyncio.AbstractEventLoop, PacketBuffer] = WeakKeyDictionary()


def _buffer_of(loop: asyncio.AbstractEventLoop) -> PacketBuffer:
    if loop not in _buffers:
        _buffers[loop] = PacketBuffer()
    return _buffers[loop]


class AsyncPipe:
    """One top-level actor tree on a nonblocking socket.

    `on_closed(why, error)` is called once, after all actors have ended; `error` says what the peer did wrong.
    """

    def __init__(
        self,
        sock: _socket.socket,
        root: Actor,
        *,
        peer: str,
        on_closed: Callable[[Why, Exception | None], None],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._sock = sock
        self._fd = sock.fileno()
        self._loop = loop or asyncio.get_running_loop()
        self._on_closed = on_closed
        self._buffer = _buffer_of(self._loop)
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._queued = 0
        # A child's root may already have lived: its launch was handled on a blocking pipe.
        self.tree = root.tree.rebind(self._send) if root.tree is not None else ActorTree(root, self._send, peer=peer)
        self.closed = False
        self._answered = False  # something was sent since the last packet came
        sock.setblocking(False)
        self._loop.add_reader(self._fd, self._readable)

    def _readable(self) -> None:
        for _ in range(_BATCH):
            try:
                packet, fds = self._buffer.receive(self._sock, NOW)
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionResetError:
                continue  # it died before it read all of ours; what it said last is still to be read
            except BadMessage as error:
                return self.close(Why.BAD_MESSAGE, error)
            except OSError:
                return self.close(Why.PEER_GONE)
            if not packet:
                return self.close(Why.PEER_GONE)
            self._answered = False
            try:
                self.tree.receive(packet, fds)
            except BadMessage as error:
                return self.close(Why.BAD_MESSAGE, error)
            except Exception as error:  # a handler of ours failed on this peer's message: the peer ends, we do not
                return self.close(Why.BAD_MESSAGE, error)
            if self.closed or self._answered:
                return None  # a peer that was just answered has most likely been waiting: asking again costs a call
        return None

    def _send(self, packet: bytes, fds: Sequence[int]) -> None:
        if self.closed:
            return
        self._answered = True
        if not self._queue:
            if self._try_send(packet, fds):
                return
            self._loop.add_writer(self._fd, self._writable)
        if self._queued > _QUEUE_MAX:
            return  # its end is on the way
        # The descriptors belong to the message object, which may be gone by the time the queue moves.
        self._queue.append((packet, [os.dup(fd) for fd in fds]))
        self._queued += _cost(packet, fds)
        if self._queued > _QUEUE_MAX:
            error = BadMessage(f"{self.tree.peer}: does not read: more than {_QUEUE_MAX} bytes wait for it")
            self._loop.call_soon(self.close, Why.BAD_MESSAGE, error)

    def _try_send(self, packet: bytes, fds: Sequence[int]) -> bool:
        """Send, or drop what nobody will read.  False: not now."""
        try:
            send_packet(self._sock, packet, fds, NOW)
        except (BlockingIOError, InterruptedError):
            return False
        except (BrokenPipeError, ConnectionResetError):
            pass  # the peer is gone: the reader comes to its last words, and then to the end
        except OSError as error:
            self._loop.call_soon(self.close, Why.PEER_GONE, error)
        return True

    def _writable(self) -> None:
        while self._queue:
            packet, fds = self._queue[0]
            if not self._try_send(packet, fds):
                return
            close_all(fds)
            self._queue.popleft()
            self._queued -= _cost(packet, fds)
        self._loop.remove_writer(self._fd)

    @property
    def queued_bytes(self) -> int:
        return self._queued

    def close(self, why: Why = Why.SHUTDOWN, error: Exception | None = None) -> None:
        """Close the pipe and end its actors.  A second call does nothing."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        for _, fds in self._queue:
            close_all(fds)
        self._queue.clear()
        self._queued = 0
        self._sock.close()
        try:
            self.tree.close(why)
        finally:  # an actor of ours that fails at its end must not hide that the peer is gone
            self._on_closed(why, error)


def _cost(packet: bytes, fds: Sequence[int]) -> int:
    return len(packet) + _PACKET_COST + len(fds) * _DESCRIPTOR_COST


def asked(actor: Actor, message: Message) -> asyncio.Future[Any]:
    """Send a message that returns something; its reply comes here, or ChildCrashed when the actor ends first."""
    waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def arrived(reply: object) -> None:
        if not waiting.done():
            waiting.set_result(reply)

    def lost(why: Why) -> None:
        if not waiting.done():
            waiting.set_exception(ChildCrashed(f"{describe(type(message))}: no reply: {why.value}"))

    actor.call(message, arrived, lost)
    return waiting


async def call(actor: Actor, message: Message, *, timeout_s: float | None = None) -> Any:
    """Send a message that returns something and wait for its reply.

    Raises: ChildCrashed when the actor ends first, ChildTimeout when the reply does not come in time.
    """
    return await reply_of(asked(actor, message), message, timeout_s=timeout_s)


async def reply_of(waiting: asyncio.Future[Any], message: Message, *, timeout_s: float | None) -> Any:
    """What comes of `asked`.  Raises as `call` does."""
    try:
        return await asyncio.wait_for(waiting, timeout_s)
    except TimeoutError:
        raise ChildTimeout(f"{describe(type(message))}: no reply within {timeout_s} s") from None
