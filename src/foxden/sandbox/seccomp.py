"""Loading a compiled filter into the kernel.

Runs in: children, fork servers, the parent's lock; last of all layers.  Trusts: the compiler's bytes.
Source: seccomp(2).
"""

from __future__ import annotations

import ctypes

from foxden.sandbox import linux

_SET_MODE_FILTER = 1
_FLAG_TSYNC, _FLAG_SPEC_ALLOW = 1, 4


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def load(program: bytes, *, all_threads: bool = False) -> None:
    """Put the filter on this thread, or on all threads of the process.  Needs no_new_privs.  Raises OSError."""
    buffer = ctypes.create_string_buffer(program, len(program))
    header = _Program(len(program) // 8, ctypes.addressof(buffer))
    flags = _FLAG_TSYNC if all_threads else 0
    pointer = ctypes.cast(ctypes.pointer(header), ctypes.c_void_p).value or 0
    result = linux.syscall("seccomp", _SET_MODE_FILTER, flags, pointer)
    if result > 0:
        raise OSError(22, f"seccomp: thread {result} has another filter")


def is_available() -> bool:
    """Does the kernel take filters?  EFAULT on a null program says yes."""
    try:
        linux.syscall("seccomp", _SET_MODE_FILTER, 0, 0)
    except OSError as error:
        return error.errno == 14
    return False
