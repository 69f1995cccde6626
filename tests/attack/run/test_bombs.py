"""Programs that take all there is: of processes, memory, disk, processor, output.  Each ends, and says why."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.attack.run.ground import PYTHON, Ground, command, program


@pytest.mark.parametrize(
    ("how", "count"),
    [("row", 10_000), ("ignored", 5000), ("nohang", 3000), ("vfork", 3000), ("raw", 3000), ("thread", 3000)],
)
def test_thousands_of_short_children_one_after_the_other_all_run(
    ground: Ground, compiled: Callable[[str], str], how: str, count: int
) -> None:
    """Cases 63 and 64: a limit counts those that live."""
    forks = compiled("forks")
    done = ground.run(forks, how, str(count), options=["--read", str(Path(forks).parent)])
    assert done.stdout == f"made {count} all\n"


@pytest.mark.alone
@pytest.mark.parametrize("how", ["zombies", "threads", "forks"])
def test_bomb_of_processes_meets_its_limit(ground: Ground, compiled: Callable[[str], str], how: str) -> None:
    """Cases 61, 62 and 64: counted alike, whatever they are."""
    forks = compiled("forks")
    done = ground.run(forks, how, "3000", options=["--read", str(Path(forks).parent)])
    found = re.fullmatch(r"made (\d+) Resource temporarily unavailable\n", done.stdout)
    assert found is not None, done.stdout
    assert 500 < int(found[1]) < 1400, "1024 tasks, and the numbers that a pid namespace gives out once"
    within = ground.run(forks, how, "400", options=["--read", str(Path(forks).parent)])
    assert within.stdout == "made 400 all\n"


FORK_BOMB = """
import os
while True:
    try: os.fork()
    except OSError: pass
"""


@pytest.mark.alone
def test_fork_bomb_ends_with_its_time_and_the_broker_answers_others(ground: Ground) -> None:
    """Case 62: killed within a second."""
    began = time.monotonic()
    with subprocess.Popen(
        command("--json", "--timeout", "2", *ground.words("--", PYTHON, "-c", FORK_BOMB)),
        env=ground.environment(),
        cwd=ground.base,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as bomb:
        time.sleep(1)
        done = ground.run("/bin/sh", "-c", f"echo fine > {ground.rw}/fine && cat {ground.rw}/fine")
        assert done.stdout == "fine\n"
        said = json.loads(bomb.communicate(timeout=20)[0])
    # By its time; as root, whose tasks the kernel does not count, what counts them from outside may be first.
    ends = {"timeout": 124, "processes": 137} if os.getuid() == 0 else {"timeout": 124}
    assert bomb.returncode == ends.get(said["limit"]), said
    assert time.monotonic() - began < 15


ENDS = {  # kind → how it may end: an error that the program sees, or killed by the limit
    "touched": "limit",
    "heap": "limit|MemoryError",
    "memory file": "limit",
    "shm": "limit|ENOSPC",
    "tmp": "limit|ENOSPC",
    "segments": "limit|ENOSPC|ENOMEM|EINVAL",
    "pipes": "EMFILE|EPERM|EAGAIN",
    "sockets": "EMFILE|limit|ENOBUFS",
    "children": "limit",
    "tables": "limit",
}


@pytest.mark.parametrize("kind", ENDS)
def test_memory_bomb_ends_at_its_limit_and_says_so(ground: Ground, kind: str) -> None:
    """Case 67."""
    done = ground.run(PYTHON, program("bombs.py"), kind, options=["--memory", "200M"])
    if done.said["limit"] == "memory":
        assert done.code == 137
        (record,) = done.records(kind="limit")
        assert record["operation"] == "memory"
        assert record["hint"] == "--memory gives it more"
        ended = "limit"
    else:
        ended = done.stdout.strip() or f"exit {done.code}"
    assert re.fullmatch(ENDS[kind], ended), f"{ended} {done.stderr}"


def test_memory_within_the_limit_is_given(ground: Ground) -> None:
    done = ground.run(PYTHON, "-c", "print(len(bytearray(b'x' * (64 << 20))))", options=["--memory", "200M"])
    assert done.stdout == f"{64 << 20}\n"


@pytest.mark.alone
def test_processor_time_of_all_processes_ends_them(ground: Ground) -> None:
    """Case 66."""
    began = time.monotonic()
    script = "import os\nfor _ in range(3): os.fork()\nwhile True: pass"
    done = ground.run(PYTHON, "-c", script, options=["--cpu-time", "1"])
    assert done.said["limit"] == "cpu-time" or done.code == 128 + 24
    assert time.monotonic() - began < 20


def test_file_cannot_grow_beyond_its_limit(ground: Ground) -> None:
    """Case 32: in the granted directory, which lies on the host's disk."""
    script = f"head -c 3000000 /dev/zero > {ground.rw}/grown; echo $?"
    done = ground.run("/bin/sh", "-c", script, options=["--file-size", "1M"])
    assert (ground.rw / "grown").stat().st_size == 1 << 20
    assert done.stdout.strip() != "0"
    assert ground.run("/bin/sh", "-c", script).stdout.strip() == "0"


def test_flood_of_output_is_capped_and_the_run_returns(ground: Ground) -> None:
    """Case 130: gigabytes and no line end."""
    began = time.monotonic()
    done = ground.run("/bin/sh", "-c", "head -c 2G /dev/zero", options=["--output", "64K", "--timeout", "50"])
    assert len(done.stdout) == 65_536
    assert done.said["truncated"] is True
    assert time.monotonic() - began < 50


@pytest.mark.parametrize("closes", ["", "exec >&- 2>&-;"], ids=["open", "closed by the program"])
def test_grandchild_that_holds_the_pipe_does_not_hold_the_run(ground: Ground, closes: str) -> None:
    """Case 130."""
    began = time.monotonic()
    done = ground.run("/bin/sh", "-c", f"echo said; setsid sleep 100 & {closes} exit 3")
    assert done.code == 3
    assert done.stdout == "said\n"
    assert time.monotonic() - began < 10


def test_crash_leaves_no_core_behind(ground: Ground) -> None:
    """Cases 33 and 127: neither in the granted directory nor anywhere else."""
    script = f"import os, resource, signal\nos.chdir({str(ground.rw)!r})\nos.kill(os.getpid(), signal.SIGSEGV)"
    before = sorted(path.name for path in ground.rw.iterdir())
    done = ground.run(PYTHON, "-c", script)
    assert done.code == 128 + 11
    assert sorted(path.name for path in ground.rw.iterdir()) == before
