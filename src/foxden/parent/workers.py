"""A pool of utility processes: calls go to idle workers, answers to their futures, the dead are replaced.

Runs in: parent; a thread of its own beside the den's loop, and the callers' threads.  Trusts: nothing of a worker.
Flow: submit → idle worker, or the queue → answer, deadline or death → future → the next call.
Source: concurrent.futures.process; architecture.md "IPC".

Threads: `_lock` guards the schedule; a worker's `turn` is held by whoever reads its socket, which is this
pool's thread (epoll) or the thread that waits for that very call.  The den's loop makes workers and says how they end.
"""

from __future__ import annotations

import itertools
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from foxden.errors import BadMessage, CallTimeout, DenClosed, FoxdenError
from foxden.ipc import awake
from foxden.ipc.pipe import NOW
from foxden.parent.arguments import Packed
from foxden.parent.calls import Call, CallFuture, Sizes
from foxden.parent.deadlines import FOREVER, Deadlines
from foxden.parent.endings import SENT, close_all, crash, end_soon, fail_all, settle
from foxden.parent.hosts import End
from foxden.parent.schedule import Schedule
from foxden.parent.utility import Starter, Worker
from foxden.workers_broken import WorkersBroken

_END_WITHIN_S = 5.0
_UNHEARD_S = 0.005  # that an answer may lie when others wait for the worker, and whoever should read it does not


# Calls something on the den's loop; False: the den is closed.
Soon = Callable[[Callable[[], object]], bool]


class Pool:
    """See the module's text.  `finished` is called on the pool's thread when all has ended."""

    def __init__(self, soon: Soon, starter: Starter, sizes: Sizes, *, finished: Callable[[], None]) -> None:
        self._soon, self._starter, self._sizes, self._finished = soon, starter, sizes, finished
        self._lock = threading.RLock()  # a collector may run an executor's finalizer in the middle of anything
        self._schedule = Schedule(follows=sizes.calls_each is None)
        self._workers: set[Worker] = set()  # that live, or whose end is still to be heard
        self._starting = 0
        self._numbers = itertools.count(1)
        self._deadlines = Deadlines()
        self._sleeps_until = FOREVER
        self._closing = False
        self._den_gone = False
        self._broken: FoxdenError | None = None
        self._pid = os.getpid()
        self._epoll = select.epoll()
        self._by_fd: dict[int, Worker] = {}
        self._bell_lock = threading.RLock()  # likewise
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll.register(self._bell, select.EPOLLIN)
        self.thread = threading.Thread(target=self._serve, name="foxden-calls", daemon=True)
        self.thread.start()

    # ---- asked by callers

    def submit(self, name: str, packed: Packed) -> CallFuture:
        """Queue one call.  Raises RuntimeError, DenClosed, WorkersBroken."""
        call = self._call(name, packed, 0)
        self._submit((call,))
        return call.future

    def submit_chunks(self, name: str, chunks: Sequence[tuple[Packed, int]]) -> list[CallFuture]:
        """Queue chunks: each so many calls, packed together.  Raises the same."""
        calls = [self._call(name, packed, each) for packed, each in chunks]
        self._submit(calls)
        return [call.future for call in calls]

    def _call(self, name: str, packed: Packed, each: int) -> Call:
        seconds, cpu_seconds = self._sizes.times(each or 1)
        return Call(next(self._numbers), name, packed, bool(each), seconds, CallFuture(), cpu_seconds=cpu_seconds)

    def _submit(self, calls: Sequence[Call]) -> None:
        if not self._schedule.idle:
            self._look_at_unwatched()
        given: list[tuple[Worker, Call]] = []
        with self._lock:
            self.check_open()
            for call in calls:
                worker = self._schedule.place(call, self._are_all_there)
                if worker is not None:
                    given.append((worker, call))
                else:
                    self._start_if_needed()
            unheard = bool(self._schedule.queue) and self._sleeps_until > time.monotonic() + 2 * _UNHEARD_S
        for worker, call in given:
            if not self._begin(worker, call):
                self._next(worker)
        if unheard:
            self._ring()

    def check_open(self) -> None:
        if self._broken is not None:
            raise WorkersBroken(str(self._broken), hint=self._broken.hint) from self._broken
        if self._closing:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if os.getpid() != self._pid:
            text = f"this executor is process {self._pid}'s, which forked this one"
            raise DenClosed(text, hint="make a new one here")

    def close(self, *, cancel: bool) -> None:
        """Take no more calls, finish those there are (or cancel what has not begun), and end.  Returns at once."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._closing = True
            self._arm_all()
            cancelled = list(self._schedule.queue) if cancel else []
            if cancel:
                self._schedule.queue.clear()
        for call in cancelled:
            call.future.cancel()
            call.future.set_running_or_notify_cancel()
        self._ring()

    # ---- workers come and go

    def _live(self) -> int:
        """With the lock held: how many workers there are."""
        return sum(1 for worker in self._workers if not worker.dead)

    def _are_all_there(self) -> bool:
        """With the lock held: is no other worker about to come?"""
        return not self._starting and self._live() >= self._sizes.max_workers

    def _start_if_needed(self) -> None:
        """With the lock held: have as many workers as there are calls for, up to the most."""
        wanted = len(self._schedule.queue) + (1 if self._sizes.spare and not self._closing else 0)
        live = self._live()
        most = self._sizes.max_workers + (1 if self._sizes.spare else 0)
        while self._starting < wanted and live + self._starting < most:
            if not self._soon(self._start):
                self._closing = self._den_gone = True
                return
            self._starting += 1

    def _start(self) -> None:
        """On the den's loop."""
        import asyncio

        task = asyncio.get_running_loop().create_task(self._starter.start())
        task.add_done_callback(self._started)

    def _started(self, task: Future[Worker] | Any) -> None:
        """On the den's loop."""
        error = DenClosed("this den was closed") if task.cancelled() else task.exception()
        if error is not None:
            self._not_started(error)
            return
        worker: Worker = task.result()
        with self._lock:
            self._starting -= 1
            if self._epoll.closed:  # all has ended meanwhile
                worker.host.close()
                return worker.close()
            self._workers.add(worker)
            self._by_fd[worker.fd] = worker
            self._epoll.register(worker.fd, 0)
        worker.host.ended.add_done_callback(lambda ended: self._ended(worker, ended.result()))
        self._next(worker)

    def _not_started(self, error: BaseException) -> None:
        """A worker could not be had.  Whoever waits hears why, unless others are at work that will come to it."""
        with self._lock:
            self._starting -= 1
            if isinstance(error, WorkersBroken):
                self._broken = error
            failed = []
            if self._broken is not None or not (self._starting or self._live()):
                failed = list(self._schedule.queue)
                self._schedule.queue.clear()
        fail_all(failed, error)
        self._ring()

    def _ended(self, worker: Worker, end: End) -> None:
        """On the den's loop: the kernel has said how it ended."""
        with self._lock:
            worker.dead = True
            self._workers.discard(worker)
            call = self._schedule.gone(worker)
            if self._schedule.queue or self._sizes.spare:
                self._start_if_needed()
        if call is not None:
            settle(call.future, None, crash(worker, call, end))
        worker.hang_up()
        self._ring()

    def _end(self, worker: Worker, reason: str) -> None:
        """Have it killed; `_ended` hears of it."""
        worker.dead = True
        self._soon(lambda: worker.host.kill(reason))

    # ---- calls

    def _begin(self, worker: Worker, call: Call) -> bool:
        """Send a call to a worker that is its own.  False: there was nothing to send."""
        future = call.future
        if not call.begun and not future.set_running_or_notify_cancel():
            with self._lock:
                self._schedule.take(worker, call)
            return False
        call.worker, call.begun = worker, True
        future.pid, future.given_at = worker.host.pid, time.time()
        if self._schedule.busy.get(worker) is call:
            worker.since = time.monotonic()
            self._start_clock(call)
        try:
            worker.run(call.number, call.packed, each=call.each)
        except BlockingIOError:
            self._end(worker, f"{worker.host} does not read its calls")
        except OSError:  # it ended before this reached it
            self._send_to_another(worker, call)
            return True
        if not call.each:
            call.packed = SENT
        future.help = lambda timeout: self._help(worker, call, timeout)
        future.listen = lambda: self._arm(worker, call)
        if future.watched or self._closing:
            self._arm(worker, call)
        return True

    def _send_to_another(self, worker: Worker, call: Call) -> None:
        with self._lock:
            worker.dead = True
            if self._schedule.did_not_get(worker, call):
                self._start_if_needed()
        self._soon(lambda: end_soon(worker))

    def _next(self, worker: Worker) -> None:
        """Give a worker that is free its next call, or let it wait."""
        while True:
            with self._lock:
                if worker.dead:
                    self._start_if_needed()
                    return
                call = self._schedule.next_of(worker)
                if call is None:
                    if self._sizes.spare:
                        self._start_if_needed()
                    break
            if self._begin(worker, call):
                self._send_behind(worker)
                return
        if self._closing:
            self._ring()

    def _send_behind(self, worker: Worker) -> None:
        with self._lock:
            call = self._schedule.follow(worker)
        if call is not None:
            self._begin(worker, call)

    def _rests(self, worker: Worker) -> bool:
        """With the lock held: is there nothing else to do for it, or for anybody?  Then it waits."""
        if worker.dead or self._sizes.spare or self._closing or self._schedule.queue:
            return False
        return self._schedule.next_of(worker) is None

    def _receive(self, worker: Worker, flags: int = NOW) -> bool:
        """Read what a worker says, with its turn held.  False: nothing more is to come of it now."""
        try:
            answer = worker.receive(flags)
        except EOFError:
            if not worker.dead:
                worker.dead = True
                self._soon(lambda: end_soon(worker))
            self._forget(worker)
            return False
        except BadMessage as error:
            self._broke_protocol(worker, error)
            return False
        if answer is None:
            return True
        with self._lock:
            call, after = self._schedule.answered(worker)
            if after is None and worker.armed:
                self._listen(worker, False)
            worker.dead = worker.dead or worker.done >= (self._sizes.calls_each or FOREVER)
            rests = after is None and self._rests(worker)
        if after is not None:
            self._start_clock(after)
            self._send_behind(worker)
        elif not rests:
            if worker.dead:
                self._soon(worker.host.close)
            self._next(worker)
        if call is not None:
            settle(call.future, *answer)
        return False

    def _broke_protocol(self, worker: Worker, error: BadMessage) -> None:
        with self._lock:
            call = self._schedule.gone(worker)
        self._end(worker, f"{worker.host} broke the protocol: {error}")
        self._forget(worker)
        if call is not None:
            settle(call.future, None, BadMessage(f"{call.name}: {worker.host} {error}", hint="the worker was ended"))

    # ---- who listens to a worker

    def _arm(self, worker: Worker, call: Call) -> None:
        """Let the pool's thread hear the answer of this call."""
        with self._lock:
            if not worker.armed and self._schedule.has(worker, call):
                self._listen(worker, True)

    def _hears(self, worker: Worker) -> bool:
        """Is its socket open?  Once it is not, its number may be another worker's."""
        return self._by_fd.get(worker.fd) is worker

    def _arm_all(self) -> None:
        """With the lock held."""
        for worker in self._schedule.busy:
            if not worker.armed:
                self._listen(worker, True)

    def _listen(self, worker: Worker, yes: bool) -> None:
        """With the lock held."""
        if self._hears(worker):
            worker.armed = yes
            self._epoll.modify(worker.fd, select.EPOLLIN if yes else 0)

    def _look_at_unwatched(self) -> None:
        """Take answers that came while nobody was listening: their workers are free."""
        with self._lock:
            unwatched = [worker for worker in self._schedule.busy if not worker.armed]
        for worker in unwatched:
            if worker.turn.acquire(blocking=False):
                try:
                    if self._hears(worker) and worker.poll.poll(0):
                        self._receive(worker)
                finally:
                    worker.turn.release()

    def _help(self, worker: Worker, call: Call, timeout: float | None) -> None:
        """On the thread that waits for this call: read its answer, so that no other thread has to wake up first."""
        if not worker.turn.acquire(blocking=False):
            call.future.watch()
            return
        try:
            if worker.armed:
                with self._lock:
                    self._listen(worker, False)
            until = FOREVER if timeout is None else time.monotonic() + timeout
            if self._hears(worker) and awake.soon(worker.poll):
                self._receive(worker)
            while self._schedule.has(worker, call) and self._hears(worker):
                if timeout is None:
                    self._receive(worker, 0)
                elif (left := until - time.monotonic()) <= 0:
                    break
                elif worker.poll.poll(left * 1000):
                    self._receive(worker)
        finally:
            worker.turn.release()
            if self._schedule.has(worker, call):  # not yet; or interrupted
                call.future.watch()

    # ---- deadlines

    def _start_clock(self, call: Call) -> None:
        if call.seconds is None and call.cpu_seconds is None:
            return
        with self._lock:
            wake = self._deadlines.begin(call, time.monotonic()) < self._sleeps_until
        if wake:
            self._ring()

    def _pass_deadlines(self) -> None:
        late: list[tuple[Worker, Call, CallTimeout]] = []
        with self._lock:
            for call, error in self._deadlines.take_late(time.monotonic()):
                worker = call.worker
                if worker is not None and self._schedule.busy.get(worker) is call:
                    worker.dead = True
                    self._schedule.gone(worker)
                    late.append((worker, call, error))
        for worker, call, error in late:
            self._end(worker, str(error))
            worker.hang_up()
            settle(call.future, None, error)

    # ---- the pool's own thread

    def _ring(self) -> None:
        with self._bell_lock:
            if self._bell >= 0:
                os.eventfd_write(self._bell, 1)

    def _serve(self) -> None:
        try:
            while not self._has_ended():
                self._step()
        finally:
            self._tear_down()

    def _has_ended(self) -> bool:
        with self._lock:
            at_work = self._schedule.queue or self._schedule.busy or self._starting
            return self._den_gone or (self._closing and not at_work)

    def _step(self) -> None:
        with self._lock:
            until = self._deadlines.next()
            others_wait = bool(self._schedule.queue) or self._closing
            unheard = [item for item in self._schedule.busy.items() if others_wait and not item[0].armed]
            if unheard:
                until = min(until, time.monotonic() + _UNHEARD_S)
            self._sleeps_until = until
        events = self._epoll.poll(None if until == FOREVER else max(0.0, until - time.monotonic()))
        for worker, call in unheard:
            self._arm(worker, call)
        for fd, _ in events:
            if fd == self._bell:
                os.eventfd_read(fd)
                continue
            speaking = self._by_fd.get(fd)
            if speaking is not None and speaking.turn.acquire(blocking=False):
                try:
                    self._receive(speaking)
                finally:
                    speaking.turn.release()
        self._pass_deadlines()

    def _forget(self, worker: Worker) -> None:
        """Hear nothing more from it, with its turn held."""
        with self._lock:  # or its descriptor could be asked about, by who has just found it in `_by_fd`
            if self._hears(worker):
                del self._by_fd[worker.fd]
                self._epoll.unregister(worker.fd)
                worker.close()

    def _tear_down(self) -> None:
        with self._lock:
            workers = list(self._workers)
        waiting = threading.Event()
        if workers:
            self._soon(lambda: close_all(workers, waiting))
            waiting.wait(_END_WITHIN_S)
        for worker in list(self._by_fd.values()):
            with worker.turn:
                self._forget(worker)
        with self._lock:
            self._epoll.close()
        with self._bell_lock:
            os.close(self._bell)
            self._bell = -1
        with self._lock:
            left = self._schedule.clear()
        fail_all(left, DenClosed("this den was closed while it was at work"))
        self._finished()
