"""A pool of utility processes: calls go to idle workers, answers to their futures, the dead are replaced.

Runs in: parent; a thread of its own beside the den's loop, and the callers' threads.  Trusts: nothing of a worker.
Flow: submit → idle worker, or the queue → answer, deadline or death → future → the next call.
Source: concurrent.futures.process; architecture.md "IPC".

Threads: `_lock` guards the schedule; a worker's `turn` is held by whoever reads its socket, which is this
pool's thread (epoll) or the thread that waits for that very call.  The den's loop makes workers and says how they end.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any

from foxden.errors import BadMessage, CallTimeout, DenClosed, FoxdenError
from foxden.ipc import awake
from foxden.ipc.pipe import NOW
from foxden.parent.arguments import Packed
from foxden.parent.calls import Call, CallFuture, Sizes
from foxden.parent.deadlines import FOREVER, Deadlines
from foxden.parent.endings import SENT, Outcome, cancel_all, end_all, end_soon, fail_all, rest_of, settle
from foxden.parent.hearing import LONGEST_SLEEP_S, Hearing
from foxden.parent.refused import Refused
from foxden.parent.schedule import Schedule
from foxden.parent.utility import Starter, Worker
from foxden.workers_broken import WorkersBroken

_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF)  # what a send to one that has ended may say
_UNHEARD_S = 0.005  # that an answer may lie when others wait for the worker, and whoever should read it does not

# Calls something on the den's loop; False: the den is closed.
Soon = Callable[[Callable[[], object]], bool]


class Pool:
    """See the module's text.  `finished` is called on the pool's thread when all has ended."""

    refused: Refused | None = None  # who knows what its workers were refused

    def __init__(self, soon: Soon, starter: Starter, sizes: Sizes, *, finished: Callable[[], None]) -> None:
        self._soon, self._starter, self._sizes, self._finished = soon, starter, sizes, finished
        self._lock = threading.RLock()  # a collector may run an executor's finalizer in the middle of anything
        self._schedule = Schedule(sizes)
        self._numbers = itertools.count(1)
        self._deadlines = Deadlines()
        self._sleeps_until = FOREVER
        self._closing = False
        self._den_gone = self._stopped = False
        self._ended_all = threading.Event()
        self._broken: FoxdenError | None = None
        self._pid = os.getpid()
        self._hearing = Hearing()
        self.thread = threading.Thread(target=self._serve, name="foxden-calls", daemon=True)
        self.thread.start()

    # ---- asked by callers

    def submit(self, name: str, packed: Packed, *, each: int = 1, chunk_of: int = 0, look: bool = True) -> CallFuture:
        """Queue one call; `each`: it is a chunk of so many, `chunk_of`: of the map with this number.

        `look`: for answers that nobody waits for, which costs as much as the rest: of many chunks some may do it.
        Raises RuntimeError, DenClosed, WorkersBroken.
        """
        call = self._sizes.call(next(self._numbers), name, packed, self.refused, each=each, chunk_of=chunk_of)
        self.check_open()  # before anything is read: what comes is not for a fork of this process
        if look and not self._schedule.idle:
            self._look_at_unwatched()
        with self._lock:
            if self._closing or self._broken is not None:
                self.check_open()
            worker = self._schedule.place(call)
            if worker is None:
                self._start_if_needed()
            unheard = bool(self._schedule.queue) and self._sleeps_until > time.monotonic() + 2 * _UNHEARD_S
        if worker is not None and self._begin(worker, [call]):
            self._next(worker)
        if unheard:
            self._hearing.ring()
        return call.future

    def check_open(self) -> None:
        if self._broken is not None:
            raise WorkersBroken(str(self._broken), hint=self._broken.hint) from self._broken
        if self._closing:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if os.getpid() != self._pid:
            raise DenClosed(f"this executor is process {self._pid}'s, which forked this one", hint="make a new one")

    def give_up(self, future: CallFuture) -> None:
        """Nobody wants a call any more: one that runs is ended with its worker."""
        with self._lock:
            worker = self._schedule.who_is_at(future)
            if worker is None or (call := self._schedule.gone(worker)) is None:
                return
            worker.dead = True
            self._deadlines.end(call)
        self._end(worker, f"nobody waits for {call.name} any more")
        worker.hang_up()
        settle(future, None, CancelledError())

    def close(self, *, cancel: bool) -> None:
        """Take no more calls, finish those there are (or cancel what has not begun), and end.  Returns at once."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._closing = True
            for worker in self._schedule.busy:
                self._hearing.listen(worker, True)
            cancelled = self._schedule.take_unbegun() if cancel else []
        cancel_all(cancelled)
        self._hearing.ring()

    def stop(self) -> None:
        """Take no more calls, and end those there are with their workers.  Returns at once."""
        self._stopped = True
        self.close(cancel=True)

    def wait(self) -> None:
        """Until all has ended.  Not by joining the thread: one that Ctrl-C has interrupted once returns at once."""
        if os.getpid() == self._pid:
            self._ended_all.wait()

    # ---- workers come and go

    def _start_if_needed(self) -> None:
        """With the lock held."""
        for _ in range(self._schedule.missing(spare=not self._closing)):
            if not self._soon(self._start):
                self._closing = self._den_gone = True
                return
            self._schedule.starting += 1

    def _start(self) -> None:
        """On the den's loop."""
        import asyncio

        with self._lock:
            waiting = [call.packed for call in self._schedule.queue]
        task = asyncio.get_running_loop().create_task(self._starter.start(waiting))
        task.add_done_callback(self._started)

    def _started(self, task: Future[Worker] | Any) -> None:
        """On the den's loop."""
        error = DenClosed("this den was closed") if task.cancelled() else task.exception()
        if error is not None:
            self._not_started(error)
            return
        worker: Worker = task.result()
        if self.refused is not None:
            self.refused.began(worker.host.child_id)
        with self._lock:
            self._schedule.starting -= 1
            if self._hearing.is_over:  # all has ended meanwhile
                worker.host.close()
                return worker.close()
            self._schedule.workers.add(worker)
            self._hearing.add(worker)
        worker.host.ended.add_done_callback(lambda _: self._ended(worker))
        self._next(worker)

    def _not_started(self, error: BaseException) -> None:
        """A worker could not be had.  Whoever waits hears why, unless others are at work that will come to it."""
        with self._lock:
            self._schedule.starting -= 1
            if isinstance(error, WorkersBroken):
                self._broken = error
            failed = []
            if self._broken is not None or not (self._schedule.starting or self._schedule.live()):
                failed = list(self._schedule.queue)
                self._schedule.queue.clear()
        fail_all(failed, error)
        self._hearing.ring()

    def _ended(self, worker: Worker) -> None:
        """On the den's loop: the kernel has said how it ended."""
        worker.dead = True
        answers = rest_of(worker, self._receive, self._hearing.hears, self._ended)
        if answers is None:
            return
        with self._lock:
            self._schedule.workers.discard(worker)
            call = self._schedule.gone(worker)
            if call is not None:
                self._deadlines.end(call)
                answers.append((call.future, None, worker.host.crash(f"running {call.name}")))
            if self._schedule.queue or self._sizes.spare:
                self._start_if_needed()
        for answer in answers:
            settle(*answer)
        self._hearing.ring()

    def _end(self, worker: Worker, reason: str) -> None:
        """Have it killed; `_ended` hears of it."""
        worker.dead = True
        self._soon(lambda: worker.host.kill(reason))

    # ---- calls

    def _begin(self, worker: Worker, calls: list[Call]) -> bool:
        """Send calls to the worker that they were placed with: one, or some chunks.

        True: there was nothing to send, and that one is free."""
        with worker.sending:
            for call in calls:
                call.begun = call.begun or call.future.set_running_or_notify_cancel()
            with self._lock:
                wanted = self._schedule.take_cancelled(worker, calls)
                if not wanted:
                    return self._schedule.is_free(worker)
                if worker.dead:
                    if self._schedule.did_not_get(worker, wanted):
                        self._start_if_needed()
                    return False
                for call in wanted:
                    call.given_to(worker, self._help, self._arm)
                running = self._schedule.busy.get(worker)
                is_next = running in wanted
                if is_next:
                    worker.since = time.monotonic()
            if is_next and running is not None:
                self._start_clock(running)
            self._send(worker, wanted)
        for call in wanted:
            if call.future.watched or self._closing:
                self._arm(worker, call)
        return False

    def _send(self, worker: Worker, calls: list[Call]) -> None:
        try:
            worker.run(calls)
        except BlockingIOError:
            self._end(worker, f"{worker.host} does not read its calls")
        except Exception as error:
            with self._lock:
                worker.dead = True
                is_gone = isinstance(error, OSError) and error.errno in _GONE
                if is_gone and self._schedule.did_not_get(worker, calls):  # it ended before these reached it
                    self._start_if_needed()
                lost = [] if is_gone else [call for call in calls if self._schedule.take(worker, call)]
                for call in calls:
                    self._deadlines.end(call)
            if is_gone:
                self._soon(lambda: end_soon(worker))
                return
            self._end(worker, f"{worker.host} could not be sent a call: {error!r}")
            for call in lost:  # no descriptor, no memory: of this process
                settle(call.future, None, error)
            return
        if not calls[0].chunk_of:
            calls[0].packed = SENT

    def _next(self, worker: Worker) -> None:
        """Give a worker that is free its next call, or let it wait."""
        while True:
            with self._lock:
                if worker.dead:
                    self._start_if_needed()
                if not self._schedule.is_free(worker):
                    return
                call = self._schedule.next_of(worker)
                if call is None:
                    if self._sizes.spare:
                        self._start_if_needed()
                    break
            if not self._begin(worker, [call]):
                self._send_behind(worker)
                return
        if self._closing:
            self._hearing.ring()

    def _send_behind(self, worker: Worker) -> None:
        with self._lock:
            calls = self._schedule.follow(worker)
        if calls and self._begin(worker, calls):
            self._next(worker)

    def _receive(self, worker: Worker, flags: int = NOW) -> Outcome | None:
        """Read what a worker says, with its turn held; what comes of it is for `settle`, when that is let go."""
        try:
            answer = worker.receive(flags)
        except EOFError:
            if not worker.dead:
                worker.dead = True
                self._soon(lambda: end_soon(worker))
            self._forget(worker)
            return None
        except BadMessage as error:
            return self._broke_protocol(worker, error)
        except BaseException as error:
            return self._lost_answer(worker, error)
        if answer is None:
            return None
        with self._lock:
            call, after = self._schedule.answered(worker)
            if call is not None and call.entry:
                self._deadlines.end(call)
            if after is None and worker.armed:
                self._hearing.listen(worker, False)
            worker.dead = worker.dead or worker.done >= (self._sizes.calls_each or FOREVER)
            rests = after is None and not self._closing and self._schedule.rests(worker)
            behind = self._schedule.follow(worker) if after is not None else []
        if after is not None:
            if after.sent:
                self._start_clock(after)
            if behind and self._begin(worker, behind):
                self._next(worker)
        elif not rests:
            if worker.dead:
                self._soon(worker.host.close)
            self._next(worker)
        return (call.future, *answer) if call is not None else None

    def _broke_protocol(self, worker: Worker, error: BadMessage) -> Outcome | None:
        call = self._give_no_more(worker, f"{worker.host} broke the protocol: {error}")
        text = f"{call.name if call is not None else 'nothing'}: {worker.host} {error}"
        return (call.future, None, BadMessage(text, hint="the worker was ended")) if call is not None else None

    def _lost_answer(self, worker: Worker, error: BaseException) -> Outcome | None:
        """This process could not read an answer, or was interrupted in it."""
        if not (worker.has_lost or isinstance(error, Exception)):
            raise error  # an interrupt of the waiting
        call = self._give_no_more(worker, f"an answer of {worker.host} was lost: {error!r}")
        if not isinstance(error, Exception):
            if call is not None:
                settle(call.future, None, FoxdenError(f"{call.name}: interrupted while its answer was read"))
            raise error
        return (call.future, None, error) if call is not None else None

    def _give_no_more(self, worker: Worker, reason: str) -> Call | None:
        """End a worker; returns the call that it was at."""
        with self._lock:
            worker.dead = True
            call = self._schedule.gone(worker)
            if call is not None:
                self._deadlines.end(call)
        self._end(worker, reason)
        self._forget(worker)
        return call

    # ---- who listens to a worker

    def _arm(self, worker: Worker, call: Call) -> None:
        """Let the pool's thread hear the answer of this call."""
        with self._lock:
            if not worker.armed and self._schedule.has(worker, call):
                self._hearing.listen(worker, True)

    def _look_at_unwatched(self, *, watched: bool = False) -> None:
        """Take answers that came while nobody was listening: their workers are free.  `watched`: and the others."""
        with self._lock:
            there = [worker for worker in self._schedule.busy if watched or not worker.armed]
        for worker in there:
            self._look_at(worker)

    def _look_at(self, worker: Worker) -> None:
        """Take what a worker has answered, unless somebody else is about to."""
        if not worker.turn.acquire(blocking=False):
            return
        try:
            outcome = self._receive(worker) if self._hearing.hears(worker) and worker.poll.poll(0) else None
        finally:
            worker.turn.release()
        if outcome is not None:
            settle(*outcome)

    def _help(self, worker: Worker, call: Call, timeout: float | None) -> None:
        """On the thread that waits for this call: read its answer, so that no other thread has to wake up first."""
        if os.getpid() != self._pid:
            return
        until = FOREVER if timeout is None else time.monotonic() + timeout
        try:
            while self._schedule.has(worker, call) and self._hearing.hears(worker):
                if not worker.turn.acquire(blocking=False):
                    break
                try:
                    outcome = self._wait_for(worker, call, until)
                finally:
                    worker.turn.release()
                    self._hear_for_others(worker)
                if outcome is not None:
                    settle(*outcome)
                elif time.monotonic() >= until:
                    break
        finally:
            if self._schedule.has(worker, call):  # not yet; or interrupted
                call.future.watch()

    def _wait_for(self, worker: Worker, call: Call, until: float) -> Outcome | None:
        """With its turn held: a worker's next answer; nothing when the time is over, or it says something else."""
        if worker.armed:
            with self._lock:
                self._hearing.listen(worker, False)
                worker.was_armed = True
        if not self._schedule.has(worker, call) or not self._hearing.hears(worker):
            return None
        if call.chunk_of:  # most of them are there already: one question less
            outcome = self._receive(worker)
            if outcome is not None or worker.dead:
                return outcome
        if awake.soon(worker.poll) or until == FOREVER:
            return self._receive(worker, 0)
        left = until - time.monotonic()
        if left > 0 and worker.poll.poll(min(left, LONGEST_SLEEP_S) * 1000):
            return self._receive(worker)
        return None

    def _hear_for_others(self, worker: Worker) -> None:
        """Whoever read stops reading: let the pool's thread hear what others wait for."""
        if not worker.was_armed:
            return
        with self._lock:
            worker.was_armed = False
            if self._closing or self._schedule.is_watched(worker):
                self._hearing.listen(worker, True)

    # ---- deadlines

    def _start_clock(self, call: Call) -> None:
        if call.seconds is None and call.cpu_seconds is None:
            return
        with self._lock:
            if call.worker is None or self._schedule.busy.get(call.worker) is not call:
                return  # it has ended meanwhile
            wake = self._deadlines.begin(call, time.monotonic()) < self._sleeps_until
        if wake:
            self._hearing.ring()

    def _pass_deadlines(self) -> None:
        with self._lock:
            if self._deadlines.next() > time.monotonic():
                return
        self._look_at_unwatched(watched=True)  # what has returned is not late, whenever it is read
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

    def _serve(self) -> None:
        try:
            while not self._has_ended():
                self._step()
        except BaseException as error:
            with self._lock:
                self._broken = FoxdenError(f"the thread of this pool of workers has ended: {error!r}")
            raise
        finally:
            self._tear_down()
            self._ended_all.set()

    def _has_ended(self) -> bool:
        with self._lock:
            return self._den_gone or self._stopped or (self._closing and not self._schedule.is_at_work)

    def _step(self) -> None:
        with self._lock:
            until = self._deadlines.next()
            others_wait = bool(self._schedule.queue) or self._closing
            unheard = [item for item in self._schedule.busy.items() if others_wait and not item[0].armed]
            if unheard:
                until = min(until, time.monotonic() + _UNHEARD_S)
            self._sleeps_until = until
        speaking = self._hearing.wait(until - time.monotonic())
        for worker, call in unheard:
            self._arm(worker, call)
        for worker in speaking:
            self._look_at(worker)
        self._pass_deadlines()

    def _forget(self, worker: Worker) -> None:
        """Hear nothing more from it, with its turn held."""
        with self._lock:  # or its descriptor could be asked about, by who has just found it there
            self._hearing.forget(worker)

    def _tear_down(self) -> None:
        end_all(self._soon, list(self._schedule.workers))
        for worker in self._hearing.workers():
            with worker.turn:
                self._forget(worker)
        with self._lock:
            self._hearing.close()
            left = self._schedule.clear()
        fail_all(left, DenClosed("this den was closed while it was at work"))
        self._finished()
