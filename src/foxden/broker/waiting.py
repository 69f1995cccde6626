"""Openings that may take long, as of a fifo without a peer: each in a thread of its own, a bounded number of them.

Runs in: the broker; the loop's thread starts and collects, helpers only open what was judged already.
Flow: Later → start → helper blocks in open or connect → collect on the loop → the child is answered.
Source: fifo(7), unix(7), eventfd(2).
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections import deque
from typing import NamedTuple

from foxden.sandbox import linux

HELPERS_MAX = 32
_EAGAIN = 11


class Later(NamedTuple):
    """What is to be opened.  Holds `fd` until it is done."""

    fd: int  # O_PATH, or a socket
    flags: int
    close_on_exec: bool
    socket_type: int = 0  # not 0: connect such a unix socket to it
    blocks: bool = True
    address: bytes = b""  # not empty: connect `fd` itself, the child's own socket, to it
    target: int = -1  # the child's descriptor that the connected socket replaces


class _Helper:
    __slots__ = ("cancelled", "later", "opener")

    def __init__(self, later: Later) -> None:
        self.later = later
        self.cancelled = False
        self.opener = -1  # the other end of a fifo, held so that the helper comes back


class Waiting:
    """The helpers of one broker."""

    def __init__(self) -> None:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._helpers: dict[int, _Helper] = {}
        self._done: deque[tuple[int, int | OSError]] = deque()

    def fileno(self) -> int:
        return self._wake

    def __len__(self) -> int:
        return len(self._helpers)

    def start(self, key: int, later: Later) -> None:
        """Raises OSError, EAGAIN when too many wait already; `later` is closed then."""
        if len(self._helpers) >= HELPERS_MAX:
            os.close(later.fd)
            raise OSError(_EAGAIN, "too many openings wait")
        self._helpers[key] = _Helper(later)
        try:
            threading.Thread(target=self._open, args=(key, later), name="foxden-opening", daemon=True).start()
        except RuntimeError:
            del self._helpers[key]
            os.close(later.fd)
            raise OSError(_EAGAIN, "no thread to be had") from None

    def _open(self, key: int, later: Later) -> None:
        result: int | OSError
        try:
            if later.address:
                result = linux.syscall("connect", later.fd, later.address, len(later.address))
            elif later.socket_type:
                result = connected(later)
            else:
                result = os.open(f"/proc/self/fd/{later.fd}", later.flags)
        except OSError as error:
            result = error
        self._done.append((key, result))
        os.eventfd_write(self._wake, 1)

    def collect(self) -> list[tuple[int, Later, int | OSError]]:
        """What has come back, as (key, what was asked, descriptor or error).  Cancelled ones are only tidied away."""
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            return []
        found = []
        while self._done:
            key, result = self._done.popleft()
            helper = self._helpers.pop(key)
            os.close(helper.later.fd)
            if helper.opener >= 0:
                os.close(helper.opener)
            if not helper.cancelled:
                found.append((key, helper.later, result))
            elif isinstance(result, int) and not helper.later.address:
                os.close(result)
        return found

    def cancel(self, key: int) -> None:
        """Nobody waits for it any more.  A helper at a fifo is let go; at anything else the kernel decides when."""
        helper = self._helpers.get(key)
        if helper is None or helper.cancelled:
            return
        helper.cancelled = True
        if helper.later.address:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(helper.later.fd)) as sock:
                sock.shutdown(socket.SHUT_RDWR)
        elif not helper.later.socket_type and stat.S_ISFIFO(os.fstat(helper.later.fd).st_mode):
            helper.opener = os.open(f"/proc/self/fd/{helper.later.fd}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        """Let all go, and wait a moment for those that can be."""
        for key in list(self._helpers):
            self.cancel(key)
        waits = [t for t in threading.enumerate() if t.name == "foxden-opening"]
        for thread in waits:
            thread.join(0.5)
        self.collect()
        os.close(self._wake)


def connected(later: Later, *, now: bool = False) -> int:
    """A socket connected to what `later.fd` holds.  Raises OSError."""
    with socket.socket(socket.AF_UNIX, later.socket_type) as sock:
        sock.setblocking(not now)
        sock.connect(f"/proc/self/fd/{later.fd}")
        sock.setblocking(later.blocks)
        return sock.detach()
