"""Swaps and rewrites while the broker looks: what was judged is what is opened.  Hostile cases 7, 8 and 12."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker.harness import Child, raw, rules_of, run, serve

from foxden.broker.server import Broker

pytestmark = [pytest.mark.needs("seccomp"), pytest.mark.usefixtures("each_way")]

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
