"""Violations for people: what was refused, by which line, and what would allow it.

Runs in: command.  Trusts: nothing in a record: all of it is escaped.
Flow: Violation → lines on standard error at the end of `foxden run`, or on standard output with `--explain`.
Source: interface.md "Records"; what agents ask for: "which line do I add?".
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from foxden.front.terminal import paint
from foxden.model.escaped import quoted_name
from foxden.model.records import Act, Violation
from foxden.model.violation_words import act, outcome, who

_INDENT = 8
_FRAMES_MAX = 6
_RECORDS_MAX = 20  # of a summary


def lines(violations: Iterable[Violation], *, width: int = 100, colour: bool = False) -> list[str]:
    """All of them, each with its rule, hint and stack."""
    return [line for violation in violations for line in _lines(violation, width, colour)]


def summary(violations: Sequence[Violation], *, width: int = 100, colour: bool = False) -> list[str]:
    """The first of them, and how many more there are; the hints that would allow them, each once."""
    if not violations:
        return []
    shown = violations[:_RECORDS_MAX]
    told = [f"{_word(each, colour)} {_act(each, width)}" for each in shown]
    if len(violations) > len(shown):
        told.append(f"… and {len(violations) - len(shown)} more")
    hints = list(dict.fromkeys(violation.hint for violation in violations if violation.hint))
    for hint in hints[:_RECORDS_MAX]:
        told += _wrapped("hint", quoted_name(hint), "cyan", width, colour)
    return told


def _lines(violation: Violation, width: int, colour: bool) -> list[str]:
    head = f"{_word(violation, colour)} {_act(violation, width)}"
    tail = f"{who(violation)}, pid {violation.pid}" if violation.pid else who(violation)
    told = [head, *_wrapped("by", tail, "dim", width, colour)]
    if violation.rule:
        told += _wrapped("rule", quoted_name(violation.rule), "", width, colour)
    if violation.hint:
        told += _wrapped("hint", quoted_name(violation.hint), "cyan", width, colour)
    frames = [quoted_name(frame) for frame in violation.stack[:_FRAMES_MAX]]
    for place, frame in enumerate(frames):
        told += _wrapped("" if place else "in", frame, "dim", width, colour)
    return told


def _word(violation: Violation, colour: bool) -> str:
    granted = isinstance(violation, Act) and violation.granted
    return paint("granted", "green", colour) if granted else paint("refused", "red", colour)


def _act(violation: Violation, width: int) -> str:
    """What was tried and what it was told.  A path that is too long loses its middle, never its end."""
    granted = isinstance(violation, Act) and violation.granted
    end = f" ×{violation.count}" if granted and violation.count > 1 else "" if granted else f" ({_told(violation)})"
    text = act(violation)
    room = max(20, width - _INDENT - len(end))
    if len(text) > room:
        text = f"{text[: room // 2 - 1]}…{text[-(room - room // 2) :]}"
    return text + end


def _told(violation: Violation) -> str:
    return outcome(violation).removeprefix("refused with ")


def _wrapped(word: str, text: str, style: str, width: int, colour: bool) -> list[str]:
    """`   word  text`, its further lines below the text.  A hint is one line that can be copied: it is not broken."""
    gap = f"{word:>{_INDENT - 2}}  "
    if word == "hint":
        return [gap + paint(text, style, colour)]
    broken = textwrap.wrap(text, max(20, width - _INDENT), break_on_hyphens=False) or [""]
    return [(gap if not place else " " * _INDENT) + paint(part, style, colour) for place, part in enumerate(broken)]
