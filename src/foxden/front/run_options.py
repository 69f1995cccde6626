"""The options of `foxden run`: one table, from which both the quick reader and the command line library read.

Runs in: command.  Trusts: the user's command line, each word of it checked.
Flow: words → read_words → RunOptions, or None where the library's reader must have a look (help, errors, rare options).
Source: interface.md "Command".

The quick reader exists because loading the library takes as long as starting a program in a sandbox does twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from foxden.errors import PolicyError
from foxden.sandbox.grants import (
    Grants,
    checked_connect,
    checked_environment,
    checked_names,
    checked_path,
    parse_size,
)

_DAY_S = 86_400.0


class RunOptions(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    arguments: tuple[str, ...]
    grants: Grants
    cwd: str
    designate: bool = True
    explain: bool = False
    learn: str | None = None
    report: str | None = None
    allow_partial: tuple[str, ...] = ()
    as_json: bool = False
    debug: bool = False
    level: int | None = None
    prefs: Mapping[str, str] = MappingProxyType({})


def _real(path: str) -> str | None:
    return os.path.realpath(path) if os.path.lexists(path) and os.path.exists(path) else None


def _path(where: str, text: str) -> tuple[str, str]:
    """A path that is granted: from the current directory on, as it was written, and with links followed."""
    if not text:
        raise PolicyError(f"{where}: expected a path, got an empty word")
    named = os.path.join(os.getcwd(), text)
    return os.path.normpath(named), checked_path(where, named, _real, follow=True)


def _folder(where: str, text: str) -> str:
    path = os.path.normpath(os.path.join(os.getcwd(), text))
    if not os.path.isdir(path):
        raise PolicyError(f"{where}: expected a directory, got {text!r}")
    return path


def _environment(where: str, text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return checked_environment(where, name, value if equals else None)


def _seconds(where: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= _DAY_S:
        raise PolicyError(f"{where}: expected seconds, more than 0 and at most {_DAY_S:g}, got {text!r}")
    return seconds


def _count(where: str, text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 65_536:
        raise PolicyError(f"{where}: expected a number from 1 to 65536, got {text!r}")
    return int(text)


def _name(where: str, text: str) -> str:
    return checked_names(where, (text,))[0]


def _connect(where: str, text: str) -> str:
    checked_connect(where, text)
    raise PolicyError(f"{where}: the network of programs comes with a later version", hint="leave it out: no network")


def _text(where: str, text: str) -> str:
    if not text:
        raise PolicyError(f"{where}: expected a file name, got an empty word")
    return text


class Option(msgspec.Struct, frozen=True):
    """One row.  `check`: reads its value; None: it has none."""

    name: str
    field: str
    metavar: str
    check: Callable[[str, str], Any] | None
    help: str
    many: bool = False


OPTIONS: tuple[Option, ...] = (
    Option("--read", "read", "PATH", _path, "Let it read a file or a whole directory.", many=True),
    Option("--write", "write", "PATH", _path, "Let it read, change, make and remove files there.", many=True),
    Option("--connect", "connect", "HOST[:PORT]", _connect, "Let it connect there (not in this version).", many=True),
    Option("--env", "environment", "NAME[=VALUE]", _environment,
           "Set a variable of its environment; without =VALUE, to yours.", many=True),
    Option("--cwd", "cwd", "DIR", _folder, "Begin in this directory instead of the current one."),
    Option("--memory", "memory", "SIZE", parse_size, "Limit the memory of all its processes together, as 512M."),
    Option("--cpu-time", "cpu_time_s", "S", _seconds, "Limit their processor time together, in seconds."),
    Option("--timeout", "timeout_s", "S", _seconds, "End it after so many seconds; exit code 124."),
    Option("--processes", "processes", "N", _count, "Limit how many processes and threads there are at a time."),
    Option("--file-size", "file_size", "SIZE", parse_size, "Limit the size of each file that it writes."),
    Option("--output", "output", "SIZE", parse_size, "With --json: keep so much of each stream."),
    Option("--protect", "protect", "NAME", _name, "Let nothing of this name be changed below --write, as .envrc.",
           many=True),
    Option("--unprotect", "unprotected", "NAME", _name, "Let it change this name, though it is usually protected.",
           many=True),
    Option("--policy", "policy", "FILE", _text, "Give what this policy file gives, as --learn writes one."),
    Option("--explain", "explain", "", None, "Record all that it opens, and tell all that was refused."),
    Option("--learn", "learn", "FILE", _text, "Write a policy file of what it wanted, while refusing it."),
    Option("--no-designate", "no_designate", "", None, "Grant no file for being named on the command line."),
)  # fmt: skip
BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}
_PATHS = ("read", "write")
_GRANT_FIELDS = frozenset(Grants.__struct_fields__)
_QUICK = {"--json": "as_json", "--report": "report"}  # common options that the quick reader knows


def read_words(words: Sequence[str]) -> RunOptions | None:
    """The options and the program, or None: not for the quick reader.  Raises PolicyError for a wrong value."""
    given: dict[str, Any] = {}
    place = 0
    while place < len(words) and words[place].startswith("-"):
        word = words[place]
        place += 1
        if word == "--":
            break
        name, equals, value = word.partition("=")
        option = BY_NAME.get(name)
        if name == "--json" and not equals:
            given["as_json"] = True
            continue
        if option is None and name != "--report":
            return None
        if option is not None and option.check is None:
            if equals:
                return None
            given[option.field] = True
            continue
        if not equals:
            if place >= len(words):
                return None
            value = words[place]
            place += 1
        _take(given, option, value)
    arguments = tuple(words[place:])
    return options_of(given, arguments) if arguments else None


def _take(given: dict[str, Any], option: Option | None, value: str) -> None:
    if option is None:
        given["report"] = value
        return
    checked = option.check(option.name, value) if option.check is not None else True
    if option.many:
        given.setdefault(option.field, []).append(checked)
    else:
        given[option.field] = checked


def options_of(given: Mapping[str, Any], arguments: Sequence[str]) -> RunOptions:
    """Values that were checked, by field.  Raises PolicyError: an empty program, a policy file that is wrong."""
    if not arguments or not arguments[0]:
        raise PolicyError("expected a program to run, got none", hint="foxden run [OPTIONS] -- PROGRAM ARG…")
    chosen: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
        if name in _GRANT_FIELDS and value not in (None, ())
    }
    links = [pair for name in _PATHS for pair in chosen.get(name, ()) if pair[0] != pair[1]]
    chosen |= {name: tuple(real for _, real in chosen[name]) for name in _PATHS if name in chosen}
    chosen["links"] = tuple(links)
    grants = Grants(**chosen)
    if given.get("policy"):
        from foxden.sandbox.policy_files import read_grants  # of use to few, and a run starts from nothing

        grants = grants.over(read_grants("--policy", given["policy"], _real))
    return RunOptions(
        arguments=tuple(arguments),
        grants=grants,
        cwd=given.get("cwd") or os.getcwd(),
        designate=not given.get("no_designate"),
        explain=bool(given.get("explain") or given.get("learn")),
        learn=given.get("learn"),
        report=given.get("report"),
        allow_partial=tuple(given.get("allow_partial") or ()),
        as_json=bool(given.get("as_json")),
        debug=bool(given.get("debug")),
        level=given.get("level"),
        prefs=given.get("prefs") or MappingProxyType({}),
    )
