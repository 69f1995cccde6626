"""The sockets of a pool's workers: which of them its thread listens to, and how it is woken.

Runs in: parent.  Trusts: nothing of a worker; nothing is read here.
Flow: add → listen(worker, True) → wait → the workers that speak; ring → wait returns; forget → the end of it.
Source: epoll(7), eventfd(2).

A worker's descriptor is closed with its turn held, and only here: once it is, its number may be another worker's.
"""

from __future__ import annotations

import os
import select
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foxden.parent.utility import Worker

LONGEST_SLEEP_S = 3600.0  # at a time: the kernel counts milliseconds in 31 bits


class Hearing:
    """Guarded by the pool's lock, but for `ring` and `wait`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._by_fd: dict[int, Worker] = {}
        self._bell_lock = threading.RLock()  # a collector may run an executor's finalizer in the middle of anything
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._bell, select.EPOLLIN)

    @property
    def is_over(self) -> bool:
        return self._epoll.closed

    def add(self, worker: Worker) -> None:
        self._by_fd[worker.fd] = worker
        self._epoll.register(worker.fd, 0)

    def hears(self, worker: Worker) -> bool:
        """Is its socket open?"""
        return self._by_fd.get(worker.fd) is worker

    def listen(self, worker: Worker, yes: bool) -> None:
        """Have the pool's thread read its next answer, or leave that to who waits for it."""
        if self.hears(worker):
            worker.armed = yes
            self._epoll.modify(worker.fd, select.EPOLLIN if yes else 0)

    def forget(self, worker: Worker) -> None:
        """Hear nothing more from it, with its turn held."""
        if self.hears(worker):
            del self._by_fd[worker.fd]
            self._epoll.unregister(worker.fd)
            worker.close()

    def workers(self) -> list[Worker]:
        return list(self._by_fd.values())

    def ring(self) -> None:
        """Wake the pool's thread."""
        with self._bell_lock:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def wait(self, seconds: float) -> list[Worker]:
        """Sleep until a worker speaks, somebody rings or the time is over; returns who speaks."""
        events = self._epoll.poll(min(max(0.0, seconds), LONGEST_SLEEP_S))
        speaking = []
        for fd, _ in events:
            if fd == self._bell:
                os.eventfd_read(fd)
                continue
            worker = self._by_fd.get(fd)
            if worker is not None:
                speaking.append(worker)
        return speaking

    def close(self) -> None:
        """When nobody waits any more, and every worker is forgotten.  With the pool's lock."""
        self._epoll.close()
        with self._bell_lock:
            os.close(self._bell)
            self._bell = -1
