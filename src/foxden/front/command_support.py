"""`foxden support`: what this kernel gives to each type of process, learnt by starting one of each.

Runs in: command.  Trusts: what real children report of their own sandbox.
Flow: Den.support → kernel facts, table of types and layers, what is switched off, what to do → exit code.
Source: Firefox's about:support, section "Sandbox".
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from foxden.front import failures
from foxden.front.columns import Cell, Column, Row, lines
from foxden.front.options import Settings, common_options, make_den, settings_of
from foxden.front.terminal import json_text, one_line, paint, say, wants_colour

if TYPE_CHECKING:
    from foxden.parent.kernel import Feature
    from foxden.parent.support import SupportReport, TypeReport

_SHORT = {"namespaces": "namesp.", "capabilities": "capab."}  # so that the table fits 100 columns
_NARROW = {  # and for a terminal of 80
    "namespaces": "namesp.", "capabilities": "capab.", "network": "netw.", "landlock": "landl.", "seccomp": "filter",
}  # fmt: skip
_WIDTH = 98
_LOST = {"PARTIAL": "partly lost", "NONE": "lost"}
_COMES_WITH = "comes with "
_STYLES = {"FULL": "green", "PARTIAL": "yellow", "NONE": "red"}


def _types(context: click.Context, _: click.Parameter, text: str | None) -> tuple[str, ...]:
    from foxden.model.process_types import child_rows

    known = [row.name for row in child_rows()]
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    for name in names:
        if name not in known:
            raise click.BadParameter(f"expected a process type, one of {', '.join(known)}; got {name!r}")
    return names


@click.command("support", short_help="Show what this kernel gives to each type of process.")
@click.option("--types", metavar="A,B", callback=_types, help="Only these process types.")
@common_options
@click.pass_context
def command(context: click.Context, /, types: tuple[str, ...], **common: Any) -> int:
    """Start one process of every type and show what the kernel gave it, layer by layer.

    FULL: everything that the type's policy asks of that layer.  PARTIAL, NONE: less; the lines below the table say
    what to do about it.  A dash: the policy does not ask for it.  Exit code 3 when a type cannot start at all.
    """
    settings = settings_of(context, common)
    report = _ask(settings, types)
    if settings.as_json:
        import msgspec

        say(json_text(msgspec.to_builtins(report)))
    else:
        _print(report)
    return failures.NO_SANDBOX if any(entry.error for entry in report.types) else 0


def _ask(settings: Settings, types: tuple[str, ...]) -> SupportReport:
    with make_den(settings, one_page=True) as den:
        from foxden.parent.support import report

        return den._run(report(den._runtime, types))


def _print(report: SupportReport) -> None:
    colour, entries, width = wants_colour(sys.stdout), report.types, _width()
    for line in banner(entries, colour=colour):
        say(line)
    say(f"Linux {one_line(report.kernel.release)} on {report.architecture}, Python {report.python}")
    say(f"Landlock {_landlock(report.landlock_abi)}, seccomp {'yes' if report.seccomp else 'NO'}")
    say(f"Native extension: {one_line(report.native)}")
    say()
    for line in table(entries, colour=colour, narrow=width < 100):
        say(line)
    for line in (*_reasons(entries, width), *_failures(entries, width)):
        say(line)
    say()
    for line in features(report.kernel.features, width, colour=colour):
        say(line)
    advice = [*remedies(report.kernel.features, width), *_switched_off(report, width)]
    if advice:
        say()
        say(paint("What to do", "bold", colour))
        for line in advice:
            say(line)
    say()
    say(textwrap.fill(verdict(entries), width, break_on_hyphens=False))


def _switched_off(report: SupportReport, width: int) -> list[str]:
    """The advice that is of no layer: those have said it better as features of the kernel."""
    from foxden.model.enforcement import Layer

    layers = tuple(f"{layer.value}:" for layer in Layer)
    return [_folded(one_line(line), width) for line in report.advice if not line.startswith(layers)]


def _width() -> int:
    """Of the terminal, within what can be read."""
    return max(60, min(shutil.get_terminal_size((100, 24)).columns, 120)) - 1


def features(rows: Sequence[Feature], width: int, *, colour: bool = False) -> list[str]:
    """One line a feature of the kernel, cut where the terminal ends."""
    columns = [Column("KERNEL"), Column("STATUS"), Column("FOUND", cut=True)]
    cells = [
        (row.name, Cell(row.status.value, _STYLES[row.status.value]), one_line(row.detail).removeprefix("Linux "))
        for row in rows
    ]
    return lines(columns, cells, width=width, colour=colour)


def remedies(rows: Sequence[Feature], width: int) -> list[str]:
    """What to change for each feature that is not whole, and what is lost without it.

    A feature that comes with another is named with that one; a text to copy stands on lines of its own, unfolded.
    """
    found = []
    for row in rows:
        if not row.remedy or row.remedy.startswith(_COMES_WITH):
            continue
        words, *copied = row.remedy.split("\n")
        with_it = [other.name for other in rows if other.remedy == f"{_COMES_WITH}{row.name}"]
        names = f"{row.name} (and with it {', '.join(with_it)})" if with_it else row.name
        found.append(_folded(f"{names}: {one_line(words)}", width))
        found += [f"      {one_line(line)}" for line in copied]
        found.append(_folded(f"  {_LOST[row.status.value]}: {one_line(row.lost)}", width))
    return found


def _landlock(abi: int) -> str:
    return f"version {abi}" if abi > 0 else "NO"


def banner(entries: list[TypeReport], *, colour: bool = False) -> list[str]:
    """Loud lines for sandboxes that are switched off; none when all are on."""
    off = [entry for entry in entries if entry.level == 0]
    if not off:
        return []
    names = ", ".join(sorted({_name(entry) for entry in off}))
    why = ", ".join(sorted({entry.switched_off_by or "level 0" for entry in off}))
    return [paint(f" SANDBOX OFF  {names}: no protection at all ({why}) ", "alarm", colour), ""]


def table(entries: list[TypeReport], *, colour: bool = False, narrow: bool = False) -> list[str]:
    """Process type × layer."""
    from foxden.model.enforcement import Layer

    short = _NARROW if narrow else _SHORT
    columns = [Column("PROCESS"), Column("LEVEL", right=True)]
    columns += [Column(short.get(layer.value, layer.value)) for layer in Layer]
    return lines(columns, [_row(entry, narrow=narrow) for entry in entries], colour=colour)


def _name(entry: TypeReport) -> str:
    return f"{entry.process_type} {entry.remote_type}" if entry.remote_type else entry.process_type


def _row(entry: TypeReport, *, narrow: bool) -> Row:
    from foxden.model.enforcement import Layer

    given = {layer: status.status.value for layer, status in entry.enforcement.items()} if entry.enforcement else {}
    absent = Cell("FAILED", "red") if entry.error else Cell("OFF", "alarm") if entry.level == 0 else Cell("-", "dim")
    length = 4 if narrow else 7
    cells = [Cell(given[layer][:length], _STYLES[given[layer]]) if layer in given else absent for layer in Layer]
    return (_name(entry), str(entry.level), *cells)


def _reasons(entries: list[TypeReport], width: int = _WIDTH) -> list[str]:
    """Each reason once, with the processes that it holds for."""
    holders: dict[tuple[str, str, str], list[str]] = {}
    for entry in entries:
        for layer, status in entry.enforcement.items() if entry.enforcement else ():
            if status.status.value != "FULL":
                holders.setdefault((layer.value, status.status.value, status.reason), []).append(_name(entry))
    found = [_folded(f"{layer} {status}: {one_line(reason)} ({_all_or(names, entries)})", width)
             for (layer, status, reason), names in holders.items()]  # fmt: skip
    return ["", *found] if found else []


def _all_or(names: list[str], entries: list[TypeReport]) -> str:
    """The processes by name; when nearly all are meant, those that are not."""
    others = [_name(entry) for entry in entries if _name(entry) not in names]
    if len(names) < 4 or len(others) >= len(names):
        return ", ".join(names)
    return f"all but {', '.join(others)}" if others else "all"


def _failures(entries: list[TypeReport], width: int = _WIDTH) -> list[str]:
    failed = [entry for entry in entries if entry.error]
    found = [_folded(f"{_name(entry)} does not start: {one_line(entry.error)}", width) for entry in failed]
    return ["", *found] if found else []


def _folded(text: str, width: int = _WIDTH) -> str:
    return textwrap.fill(
        text, width, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def verdict(entries: list[TypeReport]) -> str:
    """One sentence for all of it."""
    if any(entry.error for entry in entries):
        return "Not every type of process starts here."
    lesser = sorted({layer.value for entry in entries if entry.enforcement for layer in entry.enforcement.missing()})
    if any(entry.level == 0 for entry in entries):
        return "Some sandboxes are switched off: do not open anything that you do not trust."
    if lesser:
        return f"foxden refuses to start processes that get less, without --allow-partial {','.join(lesser)}"
    return "Every process gets everything that its policy asks for."
