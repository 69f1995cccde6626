"""Which records explain an error of a call, and how long anybody waits for them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

import msgspec

from foxden.errors import RemoteError
from foxden.model.records import Violation
from foxden.parent.calls import CallFuture
from foxden.parent.refused import _CHILDREN_MAX, Refused
from foxden.parent.violations import Violations


def at_once(act: Callable[[], object]) -> bool:
    """On a loop, as the den's would."""

    async def run() -> None:
        act()
        await asyncio.sleep(0.001)

    asyncio.run(run())
    return True


async def at_last() -> None:
    """All has been told."""


def refused(path: str | None = "/x", errno: str = "EACCES", rule: str = "", at: float = 10.0) -> Violation:
    return Violation(
        time=at, pid=7, process_type="utility", kind="file" if path else "syscall",
        operation="open" if path else "socket", path=path, errno=errno, rule=rule,
    )  # fmt: skip


def notes(
    error: Exception, *records: tuple[int, Violation], given_at: float = 5.0, folder: str = "/srv/app"
) -> list[str]:
    violations = Violations()
    for child_id, record in records:
        violations.add(child_id, record)
    future = CallFuture()
    future.child_id, future.given_at = 3, given_at
    Refused(at_once, violations, at_last, folder).explain(future, error)
    return getattr(error, "__notes__", [])


TOLD = ["refused by the sandbox: open /x"]


def test_the_record_of_its_worker_and_its_path_is_the_reason() -> None:
    assert notes(PermissionError(13, "no", "/x"), (3, refused()), (3, refused("/y"))) == TOLD
    assert notes(PermissionError(13, "no", "/x"), (4, refused())) == [], "another worker's"
    assert notes(PermissionError(13, "no", "/x"), (3, refused(errno="EPERM"))) == []
    assert notes(FileNotFoundError(2, "no", "/x"), (3, refused(errno="ENOENT"))) == TOLD
    assert notes(FileNotFoundError(2, "no", "/x"), (3, refused(errno="EACCES"))) == []
    assert notes(FileNotFoundError(2, "no"), (3, refused(errno="ENOENT"))) == []
    assert notes(PermissionError(13, "no", "/x"), (3, refused(rule="by the process's own word (x)"))) == []


def test_without_a_path_only_what_was_refused_in_the_call_counts() -> None:
    assert notes(PermissionError(13, "no"), (3, refused(None)), (3, refused())) == ["refused by the sandbox: socket"]
    assert notes(PermissionError(13, "no"), (3, refused(None)), given_at=11.0) == []


def test_a_relative_path_is_that_of_the_record_that_ends_so() -> None:
    seen = refused("/srv/app/data/x")
    told = ["refused by the sandbox: open /srv/app/data/x"]
    for name in ("data/x", "./data/x", "x", "../data/x", "../../data//x"):
        assert notes(PermissionError(13, "no", name), (3, seen)) == told, name
    for name in ("a/x", "data", "ata/x", "../a/x", ".", "..", ""):
        assert notes(PermissionError(13, "no", name), (3, seen)) == [], name


def test_where_functions_begin_in_the_root_the_hint_is_about_the_folder_of_their_caller() -> None:
    where = " (functions begin in / where nothing of /srv/app is granted)"
    for name, access, hint in (
        ("x", "r", "read=['/srv/app/x']"), ("./data/x", "r", "read=['/srv/app/data/x']"),
        ("data/x", "rwc", "write=['/srv/app/data']"), ("x", "w", "write=['/srv/app/x']"),
    ):  # fmt: skip
        seen = msgspec.structs.replace(refused(f"/{os.path.normpath(name)}"), access=access, hint="of the root")
        use = " for writing" if "w" in access else " for reading"
        (note,) = notes(PermissionError(13, "no", name), (3, seen))
        assert note == f"refused by the sandbox: open {seen.path}{use}{where}; hint: {hint}"
        (plain,) = notes(PermissionError(13, "no", name), (3, seen), folder="/")
        assert plain == f"refused by the sandbox: open {seen.path}{use}; hint: of the root"
        (named,) = notes(PermissionError(13, "no", seen.path), (3, seen))
        assert named == plain, "whoever wrote the root meant it"


def test_an_error_of_a_library_is_explained_by_the_number_in_its_words() -> None:
    for text in (
        "URLError: <urlopen error [Errno 13] Permission denied>",
        "ConnectionError: Failed to establish a new connection: [Errno -3] Temporary failure in name resolution",
        "gaierror: [Errno -2] Name or service not known",
    ):
        assert notes(RemoteError(text), (3, refused(None)), (3, refused())) == ["refused by the sandbox: socket"]
    wrapped = RemoteError("Unreadable: cannot load it: [Errno 13] Permission denied: '/x'")
    assert notes(wrapped, (3, refused()), (3, refused("/y"))) == TOLD
    for text in ("no number", "[Errno 2] No such file", "[Errno 99999999999999999999] x", "[Errno x]"):
        assert notes(RemoteError(text), (3, refused(None)), (3, refused(errno="ENOENT"))) == [], text
    begun = time.monotonic()
    for text in ("[Errno 13] " * 10_000_000, "[Errno " + "1" * 1_000_000, "[Errno 13] x" + ": '" * 1_000_000):
        notes(RemoteError(text))
    assert time.monotonic() - begun < 10, "a text that is made to be searched for long"


def test_equal_acts_are_of_the_time_of_the_last_one() -> None:
    records = [(3, refused(None)), (3, refused(None, at=12.0))]
    assert notes(PermissionError(13, "no"), *records, given_at=11.0) == ["refused by the sandbox: socket"]


def test_what_does_not_come_is_not_waited_for_long() -> None:
    begun = time.monotonic()
    assert notes(PermissionError(13, "no", "/x")) == []
    assert time.monotonic() - begun < 0.1
    stuck = Refused(lambda act: True, Violations(), at_last)
    stuck.explain(CallFuture(), PermissionError(13, "no"))
    assert time.monotonic() - begun < 0.6


def test_a_path_in_a_note_is_shown_with_its_codes() -> None:
    path = "/x\x1b[2J\nhint: forged"
    (note,) = notes(PermissionError(13, "no", path), (3, refused(path)))
    assert note.isprintable()


def test_of_workers_without_end_those_with_records_are_known() -> None:
    violations = Violations()
    violations.add(1, refused())
    workers = Refused(at_once, violations, at_last)
    for child_id in range(1, 3 * _CHILDREN_MAX):
        workers.began(child_id)
    assert len(workers._children) <= _CHILDREN_MAX
    assert [each.path for each in workers.records()] == ["/x"]
    assert 3 * _CHILDREN_MAX - 1 in workers._children
