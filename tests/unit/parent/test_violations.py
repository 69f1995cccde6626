"""The ring of violations: equal ones merged, floods counted, nobody's first records pushed out by another's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foxden.model.records import Violation
from foxden.parent.report_file import ReportFile
from foxden.parent.violations import CHILD_MAX, FIRST_KEPT, RATE_MAX, RING_MAX, Violations


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def refused(path: str = "/x", *, pid: int = 7, count: int = 1, process_type: str = "content") -> Violation:
    return Violation(
        time=1.0, pid=pid, process_type=process_type, kind="file", operation="open", path=path, count=count
    )  # fmt: skip


def called(name: str, *args: int) -> Violation:
    return Violation(time=1.0, pid=7, process_type="gmp", kind="syscall", operation=name, syscall=name, args=args)


def fill(ring: Violations, clock: Clock, child_id: int, count: int, name: str = "") -> None:
    """So many different records of one child, slowly enough that each is kept."""
    for number in range(count):
        clock.now += 1
        ring.add(child_id, refused(f"/{name or child_id}/{number}", pid=child_id))


def test_records_are_kept_in_order_and_found_by_process() -> None:
    ring = Violations()
    for number in (1, 2, 1):
        ring.add(number, refused(f"/{number}/{ring.total}", pid=number))
    assert [record.path for record in ring.records()] == ["/1/0", "/2/1", "/1/2"]
    assert [record.path for record in ring.records(pid=1)] == ["/1/0", "/1/2"]
    assert [record.path for record in ring.records(child_id=2)] == ["/2/1"]
    assert ring.records(pid=3) == []


def test_equal_records_are_one_with_a_count() -> None:
    ring = Violations()
    for count in (1, 5, 1):
        ring.add(1, refused(count=count))
    ring.add(2, refused())  # another child's is another record
    assert [record.count for record in ring.records()] == [7, 1]
    assert (ring.total, ring.by_type["content"], ring.by_pid[7]) == (8, 8, 8)


@pytest.mark.parametrize(
    ("name", "first", "second", "records"),
    [
        ("prctl", (15,), (16,), 2),  # what is asked for is in the first argument
        ("ioctl", (0, 0x5401), (0, 0x5412), 2),
        ("ioctl", (0, 0x5401), (9, 0x5401), 1),
        ("bpf", (0, 0x7FFF1000), (0, 0x7FFF2000), 1),  # pointers differ each time
        ("ptrace", (), (1, 2), 1),
    ],
)
def test_call_is_another_only_by_the_argument_that_tells(
    name: str, first: tuple[int, ...], second: tuple[int, ...], records: int
) -> None:
    ring = Violations()
    ring.add(1, called(name, *first))
    ring.add(1, called(name, *second))
    assert len(ring.records()) == records


def test_ring_is_bounded_and_says_how_many_there_were() -> None:
    clock = Clock()
    ring = Violations(clock)
    for child in range(2 * RING_MAX):
        clock.now += 1
        ring.add(child, refused(pid=child))
    offset, kept = ring.snapshot()
    assert (offset, len(kept)) == (RING_MAX, RING_MAX)
    assert [record.pid for record in kept] == list(range(RING_MAX, 2 * RING_MAX))
    assert ring.total == 2 * RING_MAX


def test_flood_of_one_child_pushes_out_only_its_own_later_records() -> None:
    clock = Clock()
    ring = Violations(clock)
    quiet = [f"/quiet/{number}" for number in range(5)]
    for path in quiet:
        ring.add(1, refused(path, pid=1))
    fill(ring, clock, 2, 10 * RING_MAX)
    assert [record.path for record in ring.records(child_id=1)] == quiet
    loud = [record.path for record in ring.records(child_id=2)]
    assert len(loud) == CHILD_MAX
    assert loud[:FIRST_KEPT] == [f"/2/{number}" for number in range(FIRST_KEPT)]
    assert loud[-1] == f"/2/{10 * RING_MAX - 1}"


def test_floods_of_many_children_leave_the_quiet_one_alone() -> None:
    clock = Clock()
    ring = Violations(clock)
    ring.add(1, refused("/quiet", pid=1))
    for child in range(2, 12):
        fill(ring, clock, child, CHILD_MAX)
    assert [record.path for record in ring.records(child_id=1)] == ["/quiet"]
    assert len(ring.records()) == RING_MAX


def test_beyond_the_rate_records_are_counted_and_not_kept() -> None:
    clock = Clock()
    ring = Violations(clock)
    for number in range(10 * RATE_MAX):
        ring.add(1, refused(f"/{number}"))
    records = ring.records()
    assert len(records) == 2 * RATE_MAX + 1
    rest = records[-1]
    assert (rest.kind, rest.operation, rest.count) == ("limit", "more violations", 8 * RATE_MAX)
    assert ring.total == 10 * RATE_MAX
    clock.now += 1
    ring.add(1, refused("/later"))
    assert ring.records()[-1].path == "/later"


def test_rate_of_one_child_is_not_anothers() -> None:
    ring = Violations(Clock())
    for number in range(10 * RATE_MAX):
        ring.add(1, refused(f"/{number}"))
    ring.add(2, refused("/other"))
    assert ring.records()[-1].path == "/other"


def test_listeners_hear_of_new_records_only_and_until_they_have_enough() -> None:
    ring = Violations()
    heard: list[Violation] = []
    end = ring.listen(heard.append)
    for path in ("/a", "/a", "/b"):
        ring.add(1, refused(path))
    end()
    ring.add(1, refused("/c"))
    assert [record.path for record in heard] == ["/a", "/b"]


def test_report_has_each_record_at_once_and_its_last_count_in_the_end(tmp_path: Path) -> None:
    ring = Violations()
    ring.report_to(ReportFile(str(tmp_path / "r"), _never))
    for _ in range(23):
        ring.add(1, refused())
    assert counts(tmp_path / "r") == [1, 10]
    ring.close()
    assert counts(tmp_path / "r") == [1, 10, 23]


def test_record_that_leaves_the_ring_takes_its_count_to_the_report(tmp_path: Path) -> None:
    clock = Clock()
    ring = Violations(clock)
    ring.report_to(ReportFile(str(tmp_path / "r"), _never))
    fill(ring, clock, 1, FIRST_KEPT)
    for _ in range(3):
        ring.add(1, refused("/loud"))
    fill(ring, clock, 1, CHILD_MAX, "more")
    ring.close()
    assert [line["count"] for line in lines(tmp_path / "r") if line["path"] == "/loud"] == [1, 3]


def lines(path: Path) -> list[dict[str, object]]:
    return [{"count": 1, **json.loads(line)} for line in path.read_text(encoding="ascii").splitlines()]


def counts(path: Path) -> list[object]:
    return [line["count"] for line in lines(path)]


def _never(text: str) -> None:
    raise AssertionError(text)
