"""The kernel's side of a listener: take a notification, answer it, hand over a descriptor.

Runs in: the broker.  Trusts: the kernel; every register in a notification is the child's.
Flow: epoll says there is one → receive → … → give, succeed or fail.  Never "continue": what was judged was a copy.
Source: seccomp_unotify(2), linux/seccomp.h.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct

import msgspec

from foxden.sandbox import linux

_RECV, _SEND, _ID_VALID = 0xC050_2100, 0xC018_2101, 0x4008_2102
_ADDFD, _SET_FLAGS = 0x4018_2103, 0x4008_2104
_ADDFD_SETFD, _ADDFD_SEND = 1, 2
_SYNC_WAKE_UP = 1
_GET_NOTIF_SIZES = 3
_ENOENT, _EINTR = 2, 4

_NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # id, pid, flags, nr, arch, instruction pointer, args
_RESPONSE = struct.Struct("=QqiI")  # id, val, error, flags
_ADDED = struct.Struct("=QIIII")  # id, flags, srcfd, newfd, newfd_flags
_ID = struct.Struct("=Q")


class Notification(msgspec.Struct, frozen=True):
    id: int
    tid: int  # as the broker's pid namespace numbers it; 0: it has none there
    number: int
    ip: int
    args: tuple[int, ...]


_sizes: tuple[int, int] | None = None


def sizes() -> tuple[int, int]:
    """Of a notification and a response, by the running kernel's word: it may know more than we do.  Raises OSError."""
    global _sizes
    if _sizes is None:
        buffer = ctypes.create_string_buffer(6)
        linux.syscall("seccomp", _GET_NOTIF_SIZES, 0, buffer)
        notification, response, _ = struct.unpack("=HHH", buffer.raw)
        _sizes = max(notification, _NOTIFICATION.size), max(response, _RESPONSE.size)
    return _sizes


class Listener:
    """One filter's listener; closes it."""

    __slots__ = ("_chooses", "_empty", "fd")

    def __init__(self, fd: int, size: int) -> None:
        self.fd = fd
        self._empty = bytes(size)
        self._chooses = True
        self.wake_here(True)

    def wake_here(self, here: bool) -> None:
        """Where whoever is answered goes on: at this processor, which is done with it, or at another beside us."""
        if self._chooses:
            try:
                fcntl.ioctl(self.fd, _SET_FLAGS, _SYNC_WAKE_UP if here else 0)
            except OSError as error:
                if error.errno != 22:
                    raise
                self._chooses = False  # before Linux 6.6

    def receive(self) -> Notification | None:
        """The next notification; None: whoever asked is gone, or was interrupted."""
        buffer = bytearray(self._empty)
        try:
            fcntl.ioctl(self.fd, _RECV, buffer)
        except OSError as error:
            if error.errno in (_ENOENT, _EINTR):
                return None
            raise
        number_id, tid, _, number, _, ip, *args = _NOTIFICATION.unpack_from(buffer)
        return Notification(number_id, tid, number, ip, tuple(args))

    def is_valid(self, notification_id: int) -> bool:
        """Does the asking thread still wait?  Then what /proc and its memory said was said of it."""
        try:
            fcntl.ioctl(self.fd, _ID_VALID, _ID.pack(notification_id))
        except OSError:
            return False
        return True

    def fail(self, notification_id: int, errno: int) -> bool:
        return self._ioctl(_SEND, _RESPONSE.pack(notification_id, 0, -errno, 0))

    def succeed(self, notification_id: int, value: int) -> bool:
        return self._ioctl(_SEND, _RESPONSE.pack(notification_id, value, 0, 0))

    def give(self, notification_id: int, fd: int, *, close_on_exec: bool) -> bool:
        """Install a copy of `fd` in the child and make it the call's result, in one step.  False: it waits no more.

        Raises OSError: EMFILE when the child has no room for it; the call is still to be answered.
        """
        flags = os.O_CLOEXEC if close_on_exec else 0
        return self._ioctl(_ADDFD, _ADDED.pack(notification_id, _ADDFD_SEND, fd, 0, flags), raises=True)

    def replace(self, notification_id: int, fd: int, target: int, *, close_on_exec: bool) -> bool:
        """Put a copy of `fd` in the place of the child's descriptor `target`.  The call is still to be answered."""
        flags = os.O_CLOEXEC if close_on_exec else 0
        return self._ioctl(_ADDFD, _ADDED.pack(notification_id, _ADDFD_SETFD, fd, target, flags), raises=True)

    def _ioctl(self, request: int, words: bytes, *, raises: bool = False) -> bool:
        try:
            fcntl.ioctl(self.fd, request, words)
        except OSError as error:
            if raises and error.errno != _ENOENT:
                raise
            return False  # it died, or a signal took it away from us: nobody waits for an answer
        return True

    def close(self) -> None:
        os.close(self.fd)
