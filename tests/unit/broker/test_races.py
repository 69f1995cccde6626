"""Swaps and rewrites while the broker looks: what was judged is what is opened.  Hostile cases 7, 8 and 12."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker.harness import CLONE_NEWUSER, Child, raw, rules_of, run, serve, write_ids

from foxden.broker.server import Broker
from foxden.sandbox import linux

pytestmark = [pytest.mark.needs("seccomp"), pytest.mark.usefixtures("each_way")]

CLONE_NEWNET = 0x4000_0000
TRIES = 100_000
ENOUGH = 100  # times that the good one must be found, or the race was none


def goes_on(seen: dict[str, int], began: float) -> bool:
    """Until there were tries enough; on a busy machine longer, until the good one was found often enough."""
    took = time.monotonic() - began
    enough = sum(seen.values()) >= TRIES or took >= SECONDS / 2
    return not enough or (seen.get("good", 0) <= ENOUGH and took < 10 * SECONDS)
SECONDS = 7.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "w" / "real").mkdir(parents=True)
    (tmp_path / "w" / "good").write_text("good")
    (tmp_path / "w" / "real" / "file").write_text("good")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("secret")
    return tmp_path


def swap(path: Path, stop: threading.Event, flips: list[int]) -> None:
    """In the test's own process, under no filter: as fast as it gets, file ↔ link to the secret."""
    secret, good = path.parent.parent / "out" / "file", path.parent / "good"
    other = path.with_suffix(".next")
    while not stop.is_set():
        os.symlink(secret, other)
        os.rename(other, path)
        os.link(good, other)
        os.rename(other, path)
        flips.append(1)


def swap_folder(path: Path, stop: threading.Event, flips: list[int]) -> None:
    out, other = path.parent.parent / "out", path.with_suffix(".next")
    while not stop.is_set():
        os.symlink(out, other)
        os.rename(other, path)
        os.unlink(path)
        os.symlink("real", path)
        flips.append(1)


@pytest.mark.parametrize(("swapper", "name", "wanted"), [(swap, "x", "x"), (swap_folder, "d", "d/file")])
def test_a_name_that_is_swapped_for_a_link_never_gives_the_secret(
    folder: Path, swapper: Any, name: str, wanted: str
) -> None:
    path = os.fsencode(folder / "w" / wanted)
    stop, flips = threading.Event(), []

    def act() -> dict[str, int]:
        seen: dict[str, int] = {}
        began = time.monotonic()
        while goes_on(seen, began):
            try:
                fd = os.open(path, os.O_RDONLY)
            except OSError as error:
                seen[str(error.errno)] = seen.get(str(error.errno), 0) + 1
                continue
            text = os.read(fd, 16).decode()
            os.close(fd)
            seen[text] = seen.get(text, 0) + 1
        return seen

    # The child is forked before this process has a second thread.
    told: list[Any] = []
    child = Child(act)
    broker = Broker(told.append)
    thread = threading.Thread(target=swapper, args=(folder / "w" / name, stop, flips))
    try:
        broker.attach(1, child.listener, -1, "host", rules_of({str(folder / "w"): "rwc"}))
        thread.start()
        child.go()
        serve(broker, child)
        seen = child.end()
    finally:
        stop.set()
        thread.join()
        broker.close()
    assert "secret" not in seen
    assert seen.get("good", 0) > ENOUGH, "the swapped name was also found as the good one"
    assert sum(seen.values()) > 1000
    assert len(flips) > 100
    assert seen.keys() <= {"good", "13", "2"}


def test_a_path_that_is_rewritten_while_it_is_judged_never_opens_the_secret(folder: Path) -> None:
    good, secret = os.fsencode(folder / "w" / "real" / "file"), os.fsencode(folder / "out" / "file")
    good += b"\0" * max(0, len(secret) - len(good))
    secret += b"\0" * max(0, len(good) - len(secret))

    def act() -> dict[str, int]:
        buffer = ctypes.create_string_buffer(good, 512)
        stop = False

        def rewrite() -> None:
            while not stop:
                ctypes.memmove(buffer, secret, len(secret))
                ctypes.memmove(buffer, good, len(good))

        threads = [threading.Thread(target=rewrite) for _ in range(2)]
        for thread in threads:
            thread.start()
        seen: dict[str, int] = {}
        began = time.monotonic()
        while goes_on(seen, began):
            try:
                fd = raw("openat", -100, buffer, os.O_RDONLY, 0)
            except OSError as error:
                seen[str(error.errno)] = seen.get(str(error.errno), 0) + 1
                continue
            text = os.read(fd, 16).decode()
            os.close(fd)
            seen[text] = seen.get(text, 0) + 1
        stop = True
        for thread in threads:
            thread.join()
        return seen

    seen = run(act, {str(folder / "w"): "r"}).value
    assert "secret" not in seen
    assert seen.get("good", 0) > ENOUGH


def own_network() -> None:
    """As the sandboxed types have it: then a descriptor is taken from the child, else looked at below /proc."""
    uid, gid = os.getuid(), os.getgid()
    linux.syscall("unshare", CLONE_NEWUSER | CLONE_NEWNET)
    write_ids(uid, gid)


@pytest.mark.needs("userns")
@pytest.mark.parametrize(
    ("view", "prepare"), [("host", own_network), ("host", None), ("child", None)], ids=["taken", "shown", "program"]
)
def test_a_descriptor_that_is_swapped_gives_no_more_than_the_one_that_is_found(
    folder: Path, view: str, prepare: Any
) -> None:
    """A thread puts a writable one in the place of a readable one: only what it may write is opened for writing."""
    read_only = (folder / "out" / "file").stat().st_ino

    def act() -> dict[str, int]:
        held = [os.open(folder / "out" / "file", os.O_RDONLY), os.open(folder / "w" / "good", os.O_RDWR)]
        number, stop = os.dup(held[0]), False

        def flip() -> None:
            while not stop:
                for each in held:
                    os.dup2(each, number)

        threads = [threading.Thread(target=flip) for _ in range(2)]
        for thread in threads:
            thread.start()
        seen: dict[str, int] = {}
        began = time.monotonic()
        while goes_on(seen, began):
            try:
                fd = os.open(f"/proc/self/fd/{number}", os.O_RDWR)
            except OSError as error:
                seen[str(error.errno)] = seen.get(str(error.errno), 0) + 1
                continue
            found = "read-only" if os.fstat(fd).st_ino == read_only else "good"
            os.close(fd)
            seen[found] = seen.get(found, 0) + 1
        stop = True
        for thread in threads:
            thread.join()
        return seen

    seen = run(act, {str(folder / "out"): "r", str(folder / "w"): "rwc"}, view=view, prepare=prepare).value
    assert "read-only" not in seen
    assert seen.get("good", 0) > ENOUGH
    assert seen.get("13", 0) > ENOUGH, "the control: the other one was found, too"
    assert seen.keys() <= {"good", "13", "9"}, "9: it was another by the time that its flags were asked for"


@pytest.mark.needs("userns")
@pytest.mark.parametrize("prepare", [own_network, None], ids=["taken", "shown"])
def test_a_folder_that_is_swapped_leads_only_where_rules_let_it(folder: Path, prepare: Any) -> None:
    outside = os.open(folder / "out", os.O_RDONLY | os.O_DIRECTORY)  # as if it came over a socket

    def act() -> dict[str, int]:
        held = [outside, os.open(folder / "w" / "real", os.O_RDONLY | os.O_DIRECTORY)]
        number, stop = os.dup(outside), False

        def flip() -> None:
            while not stop:
                for each in held:
                    os.dup2(each, number)

        thread = threading.Thread(target=flip)
        thread.start()
        seen: dict[str, int] = {}
        began = time.monotonic()
        while goes_on(seen, began):
            try:
                fd = os.open("file", os.O_RDONLY, dir_fd=number)
            except OSError as error:
                seen[str(error.errno)] = seen.get(str(error.errno), 0) + 1
                continue
            text = os.read(fd, 16).decode()
            os.close(fd)
            seen[text] = seen.get(text, 0) + 1
        stop = True
        thread.join()
        return seen

    try:
        seen = run(act, {str(folder / "w"): "r"}, prepare=prepare).value
    finally:
        os.close(outside)
    assert "secret" not in seen
    assert seen.get("good", 0) > ENOUGH
    assert seen.get("13", 0) > ENOUGH, "the control: the other one was found, too"
