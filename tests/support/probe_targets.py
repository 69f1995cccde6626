"""What probes are tried on: a process of the test user's that anybody may trace.

Runs in: tests.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from tests.support.servers import stop_process

# Lets anyone trace it, where Yama asks for that; then waits.
_VICTIM = (
    "import ctypes, sys; ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0); "
    "print('ready', flush=True); sys.stdin.read()"
)


@contextlib.contextmanager
def a_victim() -> Iterator[int]:
    """The pid of a process of the test user's."""
    command = [sys.executable, "-c", _VICTIM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        stop_process(process)
