"""What Python cannot do by itself: calls of another kind, threads and signals around a filter."""

from __future__ import annotations

import platform
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.attack.run.ground import PYTHON, Ground


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs x86_64: no other has such calls")
@pytest.mark.parametrize("how", ["handled", "blocked"])
def test_call_of_the_32_bit_kind_ends_the_whole_process(
    ground: Ground, compiled: Callable[[str], str], how: str
) -> None:
    """Cases 71 and 92: the other thread does not go on, and SIGSYS can be neither handled nor blocked."""
    int80 = compiled("int80")
    done = ground.run(int80, how, options=["--read", str(Path(int80).parent)])
    assert done.code == 128 + signal.SIGSYS
    assert done.stdout == ""
    alone = ground.alone(int80, how)
    assert "went on" in alone.stdout
    assert alone.returncode == 0


PIPELINES = """
import os, signal, subprocess, sys
signal.signal(signal.SIGALRM, lambda number, frame: None)
signal.siginterrupt(signal.SIGALRM, True)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
script = 'n=0; trap : USR1; while [ $n -lt 125 ]; do echo $n | cat | cat >> {out}; n=$((n+1)); done'
workers = [subprocess.Popen(["/bin/dash", "-c", script.format(out=f"{sys.argv[1]}/out-{w}")]) for w in range(8)]
for worker in workers:
    while worker.poll() is None:
        worker.send_signal(signal.SIGUSR1)
        try:
            os.close(os.open(f"{sys.argv[1]}/touched", os.O_CREAT | os.O_WRONLY))
        except InterruptedError:
            pass
        signal.sigtimedwait([signal.SIGCHLD], 0.01)
signal.setitimer(signal.ITIMER_REAL, 0)
print(sum(len(open(f"{sys.argv[1]}/out-{w}").readlines()) for w in range(8)), [w.returncode for w in workers])
"""


def test_a_thousand_pipelines_finish_while_signals_fly(ground: Ground) -> None:
    """Case 93: closing, forking and waiting are the kernel's; only what changes a path is the broker's."""
    began = time.monotonic()
    done = ground.run(PYTHON, "-c", PIPELINES, str(ground.rw), options=["--timeout", "55"])
    assert done.stdout.split()[:1] == ["1000"], f"{done.stdout} {done.stderr} after {time.monotonic() - began:.0f} s"
    assert done.code == 0
