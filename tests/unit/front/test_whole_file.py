"""A file is there when it is whole, and the one before it until then."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from tests.support.users import needs_ordinary_user

from foxden.front import whole_file
from foxden.front.failures import CommandFailed
from foxden.front.whole_file import WholeFile


@pytest.fixture(params=["nameless", "named"])
def _both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system with O_TMPFILE, and on one without."""
    if request.param == "named":
        monkeypatch.setattr(whole_file.os, "O_TMPFILE", os.O_DIRECTORY | os.O_CREAT)  # EINVAL, or EISDIR


@pytest.mark.usefixtures("_both_ways")
def test_kept_file_has_its_content_and_no_neighbours(tmp_path: Path) -> None:
    target = tmp_path / "f"
    with WholeFile(str(target)) as file:
        file.write(b"one ")
        file.write(b"two")
        assert not target.exists()
        file.keep()
    assert target.read_bytes() == b"one two"
    assert os.listdir(tmp_path) == ["f"]


@pytest.mark.usefixtures("_both_ways")
def test_file_that_is_not_kept_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "f"
    target.write_text("old")
    with WholeFile(str(target)) as file:
        file.write(b"new")
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_unfinished_file_has_no_name(tmp_path: Path) -> None:
    with WholeFile(str(tmp_path / "f")) as file:
        file.write(b"x")
        assert os.listdir(tmp_path) == []


def test_new_file_has_the_users_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with WholeFile(str(tmp_path / "f")) as file:
            file.keep()
    finally:
        os.umask(before)
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640


def test_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    with WholeFile(str(tmp_path / "link")) as file:
        file.write(b"new")
        file.keep()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_fifo_is_written_as_it_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    with WholeFile(str(tmp_path / "fifo")) as file:
        file.write(b"through")
        file.keep()
    reader.join()
    assert seen == [b"through"]


def test_directory_and_missing_folder_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="Is a directory"):
        WholeFile(str(tmp_path))
    with pytest.raises(CommandFailed, match="No such file") as caught:
        WholeFile(str(tmp_path / "no" / "f"))
    assert "mkdir" in caught.value.hint


@needs_ordinary_user
def test_file_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").touch(mode=0o400)
    with pytest.raises(CommandFailed, match="Permission denied"):
        WholeFile(str(tmp_path / "f"))


def test_full_disk_names_the_file() -> None:
    with WholeFile("/dev/full") as file, pytest.raises(CommandFailed, match="/dev/full: No space left"):
        file.write(b"x")
