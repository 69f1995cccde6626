"""`foxden run` from a script's point of view: exit codes, streams, signals, wrong input; nothing is left behind.

Flow: programs that end, write, read and are signalled in every way → `python -m foxden run` → as without it.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.foxden_run import assert_gone, environment, interrupt, run, running, shell, wait_for, words
from tests.support.users import needs_userns

pytestmark = needs_userns
BINARY = bytes(range(256)) * 40_960  # 10 MiB


# --- exit codes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [0, 1, 7, 124, 125, 126, 127, 128, 255])
def test_exit_code_is_the_programs(code: int) -> None:
    done = shell(f"exit {code}", interpreter="sh")
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")


@pytest.mark.parametrize("name", ["SEGV", "KILL", "TERM", "INT", "ABRT", "HUP", "PIPE", "USR1"])
def test_death_by_a_signal_is_128_and_its_number(name: str) -> None:
    done = shell(f"kill -{name} $$", interpreter="sh")
    assert (done.returncode, done.stderr) == (128 + signal.Signals[f"SIG{name}"], b"")


def test_json_tells_code_signal_and_streams() -> None:
    told = json.loads(shell("echo out; echo err >&2; exit 7", ["--json"]).stdout)
    assert (told["returncode"], told["signal"], told["stdout"], told["stderr"]) == (7, None, "out\n", "err\n")
    assert all(layer["status"] == "FULL" for layer in told["enforcement"].values()), told["enforcement"]
    told = json.loads(shell("kill -SEGV $$", ["--json"]).stdout)
    assert (told["returncode"], told["signal"]) == (139, 11)


# --- streams ------------------------------------------------------------------------------------------------------


def test_ten_megabytes_pass_unchanged_both_ways() -> None:
    done = run(["cat"], given=BINARY)
    assert (done.returncode, done.stderr) == (0, b"")
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(BINARY).digest()


def test_streams_are_the_files_themselves(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"0123456789")
    with open(tmp_path / "in", "rb") as given, open(tmp_path / "out", "wb") as out:
        given.seek(4)
        out.write(b"before ")
        out.flush()
        done = shell("head -c 3; echo err >&2", stdin=given, stdout=out)
    assert (tmp_path / "out").read_bytes() == b"before 456"
    assert done.stderr == b"err\n"


def test_both_streams_may_be_one() -> None:
    done = shell("echo 1; echo 2 >&2; echo 3", stderr=subprocess.STDOUT)
    assert done.stdout == b"1\n2\n3\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_dev_null_and_no_other_file(closed: str, tmp_path: Path) -> None:
    command = " ".join(f"'{word}'" for word in words(["sh", "-c", "cat; echo out; echo err >&2; exit 3"]))
    done = subprocess.run(
        ["sh", "-c", f"{command} {closed}"],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stdout == (b"" if ">&-" in closed.replace("2>&-", "") else b"out\n")
    assert done.stderr == (b"" if "2>&-" in closed else b"err\n")


def test_a_reader_that_leaves_ends_the_writer_quietly() -> None:
    command = " ".join(f"'{word}'" for word in words(["yes"]))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; echo ${{PIPESTATUS[0]}}"], env=environment(), stdin=subprocess.DEVNULL,
        capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (b"y\n141\n", b"")


def test_a_full_disk_is_the_programs_to_report() -> None:
    with open("/dev/full", "wb") as full:
        done = run(["cat"], given=b"x", stdout=full)
    assert (done.returncode, done.stderr) == (1, b"cat: write error: No space left on device\n")


def test_no_other_descriptor_is_open() -> None:
    with open(os.devnull, "rb") as extra:
        os.set_inheritable(extra.fileno(), True)
        done = run(["ls", "/proc/self/fd"], close_fds=False)
    assert done.stdout.split() == [b"0", b"1", b"2", b"3"]  # 3: the listing itself


def test_it_works_in_every_place_of_a_script(tmp_path: Path) -> None:
    foxden = " ".join(f"'{word}'" for word in words([]))
    script = f"""
x=$({foxden} echo in-substitution); echo $x
seq 4 | xargs -P 3 -I%% {foxden} echo item%% | sort
{foxden} sh -c 'sleep .1; exit 5' & wait $!; echo $?
nohup {foxden} sh -c 'kill -HUP $$; echo survived' 2>/dev/null
{foxden} cat < {tmp_path}/in | {foxden} tr a b
if {foxden} false; then echo wrong; else echo else; fi
"""
    (tmp_path / "in").write_text("aa\n")
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.decode() == (
        "in-substitution\nitem1\nitem2\nitem3\nitem4\n5\nsurvived\nbb\nelse\n"
    ), done.stderr  # fmt: skip


# --- signals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_a_signal_to_foxden_is_the_programs(number: signal.Signals) -> None:
    with running(["sh", "-c", "echo up; while :; do sleep .05; done"]) as process:
        wait_for(process.stdout, b"up")
        assert interrupt(process, number) == 128 + number


def test_a_program_may_handle_its_signals() -> None:
    script = "trap 'echo got; exit 9' TERM; echo up; while :; do sleep .05; done"
    with running(["sh", "-c", script]) as process:
        wait_for(process.stdout, b"up")
        assert interrupt(process, signal.SIGTERM) == 9
        assert process.stdout is not None
        assert process.stdout.read() == b"got\n"


def test_ctrl_c_reaches_the_program_once_and_foxden_waits_for_it() -> None:
    script = "trap 'echo int' INT; echo up; sleep 1; sleep .2; exit 4"
    with running(["sh", "-c", script], start_new_session=True) as process:
        wait_for(process.stdout, b"up")
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) == 4
        assert process.stdout is not None
        assert process.stdout.read() == b"int\n"


def test_foxden_killed_takes_the_whole_tree_with_it() -> None:
    marker = "97.2113"
    with running(["bash", "-c", f"setsid sleep {marker} & echo up; sleep {marker}"]) as process:
        wait_for(process.stdout, b"up")
        process.kill()
        process.wait(10)
    assert_gone(marker)


def test_one_that_stops_itself_is_continued_through_foxden() -> None:
    script = "echo up; kill -STOP $$; echo on; exit 3"
    with running(["sh", "-c", script]) as process:
        wait_for(process.stdout, b"up")
        time.sleep(0.2)
        assert process.poll() is None
        assert interrupt(process, signal.SIGCONT) == 3


def test_ignored_signals_stay_ignored() -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with running(["sh", "-c", "kill -HUP $$; echo up; sleep .3; exit 2"], preexec_fn=ignore) as process:
        wait_for(process.stdout, b"up")
        assert interrupt(process, signal.SIGHUP) == 2


# --- wrong input --------------------------------------------------------------------------------------------------

WRONG = {
    "a missing path": (["--read", "missing"], "expected a file or directory that exists"),
    "the root": (["--read", "/"], "never granted"),
    "the machine's processes": (["--write", "/proc"], "never granted"),
    "an empty path": (["--read", ""], "expected a path"),
    "no memory": (["--memory", "0"], "expected a size"),
    "a size that is none": (["--file-size", "1X"], "expected a size"),
    "a negative time": (["--timeout", "-1"], "expected seconds"),
    "a time that is none": (["--cpu-time", "nan"], "expected seconds"),
    "no processes": (["--processes", "0"], "expected a number"),
    "an unknown option": (["--nonsense"], "no such option"),
    "a value too many": (["--explain=1"], "does not take a value"),
    "an unknown layer": (["--allow-partial", "nonsense"], "expected a layer"),
    "a missing policy": (["--policy", "missing.toml"], "missing.toml"),
    "a variable without a name": (["--env", "=x"], "expected the name"),
    "a library to load": (["--env", "LD_PRELOAD"], "expected LD_PRELOAD with its value"),
    "a missing directory": (["--cwd", "missing"], "expected a directory"),
    "a host": (["--connect", "example.org"], "later version"),
    "a URL": (["--connect", "https://example.org/"], "expected HOST"),
    "an absolute name": (["--protect", "/x"], "expected a name"),
    "a report that cannot be": (["--report", "/missing/r"], "expected a file to append to"),
    "a policy that cannot be": (["--learn", "/missing/l"], "expected a file"),
    "two answers": (["--policy", "twice.toml", "--read", "denied"], "expected one answer"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_an_error_a_hint_and_125(name: str, tmp_path: Path) -> None:
    (tmp_path / "denied").mkdir()
    (tmp_path / "twice.toml").write_text(f'extends = "plugin"\n[files]\n"{tmp_path}/denied" = "deny"\n')
    options, says = WRONG[name]
    done = run(["touch", "/tmp/it-ran"], options, cwd=tmp_path)
    told = done.stderr.decode()
    assert (done.returncode, done.stdout) == (125, b""), told
    assert told.startswith("error: ")
    assert says in told
    assert "Traceback" not in told
    assert len(told.splitlines()) <= 2


@pytest.mark.parametrize("ending", [[], ["--"], ["--", ""], ["--timeout"]])
def test_no_program_is_an_error_and_a_hint(ending: list[str]) -> None:
    command = [sys.executable, "-m", "foxden", "run", *ending]
    done = subprocess.run(command, env=environment(), capture_output=True, check=False)
    assert done.returncode == 125
    assert b"expected a program to run" in done.stderr
    assert b"hint: foxden run [OPTIONS] -- PROGRAM" in done.stderr


def test_help_fits_on_a_narrow_screen_and_names_every_option() -> None:
    from foxden.front.run_options import OPTIONS

    command = [sys.executable, "-m", "foxden", "run", "--help"]
    done = subprocess.run(command, env=environment({"COLUMNS": "80"}), capture_output=True, check=False, text=True)
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert all(option.name in done.stdout for option in OPTIONS)


# --- what a run needs, and leaves ---------------------------------------------------------------------------------

_HEAVY = ("asyncio", "click", "dataclasses", "pathlib", "subprocess", "foxden.sandbox.policy", "foxden.sandbox.build")


def test_nothing_heavy_is_loaded_before_the_program_runs() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "foxden", "run", "--read", "/usr", "--", "true"]
    done = subprocess.run(command, env=environment(), capture_output=True, check=True, text=True)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "foxden.front.running" in loaded
    startup = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", ""], env=environment(), capture_output=True, check=True, text=True
    ).stderr  # what this interpreter's site packages load is not ours
    found = [name for name in _HEAVY if name in loaded and f" {name}\n" not in startup]
    assert found == []


def test_fifty_runs_leave_no_process_mount_or_file(tmp_path: Path) -> None:
    def state() -> tuple[int, list[str], int]:
        mounts = Path("/proc/self/mountinfo").read_text().count("\n")
        folders = os.listdir(tmp_path)
        children = len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
        return mounts, folders, children

    before = state()
    loop = 'for i in $(seq 50); do "$@" || exit 1; done'
    done = subprocess.run(
        ["bash", "-c", loop, "bash", *words(["true"])],
        env=environment({"TMPDIR": str(tmp_path)}),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert state() == before
