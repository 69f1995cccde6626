"""`foxden policy diff`: what one policy says that another does not, and which acts that changes.

Runs in: command.  Trusts: the committed policies, the user's preferences.
Flow: two targets → two views → names and values by section → what is added, taken away, changed.
Source: interface.md "Command".
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click
import msgspec

from foxden.front.columns import Cell, Column, Row, lines
from foxden.front.command_ps import terminal_width
from foxden.front.options import policy_options, settings_of
from foxden.front.policy_target import parse_target
from foxden.front.policy_view import View, acts_of, facts, make_view
from foxden.front.terminal import json_text, one_line, paint, say, wants_colour


class Difference(msgspec.Struct, frozen=True):
    """Of one section."""

    added: dict[str, str] = msgspec.field(default_factory=dict)  # only B says it
    removed: dict[str, str] = msgspec.field(default_factory=dict)  # only A says it
    changed: dict[str, tuple[str, str]] = msgspec.field(default_factory=dict)  # A's value, B's value

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


@click.command("diff", short_help="Show what one policy says and another does not.")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@policy_options
@click.pass_context
def command(context: click.Context, /, a: str, b: str, **common: Any) -> int:
    """Show what B adds to A, takes away from it and changes: content@3 content@4.

    A and B are TYPE[:REMOTE][@LEVEL][/PLATFORM].  Rules of two platforms cannot be laid beside each other; what they
    answer to the same acts can, and that is shown.
    """
    settings = settings_of(context, common)
    first, second = (make_view(parse_target(text), settings) for text in (a, b))
    if settings.as_json:
        say(json_text(as_json(first, second)))
    else:
        for line in page(first, second, width=terminal_width(), colour=wants_colour(sys.stdout)):
            say(line)
    return 0


def compare(first: Mapping[str, str], second: Mapping[str, str]) -> Difference:
    return Difference(
        {name: value for name, value in second.items() if name not in first},
        {name: value for name, value in first.items() if name not in second},
        {name: (value, second[name]) for name, value in first.items() if name in second and second[name] != value},
    )


def differences(first: View, second: View) -> dict[str, Difference]:
    """By section; the acts come last.  Of two platforms the acts alone."""
    found: dict[str, Difference] = {}
    if comparable(first, second):
        ours, theirs = facts(first), facts(second)
        found = {section: compare(ours[section], theirs[section]) for section in ours}
    found["acts"] = compare(acts_of(first), acts_of(second))
    return found


def comparable(first: View, second: View) -> bool:
    return first.target.platform is second.target.platform


def as_json(first: View, second: View) -> dict[str, Any]:
    return {
        "a": _identity(first),
        "b": _identity(second),
        "same_platform": comparable(first, second),
        "sections": {
            section: {
                "added": difference.added,
                "removed": difference.removed,
                "changed": {name: list(values) for name, values in difference.changed.items()},
            }
            for section, difference in differences(first, second).items()
        },
    }


def _identity(view: View) -> dict[str, Any]:
    return {
        "process_type": view.target.row.name,
        "remote_type": view.target.remote_type.value if view.target.remote_type else None,
        "platform": view.target.platform.value,
        "level": view.level,
        "enforced_here": view.enforced_here,
    }


def page(first: View, second: View, *, width: int = 0, colour: bool = False) -> list[str]:
    """For a person: a sign a line, + only B, - only A, ~ both, and not the same."""
    shown = [paint(f"- {_title(first)}", "red", colour), paint(f"+ {_title(second)}", "green", colour)]
    if not comparable(first, second):
        shown += ["", "Rules of two platforms cannot be laid beside each other; what they answer can."]
    found = {section: difference for section, difference in differences(first, second).items() if difference}
    columns = (Column(""), Column("WHAT", cut=True), Column("A"), Column("B"))
    for section, difference in found.items():
        table = lines(columns, _rows(difference), width=width, colour=colour)
        shown += ["", paint(section.capitalize(), "bold", colour), *table]
    return shown if found else [*shown, "", "No difference."]


def _title(view: View) -> str:
    return f"{view.target.title()}, level {view.level}, {view.standing()}"


def _rows(difference: Difference) -> list[Row]:
    signs = (
        *(("-", "red", name, value, "") for name, value in difference.removed.items()),
        *(("+", "green", name, "", value) for name, value in difference.added.items()),
        *(("~", "yellow", name, old, new) for name, (old, new) in difference.changed.items()),
    )
    return [(Cell(sign, style), one_line(name), one_line(old), Cell(one_line(new), style))
            for sign, style, name, old, new in signs]  # fmt: skip
