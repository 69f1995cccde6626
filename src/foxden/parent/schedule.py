"""Which worker of a pool has which call: those in the queue, the one that a worker is at, the one sent behind it.

Runs in: parent; pure but for the clock.  The pool's lock guards it.  Trusts: the pool.
Flow: Pool._submit → place; an answer → answered → follow, or next_of; a worker's end → gone.
Source: parent/workers.

A chunk may be sent behind another, so that its worker need not wait for the parent between two.  Only where the worker
was quick with the chunk before: behind a slow one it would wait while other workers have nothing to do.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from foxden.parent.calls import Call

if TYPE_CHECKING:
    from foxden.parent.utility import Worker

_QUICK_S = 0.002  # a chunk that takes longer does not notice what passes until the next


class Schedule:
    """See the module's text.  `follows`: chunks may be sent behind others."""

    def __init__(self, *, follows: bool) -> None:
        self._follows = follows
        self.queue: deque[Call] = deque()
        self.idle: list[Worker] = []
        self.busy: dict[Worker, Call] = {}
        self.behind: dict[Worker, Call] = {}  # sent, and still to begin

    def place(self, call: Call, are_all_there: Callable[[], bool]) -> Worker | None:
        """Who is to be sent a call now; None: it is queued.  `are_all_there`: no other worker is about to come."""
        while self.idle:
            worker = self.idle.pop()
            if not worker.dead:
                self.busy[worker] = call
                return worker
        if call.each and not self.queue and are_all_there():
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
        if running is None or worker.dead or worker in self.behind or call.packed.buffers or not self._follows:
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
        """A worker has ended, or will: the call that it was at.  What was sent behind that goes to the next worker."""
        if worker in self.idle:
            self.idle.remove(worker)
        call, after = self.busy.pop(worker, None), self.behind.pop(worker, None)
        if after is not None:
            self._again(after)
        return call

    def did_not_get(self, worker: Worker, call: Call) -> bool:
        """A call never reached its worker, and goes to the next.  False: it is not this worker's any more."""
        if not self.take(worker, call):
            return False
        self._again(call)
        return True

    def _again(self, call: Call) -> None:
        call.worker = call.future.help = call.future.listen = None
        self.queue.appendleft(call)

    def take(self, worker: Worker, call: Call) -> bool:
        """Take a call away from a worker.  False: it has not got it."""
        for place in (self.busy, self.behind):
            if place.get(worker) is call:
                del place[worker]
                return True
        return False

    def has(self, worker: Worker, call: Call) -> bool:
        return self.busy.get(worker) is call or self.behind.get(worker) is call

    def clear(self) -> list[Call]:
        """All calls that nobody will do any more."""
        left = [*self.queue, *self.busy.values(), *self.behind.values()]
        for place in (self.queue, self.busy, self.behind):
            place.clear()
        return left
