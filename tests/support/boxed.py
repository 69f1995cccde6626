"""Functions that tests run in a box: good ones, failing ones, and hostile ones.  Imports little: workers import it too.

Runs in: the test process, where it is named; utility processes, where it is run.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import sys
import time
from typing import Any, NamedTuple

# --- good -------------------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1
    BLUE = "blue"


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: float
    tags: list[str] = dataclasses.field(default_factory=list)


class Pair(NamedTuple):
    first: int
    second: str


class Odd(Exception):
    """Not one of Python's own."""


def double(value: Any) -> Any:
    return value * 2


def same(value: Any) -> Any:
    return value


def pid(_: object = None) -> int:
    return os.getpid()


def sleep(seconds: float, value: Any = None) -> Any:
    time.sleep(seconds)
    return value


def point(x: int) -> Point:
    return Point(x, 0.5, ["a"])


def kinds() -> list[Any]:
    return [Colour.BLUE, Rights.READ | Rights.WRITE, Point(1, 2.0), Pair(3, "b")]


def lie_about_point() -> Point:
    made = object.__new__(Point)
    for name, value in (("x", "not a number"), ("y", 1.0), ("tags", [])):
        object.__setattr__(made, name, value)
    return made


async def awaited(value: Any) -> Any:
    import asyncio

    await asyncio.sleep(0.01)
    return value


_set_up: list[Any] = []


def set_up(value: Any) -> None:
    _set_up.append(value)


def what_was_set_up() -> list[Any]:
    return _set_up


def fail_to_set_up() -> None:
    raise ValueError("no such device")


# --- failing ----------------------------------------------------------------------------------------------------


def divide(by: int) -> float:
    return 1 / by


def odd() -> None:
    error = Odd("strange", 3)
    error.add_note("a note")
    raise error


def chained() -> None:
    try:
        divide(0)
    except ZeroDivisionError as error:
        raise KeyError("outer") from error


def open_file(path: str, mode: str = "r") -> str:
    with open(path, mode) as file:
        return file.read() if mode == "r" else str(file.write("written"))


def listed(path: str) -> list[str]:
    return sorted(os.listdir(path))


def connect(port: int) -> None:
    import socket

    socket.create_connection(("127.0.0.1", port), timeout=5).close()


def environment() -> dict[str, str]:
    return dict(os.environ)


def number_there(before: float = 0) -> int:
    """What the environment has as N, after so many seconds."""
    time.sleep(before)
    return int(os.environ["N"])


_uses: list[None] = []


def use_again() -> int:
    """How often this worker has been used so."""
    _uses.append(None)
    return len(_uses)


def compute(seconds: float, value: Any = None) -> Any:
    """Use so much processor time."""
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return value


def end_like_one_without_memory(word: str) -> None:
    sys.stderr.write(f"Traceback …\n{word}\n")
    sys.stderr.flush()
    os._exit(70)


def allocate(size: int) -> int:
    return len(bytearray(size))


# --- no data ----------------------------------------------------------------------------------------------------


def cyclic() -> list[Any]:
    made: list[Any] = []
    made.append([made])
    return made


def deep(levels: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(levels):
        made = [made]
    return made


def large(size: int) -> bytes:
    return bytes(size)


def generator() -> Any:
    return (n for n in range(3))


def bad_text() -> Any:
    class Sly(str):
        pass

    return Sly("x")


class FailsToSpeak(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def fail_without_words() -> None:
    raise FailsToSpeak


# --- hostile ----------------------------------------------------------------------------------------------------


def hang() -> None:
    while True:
        time.sleep(1)


def spin() -> None:
    while True:
        pass


def spin_in_threads(number: int) -> None:
    """Compute in several threads at once, without the interpreter's lock; and sleep in the one that was called."""
    import hashlib
    import threading

    def burn() -> None:
        hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 30)

    for _ in range(number):
        threading.Thread(target=burn, daemon=True).start()
    time.sleep(60)


def leave(code: int) -> None:
    sys.exit(code)


def leave_at_once(code: int) -> None:
    print("last words", file=sys.stderr, flush=True)
    os._exit(code)


def crash() -> None:
    import ctypes

    ctypes.string_at(0)


def execute() -> None:
    os.execv("/bin/true", ["true"])


def fork() -> int:
    return os.fork()


def start_program() -> None:
    import subprocess

    subprocess.run(["/bin/true"], check=True)


def close_everything() -> str:
    os.closerange(0, 4096)
    return "closed"


def overwrite_builtins() -> int:
    import builtins

    builtins.len = lambda value: -1  # type: ignore[assignment]
    builtins.isinstance = None  # type: ignore[assignment]
    return 1


def patch_worker(answer: Any) -> str:
    """Make the worker's own encoder answer something else from now on."""
    from foxden.children.utility import run
    from foxden.ipc.value_encode import Encoded

    run.encode_value = lambda value, **options: Encoded(answer, [], 0)  # type: ignore[attr-defined]
    return "patched"


def answer_once(answer: Any) -> str:
    """Make the worker's own encoder answer this, and then what it would."""
    from foxden.children.utility import run
    from foxden.ipc.value_encode import Encoded, encode_value

    def encode(value: Any, **options: Any) -> Encoded:
        run.encode_value = encode_value  # type: ignore[attr-defined]
        return Encoded(answer, [], 0)

    run.encode_value = encode  # type: ignore[attr-defined]
    return "patched"


def _pipes() -> list[Any]:
    import socket
    import stat

    found = []
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                found.append(socket.socket(fileno=os.dup(fd)))
        except OSError:
            continue
    return found


def write_to_pipes(packet: bytes) -> int:
    """Put these bytes on every socket that the worker has."""
    pipes = _pipes()
    for pipe in pipes:
        try:
            pipe.send(packet)
        except OSError:
            continue
    time.sleep(0.2)
    return len(pipes)


def flood() -> None:
    pipes = _pipes()
    while True:
        for pipe in pipes:
            try:
                pipe.send(b"\0" * 4096)
            except OSError:
                continue


def flood_output() -> str:
    for _ in range(2000):
        os.write(2, b"\x1b]0;evil\x07" * 1000)
    return "done"


def write_much(size: int, how: str) -> int:
    """At once, and more than a packet could hold: by Python, by the system call, by the C library."""
    text = "x" * size
    if how == "print":
        print(text)
    elif how == "stderr":
        sys.stderr.write(text)
    elif how == "os.write":
        return os.write(1, text.encode())
    elif how == "libc":
        import ctypes

        libc = ctypes.CDLL(None)
        libc.puts(text.encode())
        return int(libc.fflush(None)) or size
    return size


def write_lines(number: int) -> int:
    for _ in range(number):
        print("a line")
    return number


def claim(number: int, path: str | None) -> None:
    raise OSError(number, "I say", *([path] if path else []))


def answer_for_another() -> str:
    """Send an answer to a call that is not being run."""
    from foxden.ipc.codec import Kind, encode
    from foxden.protocols.utility import PTasks

    message = PTasks.Returned(call=999_999, value=b"\x91\x01")
    packet, _ = encode(0, 0, message.number, Kind.SEND, message)
    write_to_pipes(packet)
    return "answered"


class RunsWhenLoaded:
    """Unpickling it calls a function: of a worker, that is the point of a box; of the parent, never."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open_file, (self.path, "w")


def keep(value: Any) -> int:
    _set_up.append(value)
    return len(_set_up)


def first_kept() -> Any:
    return _set_up[0]


def total(array: Any) -> float:
    return float(array.sum())


def add_in_place(array: Any) -> Any:
    array += 1
    return array
