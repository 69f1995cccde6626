"""What may take long, as opening a fifo without a peer: each in a thread of its own, a bounded number of them.

Runs in: the broker; the loop's thread starts and collects, helpers only open what was judged already.
Flow: Later → start → helper blocks in open or connect → collect on the loop → the child is answered.
A program's own socket is taken (`Later.address`): the helper closes it too, for closing one may linger.
Source: fifo(7), unix(7), eventfd(2).
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import threading
from collections import deque
from collections.abc import Callable

import msgspec

from foxden.sandbox import linux

HELPERS_MAX = 32
_QUEUE_MAX = 4096  # connects that wait for a helper: most take no time, and a program may begin many at once
_EAGAIN = 11


class Later(msgspec.Struct, frozen=True):
    """What is to be opened.  Holds `fd` until it is done."""

    fd: int  # O_PATH; with an address: a socket
    flags: int
    close_on_exec: bool
    socket_type: int = 0  # not 0: connect such a unix socket to it
    blocks: bool = True
    target: int = -1  # the child's descriptor that the connected socket replaces
    address: bytes = b""  # not empty: connect `fd` itself there, by `attempt`
    attempt: Callable[[int, bytes], None] | None = None


class _Helper:
    __slots__ = ("cancelled", "later", "opener", "works")

    def __init__(self, later: Later) -> None:
        self.later = later
        self.cancelled = False
        self.opener = -1  # the other end of a fifo, held so that the helper comes back
        self.works = True  # at a socket that it has not closed yet


class Waiting:
    """The helpers of one broker."""

    def __init__(self) -> None:
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._helpers: dict[int, _Helper] = {}
        self._queue: dict[int, Later] = {}
        self._done: deque[tuple[int, int | OSError]] = deque()
        self._lock = threading.Lock()  # of _Helper.works: a number that is closed may be another's at once

    def fileno(self) -> int:
        return self._wake

    def __len__(self) -> int:
        return len(self._helpers)

    def start(self, key: int, later: Later) -> None:
        """Raises OSError, EAGAIN when too many wait already; `later` is closed then."""
        if len(self._helpers) >= HELPERS_MAX:
            if later.attempt is not None and len(self._queue) < _QUEUE_MAX:
                self._queue[key] = later
                return
            os.close(later.fd)
            raise OSError(_EAGAIN, "too many openings wait")
        self._begin(key, later)

    def _begin(self, key: int, later: Later) -> None:
        helper = self._helpers[key] = _Helper(later)
        work = self._attempt if later.attempt is not None else self._open
        try:
            threading.Thread(target=work, args=(key, helper), name="foxden-opening", daemon=True).start()
        except RuntimeError:
            del self._helpers[key]
            os.close(later.fd)
            raise OSError(_EAGAIN, "no thread to be had") from None

    def _attempt(self, key: int, helper: _Helper) -> None:
        """Result -1: done, and there is nothing to hand over."""
        later, result = helper.later, -1
        assert later.attempt is not None  # noqa: S101 - for the type checker
        failed: OSError | None = None
        try:
            later.attempt(later.fd, later.address)
        except OSError as error:
            failed = error
        finally:
            with self._lock:
                helper.works = False
            self._done.append((key, failed or result))
            os.eventfd_write(self._wake, 1)
            os.close(later.fd)

    def _open(self, key: int, helper: _Helper) -> None:
        later = helper.later
        result: int | OSError
        try:
            result = connected(later) if later.socket_type else os.open(f"/proc/self/fd/{later.fd}", later.flags)
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
            if helper.later.attempt is None:
                os.close(helper.later.fd)
            if helper.opener >= 0:
                os.close(helper.opener)
            if not helper.cancelled:
                found.append((key, helper.later, result))
            elif isinstance(result, int) and result >= 0:
                os.close(result)
        while self._queue and len(self._helpers) < HELPERS_MAX:
            key = next(iter(self._queue))
            later = self._queue.pop(key)
            try:
                self._begin(key, later)
            except OSError as error:
                found.append((key, later, error))
        return found

    def cancel(self, key: int) -> None:
        """Nobody waits for it any more.  A helper at a fifo is let go; at anything else the kernel decides when."""
        queued = self._queue.pop(key, None)
        if queued is not None:
            os.close(queued.fd)
            return
        helper = self._helpers.get(key)
        if helper is None or helper.cancelled:
            return
        helper.cancelled = True
        if helper.later.attempt is not None:
            with self._lock, contextlib.suppress(OSError):  # it is not connecting yet, or not any more
                if helper.works:
                    linux.syscall("shutdown", helper.later.fd, int(socket.SHUT_RDWR))
            return
        if not helper.later.socket_type and stat.S_ISFIFO(os.fstat(helper.later.fd).st_mode):
            helper.opener = os.open(f"/proc/self/fd/{helper.later.fd}", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def close(self) -> None:
        """Let all go, and wait a moment for those that can be."""
        for key in (*self._queue, *self._helpers):
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
