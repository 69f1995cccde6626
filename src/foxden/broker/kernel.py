"""Calls that the standard library lacks, made ready for being made often: another's memory, openat2, raw stat.

Runs in: the broker.  Trusts: nothing in what it copies from a child.
Flow: operations, view → here → kernel; a failure is an OSError.
Source: process_vm_readv(2), openat2(2), statx(2), renameat2(2), utimensat(2).
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from foxden.sandbox import linux
from foxden.sandbox.syscall_numbers import NUMBERS

PATH_MAX = 4096
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_IN_ROOT = 0x02, 0x04, 0x10
_AT_EMPTY_PATH = 0x1000
_PAGE = 4096
_FIRST = 256  # bytes: most paths end there
STAT_SIZE = {"x86_64": 144, "aarch64": 128}.get(linux.ARCH, 144)
STAT_IDS = {"x86_64": 28, "aarch64": 24}.get(linux.ARCH, 28)  # where st_uid lies; st_gid follows it
STAT_MODE = {"x86_64": 24, "aarch64": 16}.get(linux.ARCH, 24)
STATX_SIZE, STATX_IDS = 256, 20

_libc = ctypes.CDLL(None, use_errno=True)
_NUMBERS = NUMBERS.get(linux.ARCH, {})


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _How(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def _prototype(name: str, *types: Any) -> Any:
    """A function object of our own, with argument types of its own."""
    function = _libc[name]
    function.argtypes, function.restype = types, ctypes.c_long
    return function


_LONG, _POINTER, _TEXT = ctypes.c_long, ctypes.c_void_p, ctypes.c_char_p
_vectors = (_LONG, _POINTER, _LONG, _POINTER, _LONG, _LONG)
_readv, _writev = _prototype("process_vm_readv", *_vectors), _prototype("process_vm_writev", *_vectors)
_openat2 = _prototype("syscall", _LONG, _LONG, _TEXT, _POINTER, _LONG)
_at_call = _prototype("syscall", _LONG, _LONG, _TEXT, _POINTER, _LONG)
_statx = _prototype("syscall", _LONG, _LONG, _TEXT, _LONG, _LONG, _POINTER)
_renameat2 = _prototype("syscall", _LONG, _LONG, _TEXT, _LONG, _TEXT, _LONG)
_tgkill = _prototype("syscall", _LONG, _LONG, _LONG, _LONG)

# Of the loop's thread only: helper threads use none of these.
_page = ctypes.create_string_buffer(_PAGE)
_page_view = memoryview(_page).cast("B")
_here, _there = _Vector(ctypes.addressof(_page), _PAGE), _Vector(0, 0)
_here_at, _there_at = ctypes.addressof(_here), ctypes.addressof(_there)


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def read(tid: int, address: int, size: int) -> bytes:
    """Copy bytes of a child; fewer where its memory ends.  `size`: at most a page.  Raises OSError: EFAULT, ESRCH."""
    _there.base, _there.length = address, size
    got = _readv(tid, _here_at, 1, _there_at, 1, 0)
    if got < 0:
        _check(got)
    return _page_view[:got].tobytes()


def read_all(tid: int, address: int, size: int) -> bytes:
    """Exactly `size` bytes, or EFAULT."""
    parts = []
    while size > 0:
        part = read(tid, address, min(size, _PAGE))
        if not part:
            raise OSError(14, "unreadable")
        parts.append(part)
        address, size = address + len(part), size - len(part)
    return b"".join(parts)


def read_text(tid: int, address: int, limit: int = PATH_MAX) -> bytes:
    """A text of less than `limit` bytes that ends in NUL, read once, never across a page that need not be there.

    Raises OSError: EFAULT, ENAMETOOLONG.
    """
    part = read(tid, address, min(_FIRST, _PAGE - address % _PAGE, limit))
    end = part.find(0)
    if end >= 0:
        return part[:end]  # nearly always
    parts: list[bytes] = []
    total = 0
    while part:
        parts.append(part)
        total, address = total + len(part), address + len(part)
        if total >= limit:
            raise OSError(36, "no end within the limit")
        part = read(tid, address, min(_PAGE - address % _PAGE, limit - total))
        end = part.find(0)
        if end >= 0:
            return b"".join((*parts, part[:end]))
    raise OSError(14, "unreadable")


def write(tid: int, address: int, data: bytes) -> None:
    """Put bytes into a child's memory.  Raises OSError: EFAULT."""
    source = _Vector(ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0, len(data))
    target = _Vector(address, len(data))
    if _check(_writev(tid, ctypes.addressof(source), 1, ctypes.addressof(target), 1, 0)) != len(data):
        raise OSError(14, "unwritable")


_hows: dict[tuple[int, int], tuple[_How, int]] = {}


def openat2(folder: int, path: bytes, flags: int, resolve: int) -> int:
    """Open without O_CREAT, under the kernel's own limits on what a path may pass through.  Raises OSError."""
    how = _hows.get((flags, resolve))
    if how is None:
        made = _How(flags | os.O_CLOEXEC, 0, resolve)
        how = _hows[flags, resolve] = (made, ctypes.addressof(made))
    return _check(_openat2(_NUMBERS["openat2"], folder, path, how[1], 24))


def tgkill(tgid: int, tid: int, number: int) -> None:
    """Send a signal to one thread.  Raises OSError."""
    _check(_tgkill(_NUMBERS["tgkill"], tgid, tid, number))


def stat_bytes(fd: int) -> bytearray:
    """`struct stat` of what a descriptor names, as this machine lays it out."""
    buffer = (ctypes.c_char * STAT_SIZE)()
    _check(_at_call(_NUMBERS["newfstatat"], fd, b"", ctypes.addressof(buffer), _AT_EMPTY_PATH))
    return bytearray(buffer)


def mode_of(words: bytearray) -> int:
    """st_mode of a `struct stat`."""
    return int.from_bytes(words[STAT_MODE : STAT_MODE + 4], "little")


def statx_bytes(fd: int, sync: int, mask: int) -> bytearray:
    buffer = (ctypes.c_char * STATX_SIZE)()
    _check(_statx(_NUMBERS["statx"], fd, b"", _AT_EMPTY_PATH | sync, mask, ctypes.addressof(buffer)))
    return bytearray(buffer)


def statfs_bytes(fd: int) -> bytes:
    """`struct statfs`: 120 bytes on both architectures.  Works on O_PATH descriptors."""
    buffer = (ctypes.c_char * 120)()
    _check(linux.syscall("fstatfs", fd, buffer))
    return bytes(buffer)


def rename(folder: int, name: bytes, new_folder: int, new_name: bytes, flags: int) -> None:
    _check(_renameat2(_NUMBERS["renameat2"], folder, name, new_folder, new_name, flags))


def set_times(folder: int, name: bytes, times: bytes | None, flags: int) -> None:
    """`times`: two struct timespec with their special values, or None for now."""
    buffer = ctypes.create_string_buffer(times, len(times)) if times is not None else None
    address = ctypes.addressof(buffer) if buffer is not None else None
    _check(_at_call(_NUMBERS["utimensat"], folder, name, address, flags))
