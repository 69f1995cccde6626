"""Names to addresses: the system's resolver in a few threads, with a cache, and one look-up for equal questions.

Runs in: socket process; threads of its own that nothing ever waits for.  Trusts: the system's resolver for names,
and not for where they may lead: connect_policy judges every address.
Flow: `lookup(host, on_done)` → cache, or a running look-up, or the queue → thread → loop → on_done.
Source: getaddrinfo(3), which cannot be cancelled; RFC 6761 (localhost).
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

import msgspec

Answer = tuple[str, ...]  # empty: there is no such host
OnDone = Callable[[Answer], None]
Query = Callable[[str], Answer]

CACHE_MAX = 1024  # names
NEGATIVE_CACHE_S = 2.0  # a name that was not found may have been the network's fault
_IDLE_S = 10.0  # a thread with nothing to do ends
_LOCALHOST: Answer = ("127.0.0.1", "::1")


def query_system(host: str) -> Answer:
    """Ask the system.  Blocks for as long as its resolver takes."""
    try:
        # As bytes: no IDNA codec, which Python would import now, where there may be no files.
        found = socket.getaddrinfo(host.encode("ascii"), None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


class _Running(msgspec.Struct, eq=False):
    """One question that is queued, or that a thread is asking."""

    host: str
    waiters: list[Lookup] = msgspec.field(default_factory=list)
    started: bool = False


class Lookup:
    """One caller's wait for an answer."""

    __slots__ = ("_on_done", "_resolver", "_running")

    def __init__(self, resolver: Resolver, running: _Running, on_done: OnDone) -> None:
        self._resolver, self._running = resolver, running
        self._on_done: OnDone | None = on_done

    def cancel(self) -> None:
        """No longer wait.  A thread that already asks goes on, and its answer is kept for others."""
        self._on_done = None
        self._resolver._forget(self._running, self)

    def finish(self, answer: Answer) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(answer)


class Resolver:
    """`threads`: how many questions the system is asked at once; one that is stuck costs one of them."""

    def __init__(self, *, threads: int, cache_s: float, query: Query = query_system) -> None:
        self._loop = asyncio.get_running_loop()
        self._query = query
        self._threads_max, self._cache_s = threads, cache_s
        self._cache: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._running: dict[str, _Running] = {}
        self._queue: deque[_Running] = deque()
        self._work_came = threading.Condition()  # guards what follows, and the queue
        self._threads = 0
        self._idle = 0
        self._closed = False

    def lookup(self, host: str, on_done: OnDone) -> Lookup | None:
        """Call `on_done` with the addresses of `host`; at once, and returning None, when they are known."""
        known = self._known(host)
        if known is not None:
            on_done(known)
            return None
        running = self._running.get(host) or _Running(host)
        waiter = Lookup(self, running, on_done)
        running.waiters.append(waiter)  # before a thread can see it: one that nobody waits for is dropped
        if host not in self._running:
            self._running[host] = running
            self._enqueue(running)
        return waiter

    def close(self) -> None:
        """End idle threads.  A stuck one ends when its question does, or with the process."""
        self._closed = True
        for running in self._running.values():
            running.waiters.clear()
        self._running.clear()
        with self._work_came:
            self._queue.clear()
            self._work_came.notify_all()

    def _known(self, host: str) -> Answer | None:
        if host == "localhost" or host.endswith(".localhost"):
            return _LOCALHOST  # never a question for the network
        entry = self._cache.get(host)
        if entry is None:
            return None
        if entry[0] <= time.monotonic():
            del self._cache[host]
            return None
        return entry[1]

    def _forget(self, running: _Running, waiter: Lookup) -> None:
        if waiter in running.waiters:
            running.waiters.remove(waiter)
        if not running.waiters and not running.started and self._running.get(running.host) is running:
            del self._running[running.host]  # the thread that takes it from the queue will drop it

    def _enqueue(self, running: _Running) -> None:
        with self._work_came:
            self._queue.append(running)
            if self._idle >= len(self._queue) or self._threads == self._threads_max:
                self._work_came.notify()
                return
            self._threads += 1
        threading.Thread(target=self._work, name="resolver", daemon=True).start()

    # ---- in a thread

    def _work(self) -> None:
        while (running := self._next()) is not None:
            if not running.waiters:
                continue  # given up while it was queued
            running.started = True
            try:
                answer = self._query(running.host)
            except Exception:  # whoever waits must get an answer, and the thread must not end unseen
                answer = ()
            try:
                self._loop.call_soon_threadsafe(self._answered, running, answer)
            except RuntimeError:  # the loop has ended, and with it everybody who waited
                return

    def _next(self) -> _Running | None:
        """The next question, or None: this thread is no longer counted, and ends."""
        with self._work_came:
            self._idle += 1
            while not self._queue and not self._closed and self._work_came.wait(_IDLE_S):
                pass
            self._idle -= 1
            if self._queue and not self._closed:
                return self._queue.popleft()
            self._threads -= 1
            return None

    # ---- back on the loop

    def _answered(self, running: _Running, answer: Answer) -> None:
        if self._closed:
            return
        if self._running.get(running.host) is running:
            del self._running[running.host]
        keep_s = self._cache_s if answer else min(self._cache_s, NEGATIVE_CACHE_S)
        if keep_s > 0:
            self._cache[running.host] = (time.monotonic() + keep_s, answer)
            while len(self._cache) > CACHE_MAX:
                self._cache.popitem(last=False)
        waiters, running.waiters = running.waiters, []
        for waiter in waiters:
            waiter.finish(answer)
