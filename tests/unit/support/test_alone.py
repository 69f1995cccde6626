"""What is marked `alone` is alone, of all that pytest-xdist runs beside each other."""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
from pathlib import Path

import pytest
from tests.support import alone
from tests.support.users import CHECKOUT

pytest_plugins = ["pytester"]

CONFTEST = "from tests.conftest import pytest_runtest_protocol\n"
ROW = """
import pathlib, time
import pytest

@pytest.mark.parametrize("n", range(6))
{mark}def test_row(n):
    began = time.monotonic()
    time.sleep(0.2)
    with open({log!r}, "a") as log:
        log.write(f"{name} {{began}} {{time.monotonic()}}\\n")
"""
NAMES = ("first", "second", "third")


def times(pytester: pytest.Pytester, mark: str) -> dict[str, list[tuple[float, float]]]:
    """When each test of three files ran, one file a worker; those of the first have `mark`."""
    log = pytester.path / "log"
    pytester.makeini(f"[pytest]\nmarkers = alone\npythonpath = {CHECKOUT} {CHECKOUT}/src\n")
    pytester.makeconftest(CONFTEST)
    files = {name: ROW.format(name=name, log=str(log), mark=mark if name == "first" else "") for name in NAMES}
    pytester.makepyfile(**{f"test_{name}": text for name, text in files.items()})
    result = pytester.runpytest_subprocess("-n", "3", "--dist", "loadfile", "-p", "no:cacheprovider", timeout=120)
    result.assert_outcomes(passed=18)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    for line in log.read_text().splitlines():
        name, began, ended = line.split()
        found[name].append((float(began), float(ended)))
    return found


def overlapping(left: list[tuple[float, float]], right: list[tuple[float, float]]) -> int:
    return sum(a < d and c < b for (a, b), (c, d) in itertools.product(left, right))


def test_a_marked_test_runs_beside_no_other(pytester: pytest.Pytester) -> None:
    seen = times(pytester, "@pytest.mark.alone\n")
    assert overlapping(seen["first"], seen["second"] + seen["third"]) == 0
    assert overlapping(seen["second"], seen["third"]), "others run beside each other"


def test_without_the_mark_they_run_beside_each_other(pytester: pytest.Pytester) -> None:
    seen = times(pytester, "")
    assert overlapping(seen["first"], seen["second"] + seen["third"])


def test_a_worker_that_is_killed_keeps_nobody_waiting(tmp_path: Path) -> None:
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        with alone.turn(tmp_path, alone=True):
            os.write(told, b".")
            signal.pause()
    assert os.read(ready, 1) == b"."
    with open(tmp_path / "room", "r+b") as room, pytest.raises(BlockingIOError):
        fcntl.lockf(room, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(ready)
    os.close(told)
    with alone.turn(tmp_path, alone=True):
        pass
