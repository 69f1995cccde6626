"""The few calls of Linux that Python's standard library lacks, by number, through ctypes.

Runs in: fork servers, children, the parent's lock.  Trusts: its caller; nothing here decides anything.
Flow: namespaces, landlock, seccomp, capabilities → here → kernel; a failure is an OSError that names the call.
Source: syscall(2), prctl(2), clone(2); numbers from sandbox/syscall_numbers.
"""

from __future__ import annotations

import _thread
import ctypes
import os
import struct
import sys

from foxden.sandbox.syscall_numbers import NUMBERS

ARCH = os.uname().machine
_NUMBERS = NUMBERS.get(ARCH, {})
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)

# Keeps the interpreter lock held: after a raw clone no other code of this process may run before the child is back.
_locked_syscall = ctypes.pythonapi.syscall
_locked_syscall.restype = ctypes.c_long
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_parent = ctypes.pythonapi.PyOS_AfterFork_Parent
_after_fork_child = ctypes.pythonapi.PyOS_AfterFork_Child
for _function in (_before_fork, _after_fork_parent, _after_fork_child):
    _function.restype, _function.argtypes = None, []

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_GET_TID_ADDRESS = 1, 4, 24, 38, 40
PR_GET_NO_NEW_PRIVS, PR_GET_SECCOMP = 39, 21
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, PR_SET_NAME = 47, 4, 15

CLONE_PIDFD, CLONE_PARENT, CLONE_CHILD_CLEARTID, CLONE_CHILD_SETTID = 0x1000, 0x8000, 0x0020_0000, 0x0100_0000


def syscall(name: str, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """Make a system call.  Ints are passed as longs, bytes as pointers to them.  Raises OSError."""
    number = _NUMBERS.get(name)
    if number is None:
        raise OSError(38, f"{name}: no system call of this name on {ARCH}")
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *plain)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def prctl(option: int, *arguments: int) -> int:
    """Raises OSError."""
    result: int = libc.prctl(option, *(*arguments, 0, 0, 0, 0)[:4])
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")
    return result


class _CloneArgs(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls",
                     "set_tid", "set_tid_size", "cgroup")
    ]  # fmt: skip


def _thread_id_address() -> int:
    """Where libc keeps this thread's id, so that the kernel can write the child's there; 0 if it will not say."""
    address = ctypes.c_void_p()
    libc.prctl(PR_GET_TID_ADDRESS, ctypes.addressof(address), 0, 0, 0)
    return address.value or 0


_SIGCHLD = 17


def fork_into(flags: int, *, own_child: bool = False) -> tuple[int, int]:
    """Fork this process into new namespaces, as a child of this process's own parent.

    `own_child`: as a child of this process, as fork does.  Returns (pid, pidfd) here and (0, -1) in the child.
    Raises OSError.  Where clone3 is filtered away (as by container runtimes), clone(2) does the same without it.
    """
    pidfd = ctypes.c_int(-1)
    address = _thread_id_address()
    flags |= CLONE_PIDFD if own_child else CLONE_PARENT | CLONE_PIDFD
    if address:
        flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID
    exit_signal = _SIGCHLD if own_child else 0
    alone = not _thread._count()
    if not alone:
        _before_fork()
    pid = _raw_clone3(flags, exit_signal, pidfd, address)
    if pid == -38:
        pid = _raw_clone(flags | exit_signal, pidfd, address)
    if pid == 0:
        if not alone:
            _after_fork_child()
        _begin_anew()
        return 0, -1
    if not alone:
        _after_fork_parent()
    if pid < 0:
        raise OSError(-pid, f"clone: {os.strerror(-pid)}")
    return pid, pidfd.value


def _begin_anew() -> None:
    """What a copy of a process with one thread has to renew.  Python's own way frees every lock that another thread
    might have held, one after the other: a fifth of what all of a child's start costs."""
    random = sys.modules.get("random")
    if random is not None:
        random.seed()  # or all children would draw the same numbers
    threading = sys.modules.get("threading")
    if threading is not None:  # which notes one thing that is this process's own: the number of its thread
        getattr(threading.main_thread(), "_set_native_id", bool)()


def _raw_clone3(flags: int, exit_signal: int, pidfd: ctypes.c_int, address: int) -> int:
    arguments = _CloneArgs(flags=flags, pidfd=ctypes.addressof(pidfd), child_tid=address, exit_signal=exit_signal)
    return _locked(_NUMBERS["clone3"], ctypes.byref(arguments), ctypes.c_long(ctypes.sizeof(arguments)))


def _raw_clone(flags: int, pidfd: ctypes.c_int, address: int) -> int:
    # clone(2) returns the pidfd through parent_tid; aarch64 has tls before child_tid.
    tail = (0, address) if ARCH == "aarch64" else (address, 0)
    return _locked(_NUMBERS["clone"], *(ctypes.c_long(a) for a in (flags, 0, ctypes.addressof(pidfd), *tail)))


def _locked(number: int, *arguments: object) -> int:
    """A system call with the interpreter lock held; returns -errno on failure."""
    ctypes.set_errno(0)
    result: int = _locked_syscall(ctypes.c_long(number), *arguments)
    if result >= 0:
        return result
    return -(_errno_location()[0] or 1)


_errno_of_libc = libc.__errno_location
_errno_of_libc.restype = ctypes.POINTER(ctypes.c_int)


def _errno_location() -> ctypes._Pointer[ctypes.c_int]:
    # pythonapi has no errno copy of its own, so libc's is read at once.
    location: ctypes._Pointer[ctypes.c_int] = _errno_of_libc()
    return location


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor from 3 on that is not in `keep`."""
    start = 3
    for fd in sorted(keep):
        if fd > start:
            syscall("close_range", start, fd - 1, 0)
        start = max(start, fd + 1)
    syscall("close_range", start, 0xFFFF_FFFF, 0)


def die_with_parent() -> None:
    """SIGKILL when the thread that made this process's parent chain ends; end-of-file on IPC is the first rule."""
    prctl(PR_SET_PDEATHSIG, 9)


def mount_attributes(attributes: int) -> bytes:
    """struct mount_attr."""
    return struct.pack("=QQQQ", attributes, 0, 0, 0)  # set, clear, propagation, user namespace


def set_mount_attributes(dirfd: int, path: bytes, flags: int, attributes: int) -> None:
    """Add MOUNT_ATTR_* to a mount.  Raises OSError."""
    request = mount_attributes(attributes)
    syscall("mount_setattr", dirfd, path, flags, request, len(request))


_NAME_MAX = 15  # bytes: what ps and /proc/<pid>/comm show
_name = ctypes.create_string_buffer(_NAME_MAX + 1)  # made here: in a child the type of such a buffer would be made anew


def set_process_name(name: str) -> None:
    """At most 15 bytes are shown by ps and /proc/<pid>/comm."""
    _name.value = name.encode()[:_NAME_MAX]
    libc.prctl(PR_SET_NAME, ctypes.addressof(_name), 0, 0, 0)
