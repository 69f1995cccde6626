"""Which calls must have returned by when.

Runs in: parent, with the pool's lock held.  Trusts: its caller.
Flow: add → next (how long to sleep) → take_late → workers.Pool ends those that are still at work.
"""

from __future__ import annotations

import heapq

from foxden.parent.calls import Call

FOREVER = float("inf")


class Deadlines:
    """Times are of time.monotonic()."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Call]] = []

    def add(self, when: float, call: Call) -> None:
        heapq.heappush(self._heap, (when, call.number, call))

    def next(self) -> float:
        return self._heap[0][0] if self._heap else FOREVER

    def take_late(self, now: float) -> list[Call]:
        """Calls whose time is up, and some that have returned."""
        late = []
        while self._heap and (self._heap[0][2].future.done() or self._heap[0][0] <= now):
            late.append(heapq.heappop(self._heap)[2])
        return late
