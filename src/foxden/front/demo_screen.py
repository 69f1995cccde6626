"""What the demo shows: pages, processes, acts × processes, and a verdict in words.

Runs in: command; pure but for standard output.  Trusts: titles of pages are made harmless.
Flow: values of command_demo → lines.
Source: none.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import msgspec

from foxden.front.columns import Cell, Column, Row, lines
from foxden.front.demo_acts import ACTS, ENDED, GRANTED, PARENT, PROGRAM, REFUSED, UNPROTECTED, Outcome
from foxden.front.terminal import one_line, paint, say
from foxden.model.records import ProcessRecord

_WIDTH = 98


class Opened(msgspec.Struct, frozen=True):
    """One page that was opened."""

    url: str
    title: str
    process: int
    received_bytes: int
    ms: float


def heading(text: str, colour: bool) -> None:
    say()
    say(paint(text, "bold", colour))


def pages(opened: Sequence[Opened], colour: bool) -> None:
    columns = (Column("MS", right=True), Column("PROCESS", right=True), Column("KB", right=True),
               Column("TITLE", cut=True), Column("URL", cut=True))  # fmt: skip
    rows = [(f"{page.ms:.0f}", str(page.process), f"{page.received_bytes / 1024:.0f}", one_line(page.title),
             one_line(page.url)) for page in opened]  # fmt: skip
    for line in lines(columns, rows, width=_WIDTH, colour=colour):
        say(line)


def acts(outcomes: Sequence[Outcome], colour: bool) -> None:
    """Rows: what was tried.  Columns: by whom."""
    names = list(dict.fromkeys(outcome.process for outcome in outcomes if outcome.process not in (PARENT, PROGRAM)))
    cells = {(outcome.act, outcome.process): _cell(outcome) for outcome in outcomes}
    columns = [Column("TRIED"), *(Column(name) for name in names)]
    rows: list[Row] = [[act.words, *(cells.get((act.words, name), Cell("-")) for name in names)] for act in ACTS]
    for line in lines(columns, rows, width=_WIDTH, colour=colour):
        say(line)


def _cell(outcome: Outcome) -> Cell:
    if outcome.outcome == REFUSED:
        return Cell(one_line(outcome.result)[:8], "green" if outcome.process != UNPROTECTED else "dim")
    if outcome.outcome == ENDED:
        return Cell(one_line(outcome.result)[:8], "green")
    if outcome.outcome == GRANTED:
        return Cell("granted", "cyan")
    if outcome.process == UNPROTECTED:
        return Cell("succeeds", "yellow")
    return Cell("SUCCEEDED", "alarm")


def parent(outcomes: Sequence[Outcome], colour: bool) -> None:
    """What the parent itself can no longer do."""
    words = ", ".join(f"{outcome.act}: {outcome.result}" for outcome in outcomes if outcome.process == PARENT)
    say(f"The parent has locked itself too: {words}.")


def missing(processes: Sequence[ProcessRecord], colour: bool) -> None:
    """Say which layers the kernel did not give whole, if the user accepted that."""
    lost = {layer.value for process in processes if process.enforcement for layer in process.enforcement.missing()}
    if lost:
        text = f"Not whole on this machine, and accepted: {', '.join(sorted(lost))}.  `foxden support` says why."
        say(paint(text, "yellow", colour))


def closing(verdict: dict[str, Any], colour: bool) -> None:
    """One paragraph."""
    mark = paint("The sandboxes held.", "green", colour) if verdict["ok"] else paint("NOT HELD.", "alarm", colour)
    text = (
        f"An unprotected process of this user did {verdict['succeeded_unprotected']} of the {verdict['acts']} acts. "
        f"Inside foxden's processes {verdict['refused']} attempts were refused by the kernel"
        f"{_granted(verdict['granted'])}, and {verdict['succeeded'] or 'none'} succeeded. The pages above were parsed "
        "by those same processes; their bytes came through the socket process, and the file by a descriptor that the "
        "parent opened."
    )
    say()
    say("\n".join([mark, *textwrap.wrap(text, _WIDTH)]))
    for breach in verdict["breaches"]:
        say(paint(f"  {breach['process']}: {breach['act']}: {one_line(breach['result'])}", "red", colour))


def _granted(count: int) -> str:
    return f", {count} are granted by policy" if count else ""
