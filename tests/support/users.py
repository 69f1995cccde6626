"""Who runs the tests, and what this machine can do: the reasons for which a test may be skipped.

Runs in: the test process.  Use: `@needs_userns` on a test, or `require("userns")` inside one.
A feature that is missing skips the test and says so; under FOXDEN_TEST_STRICT=1 it fails the test.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tools import check_system

from foxden.errors import SandboxUnavailable
from foxden.model.enforcement import Layer

CHECKOUT = Path(__file__).resolve().parents[2]
AS_ORDINARY_USER = CHECKOUT / "tools" / "as_ordinary_user.py"

NEEDS_ROOT = "needs root"
NEEDS_ORDINARY_USER = "needs an ordinary user"
# Who runs the suite is no lack of the machine: `make test` as root runs it both ways.
ALLOWED_SKIPS = (NEEDS_ROOT, NEEDS_ORDINARY_USER)


def is_strict() -> bool:
    return os.environ.get("FOXDEN_TEST_STRICT", "") not in ("", "0")


def is_root() -> bool:
    return os.geteuid() == 0


def run_as_ordinary(command: Sequence[str], *, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without privileges: as another one when this is root, else as this one."""
    return subprocess.run(
        [sys.executable, str(AS_ORDINARY_USER), *command],
        cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip


def _has_user_namespaces() -> bool:
    emulated = os.environ.get("FOXDEN_TEST_NO_USERNS") or "userns" in os.environ.get("FOXDEN_TEST_EMULATE", "")
    return not emulated and check_system.has_user_namespaces()


def _has_landlock() -> bool:
    return os.environ.get("FOXDEN_TEST_LANDLOCK_ABI") != "0" and check_system.landlock_abi() > 0


def _has_extension() -> bool:
    """Built, whether or not it is switched off."""
    return importlib.util.find_spec("foxden._native") is not None


def _program(name: str) -> Callable[[], bool]:
    return functools.partial(check_system.has_program, name)


# One row a feature: name, what a skipped test says, how to find out.
FEATURES: dict[str, tuple[str, Callable[[], bool]]] = {
    "userns": ("user namespaces", _has_user_namespaces),
    "landlock": ("Landlock", _has_landlock),
    "seccomp": ("seccomp filters with a listener", check_system.has_seccomp_filters),
    "nginx": ("nginx (Debian: nginx-light)", _program("nginx")),
    "bwrap": ("bwrap (Debian: bubblewrap)", _program("bwrap")),
    "uidmap": ("newuidmap (Debian: uidmap)", _program("newuidmap")),
    "curl": ("curl (Debian: curl)", _program("curl")),
    "openssl": ("openssl (Debian: openssl)", _program("openssl")),
    "gcc": ("gcc (Debian: gcc)", _program("gcc")),
    "git": ("git (Debian: git)", _program("git")),
    "java": ("javac and java (Debian: default-jdk-headless)", _program("javac")),
    "make": ("make (Debian: make)", _program("make")),
    "node": ("node (Debian: nodejs)", _program("node")),
    "perl": ("perl (Debian: perl)", _program("perl")),
    "sqlite": ("sqlite3 (Debian: sqlite3)", _program("sqlite3")),
    "tmux": ("tmux (Debian: tmux)", _program("tmux")),
    "python_docs": ("Python's documentation (Debian: python3-doc)", check_system.has_python_docs),
    "native": ("the extension in C (Debian: gcc, python3-dev; then make setup)", _has_extension),
    "python_headers": ("Python.h (Debian: python3-dev)", check_system.has_python_headers),
}

needs_root = pytest.mark.needs_root
needs_ordinary_user = pytest.mark.needs_ordinary_user
needs_userns = pytest.mark.needs("userns")
needs_landlock = pytest.mark.needs("landlock")
needs_seccomp = pytest.mark.needs("seccomp")
needs_nginx = pytest.mark.needs("nginx")
needs_bwrap = pytest.mark.needs("bwrap")
needs_uidmap = pytest.mark.needs("uidmap")
needs_gcc = pytest.mark.needs("gcc")
needs_git = pytest.mark.needs("git")
needs_java = pytest.mark.needs("java")
needs_make = pytest.mark.needs("make")
needs_node = pytest.mark.needs("node")
needs_perl = pytest.mark.needs("perl")
needs_sqlite = pytest.mark.needs("sqlite")
needs_tmux = pytest.mark.needs("tmux")
needs_curl = pytest.mark.needs("curl")
needs_openssl = pytest.mark.needs("openssl")
needs_python_docs = pytest.mark.needs("python_docs")


@functools.cache
def has(feature: str) -> bool:
    """Whether the machine has a feature of FEATURES."""
    return FEATURES[feature][1]()


def require(feature: str) -> None:
    """Skip the running test when a feature is missing; fail it when the run is strict."""
    if has(feature):
        return
    message = f"missing: {FEATURES[feature][0]}"
    if is_strict():
        pytest.fail(f"{message} (FOXDEN_TEST_STRICT)", pytrace=False)
    pytest.skip(message)


def explained(found: pytest.ExceptionInfo[BaseException]) -> pytest.ExceptionInfo[BaseException]:
    """A child that is refused its namespaces, where an ordinary user has none: what it was for cannot be shown here.
    Without them is tried by tests that say so (e2e/test_degraded, FOXDEN_TEST_EMULATE)."""
    error = found.value
    if isinstance(error, SandboxUnavailable) and Layer.NAMESPACES.value in error.layers and not is_root():
        try:
            require("userns")
        except (pytest.skip.Exception, pytest.fail.Exception) as instead:
            return pytest.ExceptionInfo.from_exception(instead)
    return found


def check_marks(item: pytest.Item) -> None:
    """Act on the `needs…` marks of a test that is about to run."""
    if item.get_closest_marker("needs_root") and not is_root():
        pytest.skip(NEEDS_ROOT)
    if item.get_closest_marker("needs_ordinary_user") and is_root():
        pytest.skip(NEEDS_ORDINARY_USER)
    for mark in item.iter_markers("needs"):
        for feature in mark.args:
            require(feature)


def is_forbidden_skip(reason: str) -> bool:
    """Whether a skip with this reason counts as a failure in this run."""
    return is_strict() and not reason.removeprefix("Skipped: ").startswith(ALLOWED_SKIPS)
