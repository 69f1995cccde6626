"""The reasons in a policy's text: the comment on a line, by the key or the entry that it stands beside.

Runs in: the parent, tools and tests; pure.  Trusts: the committed policies, whose grammar policy_text has checked.
Flow: text → read_reasons → {(where, entry): reason} → policy_rows, platforms → `foxden policy show`, exports.
Source: shapes.md section 2, "each widening: who gains what, and why, on its line".

A policy keeps its reasons as comments, where a reviewer reads them; whoever shows a rule shows its reason too.
`where` is as in policy_text's errors: `level[0].errno.EACCES`.  "likewise" is the reason of the line before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

_LIKEWISE = "likewise"
_HEADER = re.compile(r"\[(\[)?\s*([^\[\]]+?)\s*\]{1,2}")
_LEVEL = re.compile(r"^\d+: ")
_KEY = r"""(?:"[^"]*"|'[^']*'|[\w-]+)"""
_ASSIGNMENT = re.compile(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=(.*)")


class _Reader(msgspec.Struct):
    """Where the reading of one text stands."""

    found: dict[tuple[str, str], str] = msgspec.field(default_factory=dict)
    section: str = ""  # as `where` names it
    arrays: dict[str, int] = msgspec.field(default_factory=dict)  # [[name]] → index of the last one
    list_key: str = ""  # the key whose list is open
    reason: str = ""  # of the last line that had one
    beside: tuple[tuple[str, str], ...] = ()  # what a comment alone on the next line goes on about


def read_reasons(text: str) -> dict[tuple[str, str], str]:
    """Every entry of the text, with its reason or an empty string.

    The entry of `key = value` is the key; the entries of a list are its strings, at the place that the key names.
    The entry of a [[table]] itself is the empty one.
    """
    reader = _Reader()
    for line in text.splitlines():
        _read_line(reader, line)
    return reader.found


def _read_line(reader: _Reader, line: str) -> None:
    code, strings, comment = _split(line)
    if not code.strip():
        _continue(reader, comment)
    elif not reader.list_key and (header := _HEADER.fullmatch(code.strip())):
        reader.section, reader.beside = _section(reader, header[2], doubled=bool(header[1])), ()
        if header[1]:  # [[level]]: what the level is for
            reader.found[reader.section, ""] = _LEVEL.sub("", comment)
    elif reader.list_key:
        _note(reader, reader.list_key, strings, comment)
        reader.list_key = "" if "]" in _without_strings(code) else reader.list_key
    elif found := _ASSIGNMENT.fullmatch(code):
        _read_assignment(reader, found[1], found[2], comment)


def _read_assignment(reader: _Reader, key: str, value: str, comment: str) -> None:
    plain = ".".join(part.strip().strip("\"'") for part in re.findall(_KEY, key)) if key[0] not in "\"'" else key[1:-1]
    _note(reader, reader.section, [plain], comment)
    if value.strip().startswith("["):
        inside = f"{reader.section}.{plain}".lstrip(".")
        _note(reader, inside, _split(value)[1], comment)
        reader.list_key = "" if "]" in _without_strings(value) else inside


def _note(reader: _Reader, where: str, entries: list[str], comment: str) -> None:
    reason = _reason(reader, comment)
    for entry in entries:
        reader.found[where, entry] = reason
    if entries and reason:
        reader.beside = tuple((where, entry) for entry in entries)


def _reason(reader: _Reader, comment: str) -> str:
    if comment == _LIKEWISE:
        return reader.reason
    if comment:
        reader.reason = comment
    return comment


def _continue(reader: _Reader, comment: str) -> None:
    """A line with a comment and nothing else goes on with the reason above it, if that is where it stands."""
    if not comment or not reader.list_key:
        reader.beside = ()
        return
    for place in reader.beside:
        reader.found[place] = reader.reason = f"{reader.found[place]} {comment}"


def _section(reader: _Reader, name: str, *, doubled: bool) -> str:
    if doubled:
        reader.arrays[name] = reader.arrays.get(name, -1) + 1
    first, dot, rest = name.partition(".")
    index = f"[{reader.arrays[first]}]" if first in reader.arrays else ""
    return first + index + dot + rest


def _split(line: str) -> tuple[str, list[str], str]:
    """A line's code, the strings in it, and its comment without the `#`."""
    strings: list[str] = []
    at = 0
    while at < len(line):
        quote = line[at]
        if quote == "#":
            return line[:at], strings, line[at + 1 :].strip()
        if quote in "\"'":
            end = line.find(quote, at + 1)
            end = len(line) if end < 0 else end
            strings.append(line[at + 1 : end])
            at = end
        at += 1
    return line, strings, ""


def _without_strings(code: str) -> str:
    return re.sub(r"""("[^"]*"|'[^']*')""", "", code)


def reason_for(reasons: Mapping[tuple[str, str], str], section: str, entry: str) -> str:
    """An entry's own reason, else that of the list it is in, else that of the table."""
    own = reasons.get((section, entry), "")
    if own:
        return own
    table, dot, key = section, "", ""
    while table:
        if dot and (beside := reasons.get((table, key), "")):
            return beside
        if head := reasons.get((table, ""), ""):
            return head
        table, dot, last = table.rpartition(".")
        key = f"{last}.{key}" if key else last
    return ""
