"""Folders for temporary files that are file systems of their own: made by a helper, given, emptied, given again."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.den import wait_until
from tests.support.users import needs_userns

from foxden.broker.own_folders import OwnFolders, empty
from foxden.broker.view import View
from foxden.launch import private_folders
from foxden.sandbox import namespaces

PREFIX = "/no/such/folder"


@pytest.fixture
def folders() -> Iterator[list[int]]:
    namespaces.remember_ids()
    made = private_folders.Making().finish()
    yield made
    for fd in made:
        os.close(fd)


def names(fd: int) -> list[str]:
    inner = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
    try:
        return sorted(os.listdir(inner))
    finally:
        os.close(inner)


@needs_userns
def test_each_is_a_file_system_of_its_own_with_a_bound(folders: list[int]) -> None:
    assert len(folders) == private_folders.COUNT
    assert len({os.fstat(fd).st_dev for fd in folders}) == private_folders.COUNT
    for fd in folders[:2]:
        system = os.fstatvfs(fd)
        assert (system.f_blocks * system.f_frsize, system.f_files) == (private_folders.SIZE, private_folders.INODES)
        os.close(os.open("mine", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd))
        assert os.stat("mine", dir_fd=fd).st_uid == os.getuid()


def test_where_no_namespace_is_to_be_had_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(1, "refused")

    monkeypatch.setattr("foxden.sandbox.linux.syscall", refuse)
    assert private_folders.Making().finish() == []


def test_what_is_empty_again_is_given_again(tmp_path: Path) -> None:
    opened = [os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)]
    given = OwnFolders(opened)
    assert given.take(1) == opened[0]
    assert given.take(2) == -1, "there are no more"
    (tmp_path / "left").write_text("left")
    given.give_back(2)
    given.give_back(1)
    assert given.take(4) == -1 or not list(tmp_path.iterdir()), "never before it is empty"
    given.give_back(4)
    wait_until(lambda: given.take(3) == opened[0], "it to be empty")
    assert not list(tmp_path.iterdir())
    os.close(opened[0])


def test_what_a_broker_left_that_is_gone_is_emptied_first(tmp_path: Path) -> None:
    (tmp_path / "left").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "left" / "file").write_text("left")
    fds = [os.open(tmp_path / name, os.O_PATH | os.O_DIRECTORY) for name in ("empty", "left")]
    given = OwnFolders(fds)
    assert given.take(1) in fds
    wait_until(lambda: given.take(2) >= 0, "the other one to be empty")
    assert names(fds[1]) == []
    for fd in fds:
        os.close(fd)


def test_what_nothing_was_left_in_is_given_at_once_and_without_a_thread_none_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    given = OwnFolders([fd])
    monkeypatch.setattr("threading.Thread.start", no_thread)
    given.take(1)
    given.give_back(1)
    assert given.take(2) == fd
    (tmp_path / "left").touch()
    given.give_back(2)
    assert given.take(3) == -1
    assert not Path(f"/proc/self/fd/{fd}").exists(), "closed, which frees it"


def test_what_a_living_child_may_hold_is_given_to_nobody(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    given = OwnFolders([fd])
    assert given.take(1) == fd
    given.drop(1)
    given.give_back(1)
    assert given.take(2) == -1
    assert not Path(f"/proc/self/fd/{fd}").exists()
    given.drop(3)


def test_what_cannot_be_emptied_is_never_given_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    given = OwnFolders([fd])
    given.take(1)
    (tmp_path / "left").write_text("left")
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(5, "no")))
        given.give_back(1)
        wait_until(lambda: not Path(f"/proc/self/fd/{fd}").exists(), "it to be closed")
    assert given.take(2) == -1


def test_whatever_was_left_is_removed_and_nothing_beside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    own = tmp_path / "own"
    own.mkdir()
    (own / "file").touch(0o000)
    (own / "link").symlink_to(outside)
    (own / "dead").symlink_to("/nowhere")
    os.mkfifo(own / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        before = os.getcwd()
        os.chdir(own)
        sock.bind("socket")
        os.chdir(before)
    for name in ("a", ".1.", ".2."):
        (own / name / ".1." / "b").mkdir(parents=True)
        (own / name / ".1." / "b" / "f").touch()
        (own / name / ".1.").chmod(0o000)
        (own / name).chmod(0o000)
    fd = os.open(own, os.O_PATH | os.O_DIRECTORY)
    empty(fd)
    os.close(fd)
    assert not list(own.iterdir())
    assert (outside / "kept").read_text() == "kept"


def test_what_is_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    here = os.dup(fd)
    for _ in range(3000):
        os.mkdir("a" * 20, dir_fd=here)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        inner = os.open("a" * 20, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    begun = time.monotonic()
    empty(fd)
    os.close(fd)
    assert not list(tmp_path.iterdir())
    assert time.monotonic() - begun < 20


@needs_userns
def test_a_view_leads_to_it_by_its_name_and_by_its_descriptors(folders: list[int], tmp_path: Path) -> None:
    """`PREFIX` stands at a path of the host where a walk has to pass; what is there is not what is seen."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "on-the-disk").touch()
    (tmp_path / "ownly").touch()
    prefix = str(tmp_path / "own")
    host = View.of_host()
    view = host.with_own(prefix, folders[0])
    try:
        os.mkdir("d", dir_fd=folders[0])
        os.close(os.open("d/f", os.O_CREAT | os.O_WRONLY, dir_fd=folders[0]))
        os.symlink(f"{prefix}/d", "absolute", dir_fd=folders[0])
        os.symlink("../own/d/../d", "up", dir_fd=folders[0])
        os.symlink(str(tmp_path / "ownly"), "out", dir_fd=folders[0])
        for path, leads in (
            ("", ""), ("/", ""), ("/d", "/d"), ("/d/f", "/d/f"), ("/absolute/f", "/d/f"), ("/up/f", "/d/f"),
            ("/d/../d/f", "/d/f"), ("/d/./f", "/d/f"), ("/../own/d/f", "/d/f"),
        ):  # fmt: skip
            for parent in (False, True):
                found = view.find(prefix + path, follow=True, parent=parent, who=nobody, passes=lambda path: True)
                assert found.path == prefix + leads, path
                assert os.fstat(found.fd).st_dev == os.fstat(folders[0]).st_dev or (parent and not leads), path
                found.close()
        for path, leads in ((f"{prefix}/out", "/ownly"), (f"{prefix}ly", "/ownly"), (f"{prefix}/../ownly", "/ownly")):
            found = view.find(path, follow=True, parent=False, who=nobody, passes=lambda path: True)
            assert found.path == str(tmp_path) + leads
            found.close()
        assert not exists(view, f"{prefix}/on-the-disk")
        assert exists(host, f"{prefix}/on-the-disk"), "the control"
        inner = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folders[0])
        assert view._path_of(inner) == f"{prefix}/d"
        assert view._path_of(folders[0]) == prefix
        assert host._path_of(inner) == "", "no path of the host leads there"
        os.rename("d", "e", src_dir_fd=folders[0], dst_dir_fd=folders[0])
        assert view._path_of(inner) == f"{prefix}/e"
        os.unlink("e/f", dir_fd=folders[0])
        os.rmdir("e", dir_fd=folders[0])
        assert view._path_of(inner) == "", "it is gone"
        os.close(inner)
    finally:
        view.close()
        host.close()


def exists(view: View, path: str) -> bool:
    found = None
    try:
        found = view.find(path, follow=True, parent=False, who=nobody, passes=lambda path: True)
    except OSError:
        return False
    found.close()
    return True


def nobody() -> object:
    raise AssertionError("nobody asks who it is")
