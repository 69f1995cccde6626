"""Which records explain an error of a call, and how long anybody waits for them."""

from __future__ import annotations

import time
from collections.abc import Callable

from foxden.model.records import Violation
from foxden.parent.calls import CallFuture
from foxden.parent.refused import _CHILDREN_MAX, Refused
from foxden.parent.violations import Violations


def at_once(act: Callable[[], object]) -> bool:
    act()
    return True


def refused(path: str | None = "/x", errno: str = "EACCES", rule: str = "", at: float = 10.0) -> Violation:
    return Violation(
        time=at, pid=7, process_type="utility", kind="file" if path else "syscall",
        operation="open" if path else "socket", path=path, errno=errno, rule=rule,
    )  # fmt: skip


def notes(error: OSError, *records: tuple[int, Violation], given_at: float = 5.0) -> list[str]:
    violations = Violations()
    for child_id, record in records:
        violations.add(child_id, record)
    future = CallFuture()
    future.child_id, future.given_at = 3, given_at
    Refused(at_once, violations).explain(future, error)
    return getattr(error, "__notes__", [])


TOLD = ["refused by the sandbox: open /x"]


def test_the_record_of_its_worker_and_its_path_is_the_reason() -> None:
    assert notes(PermissionError(13, "no", "/x"), (3, refused()), (3, refused("/y"))) == TOLD
    assert notes(PermissionError(13, "no", "/x"), (4, refused())) == [], "another worker's"
    assert notes(PermissionError(13, "no", "/x"), (3, refused(errno="EPERM"))) == []
    assert notes(FileNotFoundError(2, "no", "/x"), (3, refused(errno="ENOENT"))) == []
    assert notes(PermissionError(13, "no", "/x"), (3, refused(rule="by the process's own word (x)"))) == []


def test_without_a_path_only_what_was_refused_in_the_call_counts() -> None:
    assert notes(PermissionError(13, "no"), (3, refused(None)), (3, refused())) == ["refused by the sandbox: socket"]
    assert notes(PermissionError(13, "no"), (3, refused(None)), given_at=11.0) == []


def test_equal_acts_are_of_the_time_of_the_last_one() -> None:
    records = [(3, refused(None)), (3, refused(None, at=12.0))]
    assert notes(PermissionError(13, "no"), *records, given_at=11.0) == ["refused by the sandbox: socket"]


def test_what_does_not_come_is_waited_for_a_moment_only() -> None:
    begun = time.monotonic()
    assert notes(PermissionError(13, "no", "/x")) == []
    assert time.monotonic() - begun < 0.1
    stuck = Refused(lambda act: True, Violations())
    stuck.explain(CallFuture(), PermissionError(13, "no"))
    assert time.monotonic() - begun < 0.6


def test_a_path_in_a_note_is_shown_with_its_codes() -> None:
    path = "/x\x1b[2J\nhint: forged"
    (note,) = notes(PermissionError(13, "no", path), (3, refused(path)))
    assert note.isprintable()


def test_of_workers_without_end_those_with_records_are_known() -> None:
    violations = Violations()
    violations.add(1, refused())
    workers = Refused(at_once, violations)
    for child_id in range(1, 3 * _CHILDREN_MAX):
        workers.began(child_id)
    assert len(workers._children) <= _CHILDREN_MAX
    assert [each.path for each in workers.records()] == ["/x"]
    assert 3 * _CHILDREN_MAX - 1 in workers._children
