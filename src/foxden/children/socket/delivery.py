"""The body of one exchange on its way out: a bounded buffer, then inline in OnStart, or a ring of the reader's.

Runs in: socket process.  Trusts: neither the server's lengths nor the reader's acknowledgements.
Flow: libcurl → `Body.take` → buffer → `take_inline` (parent), or → ring → OnData, Consumed (reader).
Source: net-feasibility section 2; ipc/memory.RingWriter.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable

import pycurl

from foxden.errors import BadMessage
from foxden.ipc.actor import Actor, Why
from foxden.ipc.memory import RingWriter
from foxden.ipc.schema import Side
from foxden.protocols.network import NetOutcome, PBackgroundData, PSocketProcessBridge

BUFFER_MAX = 1 << 20  # bytes held for a reader that is not there yet
RING_MAX = 4 << 20
RING_MIN = 1 << 16  # more than libcurl ever hands over at once
NOTIFY_BYTES = 1 << 18  # bytes in the ring that are worth a message of their own

_PAUSE = int(pycurl.WRITEFUNC_PAUSE)


class SocketProcessBridgeParent(Actor, protocol=PSocketProcessBridge, side=Side.PARENT):
    """This process's end of the bridge to one reader.  The reader can ask for nothing here."""


class BackgroundDataParent(Actor, protocol=PBackgroundData, side=Side.PARENT):
    """Carries one body to its reader."""

    def __init__(self, ring: RingWriter, on_room: Callable[[], None], on_gone: Callable[[], None]) -> None:
        self._ring = ring
        self._on_room = on_room
        self._on_gone = on_gone
        self._unsent = 0  # bytes in the ring that the reader was not told of
        self._ended = False

    @property
    def room(self) -> int:
        return self._ring.free

    def write(self, data: bytes) -> None:
        """Put `data` into the ring; the caller has checked that there is room.  Allowed inside libcurl's callbacks:
        a pipe that fails now is closed by the loop, later."""
        self._ring.write(data)
        self._unsent += len(data)
        if self._unsent >= NOTIFY_BYTES:
            self.notify()

    def notify(self) -> None:
        if self._unsent:
            self.send(PBackgroundData.OnData(count=self._unsent))
            self._unsent = 0

    def end(self, outcome: NetOutcome, received_bytes: int) -> None:
        """Tell the reader how it ended.  The memory stays with the reader until it lets go."""
        if self._ended:
            return
        self._ended = True
        self.notify()
        self.send(PBackgroundData.OnStop(outcome=outcome, received_bytes=received_bytes))
        self._ring.close()

    def recv_consumed(self, message: PBackgroundData.Consumed) -> None:
        try:
            self._ring.consume(message.count)
        except ValueError as error:
            raise BadMessage(f"PBackgroundData.Consumed: {error} - at $.count") from None
        # A quarter at a time: libcurl is not woken for every few bytes that the reader has taken.
        if not self._ended and 4 * self._ring.free >= self._ring.size:
            self._on_room()

    def recv_delete(self, message: PBackgroundData.Delete) -> None:
        """actor_destroy follows, and does what is to be done."""

    def actor_destroy(self, why: Why) -> None:
        if not self._ended:
            self._ended = True
            self._ring.close()
            self._on_gone()


class Body:
    """`limit`: bytes that the whole body may have.  `touched` is called when something came."""

    def __init__(self, limit: int, touched: Callable[[], None]) -> None:
        self._limit = limit
        self._touched = touched
        self._chunks: list[bytes] = []
        self.buffered = 0
        self.received = 0
        self.too_big = False
        self.paused = False
        self.reader: BackgroundDataParent | None = None

    def take(self, data: bytes) -> int | None:
        """libcurl's write callback.  A chunk that was answered with a pause comes again."""
        size = len(data)
        reader = self.reader
        if (reader.room if reader else BUFFER_MAX - self.buffered) < size:
            self.paused = True
            return _PAUSE
        self.received += size
        if self.received > self._limit:
            self.too_big = True
            return 0
        if reader:
            reader.write(data)
        else:
            self._chunks.append(data)
            self.buffered += size
        self._touched()
        return None

    def take_inline(self, room: int) -> bytes:
        """Return up to `room` bytes of the start of the body; they will not come again."""
        whole = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        inline, rest = whole[:room], whole[room:]
        self._chunks = [rest] if rest else []
        self.buffered = len(rest)
        return inline

    def ring_size(self, remaining: int | None) -> int:
        """Size of a ring for `remaining` bytes (None: nobody knows), and for what is buffered."""
        wanted = RING_MAX if remaining is None else min(remaining, RING_MAX)
        pages = -(-max(wanted, self.buffered, RING_MIN) // mmap.PAGESIZE)
        return pages * mmap.PAGESIZE

    def attach(self, reader: BackgroundDataParent) -> None:
        """From now on bytes go to `reader`; what was buffered goes first and fits (`ring_size`)."""
        self.reader = reader
        chunks, self._chunks, self.buffered = self._chunks, [], 0
        for chunk in chunks:
            reader.write(chunk)

    def drop(self) -> None:
        """Forget what is buffered."""
        self._chunks, self.buffered = [], 0
