"""Folders in functions: what begins at a descriptor of a folder, or at the working directory, is found as elsewhere.

Runs in: the test process, and as other users in processes of their own.  Children have ids of their own as root and as
a user with subordinate ids: then nobody sees their descriptors below /proc, the broker neither.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support import boxed_folders, users
from tests.support import den as dens
from tests.support.users import needs_root, needs_uidmap

from foxden import Den, SandboxExecutor

pytestmark = pytest.mark.needs("userns", "landlock", "seccomp")

AS_SUBORDINATE = (sys.executable, str(users.CHECKOUT / "tests" / "support" / "subordinate_user.py"))
AS_ORDINARY = (sys.executable, str(users.AS_ORDINARY_USER))
WAIT_S = 60

# Runs one function of boxed_folders in a granted folder of the user's own, which nobody else may enter.
SCRIPT = """
import json, os, sys, tempfile
from pathlib import Path
from tests.support import boxed_folders
from foxden import Den, SandboxExecutor
if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        folder = os.path.realpath(made)
        Path(folder, "in.txt").write_text("hello")
        os.chdir(folder)
        with SandboxExecutor(1, write=[folder]) as box:
            print(json.dumps(box.submit(getattr(boxed_folders, sys.argv[1]), folder).result(60)))
"""


def run_as(prefix: tuple[str, ...], name: str) -> Any:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", SCRIPT, name],
        cwd=users.CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_S, check=False,
        env={**os.environ, "PYTHONPATH": f"{users.CHECKOUT / 'src'}:{users.CHECKOUT}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


BY_DESCRIPTOR = {
    "make": 3, "read": "new", "size": 3, "may": True, "rename": None, "unlink": None, "mkdir": None, "rmdir": None,
    "rmtree": None, "again": "hello", "statx": 5, "fchmod": None, "times": None, "left": ["in.txt"],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "granted"
    made.mkdir(mode=0o700)
    (made / "in.txt").write_text("hello")
    return made


def test_everything_in_a_granted_folder_works_by_a_descriptor_of_it(folder: Path) -> None:
    with SandboxExecutor(1, write=[folder]) as box:
        assert box.submit(boxed_folders.by_descriptor, str(folder)).result(WAIT_S) == BY_DESCRIPTOR


USERS = [
    pytest.param(AS_SUBORDINATE, marks=[needs_root, needs_uidmap], id="with subordinate ids"),
    pytest.param(AS_ORDINARY, marks=needs_root, id="with one id"),
]


@pytest.mark.parametrize("prefix", USERS)
def test_descriptors_of_folders_work_for_every_kind_of_user(prefix: tuple[str, ...]) -> None:
    assert run_as(prefix, "by_descriptor") == BY_DESCRIPTOR


# --- where a function stands --------------------------------------------------------------------------------------

IN_FOLDER = [True, "hello", ["in.txt", "sub"], True, "leaf", "hello", "sub/leaf", "own", True, ["in.txt"], True]


@pytest.mark.parametrize("level", [1, 0])
def test_functions_begin_in_the_callers_folder_and_go_where_they_may(
    folder: Path, level: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with SandboxExecutor(1, write=["."], level=level) as box:
        assert box.submit(boxed_folders.in_folder, str(folder)).result(WAIT_S) == IN_FOLDER
    assert os.getcwd() == str(folder)


@pytest.mark.parametrize("prefix", USERS)
def test_every_kind_of_user_has_a_folder_that_functions_begin_in(prefix: tuple[str, ...]) -> None:
    assert run_as(prefix, "in_folder") == IN_FOLDER


def test_relative_grants_are_found_by_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.txt").write_text("hello")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "od").mkdir()
    monkeypatch.chdir(tmp_path)
    with SandboxExecutor(1, read=["in.txt"], write=["od"]) as box:
        assert box.submit(boxed_folders.of_two_grants).result(WAIT_S) == {
            "where": tmp_path.name, "read": "hello", "by dots": "hello", "make": 3, "beside": "EACCES",
            "list": "EACCES", "make beside": "EACCES", "change": "EACCES", "into": None, "there": ["new"],
            "up": "EACCES", "up and in": "hello",
        }  # fmt: skip


def test_a_folder_of_which_nothing_is_granted_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Den() as den:
        with SandboxExecutor(1, den=den) as box:
            assert box.submit(boxed_folders.where).result(WAIT_S) == "/"
        with SandboxExecutor(1, den=den, read=["."]) as box:
            assert box.submit(boxed_folders.where).result(WAIT_S) == str(tmp_path), "the control"
        assert den.violations() == []


def test_a_folder_that_is_gone_when_a_worker_starts_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "granted" / "gone"
    gone.mkdir(parents=True)
    monkeypatch.chdir(gone)
    with SandboxExecutor(1, read=[tmp_path / "granted"]) as box:
        monkeypatch.chdir(tmp_path)
        gone.rmdir()
        assert box.submit(boxed_folders.where).result(WAIT_S) == "/"


@pytest.mark.parametrize("tier", ["no-seccomp", "listener-taken"])
def test_without_a_broker_functions_stay_at_the_root_and_nothing_is_told_of_it(
    tier: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layers = ("namespaces", "root", "network", "limits", "seccomp")
    with dens.make_den({"FOXDEN_TEST_EMULATE": tier}, allow_partial=layers) as den:
        with SandboxExecutor(1, den=den, read=["."], initializer=os.getcwd) as box:
            found = box.submit(lambda: __import__("os").path.abspath("x")).result(WAIT_S)
        told = {each.syscall for each in den.violations()}
        assert (found, told & {"chdir", "getcwd"}) == ("/x", set())
