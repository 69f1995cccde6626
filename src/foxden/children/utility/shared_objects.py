"""`ctypes.util.find_library` where no program can be started: it asks ldconfig and gcc, and this reads what they read.

Runs in: utility processes.  Trusts: the linker's cache, which is the system's own; it is read with bounds all the same.
Flow: a function imports ctypes.util → find_library(name) → /etc/ld.so.cache → the first soname that fits.
Source: glibc's sysdeps/generic/dl-cache.h, the format 1.1; ctypes.util for what is looked for, and in which order.
"""

from __future__ import annotations

import os
import struct
from typing import Any

from foxden.launch import when_loaded
from foxden.sandbox import linux

CACHE = "/etc/ld.so.cache"
_MAGIC = b"glibc-ld.so.cache1.1"
_HEADER = struct.Struct("=20sI24x")  # magic, number of entries; what is left is not for us
_ENTRY = struct.Struct("=iIIIQ")  # flags, soname, path: offsets from the magic; OS version, capabilities of hardware
_TYPE, _LIBC6 = 0xFF, 0x03
_KINDS = {"x86_64": 0x0300}  # as ctypes asks for them; where it asks for none, any will do


def use() -> None:
    when_loaded.then("ctypes.util", _replace)


def _replace(module: Any) -> None:
    usual = module.find_library

    def find_library(name: str) -> str | None:
        """As that of ctypes, without gcc: what the linker's cache does not have is not found."""
        try:
            with open(CACHE, "rb") as file:
                return soname_in(file.read(), name)
        except (OSError, ValueError, struct.error):
            found: str | None = usual(name)  # another C library than glibc
            return found

    module.find_library = find_library


def soname_in(cache: bytes, name: str) -> str | None:
    """The first soname of a library of this machine's kind.  Raises ValueError, struct.error: no such cache."""
    begin = cache.index(_MAGIC)  # an older cache may stand before it
    count = _HEADER.unpack_from(cache, begin)[1]
    wanted = b"lib" + os.fsencode(name) + b"."
    kind = _KINDS.get(linux.ARCH, 0)
    for flags, soname, *_ in _ENTRY.iter_unpack(_entries(cache, begin + _HEADER.size, count)):
        if flags & _TYPE == _LIBC6 and flags & kind == kind and cache.startswith(wanted, begin + soname):
            return os.fsdecode(cache[begin + soname : cache.index(b"\0", begin + soname)])
    return None


def _entries(cache: bytes, begin: int, count: int) -> bytes:
    end = begin + count * _ENTRY.size
    if end > len(cache):
        raise ValueError("the cache is cut")
    return cache[begin:end]
