"""`foxden policy show`: one policy, every row with the line that says so and the reason on that line.

Runs in: command.  Trusts: the committed policies, the user's preferences.
Flow: TYPE, level, platform → policy_view → tables, JSON, a Seatbelt profile or Win32 settings.
Source: interface.md "Command".
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from typing import Any

import click

from foxden.front.columns import Cell, Column, Row, lines
from foxden.front.command_ps import terminal_width
from foxden.front.options import policy_options, settings_of
from foxden.front.policy_target import Target, check_platform, parse_level, parse_target, with_remote_type
from foxden.front.policy_view import View, as_json, make_view, with_level
from foxden.front.terminal import json_text, one_line, paint, say, wants_colour
from foxden.sandbox.macos import MacPolicy
from foxden.sandbox.platforms import Origin, Platform
from foxden.sandbox.policy_rows import CallRow, LinuxRows
from foxden.sandbox.windows import WindowsPolicy

FORMATS = ("table", "json", "seatbelt", "win32")
_OF_FORMAT = {"seatbelt": Platform.MACOS, "win32": Platform.WINDOWS}
_STYLES = {"allow": "green", "allowed": "green", "refused": "red", "deny": "red", "kill": "alarm", "not said": "dim"}
_CALLS_WIDTH = 44  # on a terminal
_VERDICTS = ("allow", "errno", "notify", "kill")  # in the order of showing: first who gets what


def _level(_: click.Context, __: click.Parameter, text: str | None) -> int | None:
    return None if text is None else parse_level(text)


@click.command("show", short_help="Show one policy as rules.")
@click.argument("type_", metavar="TYPE")
@click.option("--level", metavar="N", callback=_level, help="The level; else the one that a den would use.")
@click.option("--platform", type=click.Choice([platform.value for platform in Platform]), help="Else linux.")
@click.option("--remote-type", metavar="R", help="Of content: web, file, privileged or extension; else web.")
@click.option("--format", "format_", type=click.Choice(FORMATS), help="seatbelt: of macos; win32: of windows.")
@policy_options
@click.pass_context
def command(
    context: click.Context, /, type_: str, level: int | None, platform: str | None, remote_type: str | None,
    format_: str | None, **common: Any,
) -> int:  # fmt: skip
    """Show the policy of a process type as rules: layers, limits, files, system calls, and what it answers.

    TYPE is a process type, as `content` or `socket`, and may say more: `content:file@3/macos`.
    On Linux the rules are those that foxden enforces; macOS and Windows are shown and exported only.
    """
    settings = settings_of(context, common)
    target = _target(type_, settings.level if level is None and "@" not in type_ else level, platform, remote_type)
    view = make_view(target, settings)
    _print(view, _format(view.target, format_, as_json=settings.as_json))
    return 0


def _target(text: str, level: int | None, platform: str | None, remote_type: str | None) -> Target:
    """TYPE and the options together; where both speak they must agree."""
    if platform is not None and "/" not in text:
        text = f"{text}/{platform}"
    target = parse_target(text)
    if platform is not None and target.platform.value != platform:
        raise click.UsageError(f"expected one platform, got {target.platform.value} in TYPE and --platform {platform}")
    if remote_type is not None:
        if ":" in text and target.remote_type is not None and target.remote_type.value != remote_type:
            raise click.UsageError(f"expected one remote type, got {text!r} and --remote-type {remote_type}")
        target = with_remote_type(target, remote_type)
    if level is not None and target.level not in (None, level):
        raise click.UsageError(f"expected one level, got {target.level} in TYPE and --level {level}")
    check_platform(target)
    return with_level(target, level if target.level is None else None)


def _format(target: Target, word: str | None, *, as_json: bool) -> str:
    if word in _OF_FORMAT and target.platform is not _OF_FORMAT[word]:
        wanted = _OF_FORMAT[word].value
        raise click.UsageError(
            f"--format {word} is of {wanted}: expected --platform {wanted}, got {target.platform.value}"
        )
    if as_json and word not in (None, "json", "win32"):
        raise click.UsageError(f"expected --json or --format {word}, got both")
    return word or ("json" if as_json else "table")


def _print(view: View, form: str) -> None:
    if form == "seatbelt" and isinstance(view.content, MacPolicy):
        from foxden.sandbox.seatbelt import export

        say(export(view.content).rstrip("\n"))
    elif form in ("json", "win32"):
        said = as_json(view)
        say(json_text(said["win32"] if form == "win32" else said))
    else:
        for line in page(view, width=terminal_width(), colour=wants_colour(sys.stdout)):
            say(line)


def page(view: View, *, width: int = 0, colour: bool = False) -> list[str]:
    """The tables of one policy, for a person."""
    standing = view.standing()
    head = f"{view.target.title()}, level {view.level} of 0 to {view.max_level}"
    shown = [f"{paint(head, 'bold', colour)}: {paint(standing, 'green' if view.enforced_here else 'yellow', colour)}"]
    if isinstance(view.content, LinuxRows):
        sections = _linux(view.content, narrow=bool(width))
    else:
        sections = _mac(view.content) if isinstance(view.content, MacPolicy) else _windows(view.content)
    for title, columns, rows in (*sections, _acts(view)):
        if rows:
            shown += ["", paint(title, "bold", colour), *lines(columns, rows, width=width, colour=colour)]
    if view.made_up:
        example = ", ".join(f"{{{name}}} = {view.places[name]}" for name in view.made_up)
        text = f"Examples, not of this machine: {one_line(example)}"
        shown += ["", *(paint(line, "dim", colour) for line in textwrap.wrap(text, width or len(text)))]
    return shown


Section = tuple[str, Sequence[Column], list[Row]]
_ENDS = (Column("FROM"), Column("WHY", cut=True))


def _ends(origin: Origin) -> tuple[str, str]:
    """The file and the level, and the reason."""
    file = origin.where.partition(":")[0]
    return (f"{file} {origin.level}" if file.endswith(".toml") else file), one_line(origin.reason)


def _cell(word: str) -> Cell:
    return Cell(word, _STYLES.get(word.partition(".")[0], ""))


def _linux(rows: LinuxRows, *, narrow: bool) -> list[Section]:
    if not rows.default:
        return []
    names = () if narrow else (Column("EACH OF THEM"),)
    return [
        ("Layers", (Column("LAYER"), Column("VALUE"), *_ENDS),
         [(row.name, row.value, *_ends(row.origin)) for row in rows.layers]),
        ("Limits", (Column("LIMIT"), Column("VALUE", right=True), *_ENDS),
         [(row.name, row.value, *_ends(row.origin)) for row in rows.limits]),
        ("Files: the longest path wins", (Column("ACCESS"), Column("PATH"), *_ENDS),
         [(_cell(row.access), one_line(row.rule), *_ends(row.origin)) for row in _by_rule(rows)]),
        (f"System calls: every other call is {rows.default}", (Column("VERDICT"), Column("CALLS"), *_ENDS, *names),
         grouped(rows.calls, narrow=narrow)),
    ]  # fmt: skip


def _by_rule(rows: LinuxRows) -> list[Any]:
    """A rule whose variable stands for several paths is one row."""
    return list({row.rule: row for row in rows.files}.values())


def grouped(calls: Sequence[CallRow], *, narrow: bool) -> list[Row]:
    """Calls of one set as one row, others as they are written; the verdicts that give something first.

    `narrow`: for a terminal, without the names of a set's calls.  A pipe gets them, for grep.
    """
    groups: dict[tuple[str, str, str], list[CallRow]] = {}
    for row in calls:
        text = f"@{row.set_name}" if row.set_name else row.call
        groups.setdefault((row.verdict, row.origin.where, text), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: (_VERDICTS.index(item[0][0].partition(".")[0]), item[0]))
    return [_group(verdict, text, members, narrow=narrow) for (verdict, _, text), members in ordered]


def _group(verdict: str, text: str, members: Sequence[CallRow], *, narrow: bool) -> Row:
    if text.startswith("@"):
        text = f"{text}, {len(members)} line{'' if len(members) == 1 else 's'}"
    if not narrow:
        each = ", ".join(row.call for row in members) if members[0].set_name else ""
        return (_cell(verdict), text, *_ends(members[0].origin), each)
    shown = text if len(text) <= _CALLS_WIDTH else text[: _CALLS_WIDTH - 1] + "…"
    return (_cell(verdict), shown, *_ends(members[0].origin))


def _mac(policy: MacPolicy) -> list[Section]:
    return [
        ("Operations", (Column("VERDICT"), Column("OPERATION"), *_ENDS),
         [(_cell("allow" if row.allow else "deny"), row.operation, *_ends(row.origin)) for row in policy.operations]),
        ("Files: the longest path wins", (Column("ACCESS"), Column("PATH"), *_ENDS),
         [(_cell(row.access.word()), row.path + (" itself" if row.literal else ""), *_ends(row.origin))
          for row in policy.files]),
        ("Services of the system", (Column("OPERATION"), Column("NAME"), *_ENDS),
         [(row.operation, row.name, *_ends(row.origin)) for row in policy.services]),
    ]  # fmt: skip


def _windows(policy: WindowsPolicy) -> list[Section]:
    words = {True: "yes", False: "no"}
    return [
        ("Settings", (Column("SETTING"), Column("VALUE"), *_ENDS),
         [(name, words.get(row.value, str(row.value)) if isinstance(row.value, bool) else row.value,
           *_ends(row.origin)) for name, row in policy.settings.items()]),
        ("Mitigations from the start", (Column("MITIGATION"), *_ENDS),
         [(name, *_ends(origin)) for name, origin in policy.mitigations.items()]),
        ("Mitigations once it has loaded its libraries", (Column("MITIGATION"), *_ENDS),
         [(name, *_ends(origin)) for name, origin in policy.delayed_mitigations.items()]),
        ("Files that the parent opens for it", (Column("ACCESS"), Column("PATH"), *_ENDS),
         [(_cell(row.access.word()), row.path, *_ends(row.origin)) for row in policy.files]),
    ]  # fmt: skip


def _acts(view: View) -> Section:
    rows: list[Row] = [(_cell(answer.decision.outcome.value), answer.name(), one_line(answer.decision.rule))
                       for answer in view.answers]  # fmt: skip
    return "What it answers", (Column("OUTCOME"), Column("ACT"), Column("BY", cut=True)), rows
