"""Descriptors that arrived in a message: is each what its field says, and closing what nobody wants.

Runs in: every process.  Trusts: the kernel's answers about a descriptor, never the sender's words.
Flow: pipe receives → codec attaches → `verify` here → handler.
Source: fstat(2), fcntl(2) F_GET_SEALS, unix(7).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # as _socket, without the enums
import _socket
import fcntl
import os
import stat
from collections.abc import Callable, Iterable

from foxden.errors import BadMessage
from foxden.ipc import fields
from foxden.ipc.codec import describe
from foxden.ipc.fields import (
    Descriptor,
    Endpoint,
    FrozenMemory,
    LentMemory,
    Listener,
    Payload,
    PidFd,
    RegularFile,
    SharedMemory,
    StackPipe,
    Stream,
)
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
    # The kernel is asked by option: left to itself, `socket` asks for a name, which some families do not have.
    asked = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)
    try:
        family, kind = (asked.getsockopt(_socket.SOL_SOCKET, name) for name in (_socket.SO_DOMAIN, _socket.SO_TYPE))
    finally:
        asked.detach()  # it is somebody else's
    return (family, kind) == (_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


def _is_readable(fd: int) -> bool:
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    return flags & os.O_ACCMODE in (os.O_RDONLY, os.O_RDWR) and not flags & os.O_PATH


def _is_regular_file(fd: int) -> bool:
    return _is_readable(fd) and stat.S_ISREG(os.fstat(fd).st_mode)  # O_PATH descriptors also answer S_ISREG


def _is_shared_memory(fd: int) -> bool:
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        return False  # not a memfd
    not_to_be_written_by_us = seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) != 0
    return seals & _FIXED_SIZE == _FIXED_SIZE and not_to_be_written_by_us and _is_readable(fd)


def _is_frozen_memory(fd: int) -> bool:
    return _is_shared_memory(fd) and fcntl.fcntl(fd, fcntl.F_GET_SEALS) & F_SEAL_WRITE != 0


def _is_pidfd(fd: int) -> bool:
    # Signal 0 is sent to nobody; EBADF says that this is no pidfd, ESRCH that its process has ended.  A directory of
    # /proc is taken for one there, but nowhere else.
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        return False
    try:
        _signal.pidfd_send_signal(fd, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return True


def _is_listener(fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:seccomp notify"


def _is_stack_pipe(fd: int) -> bool:
    return _is_readable(fd) and stat.S_ISFIFO(os.fstat(fd).st_mode)


def _is_stream(fd: int) -> bool:
    return not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH and not stat.S_ISDIR(os.fstat(fd).st_mode)


_CHECKS: dict[type[Descriptor], tuple[str, Callable[[int], bool]]] = {
    Endpoint: ("a SOCK_SEQPACKET unix socket", _is_endpoint),
    RegularFile: ("a regular file open for reading", _is_regular_file),
    SharedMemory: ("a memfd sealed against resizing and writing", _is_shared_memory),
    FrozenMemory: ("a memfd sealed against resizing and all writing", _is_frozen_memory),
    LentMemory: ("a memfd sealed against resizing and writing", _is_shared_memory),
    PidFd: ("a pidfd", _is_pidfd),
    Listener: ("the listener of a seccomp filter", _is_listener),
    StackPipe: ("a pipe open for reading", _is_stack_pipe),
    Stream: ("something that can be read or written", _is_stream),
}


def verify(body: Message | Reply) -> None:
    """Raise BadMessage unless every descriptor of the message is of the kind that its field declares."""
    try:
        for name in body.descriptor_fields:
            _verify_field(body, name, getattr(body, name))
    except BadMessage:
        for name in body.descriptor_fields:  # now: the error's traceback would keep them open as long as itself
            _close_field(getattr(body, name))
        raise


def _verify_field(body: Message | Reply, name: str, value: Descriptor | Payload | None) -> None:
    held = value.memory if isinstance(value, Payload) else value
    if value is None or held is None:
        return
    expected, holds = _CHECKS[type(held)]
    if not holds(held.fileno()):
        raise BadMessage(f"{describe(type(body))}: expected {expected} - at `$.{name}`")
    if isinstance(held, SharedMemory):
        # A payload of no bytes is one; memory of no bytes cannot be mapped.
        least, most = (0, value.limit) if isinstance(value, Payload) else (1, held.limit)
        size = os.fstat(held.fileno()).st_size
        if not least <= size <= most:
            raise BadMessage(f"{describe(type(body))}: expected {least}-{most} bytes, got {size} - at `$.{name}`")


def _close_field(value: Descriptor | Payload | None) -> None:
    held = value.memory if isinstance(value, Payload) else value
    if held is not None:
        held.close()


fields.close_descriptor = os.close
