"""Where a child stands: chdir and getcwd by the broker, for a child whose kernel has nothing to stand in."""

from __future__ import annotations

import ctypes
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker.harness import KNOWN, STANDING, Result, outcomes, program, raw, run

from foxden.sandbox import linux
from foxden.sandbox.syscall_numbers import NUMBERS

pytestmark = [pytest.mark.needs("seccomp"), pytest.mark.usefixtures("each_way")]

FILTER = program(", ".join([KNOWN, *(f'"{name}"' for name in STANDING)]))
ASKED = {NUMBERS[linux.ARCH]["getcwd"]: 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`own` gets granted, and `one/shown`; the rest does not."""
    for name in ("own/deep", "one/shown", "out"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("own/file", "own/deep/file", "one/shown/file", "one/secret", "out/file"):
        (tmp_path / name).write_text(name)
    (tmp_path / "own" / "away").symlink_to(tmp_path / "out")
    return tmp_path


def rules(folder: Path) -> Mapping[str, str]:
    return {str(folder / "own"): "rwc", str(folder / "one" / "shown"): "r"}


def stand(act: Any, folder: Path, **options: Any) -> Result:
    return run(act, rules(folder), filter=FILTER, errnos=ASKED, **options)


def read(path: str) -> str:
    with open(path) as file:
        return file.read()


def moved(path: str | int | Path) -> str:
    os.chdir(path)
    return os.getcwd()


def test_relative_paths_begin_where_the_child_went(folder: Path) -> None:
    def act() -> list[Any]:
        found: list[Any] = [moved(folder / "own"), read("file"), moved("deep"), read("file"), read("../file")]
        with open("made", "w") as file:
            file.write("made")
        os.rename("made", "../made")
        found += [sorted(os.listdir("..")), moved(".."), moved("/"), os.path.abspath("x")]
        return [*found, moved(os.open(folder / "own" / "deep", os.O_RDONLY)), read("./../deep//file")]

    own = str(folder / "own")
    assert stand(act, folder).value == [
        own, "own/file", f"{own}/deep", "own/deep/file", "own/file", ["away", "deep", "file", "made"], own, "/", "/x",
        f"{own}/deep", "own/deep/file",
    ]  # fmt: skip


def test_what_is_not_granted_is_no_place_to_stand_in_nor_to_go_out_to(folder: Path) -> None:
    outside = os.open(folder / "out", os.O_RDONLY)  # as if it came over a socket

    def act() -> dict[str, Any]:
        os.chdir(folder / "own")
        file, pipe = os.open("file", os.O_RDONLY), os.pipe()[0]
        return outcomes({
            "out": lambda: os.chdir(folder / "out"),
            "by way of what is granted": lambda: os.chdir("../out"),
            "by a link": lambda: os.chdir("away"),
            "by a descriptor": lambda: os.fchdir(outside),
            "to what is not there": lambda: os.chdir(folder / "out" / "missing"),
            "to a missing one that is granted": lambda: os.chdir("missing"),
            "to a file": lambda: os.chdir("file"),
            "to a file's descriptor": lambda: os.fchdir(file),
            "to a pipe": lambda: os.fchdir(pipe),
            "to none": lambda: os.fchdir(999),
            "to nothing": lambda: os.chdir(""),
            "still": os.getcwd,
            "read out": lambda: read("../out/file"),
            "read by a link": lambda: read("away/file"),
            "above what is granted": lambda: moved(folder / "one"),
            "granted below it": lambda: read("shown/file"),
            "beside it": lambda: read("secret"),
            "listed": lambda: os.listdir("."),
        })  # fmt: skip

    try:
        result = stand(act, folder)
    finally:
        os.close(outside)
    assert result.value == {
        "out": "EACCES", "by way of what is granted": "EACCES", "by a link": "EACCES", "by a descriptor": "EACCES",
        "to what is not there": "EACCES", "to a missing one that is granted": "ENOENT", "to a file": "ENOTDIR",
        "to a file's descriptor": "ENOTDIR", "to a pipe": "EACCES", "to none": "EBADF", "to nothing": "ENOENT",
        "still": str(folder / "own"), "read out": "EACCES", "read by a link": "EACCES",
        "above what is granted": str(folder / "one"), "granted below it": "one/shown/file", "beside it": "EACCES",
        "listed": "EACCES",
    }  # fmt: skip
    told = {(act.operation, act.path) for act in result.acts}
    assert {("chdir", str(folder / "out")), ("open", str(folder / "out" / "file"))} <= told


def test_a_folder_that_is_gone_or_another_by_now_is_judged_as_what_is_there(folder: Path) -> None:
    def act() -> dict[str, Any]:
        os.chdir(folder / "own" / "deep")
        shutil.rmtree(folder / "own" / "deep")
        gone = outcomes({"where": os.getcwd, "read": lambda: read("file")})
        os.rename(folder / "own" / "away", folder / "own" / "deep")  # a link, out of what is granted
        return {**gone, **{f"{name} then": found for name, found in outcomes(
            {"where": os.getcwd, "read": lambda: read("file"), "list": lambda: os.listdir(".")}).items()}}

    assert stand(act, folder).value == {
        "where": "ENOENT", "read": "ENOENT", "where then": "ENOENT", "read then": "EACCES", "list then": "EACCES",
    }  # fmt: skip


def test_getcwd_keeps_the_bounds_of_its_buffer(folder: Path) -> None:
    size = len(os.fsencode(folder / "own")) + 1

    def act() -> dict[str, Any]:
        os.chdir(folder / "own")
        buffer = ctypes.create_string_buffer(b"?" * (size + 8))
        return outcomes({
            "too small": lambda: raw("getcwd", buffer, size - 1),
            "untouched": lambda: buffer.value.decode(),
            "nowhere": lambda: raw("getcwd", 8, size),
            "fits": lambda: raw("getcwd", buffer, size),
            "whole": lambda: buffer.value.decode(),
            "after it": lambda: buffer.raw[size : size + 8].decode(),
        })  # fmt: skip

    assert stand(act, folder).value == {
        "too small": "ERANGE", "untouched": "?" * (size + 8), "nowhere": "EFAULT", "fits": size,
        "whole": str(folder / "own"), "after it": "?" * 8,
    }  # fmt: skip


def test_paths_beyond_what_a_call_can_name_are_found_step_by_step(folder: Path) -> None:
    def act() -> Any:
        os.chdir(folder / "own")
        for _ in range(20):
            os.mkdir("n" * 250)
            os.chdir("n" * 250)
        with open("leaf", "w") as file:
            file.write("leaf")
        return [read("leaf"), *outcomes({"raw": lambda: raw("getcwd", bytes(8192), 8192)}).values()]

    assert stand(act, folder).value == ["leaf", "ENAMETOOLONG"]


def test_a_child_that_the_broker_does_not_keep_stays_where_it_is(folder: Path) -> None:
    def act() -> dict[str, Any]:
        return outcomes({"go": lambda: os.chdir(folder / "own"), "where": lambda: raw("getcwd", bytes(99), 99)})

    assert run(act, rules(folder), filter=FILTER).value == {"go": "EACCES", "where": "EACCES"}


def test_going_and_reading_in_two_threads_never_gives_what_is_not_granted(folder: Path) -> None:
    def act() -> dict[str, int]:
        stop = False

        def go() -> None:
            while not stop:
                for path in (folder / "own", folder / "one" / "shown", folder / "one", folder / "out"):
                    outcomes({"": lambda path=path: os.chdir(path)})  # type: ignore[misc]

        thread = threading.Thread(target=go)
        thread.start()
        seen: dict[str, int] = {}
        for _ in range(3000):
            for name in ("file", "secret", "../out/file"):
                text = str(outcomes({"": lambda name=name: read(name)})[""])  # type: ignore[misc]
                seen[text] = seen.get(text, 0) + 1
        stop = True
        thread.join()
        return seen

    seen = stand(act, folder).value
    assert seen.keys() <= {"own/file", "one/shown/file", "EACCES", "ENOENT"}
    assert seen["own/file"] > 0
    assert seen["one/shown/file"] > 0
