"""The tool that runs the suite without privileges really takes them away, and gets out of the way otherwise."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support import leaks, users
from tests.support.users import needs_nginx, needs_root, run_as_ordinary

STATUS = "grep -E '^(Cap(Inh|Prm|Eff|Amb)|Groups|Uid)' /proc/self/status"


def test_command_has_no_user_groups_or_capabilities_of_root() -> None:
    lines = dict(line.split(":", 1) for line in run_as_ordinary(["sh", "-c", STATUS]).stdout.splitlines())
    assert "0" not in lines["Uid"].split()
    assert all(int(lines[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"))


@needs_root
def test_command_has_no_groups_but_its_own() -> None:
    assert run_as_ordinary(["id", "-G"]).stdout.split() == ["54321"]


@needs_root
def test_uid_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOXDEN_TEST_UID", "65533")
    assert run_as_ordinary(["id", "-u"]).stdout.strip() == "65533"
    monkeypatch.setenv("FOXDEN_TEST_UID", "0")
    assert "is root" in run_as_ordinary(["id", "-u"]).stderr


def test_home_and_temporary_directory_are_its_own_and_gone_afterwards() -> None:
    script = 'touch "$HOME/a" "$TMPDIR/b" && echo "$HOME" && echo "$TMPDIR"'
    home, temporary = map(Path, run_as_ordinary(["sh", "-c", script]).stdout.split())
    assert home != Path.home()
    assert not home.exists()
    assert not temporary.exists()


@pytest.mark.parametrize(("command", "code"), [("exit 7", 7), ("kill -9 $$", 128 + 9), ("true", 0)])
def test_exit_code_is_the_commands(command: str, code: int) -> None:
    assert run_as_ordinary(["sh", "-c", command]).returncode == code


def test_command_that_does_not_exist_is_said_in_one_line() -> None:
    result = run_as_ordinary(["no-such-program"])
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)


def test_signal_reaches_the_command() -> None:
    script = "trap 'echo told; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
    command = [sys.executable, str(users.AS_ORDINARY_USER), "sh", "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdout is not None
        assert tool.stdout.readline() == "ready\n"
        tool.send_signal(signal.SIGTERM)
        assert tool.stdout.read() == "told\n"
    assert tool.returncode == 3


@needs_root
def test_command_ends_when_the_tool_is_killed() -> None:
    command = [sys.executable, str(users.AS_ORDINARY_USER), "sh", "-c", "echo $$ $TMPDIR; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as tool:
        assert tool.stdout is not None
        pid, temporary = tool.stdout.readline().split()
        tool.kill()
    deadline = time.monotonic() + 5
    while leaks.is_running(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.01)
    shutil.rmtree(Path(temporary).parent)  # killed, it could not
    assert not leaks.is_running(int(pid))


@needs_root
@pytest.mark.parametrize("closed", ["above", "checkout"])
def test_checkout_behind_a_closed_directory_is_reached_under_its_own_name(tmp_path: Path, closed: str) -> None:
    checkout = tmp_path / "closed" / "checkout"
    shutil.copytree(users.CHECKOUT / "tools", checkout / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    (checkout / "src").mkdir()
    (checkout / "src" / "here").write_text("seen")
    (tmp_path / "closed" / "beside").write_text("not shown")
    (tmp_path / "closed").chmod(0o700)
    checkout.chmod(0o700 if closed == "checkout" else 0o755)
    script = f"cat src/here && pwd && ls {tmp_path}/closed"
    result = subprocess.run(
        [sys.executable, str(checkout / "tools" / "as_ordinary_user.py"), "sh", "-c", script],
        cwd=checkout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (result.stdout.split("\n"), result.stderr) == ([f"seen{checkout}", "checkout", ""], "")


def test_caches_stay_out_of_the_checkout() -> None:
    script = "import os, sys; print(sys.dont_write_bytecode, os.environ['HYPOTHESIS_STORAGE_DIRECTORY'])"
    no_bytecode, hypothesis = run_as_ordinary([sys.executable, "-c", script]).stdout.split()
    assert no_bytecode == "True"
    assert not Path(hypothesis).is_relative_to(users.CHECKOUT)


@needs_root
@needs_nginx
@pytest.mark.slow
def test_servers_start_for_an_ordinary_user_too() -> None:
    tests = ["tests/unit/support/test_servers.py", "tests/unit/support/test_pki.py"]
    result = run_as_ordinary(["pytest", "-q", "-m", "not slow", *tests])
    assert result.returncode == 0, result.stdout


def test_missing_feature_skips_with_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(users.FEATURES, "wings", ("wings (Debian: none)", lambda: False))
    monkeypatch.setenv("FOXDEN_TEST_STRICT", "0")
    with pytest.raises(pytest.skip.Exception, match="missing: wings"):
        users.require("wings")
    monkeypatch.setenv("FOXDEN_TEST_STRICT", "1")
    with pytest.raises(pytest.fail.Exception, match="missing: wings"):
        users.require("wings")


def test_every_need_has_a_row() -> None:
    for name, mark in vars(users).items():
        if name.startswith("needs_") and mark.args:
            assert set(mark.args) <= users.FEATURES.keys()


def test_root_is_who_has_uid_0() -> None:
    assert users.is_root() == (os.geteuid() == 0)
