"""Large payloads and rings in memfds: made and sealed by the sender, read without trust by the receiver.

Runs in: every process.  Trusts: seals, which the kernel keeps; never a size that a message names.
Flow: make_payload(bytes) → Payload in a message → read_payload → bytes.
Source: memfd_create(2), fcntl(2) "File Sealing".
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import select
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

from foxden.errors import ProtocolMisuse
from foxden.ipc.descriptors import F_SEAL_FUTURE_WRITE, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE
from foxden.ipc.fields import INLINE_MAX, FrozenMemory, LentMemory, Payload, SharedMemory

P = TypeVar("P", bound=Payload)

_FREEZE_PAUSES_MS = (1, 2, 4, 8, 16, 32, 64)


def make_payload(kind: type[P], data: bytes) -> P:
    """Return `data` as a payload: inline when small, else in a sealed memfd that the payload owns."""
    if len(data) > kind.limit:
        raise ProtocolMisuse(f"{kind.__name__}: expected at most {kind.limit} bytes, got {len(data)}")
    if len(data) <= INLINE_MAX // 2:
        return kind(data)  # half: a packet may hold other fields beside this one
    return kind(memory=make_memory(data))


def make_memory(data: bytes) -> SharedMemory:
    """Return a memfd that holds `data` and that nobody can change any more, its maker neither."""
    memory = SharedMemory(os.memfd_create("foxden-memory", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    view = memoryview(data)
    while view:
        view = view[os.write(memory.fileno(), view) :]
    _freeze(memory)
    return memory


def _freeze(memory: SharedMemory) -> None:
    """Seal it.  EBUSY: the kernel itself still holds a page of it for a moment, as it does now and then."""
    for pause in (*_FREEZE_PAUSES_MS, None):
        try:
            fcntl.fcntl(memory.fileno(), fcntl.F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)
        except OSError as error:
            if error.errno != errno.EBUSY or pause is None:
                raise
            select.poll().poll(pause)  # a sleep by a call that every child may make
        else:
            return


def make_frozen(parts: Sequence[memoryview], alignment: int) -> FrozenMemory:
    """Return a memfd that holds the parts, each at the next multiple of `alignment`, and that nobody can change."""
    memory = FrozenMemory(os.memfd_create("foxden-result", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    place = 0
    for part in parts:
        view = part.cast("B")
        start = place
        while start - place < len(view):
            start += os.pwrite(memory.fileno(), view[start - place :], start)
        place = -(-start // alignment) * alignment
    os.ftruncate(memory.fileno(), place)
    _freeze(memory)
    return memory


def map_frozen(memory: FrozenMemory) -> memoryview:
    """Return what the memory holds, as memory of one's own: writing to it copies the page, and nobody else sees it."""
    size = os.fstat(memory.fileno()).st_size
    # Without a descriptor of its own where mmap can do so: many results may be held.
    options: Any = {"trackfd": False} if sys.version_info >= (3, 13) else {}
    view = memoryview(mmap.mmap(memory.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE, **options))
    memory.close()
    return view


class LentWriter:
    """Memory that arguments are written into, again and again: pages that are there already are what makes it fast."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory = LentMemory(os.memfd_create("foxden-arguments", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        os.ftruncate(self.memory.fileno(), size)
        self._view = mmap.mmap(self.memory.fileno(), size)
        seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL
        fcntl.fcntl(self.memory.fileno(), fcntl.F_ADD_SEALS, seals)

    def write(self, place: int, data: memoryview) -> None:
        self._view[place : place + data.nbytes] = data

    def close(self) -> None:
        self._view.close()
        self.memory.close()


class LentReader:
    """The borrower's map.  What it writes there is its own, and is forgotten by `forget`."""

    def __init__(self, memory: LentMemory) -> None:
        size = os.fstat(memory.fileno()).st_size
        # Private and writable: a function may change an array that it was given, as in any other process.
        self._map = mmap.mmap(memory.fileno(), size, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
        memory.close()
        self._unused = sys.getrefcount(self._map)

    def whole(self) -> memoryview:
        """A view of all of it, to cut parts from.  Whatever looks at a part holds on to the map."""
        return memoryview(self._map)

    @property
    def is_looked_at(self) -> bool:
        return sys.getrefcount(self._map) > self._unused

    def forget(self) -> None:
        """Throw away what was written here, so that the lender's next arguments are seen."""
        self._map.madvise(mmap.MADV_DONTNEED)


def read_payload(payload: Payload) -> bytes:
    """Return the bytes (copied) and close the memfd.  Its seals and size were checked on arrival."""
    if payload.memory is None:
        return payload.data
    fd = payload.memory.fileno()
    try:
        size = os.fstat(fd).st_size
        if size == 0:
            return b""
        with mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ) as view:
            return view[:]
    finally:
        payload.memory.close()


class RingWriter:
    """A ring of shared memory that this process writes and one other may only read.

    The positions travel in messages, never in the memory itself, so neither side has to trust a shared index.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory = SharedMemory(os.memfd_create("foxden-ring", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
        os.ftruncate(self.memory.fileno(), size)
        self._view = mmap.mmap(self.memory.fileno(), size)
        seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL
        fcntl.fcntl(self.memory.fileno(), fcntl.F_ADD_SEALS, seals)
        self.written = 0  # bytes ever
        self.consumed = 0

    @property
    def free(self) -> int:
        return self.size - (self.written - self.consumed)

    def write(self, data: bytes | memoryview) -> None:
        """Copy `data` in.  The caller has checked that `free` holds it."""
        place = self.written % self.size
        first = min(len(data), self.size - place)
        self._view[place : place + first] = data[:first]
        if first < len(data):
            self._view[: len(data) - first] = data[first:]
        self.written += len(data)

    def consume(self, count: int) -> None:
        """The reader has taken `count` bytes.  Raises ValueError when it cannot have."""
        if not 0 <= count <= self.written - self.consumed:
            raise ValueError(f"expected at most {self.written - self.consumed} bytes consumed, got {count}")
        self.consumed += count

    def close(self) -> None:
        self._view.close()
        self.memory.close()


class RingReader:
    """The reading end: maps the memory read-only; the size is the kernel's word for it."""

    def __init__(self, memory: SharedMemory) -> None:
        self.size = os.fstat(memory.fileno()).st_size
        if self.size == 0:
            raise ValueError("expected a ring of at least one byte, got an empty memfd")
        self._view = mmap.mmap(memory.fileno(), self.size, mmap.MAP_SHARED, mmap.PROT_READ)
        memory.close()
        self._bytes = memoryview(self._view)
        self.taken = 0

    def read(self, count: int) -> tuple[memoryview, ...]:
        """Return the next `count` bytes as one or two views, valid until they are acknowledged."""
        if not 0 <= count <= self.size:
            raise ValueError(f"expected at most {self.size} bytes in the ring, got {count}")
        place = self.taken % self.size
        first = min(count, self.size - place)
        self.taken += count
        head = self._bytes[place : place + first]
        return (head,) if first == count else (head, self._bytes[: count - first])

    def close(self) -> None:
        self._bytes.release()
        self._view.close()
