"""Policy files on the disk: learnt, read again, and every way in which that can go wrong."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from foxden.errors import PolicyError
from foxden.model.records import Act, Violation
from foxden.parent.learnt import ActLog, learn_to, load_grants, real_path
from foxden.sandbox.grants import Grants, file_rules


def refused(path: Path, access: str = "r") -> Violation:
    return Violation(
        time=1.0, pid=7, process_type="plugin", kind="file", operation="open", path=str(path), access=access
    )  # fmt: skip


def act(path: str, *, granted: bool = True, count: int = 1) -> Act:
    return Act(
        time=1.0, pid=7, process_type="plugin", kind="file", operation="open", path=path, access="r", granted=granted,
        count=count,
    )  # fmt: skip


def given(grants: Grants) -> dict[str, str]:
    return {path: access.word() for path, access in file_rules(grants)}


def test_what_was_learnt_is_read_again_and_learnt_from(tmp_path: Path) -> None:
    folder = tmp_path.resolve()
    (folder / "data").write_text("x")
    policy = folder / "F.toml"
    learn_to(str(policy), [refused(folder / "data")])
    first = load_grants(str(policy))
    assert given(first) == {str(folder / "data"): "r"}
    learn_to(str(policy), [refused(folder / "out", "wc")], before=first)
    assert given(load_grants(str(policy))) == {str(folder): "rwc"}
    assert stat.S_IMODE(policy.stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["F.toml", "data"]


def test_link_at_the_place_of_a_learnt_policy_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "F.toml").symlink_to(tmp_path / "precious")
    with pytest.raises(PolicyError, match="expected a plain file, or none yet"):
        learn_to(str(tmp_path / "F.toml"), [])
    assert (tmp_path / "precious").read_text() == "mine"


def test_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match=r"a file that can be written: No such file"):
        learn_to(str(tmp_path / "none" / "F.toml"), [])


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"\xff", "no UTF-8"), (b"#" * (1 << 20) + b"\n", "at most 1 MiB"), (b"x = 1", "one of the keys")],
)
def test_file_that_is_no_policy_is_an_error(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "F.toml").write_bytes(data)
    with pytest.raises(PolicyError, match=words):
        load_grants(str(tmp_path / "F.toml"))


def test_what_is_no_plain_file_is_an_error_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, words in (("fifo", "no plain file"), ("", "no plain file"), ("none", "No such file")):
        with pytest.raises(PolicyError, match=words):
            load_grants(str(tmp_path / name))


def test_real_path_follows_links_and_says_where_nothing_is(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc/version")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert real_path(str(tmp_path / "link")) == "/proc/version"
    assert [real_path(str(tmp_path / "loop")), real_path("/none/x"), real_path("a\0b")] == [None, None, None]


def test_acts_of_a_run_are_kept_once_with_their_count_and_bounded() -> None:
    log = ActLog(most=2)
    for each in (act("/a"), act("/b"), act("/a", count=3), act("/c"), act("/a", granted=False, count=5)):
        log.add(each)
    assert [(each.path, each.count) for each in log.acts()] == [("/a", 4), ("/b", 1)]
    assert log.untold == 6
