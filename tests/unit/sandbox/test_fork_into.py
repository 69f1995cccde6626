"""A copy of this process: with one thread and with several, what must be its own is."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
SAYS = """
import json, os, random, sys, threading
from foxden.sandbox import linux

def say(writer):
    main = threading.main_thread()
    lock = threading.Lock()
    with lock:
        facts = [random.random(), main.native_id == os.getpid() == threading.get_native_id(), main.is_alive()]
    started = threading.Thread(target=lambda: facts.append("thread"))
    started.start(); started.join()
    os.write(writer, json.dumps(facts).encode())

if {several}:
    stop = threading.Event()
    threading.Thread(target=stop.wait, daemon=True).start()
random.random()
for _ in range(3):
    reader, writer = os.pipe()
    pid, pidfd = linux.fork_into(0, own_child=True)
    if pid == 0:
        try:
            say(writer)
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    print(os.read(reader, 1000).decode())
print(random.random())
"""


@pytest.mark.parametrize("several", [False, True])
def test_each_copy_draws_its_own_numbers_and_is_a_whole_process(several: bool) -> None:
    program = SAYS.replace("{several}", str(several))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=True,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
    )  # fmt: skip
    *copies, own = done.stdout.split("\n")[:-1]
    said = [json.loads(line) for line in copies]
    drawn = [facts[0] for facts in said] + [float(own)]
    assert len(set(drawn)) == 4
    assert [facts[1:] for facts in said] == [[True, True, "thread"]] * 3
    assert done.stderr == ""


def test_this_process_goes_on_as_it_was() -> None:
    """With or without other threads beside this one: nothing of it was taken apart."""
    from foxden.sandbox import linux

    random.seed(7)
    expected = random.random()
    random.seed(7)
    pid, pidfd = linux.fork_into(0, own_child=True)
    if pid == 0:
        os._exit(0)
    assert os.waitpid(pid, 0) == (pid, 0)
    os.close(pidfd)
    assert random.random() == expected
    assert threading.main_thread().is_alive()
