"""`foxden run` on a terminal: job control, Ctrl-C, Ctrl-Z, sizes, full-screen programs, pipelines of half a terminal.

Flow: tmux → bash → `foxden run` → a program with a terminal of its own → what the screen shows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.foxden_run import SOURCE, assert_gone
from tests.support.tmux import PROMPT, Screen, screen
from tests.support.users import needs_tmux, needs_userns

pytestmark = [needs_userns, needs_tmux]
END = PROMPT.strip()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Screen]:
    """A shell in which `fx` is `foxden run`."""
    command = tmp_path / "fx"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m foxden run "$@"\n')
    command.chmod(0o755)
    (tmp_path / "lines").write_text("".join(f"line {number}\n" for number in range(1, 501)))
    environment = {"PYTHONPATH": str(SOURCE), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with screen(environment) as one:
        one.line(f"cd {tmp_path}; clear")
        yield one


def test_the_program_has_a_terminal_of_its_own_as_large_as_the_users(terminal: Screen) -> None:
    terminal.fresh("fx -- sh -c 'tty; stty size; test -t 0 && test -t 1 && test -t 2 && echo three'; echo rc=$?")
    terminal.wait("/dev/pts/0\n30 100\nthree\nrc=0")


def test_a_new_size_is_told_to_the_program(terminal: Screen) -> None:
    terminal.fresh("fx -- sh -c 'trap \"stty size; exit\" WINCH; echo u\\p; while :; do sleep .1; done'")
    terminal.wait("up")
    terminal.resize(90, 25)
    terminal.wait("25 90")


def test_colours_pass(terminal: Screen) -> None:
    terminal.fresh("fx -- printf '\\033[31mred\\033[0m\\n'")
    terminal.wait("\x1b[31mred", colours=True)


def test_ctrl_c_ends_the_program_and_ctrl_d_its_input(terminal: Screen) -> None:
    terminal.fresh("fx -- sh -c 'echo u\\p; exec cat'; echo rc=$?")
    terminal.wait("up")
    terminal.line("typed")
    terminal.wait("typed\ntyped")
    terminal.keys("C-c")
    terminal.wait("rc=130")
    terminal.fresh("fx -- sh -c 'echo u\\p; cat; exit 3'; echo rc=$?")
    terminal.wait("up")
    terminal.keys("C-d")
    terminal.wait("rc=3")


def test_ctrl_z_stops_the_job_and_fg_and_bg_continue_it(terminal: Screen) -> None:
    terminal.fresh("fx -- sh -c 'echo u\\p; sleep 1; echo s\\lept; read x; echo got $x'; echo rc=$?")
    terminal.wait("up")
    terminal.keys("C-z")
    terminal.wait("Stopped")
    terminal.line("stty -a | grep -o ' icanon'; jobs | grep -c Stopped")
    terminal.wait(" icanon\n1")
    terminal.fresh("fg")
    terminal.wait("slept")
    terminal.line("word")
    terminal.wait(f"got word\n{END}")
    terminal.fresh("fx -- sh -c 'echo u\\p; sleep 1; echo s\\lept'")
    terminal.wait("up")
    terminal.keys("C-z")
    terminal.wait("Stopped")
    terminal.fresh("bg")
    terminal.wait("slept")


def test_a_background_job_stops_when_it_wants_to_read(terminal: Screen) -> None:
    terminal.fresh("fx -- sh -c 'echo u\\p; read x; echo got $x' &")
    terminal.wait("up")
    terminal.line("sleep .5")
    terminal.line("jobs")
    terminal.wait("Stopped")
    terminal.fresh("fg")
    terminal.wait("fx -- sh")
    terminal.line("word")
    terminal.wait("got word")


def test_an_interactive_shell_inside_has_job_control(terminal: Screen) -> None:
    terminal.fresh("fx -- bash --norc --noprofile; echo rc=$?")
    terminal.wait("bash-")
    terminal.line("PS1='INSIDE> '; clear; sleep 96.41 &")
    terminal.line("fg")
    terminal.wait("\nsleep 96.41")
    terminal.keys("C-z")
    terminal.wait("Stopped")
    terminal.line("clear; jobs; kill %1; fg; sleep 96.42")
    terminal.wait("Terminated")
    terminal.keys("C-c")
    terminal.line("echo inside $?; exit 5")
    terminal.wait("inside 130")
    terminal.wait("rc=5")
    assert_gone("sleep\x0096.4")


def test_full_screen_programs_work_and_leave_the_screen_as_it_was(terminal: Screen) -> None:
    terminal.fresh("echo before; fx -- less lines; echo rc=$?")
    terminal.wait("line 29")
    terminal.keys("G")
    terminal.wait("line 500")
    terminal.keys("q")
    terminal.wait("before\nrc=0")
    terminal.line("stty -a | grep -o ' icanon'")
    terminal.wait(" icanon")


def test_python_reads_lines_and_passwords_from_the_terminal(terminal: Screen) -> None:
    terminal.fresh("fx -- python3 -iq")
    terminal.wait(">>>")
    terminal.line("6 * 7")
    terminal.wait("42")
    terminal.keys("C-c")
    terminal.wait("KeyboardInterrupt")
    terminal.line("import getpass; getpass.getpass()")
    terminal.wait("Password:")
    terminal.line("secret")
    assert "'secret'" in terminal.wait("'secret'")
    assert terminal.text().count("secret") == 1
    terminal.keys("C-d")
    terminal.wait(END)


@pytest.mark.parametrize("typed", ["read x </dev/tty; echo got $x", "read x; echo got $x"])
def test_half_a_terminal_is_enough(terminal: Screen, typed: str) -> None:
    """Standard output is a pipe; the keyboard is taken when the program wants it."""
    terminal.fresh(f"fx -- sh -c 'test -t 1 || echo p\\ipe; {typed}' | cat")
    terminal.wait("pipe")
    terminal.line("word")
    terminal.wait("got word")


def test_input_from_a_file_leaves_the_screen_a_terminal(terminal: Screen) -> None:
    terminal.fresh("fx -- sh -c 'test -t 1 && echo screen; tail -1; read x </dev/tty; echo got $x' <lines")
    terminal.wait("screen\nline 500")
    terminal.line("word")
    terminal.wait("got word")


def test_a_pager_behind_it_keeps_the_keyboard(terminal: Screen) -> None:
    terminal.fresh("fx -- cat lines | less")
    terminal.wait("line 29")
    terminal.keys("G")
    terminal.wait("line 500")
    terminal.keys("q")
    terminal.wait(END)
    terminal.line("stty -a | grep -o ' icanon'")
    terminal.wait(" icanon")


def test_ctrl_z_and_ctrl_c_reach_a_program_whose_output_is_a_pipe(terminal: Screen) -> None:
    terminal.fresh("fx -- sh -c 'echo u\\p; sleep 96.43' | cat; echo rc=${PIPESTATUS[0]}")
    terminal.wait("up")
    terminal.keys("C-z")
    terminal.wait("Stopped")
    terminal.fresh("fg")
    terminal.wait("sleep")
    terminal.keys("C-c")
    assert_gone("sleep\x0096.43")


@pytest.mark.parametrize(
    ("options", "ending", "code"),
    [("", "kill -SEGV $$", 139), ("--timeout 1", "sleep 50", 124), ("", "exit 3", 3)],
)
def test_the_terminal_is_given_back_however_it_ends(terminal: Screen, options: str, ending: str, code: int) -> None:
    terminal.fresh(f"fx {options} -- sh -c 'stty raw -echo; {ending}'; echo rc=$?; stty -a | grep -o ' icanon'")
    terminal.wait(f"rc={code}\n icanon")


def test_a_terminal_that_goes_away_ends_the_program(terminal: Screen) -> None:
    terminal.fresh("fx -- sh -c 'echo u\\p; sleep 96.44'")
    terminal.wait("up")
    terminal.end()
    assert_gone("sleep\x0096.44")


def test_it_types_nothing_into_the_users_terminal(terminal: Screen) -> None:
    """TIOCSTI of its own terminal is refused, and the user's it does not have."""
    act = "import fcntl; fcntl.ioctl(0, 0x5412, b'x')"
    terminal.fresh(f'fx -- python3 -c "{act}"; echo rc=$?')
    terminal.wait("PermissionError")
    terminal.wait("rc=1")


def test_without_any_terminal_there_is_none() -> None:
    command = [
        sys.executable,
        "-m",
        "foxden",
        "run",
        "--",
        "sh",
        "-c",
        "test -t 0 || echo no; echo x >/dev/tty || exit 6",
    ]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdin=subprocess.DEVNULL, capture_output=True,
        start_new_session=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (6, b"no\n") or (done.stdout == b"no\n" and done.returncode == 2)
