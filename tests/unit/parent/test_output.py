"""Lines of workers for a function of the caller's: so many a second, cut, and whatever the function does."""

from __future__ import annotations

import asyncio
import io

import pytest

import foxden
from foxden.parent import output
from foxden.parent.output import Output


def test_lines_come_to_a_function_or_to_a_file() -> None:
    lines: list[str] = []
    Output(lines.append).line("one")
    file = io.StringIO()
    Output(file).line("two")
    assert (lines, file.getvalue()) == (["one"], "two\n")
    with pytest.raises(foxden.FoxdenError, match="output: expected a function or a file, got 5"):
        Output(5)


def test_a_long_line_is_cut() -> None:
    lines: list[str] = []
    Output(lines.append).line("x" * 100_000)
    assert lines == ["x" * output._LINE_MAX + "…"]


def test_a_flood_is_counted_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_FLUSH_S", 0.05)
    lines: list[str] = []

    async def run() -> None:
        to = Output(lines.append)
        for _ in range(20_000):
            to.line("x")
        await asyncio.sleep(0.1)

    asyncio.run(run())
    assert 2000 <= lines.count("x") < 4000
    told = [line for line in lines if line != "x"]
    assert sum(int(line.split()[1]) for line in told) == 20_000 - lines.count("x")
    assert lines[-1].endswith("more, which came too fast")


def test_a_function_that_fails_is_told_once_and_called_on(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []

    def fail(line: str) -> None:
        lines.append(line)
        raise ValueError("mine")

    to = Output(fail)
    for line in ("one", "two", "three"):
        to.line(line)
    assert lines == ["one", "two", "three"]
    assert capsys.readouterr().err.count("ValueError: mine") == 1
