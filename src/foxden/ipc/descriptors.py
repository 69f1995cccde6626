"""Descriptors that arrived in a message: is each what its field says, and closing what nobody wants.

Runs in: every process.  Trusts: the kernel's answers about a descriptor, never the sender's words.
Flow: pipe receives → codec attaches → `verify` here → handler.
Source: fstat(2), fcntl(2) F_GET_SEALS, unix(7).
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Callable, Iterable

from foxden.errors import BadMessage
from foxden.ipc import fields
from foxden.ipc.codec import describe
from foxden.ipc.fields import Descriptor, Endpoint, Payload, PidFd, RegularFile, SharedMemory
from foxden.ipc.schema import Message, Reply

# Not in the fcntl module before Python 3.14 (FUTURE_WRITE) and before 3.8 (the others); linux/fcntl.h.
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE = 1, 2, 4, 8, 16
_FIXED_SIZE = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


def _is_endpoint(fd: int) -> bool:
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return False
    with socket.socket(fileno=os.dup(fd)) as copy:
        return (copy.family, copy.type) == (socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _is_regular_file(fd: int) -> bool:
    # O_PATH descriptors also answer S_ISREG; only one that is open for reading has access mode O_RDONLY or O_RDWR.
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    readable = flags & os.O_ACCMODE in (os.O_RDONLY, os.O_RDWR) and not flags & os.O_PATH
    return readable and stat.S_ISREG(os.fstat(fd).st_mode)


def _is_shared_memory(fd: int) -> bool:
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        return False  # not a memfd
    cannot_change_under_us = seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0
    return seals & _FIXED_SIZE == _FIXED_SIZE and cannot_change_under_us


def _is_pidfd(fd: int) -> bool:
    # Since Linux 6.9 a pidfd is a file of pidfs and its link reads `pidfd:[inode]`; before, an anonymous inode.
    return os.readlink(f"/proc/self/fd/{fd}").startswith(("pidfd:", "anon_inode:[pidfd]"))


_CHECKS: dict[type[Descriptor], tuple[str, Callable[[int], bool]]] = {
    Endpoint: ("a SOCK_SEQPACKET unix socket", _is_endpoint),
    RegularFile: ("a regular file open for reading", _is_regular_file),
    SharedMemory: ("a memfd sealed against resizing and writing", _is_shared_memory),
    PidFd: ("a pidfd", _is_pidfd),
}


def verify(body: Message | Reply) -> None:
    """Raise BadMessage unless every descriptor of the message is of the kind that its field declares."""
    for name in body.descriptor_fields:
        value = getattr(body, name)
        if isinstance(value, Payload):
            _verify_payload(body, name, value)
            value = value.memory
        if value is None:
            continue
        expected, holds = _CHECKS[type(value)]
        if not holds(value.fileno()):
            raise BadMessage(f"{describe(type(body))}: expected {expected} - at $.{name}")


def _verify_payload(body: Message | Reply, name: str, value: Payload) -> None:
    if value.memory is None:
        return
    size = os.fstat(value.memory.fileno()).st_size
    if size > value.limit:
        raise BadMessage(f"{describe(type(body))}: expected at most {value.limit} bytes, got {size} - at $.{name}")


fields.close_descriptor = os.close
