"""Functions that look for a way out of a folder which is granted: by a descriptor of it.

Each refusal stands beside its control: the same way, to what is granted.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import boxed_folders

from foxden import SandboxExecutor

pytestmark = [pytest.mark.needs("userns", "landlock", "seccomp"), pytest.mark.usefixtures("each_way")]

WAIT_S = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`shown` and `own` get granted; what lies beside them does not."""
    for name in ("shown/sub", "own", "out"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "shown" / "in.txt").write_text("hello")
    (tmp_path / "own" / "file").write_text("mine")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "out" / "file").write_text("secret")
    return tmp_path


@pytest.fixture
def box(folder: Path) -> Iterator[SandboxExecutor]:
    with SandboxExecutor(1, read=[folder / "shown"], write=[folder / "own"]) as box:
        yield box


def test_a_descriptor_of_a_folder_leads_no_step_further_than_rules_do(box: SandboxExecutor, folder: Path) -> None:
    """Case 12."""
    found = box.submit(boxed_folders.out_by_descriptor, str(folder / "shown"), "secret").result(WAIT_S)
    assert found == {
        "inside": "hello", "up and in": "hello", "up": "EACCES", "down and up": "EACCES", "by the number": "EACCES",
        "not a folder": "ENOTDIR", "not one": "EBADF", "make": "EACCES", "unlink": "EACCES",
        "more than it had": "EACCES", "fchmod": "EPERM",
    }  # fmt: skip
    assert (folder / "shown" / "in.txt").read_text() == "hello"


def test_a_descriptor_of_a_folder_tells_nothing_of_what_lies_beside_it(
    box: SandboxExecutor, folder: Path, each_way: str
) -> None:
    """Case 12, by fstat: a filter cannot see whether its path is empty, so it is the broker that looks."""
    paths = ("", "in.txt", "sub/../in.txt", "../secret", "../nothing", "../../../../../../etc/passwd")
    found = box.submit(boxed_folders.sizes_by_descriptor, str(folder / "shown"), *paths).result(WAIT_S)
    own = (folder / "shown").stat().st_size
    assert [found[name] for name in ("fstat", "", "in.txt", "sub/../in.txt")] == [own, own, 5, 5]
    beside = [found[path] for path in paths[3:]]
    if each_way == "native":
        assert beside == ["ENOENT"] * 3
    else:  # that is fstat's own call then (sandbox/policies/descriptor-stats): at most this, where their ids let them
        assert beside in ([6, "ENOENT", Path("/etc/passwd").stat().st_size], ["EACCES"] * 3)


def test_a_descriptor_that_a_thread_swaps_gives_only_what_was_granted(box: SandboxExecutor, folder: Path) -> None:
    """Case 12; tests/unit/broker/test_races.py tries more often."""
    seen = box.submit(
        boxed_folders.swapped, str(folder / "shown" / "in.txt"), str(folder / "own" / "file"), 4000
    ).result(WAIT_S)  # fmt: skip
    assert seen["read-only"] == 0
    assert seen["own"] > 20, "the control: it was found as its own, too"
    assert seen["refused"] > 20


def test_standing_somewhere_leads_no_step_further_than_rules_do(box: SandboxExecutor, folder: Path) -> None:
    """Cases 1, 3, 4, 5 and 24, by relative paths."""
    (folder / "own" / "away").symlink_to(folder / "out")
    assert box.submit(boxed_folders.out_by_standing, str(folder)).result(WAIT_S) == {
        "by a link": "mine", "a link out": "EACCES", "by the host's link": "EACCES", "into the host's link": "EACCES",
        "up": "EACCES", "up twice": "EACCES", "aside": "hello", "write aside": "EACCES", "beside": "EACCES",
        "a file": "ENOTDIR", "by a file": "ENOTDIR", "cwd link": "EACCES", "still": True, "above": None,
        "what is there": "EACCES", "the secret there": "EACCES", "back": "mine", "no root": "EPERM",
    }  # fmt: skip
    assert (folder / "shown" / "in.txt").read_text() == "hello"
