"""A pool's workers by descriptor: a number that was one's may be another's by now."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from foxden.errors import DenClosed
from foxden.parent.calls import Call, CallFuture, Sizes
from foxden.parent.workers import Pool


@pytest.fixture
def pool() -> Iterator[Pool]:
    """One that starts no workers of its own."""
    pool = Pool(lambda act: True, SimpleNamespace(), Sizes(1), finished=lambda: None)  # type: ignore[arg-type]
    yield pool
    with pool._lock:
        pool._schedule.busy.clear()
        pool._den_gone = True
    pool.close(cancel=True)
    pool.thread.join()


class Worker:
    """What the pool asks of one whose socket is closed."""

    armed = dead = is_answering = False

    def __init__(self, fd: int) -> None:
        self.fd, self.turn, self.poll, self.closed = fd, threading.Lock(), select.poll(), 0
        self.poll.register(fd, select.POLLIN)
        self.host = SimpleNamespace(kill=lambda reason: None)

    def receive(self, flags: int) -> None:
        raise EOFError

    def close(self) -> None:
        self.closed += 1


def worker_at(fd: int) -> Any:
    return Worker(fd)


def test_who_has_ended_takes_nothing_from_another_with_its_number(pool: Pool) -> None:
    ours, theirs = socket.socketpair()
    ended, living = worker_at(ours.fileno()), worker_at(ours.fileno())
    call = Call(1, "call", SimpleNamespace(), 0, None, CallFuture())  # type: ignore[arg-type]
    with pool._lock:
        pool._hearing._by_fd[living.fd] = living
        pool._hearing._epoll.register(living.fd, 0)
        pool._schedule.busy[ended] = call  # until the den's loop has heard of its end
    theirs.send(b"for the living")
    pool._help(ended, call, 0.05)
    pool._look_at_unwatched()
    with pool._lock:
        pool._hearing.listen(ended, True)
    with ended.turn:
        pool._forget(ended)
    assert pool._hearing._by_fd == {living.fd: living}
    assert (ended.closed, living.closed, ended.dead, ended.armed) == (0, 0, False, False)
    with pool._lock:
        pool._hearing.listen(living, True)
        assert living.armed
        pool._hearing.listen(living, False)
    with living.turn:
        pool._forget(living)
    assert living.closed == 1
    assert not pool._hearing._by_fd
    ours.close()
    theirs.close()


def test_calls_of_a_den_that_is_gone_are_told_so(pool: Pool) -> None:
    call = pool.submit("call", SimpleNamespace(buffers=(), work=b"", size=0))  # type: ignore[arg-type]
    with pool._lock:
        pool._den_gone = True
    pool._hearing.ring()
    with pytest.raises(DenClosed):
        call.result(10)
