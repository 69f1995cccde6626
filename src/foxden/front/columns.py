"""Tables for people: columns as wide as what is in them, cut where the terminal ends.

Runs in: command; pure.  Trusts: its cells are one line each and harmless (`terminal.one_line`).
Flow: columns + rows of cells → lines.
Source: none; a table this plain needs no library, and `foxden ps` starts twice as fast without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from foxden.front.terminal import paint

_GAP = "  "
_LEAST = 4  # a column that is cut keeps this much


class Column(msgspec.Struct, frozen=True):
    """A column.  `cut`: it gives way when the terminal is too narrow."""

    title: str
    right: bool = False
    cut: bool = False


class Cell(msgspec.Struct, frozen=True):
    """What stands in a column, and how it looks."""

    text: str
    style: str = ""


Row = Sequence[Cell | str]


def lines(columns: Sequence[Column], rows: Iterable[Row], *, width: int = 0, colour: bool = False) -> list[str]:
    """The table's lines, its titles first.  `width` 0: as wide as it needs."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    title = [Cell(column.title, "bold") for column in columns]
    widths = _widths(columns, [title, *cells], width)
    return [_line(columns, widths, row, colour) for row in [title, *cells]]


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> list[int]:
    widths = [max(len(row[place].text) for row in rows) for place in range(len(columns))]
    over = sum(widths) + len(_GAP) * (len(columns) - 1) - width if width else 0
    while over > 0:
        place = max((p for p, column in enumerate(columns) if column.cut), key=lambda p: widths[p], default=-1)
        if place < 0 or widths[place] <= _LEAST:
            break  # nothing more to give: the terminal wraps it
        taken = min(over, widths[place] - _LEAST)
        widths[place] -= taken
        over -= taken
    return widths


def _line(columns: Sequence[Column], widths: Sequence[int], row: Sequence[Cell], colour: bool) -> str:
    parts = []
    for column, width, cell in zip(columns, widths, row, strict=True):
        text = cell.text if len(cell.text) <= width else cell.text[: width - 1] + "…"
        space = " " * (width - len(text))
        painted = paint(text, cell.style, colour)
        parts.append(space + painted if column.right else painted + space)
    return _GAP.join(parts).rstrip()
