"""Hostile case 32: what a function writes where it may is bounded, and is not the disk's; what it leaves is gone."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import boxed
from tests.support import den as dens
from tests.support.users import needs_userns

from foxden import Den, SandboxExecutor
from foxden.launch.private_folders import COUNT, INODES, SIZE

pytestmark = [
    needs_userns,
    pytest.mark.leaks_ok("the den of this module is shared; shared_den looks for leaks when it closes it"),
]

WAIT_S = 120
MIB = 1 << 20


def write_until_full(folder: str, name: str, most: int) -> tuple[int, str]:
    """Bytes that found room, and the error that told so."""
    written = 0
    with open(os.path.join(folder, name), "wb", buffering=0) as file:
        while written < most:
            try:
                written += file.write(bytes(MIB))
            except OSError as error:
                return written, errno.errorcode[error.errno or 0]
    return written, ""


def write_unnamed_until_full(folder: str, most: int) -> tuple[int, str]:
    """The same in files that have no name any more, each kept open."""
    kept, written, told = [], 0, ""
    while written < most and not told:
        path = os.path.join(folder, "gone")
        kept.append(open(path, "wb", buffering=0))  # noqa: SIM115 - closed with the worker
        os.unlink(path)
        try:
            for _ in range(64):
                written += kept[-1].write(bytes(MIB))
        except OSError as error:
            told = errno.errorcode[error.errno or 0]
    for file in kept:
        file.close()
    return written, told


def make_many(folder: str, most: int) -> tuple[int, str]:
    os.chdir(folder)
    for made in range(most):
        try:
            os.mkdir(f"d{made}")
        except OSError as error:
            return made, errno.errorcode[error.errno or 0]
    return most, ""


def make_deep(folder: str, most: int) -> tuple[int, str]:
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for made in range(most):
        try:
            os.mkdir("d", dir_fd=here)
            inner = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        except OSError as error:
            return made, errno.errorcode[error.errno or 0]
        os.close(here)
        here = inner
    return most, ""


def reserve(folder: str, size: int) -> str:
    with open(os.path.join(folder, "reserved"), "wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            return errno.errorcode[error.errno or 0]
    return ""


def own_folder() -> str:
    import tempfile

    return tempfile.gettempdir()


def left() -> list[str]:
    return os.listdir(own_folder())


def in_own(act: str, *arguments: object) -> object:
    return globals()[act](own_folder(), *arguments)


@pytest.fixture(scope="module")
def den() -> Iterator[Den]:
    with dens.shared_den() as den:
        yield den


@pytest.fixture
def pool(den: Den, tmp_path: Path) -> Iterator[SandboxExecutor]:
    with SandboxExecutor(1, den=den, write=[tmp_path], timeout=WAIT_S) as pool:
        yield pool


def test_endless_writing_ends_where_its_folder_is_full(pool: SandboxExecutor, den: Den, tmp_path: Path) -> None:
    beyond = SIZE + 8 * MIB
    for act, *arguments in (("write_until_full", "f"), ("write_unnamed_until_full",)):
        written, told = pool.submit(in_own, act, *arguments, beyond).result(WAIT_S)
        assert (SIZE - 8 * MIB <= written <= SIZE, told) == (True, "ENOSPC"), act
        with SandboxExecutor(1, den=den) as other:
            assert other.submit(in_own, "write_until_full", "f", MIB).result(WAIT_S) == (MIB, ""), "others have room"
        assert pool.submit(in_own, "write_until_full", "f", 0).result(WAIT_S) == (0, "")
        assert not list(Path(pool.submit(own_folder).result(WAIT_S)).rglob("*")), "the disk has nothing of it"
    assert pool.submit(write_until_full, str(tmp_path), "f", beyond).result(WAIT_S) == (beyond, ""), "the control"
    (tmp_path / "f").unlink()


def test_small_files_without_end_end_where_it_has_no_more_of_them(pool: SandboxExecutor, tmp_path: Path) -> None:
    made, told = pool.submit(in_own, "make_many", INODES + 10).result(WAIT_S)
    assert (made < INODES, made > INODES * 0.9, told) == (True, True, "ENOSPC")
    assert pool.submit(make_many, str(tmp_path), 2000).result(WAIT_S) == (2000, ""), "the control"


def test_folders_in_folders_end_and_are_gone(den: Den, tmp_path: Path) -> None:
    with SandboxExecutor(1, den=den, fresh=True, write=[tmp_path], timeout=WAIT_S) as fresh:
        assert fresh.submit(make_deep, str(tmp_path), 50).result(WAIT_S) == (50, ""), "the control"
        made, told = fresh.submit(in_own, "make_deep", 5000).result(WAIT_S)
        assert made >= 1000, told
        for _ in range(COUNT + 2):  # more than there are folders: each is given again, and empty
            assert fresh.submit(left).result(WAIT_S) == []


def test_the_next_broker_gives_nobody_what_the_last_ones_children_left() -> None:
    with Den() as den, SandboxExecutor(1, den=den) as pool:
        assert pool.submit(in_own, "write_until_full", "secret", MIB).result(WAIT_S) == (MIB, "")
        (broker,) = dens.pids(den, "broker")
        os.kill(broker, signal.SIGKILL)
        dens.wait_until(lambda: dens.pids(den, "broker") != [broker], "the broker to end")
        for _ in range(3):
            with SandboxExecutor(1, den=den) as other:
                assert other.submit(left).result(WAIT_S) == []
        assert dens.pids(den, "broker") not in ([], [broker]), "there is another one"


def test_what_is_reserved_counts(pool: SandboxExecutor, tmp_path: Path) -> None:
    assert pool.submit(in_own, "reserve", 1 << 40).result(WAIT_S) in ("ENOSPC", "EFBIG", "EPERM")
    assert pool.submit(in_own, "reserve", 0x1000).result(WAIT_S) in ("", "EPERM")
    assert pool.submit(reserve, str(tmp_path), 1 << 40).result(WAIT_S) in ("ENOSPC", "EFBIG", "EPERM")


def test_one_child_does_not_see_the_others_folder(den: Den) -> None:
    with SandboxExecutor(1, den=den) as one, SandboxExecutor(1, den=den) as other:
        theirs = one.submit(own_folder).result(WAIT_S)
        assert one.submit(boxed.open_file, f"{theirs}/mine", "w").result(WAIT_S) == "7"
        assert one.submit(boxed.open_file, f"{theirs}/mine").result(WAIT_S) == "written", "the control"
        for path in (f"{theirs}/mine", f"{theirs}/../{Path(theirs).name}/mine"):
            with pytest.raises(PermissionError):
                other.submit(boxed.open_file, path).result(WAIT_S)
        assert other.submit(left).result(WAIT_S) == []
