"""Bounded field types that messages are made of, and the descriptors that ride along with them.

Runs in: every process; pure.  Trusts: nothing; a value of these types has passed its bounds.
Flow: protocol declarations name these types → schema checks that every field is bounded → codec fills them.
Source: docs/concepts/ipc.md; msgspec constraints.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from msgspec import Meta

INLINE_MAX = 65_536  # bytes of one field sent inside a packet; anything larger goes by memfd
MAX_DESCRIPTORS = 8  # in one packet

ActorId = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
ChildId = Annotated[int, Meta(ge=0, le=0x7FFF_FFFF)]  # 0: the parent
ChannelId = Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]
Size = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]
Microseconds = Annotated[int, Meta(ge=0, le=(1 << 53) - 1)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Errno = Annotated[int, Meta(ge=0, le=4095)]
HttpStatus = Annotated[int, Meta(ge=0, le=999)]  # 0: the scheme has no status
Token = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]

Name = Annotated[str, Meta(max_length=128)]
ShortText = Annotated[str, Meta(max_length=1024)]
LongText = Annotated[str, Meta(max_length=8192)]
HostName = Annotated[str, Meta(min_length=1, max_length=255)]
IpText = Annotated[str, Meta(min_length=2, max_length=64)]
UrlText = Annotated[str, Meta(min_length=1, max_length=32_768)]
InlineBytes = Annotated[bytes, Meta(max_length=INLINE_MAX)]


class Descriptor:
    """A file descriptor inside a message: sent with it, owned by whoever holds this object.

    `detach()` gives the number and the ownership away; `close()` and the collector close what is still held.
    On the wire it is its index among the packet's descriptors.  Subclasses say what it must be; the pipe
    checks that on arrival (`ipc/descriptors.verify`).
    """

    __slots__ = ("_closer", "_fd", "_index")

    def __init__(self, fd: int = -1) -> None:
        self._fd = fd
        self._index = -1
        self._closer = close_descriptor

    @classmethod
    def from_wire(cls, index: object) -> Self:
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < MAX_DESCRIPTORS:
            raise ValueError(f"expected the index of a descriptor, 0-{MAX_DESCRIPTORS - 1}")
        made = cls()
        made._index = index
        return made

    @property
    def index(self) -> int:
        return self._index

    def place(self, index: int) -> None:
        """Give this descriptor its place in the packet being written."""
        self._index = index

    def attach(self, fd: int) -> None:
        """Hand over the descriptor that arrived in this place."""
        self._fd = fd

    def fileno(self) -> int:
        if self._fd < 0:
            raise ValueError(f"{type(self).__name__} holds no descriptor: closed, or given away")
        return self._fd

    @property
    def held(self) -> bool:
        return self._fd >= 0

    def detach(self) -> int:
        """Return the descriptor; from now on the caller closes it."""
        fd, self._fd = self.fileno(), -1
        return fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._closer(fd)

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} fd={self._fd}>"


def _no_closer(fd: int) -> None:
    raise RuntimeError(f"descriptor {fd}: no process has installed a closer")


# This room is pure: the process that does I/O puts os.close here (ipc/descriptors.py, on import).
close_descriptor = _no_closer


class Endpoint(Descriptor):
    """One end of a pipe between two processes, on its way to the process that will bind it."""

    __slots__ = ()


class RegularFile(Descriptor):
    """A regular file, open for reading."""

    __slots__ = ()


class PidFd(Descriptor):
    """A pidfd."""

    __slots__ = ()


class Listener(Descriptor):
    """Where the notifications of a seccomp filter come."""

    __slots__ = ()


class StackPipe(Descriptor):
    """The reading end of a pipe into which a child writes the Python stack that it is asked for."""

    __slots__ = ()


class Stream(Descriptor):
    """What a program has as its standard input, output or error: any file, pipe, socket or terminal."""

    __slots__ = ()


class SharedMemory(Descriptor):
    """A memfd sealed against resizing and against writing through new maps: the receiver can only read it.

    Its maker may go on writing through a map of its own (a ring), so what was checked is copied out first.
    """

    limit: ClassVar[int] = 256 << 20  # bytes; the receiver maps it
    __slots__ = ()


class FrozenMemory(SharedMemory):
    """A memfd that nobody can write any more, its maker neither: what was checked in it stays as it was."""

    limit: ClassVar[int] = 4 << 30  # the receiver of a result has a bound of its own
    __slots__ = ()


class LentMemory(SharedMemory):
    """Memory that a parent writes arguments into, call after call, and one child reads."""

    limit: ClassVar[int] = 1 << 40  # of the parent's own making
    __slots__ = ()


class Payload:
    """Bytes of any size up to `limit`: inside the packet when small, else in a sealed memfd.

    Made by `ipc.memory.make_payload`, read by `ipc.memory.read_payload`.
    """

    limit: ClassVar[int] = 64 << 20
    __slots__ = ("data", "memory")

    def __init__(self, data: bytes = b"", memory: SharedMemory | None = None) -> None:
        self.data = data
        self.memory = memory

    @classmethod
    def from_wire(cls, value: object) -> Self:
        if isinstance(value, bytes) and len(value) <= INLINE_MAX:
            return cls(value)
        if isinstance(value, int):
            return cls(memory=SharedMemory.from_wire(value))
        raise ValueError(f"expected at most {INLINE_MAX} bytes or the index of a descriptor")


class LargePayload(Payload):
    """Up to 256 MiB: the content of a whole page, as text and markup."""

    limit: ClassVar[int] = 256 << 20
    __slots__ = ()
