"""What a child writes is kept in bounds, and never shown raw."""

from __future__ import annotations

import asyncio
import os

import pytest

from foxden.launch import childlog
from foxden.launch.childlog import ChildLog, escape, make_log


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain", "plain"),
        ("ä€".encode(), "ä€"),
        (b"\x1b[2Jgone", r"\x1b[2Jgone"),
        (b"a\nb", r"a\nb"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("\u202eevil".encode(), "\\u202eevil"),  # right-to-left override
        ("\x9b31m".encode(), r"\x9b31m"),
        (b"\x00", r"\x00"),
    ],
)
def test_what_steers_a_terminal_is_escaped(data: bytes, shown: str) -> None:
    assert escape(data) == shown


def test_tail_is_the_last_line_and_the_rest_is_bounded() -> None:
    async def run() -> tuple[str, int]:
        ours, theirs = make_log()
        log = ChildLog(ours, "child")
        with theirs:
            for number in range(400):
                theirs.send(b"x" * 100 + b" line %d\n" % number)
                if number % 5 == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(0.05)
            last, kept = log.tail(), len(log.text())
        log.close()
        return last, kept

    last, kept = asyncio.run(run())
    assert last.endswith("line 399")
    assert kept < 10_000


def test_end_of_the_child_closes_the_log() -> None:
    async def run() -> str:
        ours, theirs = make_log()
        log = ChildLog(ours, "child")
        theirs.send(b"last words\n")
        theirs.close()
        await asyncio.sleep(0.05)
        assert ours.fileno() == -1
        return log.tail()

    assert asyncio.run(run()) == "last words"


def test_a_write_larger_than_any_buffer_is_taken_in_parts_and_bounded() -> None:
    async def run() -> tuple[str, int]:
        ours, theirs = make_log()
        log = ChildLog(ours, "child")
        data = b"x" * 4_000_000 + b"\nthe end\n"
        with theirs:
            written = await asyncio.to_thread(os.writev, theirs.fileno(), [data])
        await asyncio.sleep(0.05)
        assert written == len(data)
        return log.tail(), len(log.text())

    last, kept = asyncio.run(run())
    assert last == "the end"
    assert kept < 10_000


def told(monkeypatch: pytest.MonkeyPatch, *written: bytes) -> list[str]:
    """What the listener hears of it, each piece being read before the next is written."""
    lines: list[str] = []
    monkeypatch.setattr(childlog, "listener", lambda who, line: lines.append(line))

    async def run() -> None:
        ours, theirs = make_log()
        log = ChildLog(ours, "child")
        with theirs:
            for piece in written:
                theirs.sendall(piece)
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        log.close()

    asyncio.run(run())
    return lines


def test_lines_are_told_whole_however_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = (b"one\ntw", b"o", b"\n\x1b[2J\nlast")
    assert told(monkeypatch, *pieces) == ["one", "two", r"\x1b[2J", "last"]


def test_neither_a_line_without_end_nor_lines_without_end_are_kept_or_told_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endless = told(monkeypatch, b"x" * 5000, b"y" * 10, b"\n")
    assert endless == ["x" * 5000, "y" * 10]
    many = told(monkeypatch, b"\n" * 16_000)
    assert len(many) < 5000
    few = told(monkeypatch, b"a line\n" * 1000)
    assert few == ["a line"] * 1000, "the control"
