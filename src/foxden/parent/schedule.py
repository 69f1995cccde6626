"""Which worker of a pool has which call: those in the queue, the one that a worker is at, the one sent behind it.

Runs in: parent; pure but for the clock.  The pool's lock guards it.  Trusts: the pool.
Flow: Pool._submit → place → sent; an answer → answered → follow, or next_of; a worker's end → gone.
Source: parent/workers.

A chunk may be sent behind another, so that its worker need not wait for the parent between two.  Only where the worker
was quick with the chunk before: behind a slow one it would wait while other workers have nothing to do.

A call is placed first and sent afterwards, without the lock, by the thread that placed it.  Until it is sent it is that
thread's, whatever becomes of the worker, and nothing is placed behind it: so what a worker gets comes in the order of
this schedule, and each answer is that of the call that it is at.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from foxden.parent.calls import Call, CallFuture, Sizes

if TYPE_CHECKING:
    from foxden.parent.utility import Worker

_QUICK_S = 0.002  # a chunk that takes longer does not notice what passes until the next


class Schedule:
    """See the module's text."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self.workers: set[Worker] = set()  # that live, or whose end is still to be heard
        self.starting = 0
        self.queue: deque[Call] = deque()
        self.idle: list[Worker] = []
        self.busy: dict[Worker, Call] = {}
        self.behind: dict[Worker, Call] = {}  # sent, and still to begin

    @property
    def is_at_work(self) -> bool:
        return bool(self.queue or self.busy or self.starting)

    def live(self) -> int:
        """How many workers there are."""
        return sum(1 for worker in self.workers if not worker.dead)

    def missing(self, *, spare: bool) -> int:
        """How many workers are to be started, to have as many as there are calls for, up to the most.

        `spare`: one more than are at work is still wanted.
        """
        most = self._sizes.max_workers + (1 if self._sizes.spare else 0)
        wanted = len(self.queue) + (1 if self._sizes.spare and spare else 0)
        return max(0, min(wanted, most - self.live()) - self.starting)

    def place(self, call: Call) -> Worker | None:
        """Who is to be sent a call now; None: it is queued."""
        while self.idle:
            worker = self.idle.pop()
            if not worker.dead:
                self.busy[worker] = call
                return worker
        if call.each and not self.queue and not self.starting and self.live() >= self._sizes.max_workers:
            for worker in self.busy:
                if self._may_follow(worker, call):
                    self.behind[worker] = call
                    return worker
        self.queue.append(call)
        return None

    def next_of(self, worker: Worker) -> Call | None:
        """The call that a worker which is free begins; None: there is none, and it is idle."""
        if not self.queue:
            self.idle.append(worker)
            return None
        call = self.busy[worker] = self.queue.popleft()
        return call

    def follow(self, worker: Worker) -> Call | None:
        """The chunk that a worker may have before it has done the one that it is at."""
        if not self.queue or not self._may_follow(worker, self.queue[0]):
            return None
        call = self.behind[worker] = self.queue.popleft()
        return call

    def _may_follow(self, worker: Worker, call: Call) -> bool:
        """Buffers do not: they lie where those of the call before lie."""
        running = self.busy.get(worker)
        if running is None or not running.sent or worker.dead or worker in self.behind:
            return False
        if call.packed.buffers or self._sizes.calls_each is not None:
            return False
        return running.each and call.each and worker.quick_at == running.name == call.name

    def answered(self, worker: Worker) -> tuple[Call | None, Call | None]:
        """A worker has done its call: that call, and the one that it begins now."""
        call, after = self.busy.pop(worker, None), self.behind.pop(worker, None)
        now = time.monotonic()
        worker.quick_at = call.name if call is not None and call.each and now - worker.since < _QUICK_S else ""
        if after is not None:
            self.busy[worker] = after
            worker.since = now
        return call, after

    def gone(self, worker: Worker) -> Call | None:
        """A worker has ended, or will: the call that it was at.  What was sent behind that goes to the next worker, and
        what is still to be sent stays with the thread that does so, which finds the worker dead."""
        if worker in self.idle:
            self.idle.remove(worker)
        call, after = self.busy.get(worker), self.behind.get(worker)
        if after is not None and after.sent:
            del self.behind[worker]
            self._again(after)
        if call is None or not call.sent:
            return None
        return self.busy.pop(worker)

    def did_not_get(self, worker: Worker, call: Call) -> bool:
        """A call never reached its worker, and goes to the next.  False: it is not this worker's any more."""
        if not self.take(worker, call):
            return False
        self._again(call)
        return True

    def _again(self, call: Call) -> None:
        call.worker = call.future.help = call.future.listen = None
        call.sent = False
        self.queue.appendleft(call)

    def take(self, worker: Worker, call: Call) -> bool:
        """Take a call away from a worker.  False: it has not got it."""
        for place in (self.busy, self.behind):
            if place.get(worker) is call:
                del place[worker]
                return True
        return False

    def is_free(self, worker: Worker) -> bool:
        return not worker.dead and worker not in self.busy

    def is_watched(self, worker: Worker) -> bool:
        """Does somebody wait for a call of this worker who does not read?"""
        for place in (self.busy, self.behind):
            call = place.get(worker)
            if call is not None and call.sent and call.future.watched:
                return True
        return False

    def take_unbegun(self) -> list[Call]:
        """Take what nobody has begun out of the queue.  The rest runs: its worker ended under a call before it."""
        unbegun = [call for call in self.queue if not call.begun]
        begun = [call for call in self.queue if call.begun]
        self.queue.clear()
        self.queue.extend(begun)
        return unbegun

    def who_is_at(self, future: CallFuture) -> Worker | None:
        return next((worker for worker, call in self.busy.items() if call.future is future), None)

    def has(self, worker: Worker, call: Call) -> bool:
        return self.busy.get(worker) is call or self.behind.get(worker) is call

    def clear(self) -> list[Call]:
        """All calls that nobody will do any more."""
        left = [*self.queue, *self.busy.values(), *self.behind.values()]
        for place in (self.queue, self.busy, self.behind):
            place.clear()
        return left
