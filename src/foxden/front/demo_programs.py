"""The demo's programs: a hostile one, part by part, and a useful one, run as `foxden run` runs them.

Runs in: command.  Trusts: nothing that a program says; its exit code and its last line are shown, escaped.
Flow: parts × Den.run → Tried: what it was told, and the hint → lines, Outcomes for the verdict.
Source: what a postinstall script does that was not read before.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from foxden.front.columns import Cell, Column, lines
from foxden.front.demo_acts import GRANTED, PROGRAM, REFUSED, SUCCEEDED, UNKNOWN, Outcome
from foxden.front.terminal import one_line, say

if TYPE_CHECKING:
    from foxden.front.demo_site import Site
    from foxden.parent.den import Den
    from foxden.parent.programs import Done

_TASKS = 32
_MANY = 500
_COUNT_WORDS = 'tr -cs "[:alpha:]" "\\n" <"$1" | sort | uniq -c | sort -rn | head -n 1'


class Tried(msgspec.Struct, frozen=True):
    """One part of a program, and what came of it."""

    words: str
    result: str
    hint: str
    worked: bool


def try_hostile(den: Den, site: Site) -> list[Tried]:
    """Each part is a program of its own, so that one refusal does not hide the next."""
    parts = (
        ("read a secret file", f"cat {site.canary}"),
        ("leave a job in /etc", "echo '* * * * * root evil' > /etc/cron.d/foxden-demo"),
        ("connect to the web server", f"openssl s_client -connect 127.0.0.1:{site.port}"),
        (f"start {_MANY} processes", f"for n in $(seq {_MANY}); do sleep 9 & done; kill $(jobs -p)"),
    )
    return [_tried(words, den.run(["sh", "-c", script], processes=_TASKS, timeout=10)) for words, script in parts]


def try_useful(den: Den, site: Site) -> list[Tried]:
    """A pipeline over one file, which it has because it is named."""
    page = str(site.root / site.pages[0])
    done = den.run(["sh", "-c", _COUNT_WORDS, "sh", page], timeout=10)
    count, _, word = done.stdout.decode("utf-8", "replace").strip().partition(" ")
    result = f"{word!r}, {count} times" if word and not done.returncode else _last_words(done)
    return [Tried("find the page's commonest word", result, "", bool(word) and not done.returncode)]


def _tried(words: str, done: Done) -> Tried:
    hint = next((each.hint for each in done.violations if each.hint), "")
    return Tried(words, _last_words(done), hint, worked=done.returncode == 0)


def _last_words(done: Done) -> str:
    """The error that it was told, or the end of its first line of complaint."""
    if done.limit:
        return f"ended: {done.limit}"
    told = next((each.errno for each in done.violations if each.errno), "")
    if told:
        return os.strerror(getattr(errno, told))
    text = done.stderr.decode("utf-8", "replace").strip()
    number = re.search(r"errno=(\d{1,4})$", text, re.MULTILINE)  # as openssl says it
    if number:
        return os.strerror(int(number[1]))
    said = text.splitlines()
    return one_line(said[0].rpartition(": ")[2] if said else f"exit code {done.returncode}")


def outcomes(hostile: Sequence[Tried], useful: Sequence[Tried]) -> list[Outcome]:
    """For the verdict."""
    found = [Outcome(each.words, PROGRAM, SUCCEEDED if each.worked else REFUSED, each.result) for each in hostile]
    return found + [Outcome(each.words, PROGRAM, GRANTED if each.worked else UNKNOWN, each.result) for each in useful]


def show(hostile: Sequence[Tried], useful: Sequence[Tried], colour: bool) -> None:
    columns = (Column("A PROGRAM TRIES TO"), Column("IT IS TOLD", cut=True), Column("WHAT WOULD ALLOW IT", cut=True))
    rows = [(each.words, Cell(each.result, "alarm" if each.worked else "green"), one_line(each.hint))
            for each in hostile]  # fmt: skip
    rows += [(each.words, Cell(each.result, "cyan" if each.worked else "alarm"), "") for each in useful]
    for line in lines(columns, rows, width=98, colour=colour):
        say(line)
