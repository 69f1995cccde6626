"""The leak check finds what is left behind, names it, and lets go what goes by itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from tests.support import leaks
from tests.support.users import CHECKOUT

SHORT_S = 0.05


def only_line(before: leaks.Holdings) -> str:
    (line,) = leaks.leaked_since(before, SHORT_S).describe()
    return line


def test_nothing_is_reported_where_nothing_leaks() -> None:
    before = leaks.snapshot()
    with tempfile.TemporaryFile():
        pass
    assert not leaks.leaked_since(before, SHORT_S)


def test_leaked_descriptor_is_named_by_what_it_is_open_on() -> None:
    before = leaks.snapshot()
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        assert only_line(before) == f"descriptor {fd} -> /dev/null"
    finally:
        os.close(fd)


def test_leaked_descriptor_of_a_test_that_may_is_named_with_the_test() -> None:
    before = leaks.snapshot()
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        leaks.remember("a test")
        leaks.remember("the next one")
        assert only_line(before) == f"descriptor {fd} -> /dev/null (there since a test)"
    finally:
        os.close(fd)
    leaks.remember("one more")
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        assert only_line(before) == f"descriptor {fd} -> /dev/null", "another one with the same number"
    finally:
        os.close(fd)


def test_leaked_child_is_named_by_its_command() -> None:
    before = leaks.snapshot()
    with subprocess.Popen(["sleep", "60"]) as child:
        line = only_line(before)
        child.kill()
    assert line == f"child {child.pid}: sleep 60"


def test_child_that_nobody_reaped_is_a_leak() -> None:
    before = leaks.snapshot()
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    line = only_line(before)
    leaks.end_children(leaks.leaked_since(before, 0))
    assert line == f"child {pid}: true (ended, not reaped)"
    assert not leaks.leaked_since(before, SHORT_S)


def test_children_are_found_by_their_parent_where_the_kernel_keeps_no_lists() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        by_list, by_parent = leaks.children(), leaks._children_by_parent()
        child.kill()
    assert child.pid in by_list
    assert by_list == by_parent


def test_leaked_thread_is_named() -> None:
    before = leaks.snapshot()
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="left-behind")
    thread.start()
    line = only_line(before)
    stop.set()
    thread.join()
    assert line == f"thread {thread.native_id}: left-behind"


def test_what_goes_within_the_grace_is_no_leak() -> None:
    before = leaks.snapshot()
    thread = threading.Thread(target=time.sleep, args=(0.1,))
    thread.start()
    assert leaks.snapshot().without(before)
    assert not leaks.leaked_since(before)


def test_descriptor_that_only_a_cycle_holds_is_no_leak() -> None:
    before = leaks.snapshot()
    leave_a_cycle()
    assert not leaks.leaked_since(before, SHORT_S)


def leave_a_cycle() -> None:
    class Holder:
        def __init__(self) -> None:
            self.fd = os.open("/dev/null", os.O_RDONLY)
            self.me = self

        def __del__(self) -> None:
            os.close(self.fd)

    Holder()


# --- the fixture, in a pytest of its own ------------------------------------------------------------------------

LEAKY = """
import os, subprocess, threading
import pytest

def test_descriptor(): os.open("/dev/null", os.O_RDONLY)
def test_child(): subprocess.Popen.__del__ = lambda self: None; subprocess.Popen(["sleep", "60"])
def test_thread(): threading.Thread(target=threading.Event().wait, name="forgotten", daemon=True).start()
def test_clean(): pass
@pytest.mark.leaks_ok("shows the way out")
def test_permitted(): os.open("/dev/null", os.O_RDONLY)
@pytest.fixture(scope="session")
def opened(): return os.open("/dev/null", os.O_RDONLY)
def test_wider_fixture_in_the_middle(request): request.getfixturevalue("opened")
def test_skipped(): pytest.skip("missing: luck")
@pytest.mark.needs_root
def test_root(): pass
@pytest.mark.needs_ordinary_user
def test_ordinary(): pass
"""


# The grace is cut short: here everything that is left behind stays.
CONFTEST = """
from tests.conftest import *
from tests.conftest import _nothing_leaks
from tests.support import leaks
leaks.GRACE_S = 0.1
"""


def run_pytest(directory: Path, *, strict: bool) -> str:
    """Run LEAKY under this project's conftest, from a directory of its own; return what pytest printed."""
    (directory / "test_leaky.py").write_text(LEAKY)
    (directory / "conftest.py").write_text(CONFTEST)
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "FOXDEN_TEST_STRICT": "1" if strict else "0"}
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", str(CHECKOUT / "pyproject.toml"), "--rootdir", str(directory),
         "-p", "no:cacheprovider", "-rA", str(directory)],
        cwd=directory, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> str:
    return run_pytest(tmp_path_factory.mktemp("leaky"), strict=False)


@pytest.mark.parametrize(
    ("test", "words"), [("descriptor", "-> /dev/null"), ("child", ": sleep 60"), ("thread", ": forgotten")]
)
def test_fixture_fails_a_test_that_leaks_and_says_what(printed: str, test: str, words: str) -> None:
    line = next(line for line in printed.splitlines() if line.startswith("ERROR") and f"::test_{test} " in line)
    assert "left behind" in line or words in line
    assert words in printed


@pytest.mark.parametrize("test", ["clean", "permitted", "wider_fixture_in_the_middle"])
def test_fixture_lets_pass_what_does_not_leak_or_may(printed: str, test: str) -> None:
    complaints = [line for line in printed.splitlines() if line.startswith(("ERROR", "FAILED"))]
    assert not any(f"::test_{test}" in line for line in complaints)


def test_strict_run_fails_a_skip_but_not_for_who_runs_it(printed: str, tmp_path: Path) -> None:
    strict = run_pytest(tmp_path, strict=True)
    assert "FAILED test_leaky.py::test_skipped" not in printed
    assert "FAILED test_leaky.py::test_skipped" in strict
    assert "FAILED test_leaky.py::test_root" not in strict
    assert "FAILED test_leaky.py::test_ordinary" not in strict
