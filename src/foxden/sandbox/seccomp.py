"""Loading a compiled filter into the kernel.

Runs in: children, fork servers, the parent's lock; last of all layers.  Trusts: the compiler's bytes.
Source: seccomp(2).
"""

from __future__ import annotations

import ctypes
import struct

from foxden.sandbox import linux

_SET_MODE_FILTER = 1
_FLAG_TSYNC, _FLAG_SPEC_ALLOW, _FLAG_NEW_LISTENER, _FLAG_WAIT_KILLABLE = 1, 4, 8, 32


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def load(program: bytes, *, all_threads: bool = False, spec_allow: bool = False) -> None:
    """Put the filter on this thread, or on all threads of the process.  Needs no_new_privs.  Raises OSError.

    `spec_allow`: the filter brings no mitigation of speculative execution along (before Linux 5.16 it would, and those
    cost every program); left out where the kernel does not know it (4.17).
    """
    result = _set_filter(program, _FLAG_TSYNC if all_threads else 0, spec_allow)
    if result > 0:
        raise OSError(22, f"seccomp: thread {result} has another filter")


def load_with_listener(program: bytes, *, killable: bool, spec_allow: bool = False) -> int:
    """Put the filter on this thread; return the descriptor on which its notifications come.

    `killable`: a thread whose call was taken up waits for the answer and hears no signal but a fatal one (Linux 5.19;
    left out where the kernel does not know it).  Raises OSError: EBUSY when another listener serves this process.
    """
    if killable:
        try:
            return _set_filter(program, _FLAG_NEW_LISTENER | _FLAG_WAIT_KILLABLE, spec_allow)
        except OSError as error:
            if error.errno != 22:
                raise
    return _set_filter(program, _FLAG_NEW_LISTENER, spec_allow)


def _set_filter(program: bytes, flags: int, spec_allow: bool) -> int:
    if spec_allow:
        try:
            return _set_plainly(program, flags | _FLAG_SPEC_ALLOW)
        except OSError as error:
            if error.errno != 22:
                raise
    return _set_plainly(program, flags)


def _set_plainly(program: bytes, flags: int) -> int:
    header = _Program(len(program) // 8, program)  # the kernel copies it, NULs and all
    return linux.syscall("seccomp", _SET_MODE_FILTER, flags, ctypes.addressof(header))


_INSTRUCTION, _RET_K, _RET_TRAP, _RET_ERRNO = struct.Struct("<HBBI"), 0x06, 0x0003_0000, 0x0005_0000


def without_traps(program: bytes) -> bytes:
    """The same filter where no handler of SIGSYS waits: what it would trap has its errno at once."""
    return b"".join(
        _INSTRUCTION.pack(code, jt, jf, k & 0xFFFF | _RET_ERRNO if code == _RET_K and k >> 16 == _RET_TRAP >> 16 else k)
        for code, jt, jf, k in _INSTRUCTION.iter_unpack(program)
    )


def is_available() -> bool:
    """Does the kernel take filters?  EFAULT on a null program says yes."""
    try:
        linux.syscall("seccomp", _SET_MODE_FILTER, 0, 0)
    except OSError as error:
        return error.errno == 14
    return False
