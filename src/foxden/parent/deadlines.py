"""Which calls must have returned by when, and how much processor time they may use till then.

Runs in: parent, with the pool's lock held.  Trusts: its caller; the kernel's figures.
Flow: begin → next (how long to sleep) → take_late → workers.Pool ends those that are still at work.
Source: clock_getcpuclockid(3).

A limit of the kernel's own (RLIMIT_CPU) would be one of all calls of a worker together, in whole seconds, and for the
worker to move on with each; so processor time is looked at here, when so much of it can have been used at the earliest.
"""

from __future__ import annotations

import heapq
import itertools
import os
import time

from foxden.errors import CallTimeout
from foxden.parent.calls import Call

FOREVER = float("inf")
_PROCESSORS = os.cpu_count() or 1
_LOOK_S = 0.02  # between two looks at one call: how much longer than it may a thread of it can go on
_ENDED_MAX = 1000  # entries of calls that have ended, beside as many as there are others
_CPUCLOCK_SCHED = 2  # of the kernel's posix-timers.h: what the scheduler has counted


class Deadlines:
    """Times are of time.monotonic()."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._calls: dict[int, Call] = {}  # by entry; a call that has ended is not kept until its time
        self._entries = itertools.count(1)

    def begin(self, call: Call, now: float) -> float:
        """A worker has it now.  Returns when it is to be looked at."""
        self.end(call)
        if call.seconds is not None:
            call.until = now + call.seconds
        if call.cpu_seconds is not None:
            call.cpu_from = _cpu_time(call, unknown=0.0)
        return self._add(call, now)

    def end(self, call: Call) -> None:
        """It has returned, or waits for a worker again."""
        if self._calls.pop(call.entry, None) is not None and len(self._heap) > _ENDED_MAX + 2 * len(self._calls):
            self._heap = [entry for entry in self._heap if entry[1] in self._calls]
            heapq.heapify(self._heap)

    def _add(self, call: Call, now: float, *, least: float = 0.0) -> float:
        when = call.until
        if call.cpu_seconds is not None:
            left = call.cpu_from + call.cpu_seconds - _cpu_time(call, unknown=FOREVER)
            when = min(when, now + max(left / _PROCESSORS, _LOOK_S))
        when = max(when, now + least)
        call.entry = next(self._entries)
        self._calls[call.entry] = call
        heapq.heappush(self._heap, (when, call.entry))
        return when

    def next(self) -> float:
        while self._heap and self._heap[0][1] not in self._calls:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else FOREVER

    def take_late(self, now: float) -> list[tuple[Call, CallTimeout]]:
        """Calls that are over a limit, and which."""
        late = []
        while self.next() <= now:
            call = self._calls.pop(heapq.heappop(self._heap)[1])
            if call.worker is None:
                continue
            if call.worker.is_answering:  # it has returned; what it returned is being read
                self._add(call, now, least=_LOOK_S)
                continue
            error = _over(call, now)
            if error is not None:
                late.append((call, error))
            else:
                self._add(call, now)
        return late


def _over(call: Call, now: float) -> CallTimeout | None:
    if now >= call.until:
        text = f"{call.name}: did not return within {call.seconds:g} s"
        return CallTimeout(text, hint="timeout= of the executor gives it longer")
    if call.cpu_seconds is not None and _cpu_time(call, unknown=FOREVER) - call.cpu_from >= call.cpu_seconds:
        text = f"{call.name}: used more than {call.cpu_seconds:g} s of processor time"
        return CallTimeout(text, limit="cpu-time", hint="cpu_time= of the executor, or of its policy, gives it more")
    return None


def _cpu_time(call: Call, *, unknown: float) -> float:
    """Seconds that the call's worker has used so far: all its threads, those that have ended too.

    By the clock of its process, which costs half a microsecond, and is there where /proc hides the processes of other
    ids.  `unknown`: it has ended, or this kernel has no such clock; a limit that cannot be kept is none to be promised.
    """
    if call.worker is None:
        return unknown
    try:
        return time.clock_gettime(~call.worker.host.pid << 3 | _CPUCLOCK_SCHED)
    except OSError:
        return unknown
