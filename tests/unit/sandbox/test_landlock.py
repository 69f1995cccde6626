"""A ruleset that was begun beforehand grants what the plan grants, and nothing that only its beginning had."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from foxden.sandbox import landlock, linux
from foxden.sandbox.landlock_bits import READ_FILE
from foxden.sandbox.plan import LandlockPlan, LandlockRule

ABI = landlock.kernel_abi()
pytestmark = pytest.mark.skipif(ABI < 1, reason="missing: Landlock")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    return tmp_path


def plan(folder: Path, names: str, *, scoped: int = 0) -> LandlockPlan:
    return LandlockPlan(READ_FILE, 0, scoped, tuple(LandlockRule(str(folder / name), READ_FILE) for name in names))


def readable(folder: Path, restrict: Callable[[], object]) -> str:
    """Which of the files a process can read that has restricted itself."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        restrict()
        found = "".join(path.name for path in sorted(folder.iterdir()) if can_read(path / "file"))
        os.write(writer, found.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        found = said.read()
    assert os.waitpid(pid, 0)[1] == 0
    return found


def can_read(path: Path) -> bool:
    try:
        path.read_text()
    except PermissionError:
        return False
    return True


@pytest.mark.parametrize(
    ("before", "wanted"),
    [("a", "ab"), ("ab", "ab"), ("", "b"), ("a", "b"), ("abc", "b"), ("a", "")],
    ids=["more", "the same", "all", "another", "less", "none"],
)
def test_what_was_begun_grants_what_the_plan_grants(folder: Path, before: str, wanted: str) -> None:
    def restrict() -> None:
        landlock.apply(plan(folder, wanted), ABI, landlock.begin(plan(folder, before), ABI))

    assert readable(folder, restrict) == wanted
    assert readable(folder, lambda: landlock.apply(plan(folder, wanted), ABI)) == wanted


def test_what_was_not_there_at_first_is_granted_when_it_is(folder: Path) -> None:
    def restrict() -> None:
        begun = landlock.begin(plan(folder, "ad"), ABI)
        (folder / "d").mkdir()
        (folder / "d" / "file").write_text("d")
        landlock.apply(plan(folder, "ad"), ABI, begun)

    assert readable(folder, restrict) == "ad"


def test_what_was_replaced_since_then_is_granted_anew(folder: Path) -> None:
    def restrict(covered: tuple[str, ...]) -> None:
        begun = landlock.begin(plan(folder, "a"), ABI)
        (folder / "a").rename(folder / "old")
        (folder / "b").rename(folder / "a")
        landlock.apply(plan(folder, "a"), ABI, begun, covered)
        (folder / "a").rename(folder / "b")
        (folder / "old").rename(folder / "a")

    assert readable(folder, lambda: restrict((str(folder / "a"),))) == "ab"
    assert readable(folder, lambda: restrict(())) == "a", "the rule is still that of what was there"


@pytest.mark.skipif(ABI < 6, reason="missing: Landlock 6")
def test_other_rights_are_begun_anew(folder: Path) -> None:
    def restrict() -> None:
        landlock.apply(plan(folder, "b", scoped=1), ABI, landlock.begin(plan(folder, "b"), ABI))

    assert readable(folder, restrict) == "b"


def test_without_landlock_nothing_is_begun(folder: Path) -> None:
    assert landlock.begin(plan(folder, "a"), 0) is None
