"""`foxden run` as scripts meet it: a command with streams, signals and an exit code.

Runs in: the test process.  Flow: options, program → `python -m foxden run …` in a process of its own → what came out.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

SOURCE = Path(__file__).resolve().parents[2] / "src"
Done = subprocess.CompletedProcess[bytes]
Word = str | bytes | os.PathLike[str]


def words(program: Sequence[Word], options: Sequence[Word] = ()) -> list[Word]:
    return [sys.executable, "-m", "foxden", "run", *options, "--", *program]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SOURCE), **(more or {})}


def run(
    program: Sequence[Word],
    options: Sequence[Word] = (),
    *,
    given: bytes | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float = 60,
    **streams: Any,
) -> Done:
    """Run it to its end.  Standard input is `given`, else nothing."""
    if given is None:
        streams.setdefault("stdin", subprocess.DEVNULL)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(
        words(program, options), input=given, cwd=cwd, env=environment(env), timeout=timeout_s, check=False, **streams
    )


def shell(script: str, options: Sequence[Word] = (), *, interpreter: str = "bash", **more: Any) -> Done:
    return run([interpreter, "-c", script], options, **more)


def fine(done: Done) -> str:
    """Standard output of a program to which nothing was refused, and that ended well."""
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode()


@contextmanager
def running(program: Sequence[Word], options: Sequence[Word] = (), **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """One that runs; it is ended when this ends.  Its standard output is a pipe."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    process = subprocess.Popen(words(program, options), env=environment(), **streams)
    try:
        yield process
    finally:
        with process:
            if process.poll() is None:
                process.kill()


def wait_for(stream: IO[bytes] | None, line: bytes) -> None:
    """Read up to this line."""
    assert stream is not None
    for read in stream:
        if read.strip() == line:
            return
    raise AssertionError(f"it ended before it said {line!r}")


def left_of(marker: str) -> list[str]:
    """Command lines of processes that have this word in them: a program's, when it should have ended."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in command:
                found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def assert_gone(marker: str, *, within_s: float = 3.0) -> None:
    deadline = time.monotonic() + within_s
    while left := left_of(marker):
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def interrupt(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    process.send_signal(number)
    return process.wait(20)
