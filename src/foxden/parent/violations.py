"""The violations of one den: a bounded ring, equal ones merged, no child able to drown the others.

Runs in: parent, on the den's loop.  Trusts: nothing in a record that a child can influence; it is kept raw here.
Flow: Denials (parent/denials) → add → merged, or kept, written, printed, heard.
Source: Gecko's SandboxReporter: a ring with a running total (snapshot = offset + elements).
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Container

import msgspec

from foxden.model.records import Violation
from foxden.parent.report_file import ReportFile

RING_MAX = 1024  # records kept
CHILD_MAX = 256  # of them from one child
FIRST_KEPT = 32  # of a child's records, that what it does later cannot push out
RATE_MAX = 64  # new records a second of one child; a burst of as many on top
_AGAIN = 10  # a count is written anew when it has grown tenfold

# Calls of which one argument says what was wanted: its place.  Others differ by pointers, and are one record.
_TELLING_ARGUMENT = {
    "clone": 0, "unshare": 0, "prctl": 0, "keyctl": 0, "bpf": 0, "personality": 0, "socket": 0, "clock_gettime": 0,
    "ioctl": 1, "fcntl": 1, "kill": 1, "madvise": 2,
}  # fmt: skip

Listener = Callable[[Violation], None]


class _Entry(msgspec.Struct):
    first: Violation
    child_id: int
    key: tuple[object, ...]
    count: int
    written: int  # the count that the report has
    last: float  # when the last of them was told

    def record(self) -> Violation:
        return self.first if self.count == self.first.count else msgspec.structs.replace(self.first, count=self.count)


class _Child(msgspec.Struct):
    """What one child has in the ring, and how fast it may add."""

    first: deque[int] = msgspec.field(default_factory=deque)  # serial numbers, oldest first
    later: deque[int] = msgspec.field(default_factory=deque)
    tokens: float = float(2 * RATE_MAX)
    at: float = 0.0

    def __len__(self) -> int:
        return len(self.first) + len(self.later)

    def may_add(self, now: float) -> bool:
        self.tokens = min(2.0 * RATE_MAX, self.tokens + (now - self.at) * RATE_MAX) if self.at else self.tokens
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def add(self, serial: int) -> None:
        (self.first if len(self.first) < FIRST_KEPT and not self.later else self.later).append(serial)

    def take_oldest(self) -> int:
        """The serial number of the record to give up: the first ones last."""
        return (self.later or self.first).popleft()


class Violations:
    """All that was refused in one den, as far as it is kept."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._report: ReportFile | None = None
        self._entries: dict[int, _Entry] = {}  # by serial number, oldest first
        self._by_key: dict[tuple[object, ...], _Entry] = {}
        self._children: dict[int, _Child] = {}
        self._listeners: list[Listener] = []
        self._serial = 0
        self.total = 0  # every act that was refused, kept or not
        self.by_type: Counter[str] = Counter()
        self.by_pid: Counter[int] = Counter()

    def add(self, child_id: int, violation: Violation) -> None:
        """Note one refused act, or `count` equal ones.  `child_id` 0: the parent's own."""
        self.total += violation.count
        self.by_type[violation.process_type] += violation.count
        self._count_pid(violation)
        key = _key(child_id, violation)
        entry = self._by_key.get(key)
        if entry is not None:
            self._grow(entry, violation)
            return
        child = self._children.setdefault(child_id, _Child())
        if not child.may_add(self._clock()):
            violation = too_many(violation, f"at most {RATE_MAX} new records a second of one child")
            key = _key(child_id, violation)
            if (entry := self._by_key.get(key)) is not None:
                self._grow(entry, violation)
                return
        self._keep(child_id, child, key, violation)

    def _count_pid(self, violation: Violation) -> None:
        self.by_pid[violation.pid] += violation.count
        if len(self.by_pid) > 4 * RING_MAX:  # a den may have children without end
            del self.by_pid[next(iter(self.by_pid))]

    def _grow(self, entry: _Entry, violation: Violation) -> None:
        entry.count += violation.count
        entry.last = max(entry.last, violation.time)
        if entry.count >= entry.written * _AGAIN:
            self._write(entry)

    def _keep(self, child_id: int, child: _Child, key: tuple[object, ...], violation: Violation) -> None:
        entry = _Entry(violation, child_id, key, violation.count, written=0, last=violation.time)
        self._entries[self._serial] = entry
        self._by_key[key] = entry
        child.add(self._serial)
        self._serial += 1
        if len(child) > CHILD_MAX:
            self._give_up(child_id, child)
        elif len(self._entries) > RING_MAX:
            largest = max(self._children, key=lambda each: len(self._children[each]))
            self._give_up(largest, self._children[largest])
        self._write(entry)
        self._hear(violation)

    def _give_up(self, child_id: int, child: _Child) -> None:
        entry = self._entries.pop(child.take_oldest())
        self._by_key.pop(entry.key, None)
        if entry.count != entry.written:
            self._write(entry)
        if not len(child):
            del self._children[child_id]

    def _write(self, entry: _Entry) -> None:
        entry.written = entry.count
        if self._report is not None:
            self._report.write(entry.record())

    def _hear(self, violation: Violation) -> None:
        for listener in tuple(self._listeners):
            listener(violation)

    def report_to(self, report: ReportFile) -> None:
        """Write every record to this file, too, from now on; it is closed with the rest."""
        self._report = report

    # ---- looking

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have each new record, not its repetitions, told as it comes; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def snapshot(self) -> tuple[int, list[Violation]]:
        """(how many records were ever made before these, those kept, oldest first)."""
        return self._serial - len(self._entries), [entry.record() for entry in self._entries.values()]

    def records(self, pid: int | None = None, child_id: int | None = None) -> list[Violation]:
        """Those kept, oldest first; of one process only where it is named."""
        return [
            entry.record()
            for entry in self._entries.values()
            if (pid is None or entry.first.pid == pid) and (child_id is None or entry.child_id == child_id)
        ]

    def of_children(self, child_ids: Container[int], *, since: float = 0.0) -> list[Violation]:
        """Those kept of these children, oldest first; `since`: seconds since the epoch, of the last of equal ones."""
        return [
            entry.record() for entry in self._entries.values() if entry.child_id in child_ids and entry.last >= since
        ]

    def children(self) -> frozenset[int]:
        """Of whom there are records."""
        return frozenset(self._children)

    def close(self) -> None:
        """Write the counts that have grown, and close the report."""
        for entry in self._entries.values():
            if entry.count != entry.written:
                self._write(entry)
        if self._report is not None:
            self._report.close()


def _key(child_id: int, violation: Violation) -> tuple[object, ...]:
    """What makes two acts of a child equal."""
    place = _TELLING_ARGUMENT.get(violation.syscall or "")
    argument = violation.args[place] if place is not None and place < len(violation.args) else None
    return (
        child_id, violation.pid, violation.kind, violation.operation, violation.syscall, violation.path,
        violation.access, violation.host, violation.port, violation.errno, violation.rule, argument,
    )  # fmt: skip


def too_many(violation: Violation, rule: str) -> Violation:
    """Stands for what a child did beyond a rate: counted, not told one by one."""
    return Violation(
        time=violation.time,
        pid=violation.pid,
        process_type=violation.process_type,
        remote_type=violation.remote_type,
        level=violation.level,
        kind="limit",
        operation="more violations",
        rule=f"{rule}; the rest is counted here",
        count=violation.count,
    )
