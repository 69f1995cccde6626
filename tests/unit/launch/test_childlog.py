"""What a child writes is kept in bounds, and never shown raw."""

from __future__ import annotations

import asyncio

import pytest

from foxden.ipc.pipe import make_pair
from foxden.launch.childlog import ChildLog, escape


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
        ours, theirs = make_pair()
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
        ours, theirs = make_pair()
        log = ChildLog(ours, "child")
        theirs.send(b"last words\n")
        theirs.close()
        await asyncio.sleep(0.05)
        assert ours.fileno() == -1
        return log.tail()

    assert asyncio.run(run()) == "last words"
