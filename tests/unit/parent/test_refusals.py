"""What a child writes of its own refusals is bounded, counted, and never believed: torn, false and endless records."""

from __future__ import annotations

import asyncio
import os
import struct
from types import SimpleNamespace
from typing import Any

from foxden.parent.refusals import Refusals
from foxden.protocols.broker import PBroker
from foxden.sandbox import linux
from foxden.sandbox.syscall_numbers import NUMBERS

RECORD = struct.Struct("=4I6Q")
OPENAT = NUMBERS[linux.ARCH]["openat"]


def record(number: int = OPENAT, code: int = 13, path: bytes = b"/etc/passwd\0beyond", size: int = -1) -> bytes:
    return RECORD.pack(number, code, len(path) if size < 0 else size, 0, (1 << 64) - 100, 16, 0, 0, 0, 0) + path


def told(*writes: bytes, wait_s: float = 0.05) -> tuple[list[PBroker.OnAct], int, bool]:
    """What is told of these, the number of those that are only counted, and whether the pipe was still read."""
    acts: list[PBroker.OnAct] = []
    untold: list[int] = []
    denials: Any = SimpleNamespace(
        act=lambda host, act: acts.append(act), untold=lambda host, count: untold.append(count)
    )

    async def main() -> bool:
        host: Any = SimpleNamespace(child_id=5, pid=4711, ended=asyncio.get_running_loop().create_future())
        reader, writer = os.pipe()
        refusals = Refusals(reader, host, denials)
        for each in writes:
            os.write(writer, each)
            await asyncio.sleep(wait_s)
        still = refusals._fd >= 0
        os.close(writer)
        host.ended.set_result(None)
        await asyncio.sleep(0.15)
        assert refusals._fd < 0
        return still

    still = asyncio.run(main())
    return acts, sum(untold), still


def test_a_record_is_told_as_the_processs_own_word() -> None:
    ((act,), untold, still) = told(record())
    assert (act.child_id, act.pid, act.granted, act.operation, act.path) == (5, 4711, False, "open", "/etc/passwd")
    assert (act.syscall, act.errno, act.access, act.args[0], act.count) == (OPENAT, 13, 2, -100, 1)
    assert act.detail == "by the process's own word"
    assert (untold, still) == (0, True)


def test_equal_ones_are_counted() -> None:
    acts, _, _ = told(record() * 7)
    assert [(act.path, act.count) for act in acts] == [("/etc/passwd", 1), ("/etc/passwd", 6)]


def test_one_that_comes_in_pieces_is_whole() -> None:
    words = record()
    acts, _, still = told(words[:10], words[10:70], words[70:], wait_s=0.12)
    assert ([act.path for act in acts], still) == (["/etc/passwd"], True)


def test_a_call_without_a_path_is_no_file() -> None:
    number = NUMBERS[linux.ARCH]["io_uring_setup"]
    ((act,), _, _) = told(record(number, 1, b""))
    assert (act.operation, act.path, act.access, act.syscall) == ("", "", 0, number)


def test_what_is_no_record_ends_the_reading() -> None:
    stack = b'  File "x.py", line 3\n' * 20
    for words in (record(number=1 << 20), record(code=5000), record(size=256), b"\xff" * 400, stack):
        acts, _, still = told(words + record(), wait_s=0.1)
        assert (acts, still) == ([], False)


def test_a_flood_is_counted_and_takes_no_more_than_its_time() -> None:
    flood = b"".join(record(path=b"/%d\0" % number) for number in range(800))
    acts, untold, still = told(flood, wait_s=0.3)
    assert still
    assert len(acts) < 400
    assert untold >= 0


def test_any_bytes_of_a_path_are_text() -> None:
    ((act,), _, _) = told(record(path=b"/\xff\x1b[31m\n\0"))
    assert act.path == "/\\xff\x1b[31m\n"  # whoever shows it escapes it, as with a path that the broker read
