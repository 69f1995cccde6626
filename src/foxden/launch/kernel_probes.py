"""What the kernel can do for a broker, found out by doing it: a listener, and what may be asked of one.

Runs in: a child without a sandbox of its own, that is ended afterwards (`foxden support`).  Trusts: nothing.
Flow: PChildProcess.RunProbe("kernel-notify") → one filter that allows everything, its listener → words.
Source: seccomp_unotify(2); linux/seccomp.h.
"""

from __future__ import annotations

import ctypes
import os
import struct

from foxden.sandbox import linux, seccomp

_ALLOW_EVERYTHING = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF_0000)
_SET_MODE_FILTER, _WAIT_KILLABLE, _NEW_LISTENER = 1, 32, 8
_ADDFD, _SET_FLAGS = 0x4018_2103, 0x4008_2104
_ADDFD_SEND, _SYNC_WAKE_UP = 2, 1
_EINVAL, _ENOENT = 22, 2


def notify(argument: str) -> str:
    """The words of what there is.  Raises OSError when there is no listener to be had: EBUSY, another listens."""
    found = ["listener"]
    if _errno("seccomp", _SET_MODE_FILTER, _NEW_LISTENER | _WAIT_KILLABLE, 0) not in (_EINVAL, 38):
        found.append("wait-killable")  # EFAULT: it knew the flag, and looked for the filter
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    listener = seccomp.load_with_listener(_ALLOW_EVERYTHING, killable=False)
    try:
        # An answer to a notification that never was: whoever knows the flags says so (ENOENT).
        if _ask(listener, _ADDFD, struct.pack("=QIIII", 0, 0, 0, 0, 0)) == _ENOENT:
            found.append("addfd")
        if _ask(listener, _ADDFD, struct.pack("=QIIII", 0, _ADDFD_SEND, 0, 0, 0)) == _ENOENT:
            found.append("addfd-send")
        if _errno("ioctl", listener, _SET_FLAGS, _SYNC_WAKE_UP) == 0:
            found.append("wake-up")
    finally:
        os.close(listener)
    return " ".join(found)


def _ask(fd: int, command: int, request: bytes) -> int:
    return _errno("ioctl", fd, command, ctypes.create_string_buffer(request, len(request)))


def _errno(name: str, *arguments: int | ctypes.Array[ctypes.c_char]) -> int:
    try:
        linux.syscall(name, *arguments)
    except OSError as error:
        return error.errno or 0
    return 0
