"""`foxden ps`: the processes of all running dens of this user.

Runs in: command.  Trusts: each den's word about itself (the kernel says whose it is); names are escaped.
Flow: parent.roster.running_dens → table, or JSON; again and again with --watch.
Source: interface.md "Records", Process.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from foxden.front.columns import Cell, Column, Row, lines
from foxden.front.options import plain_options, settings_of
from foxden.front.terminal import is_terminal, json_text, one_line, say, wants_colour

if TYPE_CHECKING:
    from foxden.model.enforcement import Enforcement
    from foxden.model.records import ProcessRecord
    from foxden.parent.roster import DenRecord

_EVERY_S = 1.0
_HOME_AND_CLEAR = "\x1b[H\x1b[J"
_COLUMNS = (
    Column("PID", right=True), Column("TYPE"), Column("REMOTE TYPE"), Column("LEVEL", right=True),
    Column("ENFORCEMENT", cut=True), Column("MEMORY", right=True), Column("UPTIME", right=True),
    Column("NAME", cut=True),
)  # fmt: skip


@click.command("ps", short_help="Show the processes of all running dens.")
@click.option("--watch", is_flag=True, help="Show them again every second, until Ctrl-C.")
@plain_options
@click.pass_context
def command(context: click.Context, /, watch: bool, **common: Any) -> None:
    """Show every process of your running dens: what it is, how it is sandboxed, what it takes.

    FULL: the kernel gave everything that the process's policy asks for.  PARTIAL: the layers in brackets are not
    whole.  NONE: no sandbox, where there should be one.  A dash: none is asked for, of the processes that start
    others and read no untrusted input, and of a parent that is not foxden's own.
    """
    settings = settings_of(context, common)
    if watch and settings.as_json:
        raise click.UsageError("--watch is for people: leave out --json", context)
    if watch:
        _watch()
    dens = _dens()
    if settings.as_json:
        say(json_text([record for den in dens for record in records(den)]))
    elif dens:
        _print(dens)
    else:
        say("No den is running.  `foxden demo --keep` starts one to look at.")


def _dens() -> list[DenRecord]:
    from foxden.parent.roster import running_dens

    return running_dens()


def _watch() -> None:
    terminal = is_terminal(sys.stdout)
    while True:
        dens = _dens()
        if terminal:
            sys.stdout.write(_HOME_AND_CLEAR)
        say(time.strftime("%H:%M:%S") + f"  {len(dens)} den{'' if len(dens) == 1 else 's'}, Ctrl-C ends")
        if dens:
            _print(dens)
        sys.stdout.flush()
        time.sleep(_EVERY_S)


def records(den: DenRecord) -> list[dict[str, object]]:
    """The processes of one den as `--json` prints them."""
    import msgspec

    return [{"den": den.pid, **msgspec.to_builtins(process)} for process in den.processes]


def _print(dens: Iterable[DenRecord]) -> None:
    processes = [process for den in dens for process in den.processes]
    for line in table(processes, width=terminal_width(), colour=wants_colour(sys.stdout)):
        say(line)


def terminal_width() -> int:
    """Columns of the terminal; 0, which cuts nothing, where the output goes elsewhere."""
    return shutil.get_terminal_size((100, 24)).columns if is_terminal(sys.stdout) else 0


def table(processes: Sequence[ProcessRecord], *, width: int = 0, colour: bool = False) -> list[str]:
    """The lines of the table; dens follow each other, each begins with its parent."""
    return lines(_COLUMNS, [_row(process) for process in processes], width=width, colour=colour)


def _row(process: ProcessRecord) -> Row:
    return (
        str(process.pid),
        Cell(one_line(process.process_type), "bold" if process.process_type == "default" else ""),
        one_line(process.remote_type or "-"),
        str(process.level) if process.enforcement is not None else "-",
        enforcement_cell(process.enforcement),
        size(process.memory_bytes),
        duration(process.uptime_s),
        one_line(process.name),
    )


def enforcement_cell(enforcement: Enforcement | None) -> Cell:
    """FULL green, PARTIAL yellow with its layers, NONE red."""
    if enforcement is None:
        return Cell("-", "dim")
    summary = enforcement.summary()
    return Cell(summary, {"FULL": "green", "NONE": "red"}.get(summary, "yellow"))


def size(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):.1f} MB" if size_bytes < 1 << 30 else f"{size_bytes / (1 << 30):.2f} GB"


def duration(uptime_s: float) -> str:
    """Seconds for people: 4.2 s, 3 min 05 s, 2 h 07 min."""
    whole = int(uptime_s)
    if whole < 60:
        return f"{uptime_s:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
