"""What preferences and the environment change in `foxden run` and `Den.run`: only the parent's, and said loudly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import foxden

pytestmark = pytest.mark.needs("userns", "landlock", "seccomp")

_PREF = "dom.ipc.plugins.sandbox-level.default"


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "foxden", "run", *words], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "environment"),
    [
        ((), {"MOZ_DISABLE_NPAPI_SANDBOX": "1"}),
        ((), {"MOZ_FAKE_NO_SANDBOX": "1"}),
        (("--level", "0"), {}),
        (("--pref", f"{_PREF}=false"), {}),
    ],
)
def test_sandbox_that_is_switched_off_lets_a_program_do_what_it_refuses_else(
    words: tuple[str, ...], environment: dict[str, str], tmp_path: Path
) -> None:
    target = tmp_path / "made"
    refused = run("--", "touch", str(target))
    assert (refused.returncode, target.exists()) == (1, False)
    assert "SANDBOX OFF" not in refused.stderr
    done = run(*words, "--", "touch", str(target), **environment)
    assert (done.returncode, target.exists()) == (0, True), done.stderr
    assert "warning: SANDBOX OFF: the program runs without any protection" in done.stderr


def test_program_turns_nothing_off(tmp_path: Path) -> None:
    """What it sets in its own environment, or is granted there, says nothing to anybody."""
    target = tmp_path / "made"
    script = f"MOZ_DISABLE_NPAPI_SANDBOX=1 MOZ_FAKE_NO_SANDBOX=1 touch {target}"
    done = run("--env", "MOZ_DISABLE_NPAPI_SANDBOX=1", "--", "sh", "-c", script)
    assert (done.returncode, target.exists()) == (1, False)
    assert "SANDBOX OFF" not in done.stderr


def test_crash_on_error_ends_who_makes_a_refused_call() -> None:
    script = "import ctypes; print(ctypes.CDLL(None).syscall(250, 0, 0, 0, 0, 0))"  # keyctl
    usual = run("--", "python3", "-c", script)
    assert (usual.returncode, usual.stdout) == (0, "-1\n")
    ended = run("--", "python3", "-c", script, MOZ_SANDBOX_CRASH_ON_ERROR="1")
    assert ended.returncode == 128 + 31, ended.stderr


def test_den_follows_the_same_preference(tmp_path: Path) -> None:
    for value, code in ((True, 1), (False, 0)):
        with foxden.Den(prefs={_PREF: value}) as den:
            done = den.run(["touch", str(tmp_path / "made")])
            assert (done.returncode, (tmp_path / "made").exists()) == (code, not code)
