"""Which worker of a pool has which call: those in the queue, the one that a worker is at, those sent behind it.

Runs in: parent; pure but for the clock.  The pool's lock guards it.  Trusts: the pool.
Flow: Pool._submit → place → sent; an answer → answered → follow, or next_of; a worker's end → gone.
Source: parent/workers.

Chunks may be sent behind another of the same `map`, so that their worker need not wait for the parent between two,
and some in one packet.  Only where the worker was quick with the chunk before, as many as it will do in a moment, and
a small part of the queue: behind a slow one they would wait while other workers have nothing to do.

A call is placed first and sent afterwards, without the lock, by the thread that placed it.  Until it is sent it is that
thread's, whatever becomes of the worker, and nothing is placed behind it: so what a worker gets comes in the order of
this schedule, and each answer is that of the call that it is at.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from foxden.parent.calls import Call, CallFuture, Sizes

if TYPE_CHECKING:
    from foxden.parent.utility import Worker

_QUICK_S = 0.002  # a chunk that takes longer does not notice what passes until the next
_BEHIND_MAX = 8  # chunks; more at a time do not make sending them cheaper
_REFILL_AT = 4  # of them that are left
_BEHIND_BYTES = 32_768  # of pickles: what a worker has not read yet must fit its socket, and one packet


class Schedule:
    """See the module's text."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self.workers: set[Worker] = set()  # that live, or whose end is still to be heard
        self.starting = 0
        self.queue: deque[Call] = deque()
        self.idle: list[Worker] = []
        self.busy: dict[Worker, Call] = {}
        self.behind: dict[Worker, deque[Call]] = {}  # sent, and still to begin; never an empty one

    @property
    def is_at_work(self) -> bool:
        return bool(self.queue or self.busy or self.starting)

    def live(self) -> int:
        """How many workers there are."""
        return len([worker for worker in self.workers if not worker.dead])

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
        if call.chunk_of and not self.queue and not self.starting and self.live() >= self._sizes.max_workers:
            for worker in self.busy:
                if worker not in self.behind and self._may_follow(worker, call):
                    self.behind[worker] = deque((call,))
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

    def rests(self, worker: Worker) -> bool:
        """Is there nothing else to do for one that is free, or for anybody?  Then it waits, and is idle."""
        if worker.dead or self._sizes.spare or self.queue:
            return False
        return self.next_of(worker) is None

    def follow(self, worker: Worker) -> list[Call]:
        """The chunks that a worker may have before it has done the one that it is at, to be sent together."""
        behind = self.behind.get(worker, ())
        if len(behind) > _REFILL_AT or not self.queue or not self._may_follow(worker, self.queue[0]):
            return []
        room = _BEHIND_BYTES - sum([len(call.packed.work) for call in behind])
        calls: list[Call] = []
        for call in itertools.islice(self.queue, self._how_many(worker)):
            room -= len(call.packed.work)
            if (calls and not _goes_with(calls[0], call)) or (room < 0 and (behind or calls)):
                break
            calls.append(call)
        for _ in calls:
            self.queue.popleft()
        if calls:
            self.behind.setdefault(worker, deque()).extend(calls)
        return calls

    def _how_many(self, worker: Worker) -> int:
        """As many as it will have done soon, and so few that the others have enough when one of these takes long."""
        soon = int(_QUICK_S / max(worker.took, _QUICK_S / _BEHIND_MAX))
        workers = self._sizes.max_workers
        share = len(self.queue) // (4 * workers) if workers > 1 else len(self.queue)
        return max(1, min(soon, share))

    def _may_follow(self, worker: Worker, call: Call) -> bool:
        """Buffers do not: they lie where those of the call before lie."""
        running = self.busy.get(worker)
        if running is None or not running.sent or worker.dead:
            return False
        if call.packed.buffers or self._sizes.calls_each is not None:
            return False
        if worker in self.behind and not self.behind[worker][-1].sent:
            return False
        return call.chunk_of == running.chunk_of != 0 and worker.quick_at == call.name

    def answered(self, worker: Worker) -> tuple[Call | None, Call | None]:
        """A worker has done its call: that call, and the one that it begins now."""
        call = self.busy.pop(worker, None)
        now = time.monotonic()
        worker.took = now - worker.since
        worker.quick_at = call.name if call is not None and call.chunk_of and worker.took < _QUICK_S else ""
        return call, self._begin_next(worker, now)

    def _begin_next(self, worker: Worker, now: float) -> Call | None:
        """It is at the first of what was behind, if there is any."""
        behind = self.behind.get(worker)
        if behind is None:
            return None
        call = self.busy[worker] = behind.popleft()
        worker.since = now
        if not behind:
            del self.behind[worker]
        return call

    def gone(self, worker: Worker) -> Call | None:
        """A worker has ended, or will: the call that it was at.  What was sent behind that goes to the next worker, and
        what is still to be sent stays with the thread that does so, which finds the worker dead."""
        if worker in self.idle:
            self.idle.remove(worker)
        behind = self.behind.pop(worker, None)
        if behind is not None:
            unsent = deque(call for call in behind if not call.sent)
            for call in reversed(behind):
                if call.sent:
                    self._again(call)
            if unsent:
                self.behind[worker] = unsent
        running = self.busy.get(worker)
        if running is None or not running.sent:
            return None
        del self.busy[worker]
        return running

    def did_not_get(self, worker: Worker, calls: Iterable[Call]) -> bool:
        """Calls, in order, never reached their worker, and go to the next.  False: none is this worker's any more."""
        taken = [call for call in calls if self.take(worker, call)]
        for call in reversed(taken):
            self._again(call)
        return bool(taken)

    def _again(self, call: Call) -> None:
        call.worker = call.future.help = call.future.listen = None
        call.sent = False
        self.queue.appendleft(call)

    def take(self, worker: Worker, call: Call) -> bool:
        """Take a call away from a worker, which has not begun it.  False: it has not got it."""
        if self.busy.get(worker) is call:
            del self.busy[worker]
            self._begin_next(worker, time.monotonic())
            return True
        behind = self.behind.get(worker, deque())
        if call not in behind:
            return False
        behind.remove(call)
        if not behind:
            del self.behind[worker]
        return True

    def take_cancelled(self, worker: Worker, calls: Iterable[Call]) -> list[Call]:
        """Take those away that were cancelled before they began; returns the others."""
        for call in calls:
            if not call.begun:
                self.take(worker, call)
        return [call for call in calls if call.begun]

    def is_free(self, worker: Worker) -> bool:
        return not worker.dead and worker not in self.busy

    def is_watched(self, worker: Worker) -> bool:
        """Does somebody wait for a call of this worker who does not read?"""
        calls = (self.busy.get(worker), *self.behind.get(worker, ()))
        return any(call is not None and call.sent and call.future.watched for call in calls)

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
        return self.busy.get(worker) is call or call in self.behind.get(worker, ())

    def clear(self) -> list[Call]:
        """All calls that nobody will do any more."""
        left = [*self.queue, *self.busy.values(), *itertools.chain.from_iterable(self.behind.values())]
        for place in (self.queue, self.busy, self.behind):
            place.clear()
        return left


def _goes_with(first: Call, call: Call) -> bool:
    """May they be sent in one packet?"""
    packed = call.packed
    return call.chunk_of == first.chunk_of and packed.definition == first.packed.definition and not packed.buffers
