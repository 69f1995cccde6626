"""Nothing outlives the command, whatever it does and however it ends; and a broker that fails hangs nobody."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.attack.run.ground import PYTHON, Ground, command, decoded

CLING = """
import os, signal, sys, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
for n in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            if n:
                os.setpgid(0, 0)
            if n == 2:
                os.closerange(0, 64)
            while True:
                time.sleep(1)
        os._exit(0)
print("ready", flush=True)
while True:
    time.sleep(1)
"""


@contextmanager
def started(ground: Ground, *program: str, options: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """A run that has printed its first line."""
    words = command(*ground.words(*options), "--", *program)
    with subprocess.Popen(
        words, env=ground.environment(), cwd=ground.base, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline(), process.stderr and process.stderr.read()
            yield process
        finally:
            process.kill()


def family(pid: int) -> set[int]:
    """All that descend from a process, by the kernel's word."""
    found: set[int] = set()
    left = [pid]
    while left:
        for child in _children(left.pop()):
            if child not in found:
                found.add(child)
                left.append(child)
    return found


def whole_family(pid: int, count: int) -> set[int]:
    """It once there are so many: the last may be between two forks when the program says that it is ready."""
    until = time.monotonic() + 5
    while len(found := family(pid)) < count:
        assert time.monotonic() < until, [name_of(each) for each in found]
        time.sleep(0.01)
    return found


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def name_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if _state(pid) not in ("", "Z", "X")}


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def wait_until_gone(pids: set[int], limit_s: float) -> None:
    until = time.monotonic() + limit_s
    while alive(pids) and time.monotonic() < until:
        time.sleep(0.01)
    assert not alive(pids), [(pid, name_of(pid)) for pid in alive(pids)]


def broker_of(pid: int) -> int:
    return next(child for child in _children(pid) if name_of(child) == "foxden-broker")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_descendants_that_cling_die_with_the_command_within_a_second(ground: Ground, number: int) -> None:
    """Cases 58, 59 and 60: double fork, own session, own group, all closed, every signal ignored; the broker too."""
    before = set(os.listdir(ground.base))
    options = () if number == signal.SIGKILL else ("--timeout", "1")  # the program ignores the signal that is passed on
    with started(ground, PYTHON, "-c", CLING, options=options) as process:
        everyone = whole_family(process.pid, 6)  # broker, init, program and its three
        assert "foxden-broker" in map(name_of, everyone)
        process.send_signal(number)
        process.wait(5)
        wait_until_gone(everyone, 1.0)
    assert set(os.listdir(ground.base)) == before


def test_killing_the_init_ends_the_program_and_the_command(ground: Ground) -> None:
    with started(ground, PYTHON, "-c", CLING) as process:
        everyone = family(process.pid)
        init = next(pid for pid in everyone if name_of(pid) == "foxden-init")
        os.kill(init, signal.SIGKILL)
        assert process.wait(5) == 128 + signal.SIGKILL
        wait_until_gone(everyone, 1.0)


def test_killed_broker_ends_the_run_and_continues_no_call(ground: Ground, compiled: Callable[[str], str]) -> None:
    """Case 94."""
    flood = compiled("flood")
    target = ground.rw / "flooded"
    options = ("--read", str(Path(flood).parent))
    with started(ground, flood, str(target), "1000000", options=options) as process:
        os.kill(broker_of(process.pid), signal.SIGKILL)
        assert process.wait(5) != 0
    assert not (ground.secret / "flooded").exists()


def test_stopped_broker_holds_a_call_until_the_time_is_up(ground: Ground, compiled: Callable[[str], str]) -> None:
    """Case 94: an error or an end, never a "continue"."""
    flood = compiled("flood")
    options = ("--read", str(Path(flood).parent), "--timeout", "2")
    with started(ground, flood, str(ground.rw / "flooded"), "1000000", options=options) as process:
        broker = broker_of(process.pid)
        os.kill(broker, signal.SIGSTOP)
        began = time.monotonic()
        try:
            assert process.wait(10) == 124
        finally:
            wait_until_gone({broker}, 5.0)
        assert time.monotonic() - began < 8


def test_flood_of_opens_of_one_run_is_not_felt_by_another(ground: Ground, compiled: Callable[[str], str]) -> None:
    """Case 96: each run has a broker of its own, and a broker takes one call of a child at a time."""
    flood = compiled("flood")
    options = ("--read", str(Path(flood).parent))

    def percentile() -> int:
        done = ground.run(flood, str(ground.rw / "quiet"), "300", "1000", options=options)
        found = re.search(r"opened 300 failed 0 median \d+ p99 (\d+)", done.stdout)
        assert found is not None, done.stdout
        return int(found[1])

    quiet = percentile()
    with started(ground, flood, str(ground.rw / "flooded"), "100000", options=options):
        loaded = percentile()
    assert loaded < max(50_000, 20 * quiet), f"p99 {quiet} µs alone, {loaded} µs beside a flood"


def test_flood_of_opens_ends_with_every_one_served(ground: Ground, compiled: Callable[[str], str]) -> None:
    flood = compiled("flood")
    words = command(
        "--json", *ground.words("--read", str(Path(flood).parent)), "--", flood, str(ground.rw / "f"), "4000"
    )
    done = decoded(subprocess.run(words, env=ground.environment(), cwd=ground.base, stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, timeout=60, check=False))  # fmt: skip
    assert "opened 4000 failed 0" in done.stdout


def test_flood_of_refusals_is_counted_and_what_came_first_is_told(ground: Ground) -> None:
    """A program cannot hide one refusal among others: how many were not told is told."""
    script = "import os\nfor n in range(2000):\n try: os.mkdir(f'/usr/flood-{n}')\n except OSError: pass"
    done = ground.run(PYTHON, "-c", script)
    told = [each for each in done.violations if each.get("path", "").startswith("/usr/flood-")]
    more = [each for each in done.violations if each["kind"] == "limit" and each["operation"] == "more violations"]
    assert told[0]["path"] == "/usr/flood-0"
    assert len(more) == 1
    assert sum(each.get("count", 1) for each in (*told, *more)) == 2000
