"""`foxden run` with programs that take too much: each limit ends them, says so, and leaves nothing behind.

Flow: programs that sleep, allocate, fork, write without end → `python -m foxden run --<limit>` → code, line, record.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from tests.support.foxden_run import Done, assert_gone, run, shell
from tests.support.users import needs_root, needs_userns

from foxden.sandbox import cgroup

pytestmark = needs_userns
PYTHON = "/usr/bin/python3"
MIB = 1 << 20
SPIN = "while True: pass"


def told(done: Done, code: int, option: str) -> str:
    """What was said: one line of what happened, one of what gives it more."""
    text = done.stderr.decode()
    assert done.returncode == code, done
    lines = [line for line in text.splitlines() if line.startswith(("limit: ", "hint: "))]
    assert lines[1] == f"hint: {option} gives it more", text
    return lines[0]


# --- time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "sleep 61.7",
        "trap '' TERM INT HUP QUIT; sleep 61.7 & sleep 61.7",
        "(setsid sleep 61.7 &) ; sleep 61.7",
        "exec >&- 2>&-; sleep 61.7",
        "kill -STOP $$; sleep 61.7",
        "while :; do :; done",
    ],
)
def test_timeout_ends_whatever_it_does(script: str) -> None:
    began = time.monotonic()
    done = shell(script, ["--timeout", "0.7"])
    assert time.monotonic() - began < 10
    assert told(done, 124, "--timeout").startswith("limit: ended after ")
    assert_gone("sleep\x0061.7")


def test_one_that_is_quicker_than_its_timeout_is_not_disturbed() -> None:
    done = run(["true"], ["--timeout", "30", "--memory", "1G", "--cpu-time", "10", "--processes", "50"])
    assert (done.returncode, done.stderr) == (0, b"")


def test_cpu_time_counts_all_processes_together() -> None:
    done = run([PYTHON, "-c", SPIN], ["--cpu-time", "1"])
    assert told(done, 152, "--cpu-time") == "limit: ended after 1 s of processor time"
    script = f"import os, time\nfor i in range(3):\n  if not os.fork():\n    {SPIN}\ntime.sleep(60)"
    assert told(run([PYTHON, "-c", script], ["--cpu-time", "1"]), 152, "--cpu-time")
    assert run(["sleep", "0.5"], ["--cpu-time", "1"]).returncode == 0


# --- memory -------------------------------------------------------------------------------------------------------

_MANY = """import os, time
for i in range(5):
  if not os.fork():
    x = bytearray(60 << 20); time.sleep(61)
time.sleep(61)
"""


def test_memory_of_one_process_is_refused_by_the_kernel() -> None:
    done = run([PYTHON, "-c", "x = bytearray(300 << 20)"], ["--memory", "100M"])
    assert done.returncode in (1, 137)
    assert b"MemoryError" in done.stderr or b"limit: " in done.stderr
    assert run([PYTHON, "-c", "x = bytearray(50 << 20)"], ["--memory", "100M"]).returncode == 0


def test_memory_of_many_processes_together_ends_them() -> None:
    done = run([PYTHON, "-c", _MANY], ["--memory", "150M"])
    assert "of memory" in told(done, 137, "--memory")
    assert_gone("x = bytearray(60 << 20)")
    done = run([PYTHON, "-c", _MANY.replace("61", "0.3")], ["--memory", "1G"])
    assert done.returncode == 0


def test_a_limit_is_a_record(tmp_path: Path) -> None:
    report = tmp_path / "report.jsonl"
    done = run([PYTHON, "-c", _MANY], ["--memory", "150M", "--json", "--report", report])
    found = json.loads(done.stdout)
    assert (found["returncode"], found["limit"], found["timed_out"]) == (137, "memory", False)
    (record,) = [json.loads(line) for line in report.read_text().splitlines()]
    assert (record["kind"], record["operation"]) == ("limit", "memory")
    assert record["hint"] == "--memory gives it more"
    assert found["violations"] == [record]


# --- processes ----------------------------------------------------------------------------------------------------


def test_processes_are_limited() -> None:
    """A limit that the kernel keeps lets fork fail; where it keeps none, as for root, the whole tree ends."""
    script = "for i in $(seq 60); do sleep 61.3 & done; sleep 1; echo through; kill $(jobs -p)"
    done = shell(script, ["--processes", "20", "--timeout", "20"])
    assert b"limit: ended at" in done.stderr or b"fork" in done.stderr or done.returncode == 124, done
    assert_gone("sleep\x0061.3")
    assert shell(script, ["--processes", "200"]).stdout == b"through\n"


def test_a_fork_bomb_is_contained() -> None:
    began = time.monotonic()
    done = shell("bomb() { bomb | bomb & }; bomb; sleep 61.9", ["--timeout", "3", "--processes", "100"])
    assert done.returncode in (124, 137)
    assert time.monotonic() - began < 30
    assert_gone("sleep\x0061.9")


# --- files and output ---------------------------------------------------------------------------------------------


def test_a_file_may_not_grow_beyond_its_limit(tmp_path: Path) -> None:
    done = run(
        ["dd", "if=/dev/zero", f"of={tmp_path}/x", "bs=1M", "count=5"], ["--file-size", "2M", "--write", tmp_path]
    )
    assert told(done, 153, "--file-size") == "limit: ended when a file grew beyond 2 MiB"
    assert (tmp_path / "x").stat().st_size == 2 * MIB
    done = run(
        ["dd", "if=/dev/zero", f"of={tmp_path}/y", "bs=1M", "count=2"], ["--file-size", "2M", "--write", tmp_path]
    )
    assert done.returncode == 0


def test_private_folders_are_full_before_the_machine_is() -> None:
    done = shell("dd if=/dev/zero of=/tmp/x bs=1M count=100", ["--memory", "50M"])
    assert done.returncode == 1
    assert b"No space left on device" in done.stderr
    script = "import os\ntry:\n  for i in range(100000): os.close(os.open(f'/tmp/{i}', os.O_CREAT))\n"
    script += "except OSError as e: print(e.errno)"
    assert run([PYTHON, "-c", script]).stdout == b"28\n"


def test_endless_output_is_cut_off_with_json() -> None:
    done = run(["yes"], ["--json", "--output", "1M", "--timeout", "1"])
    found = json.loads(done.stdout)
    assert (found["limit"], found["truncated"], len(found["stdout"])) == ("timeout", True, MIB)
    assert done.returncode == 124


def test_descriptors_are_limited() -> None:
    script = "import os\ntry:\n  while True: os.dup(0)\nexcept OSError as e: print(e.errno)"
    assert run([PYTHON, "-c", script]).stdout == b"24\n"


# --- control groups -----------------------------------------------------------------------------------------------


def _v2_root() -> str:
    top = cgroup._mounted()
    if not top or not os.access(top, os.W_OK):
        pytest.skip("missing: a cgroup v2 hierarchy where groups can be made")
    return top


def test_where_no_group_is_delegated_none_is_used() -> None:
    """The answer for this process is of this machine; that for controllers that no kernel has is always no."""
    assert cgroup.find(("no-such-controller",)) == ""


@needs_root
def test_a_group_is_joined_killed_and_removed() -> None:
    """On any v2 hierarchy: without controllers there are no limits, but groups and their end are real."""
    group = cgroup.Group.make(_v2_root())
    try:
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        group.join(pid)
        assert str(pid) in Path(group.path, "cgroup.procs").read_text().split()
        assert group.exceeded() == ""
        group.kill()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -9
    finally:
        group.end()
    assert not os.path.exists(group.path)
    group.end()


@needs_root
def test_a_group_whose_limits_are_not_to_be_had_is_not_left_behind() -> None:
    top = _v2_root()
    if "memory" in Path(top, "cgroup.controllers").read_text().split():
        pytest.skip("missing: a v2 hierarchy without controllers")
    before = set(os.listdir(top))
    with pytest.raises(OSError, match=r"memory\.max"):
        cgroup.Group.make(top, memory=MIB)
    assert set(os.listdir(top)) == before


@needs_root
def test_groups_of_runs_that_were_killed_are_swept_up() -> None:
    top = _v2_root()
    left = Path(top, "foxden-4194304-0")  # no process has this number
    left.mkdir()
    group = cgroup.Group.make(top)
    group.end()
    assert not left.exists()
