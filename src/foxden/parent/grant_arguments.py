"""Grants as arguments of Python calls: read=, write=, env=, memory= …, checked, as one Grants.

Runs in: the caller's thread, in the parent.  Trusts: the caller; says what is wrong with what it gave.
Flow: options of Den.run and of Policy → grants_of → Grants.
Source: sandbox/grants and sandbox/grants_text, which check the same words in a file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

from foxden.errors import PolicyError
from foxden.sandbox.grants import Grants, checked_connect, checked_environment, checked_names, checked_path, parse_size
from foxden.sandbox.grants_text import checked_files, checked_syscalls
from foxden.sandbox.policy_files import read_policy

StrPath = str | os.PathLike[str]
_DAY_S = 86_400.0


class GrantArguments(TypedDict, total=False):
    """What may be granted, by the names that all calls share."""

    read: Iterable[StrPath] | StrPath
    write: Iterable[StrPath] | StrPath
    files: Mapping[str, str]
    deny: Iterable[StrPath] | StrPath
    connect: Iterable[str]
    env: Mapping[str, str | None] | Iterable[str]
    timeout: float | None
    cpu_time: float | None
    memory: int | str | None
    file_size: int | str | None
    output: int | str | None
    processes: int | None
    syscalls: Iterable[str]
    protect: Iterable[str]
    unprotect: Iterable[str]


def grants_of(options: GrantArguments) -> Grants:
    """Raises PolicyError, naming the argument."""
    denied = dict.fromkeys(_listed("deny", options.get("deny", ()), _absolute), "deny")
    return Grants(
        read=_listed("read", options.get("read", ()), _granted),
        write=_listed("write", options.get("write", ()), _granted),
        files=(
            *checked_files("files", _mapping("files", options.get("files", {})), real_path, follow=True),
            *checked_files("deny", denied, real_path),
        ),
        connect=tuple(checked_connect("connect", host) for host in _strings("connect", options.get("connect", ()))),
        environment=_environment(options.get("env", {})),
        syscalls=checked_syscalls("syscalls", _strings("syscalls", options.get("syscalls", ())), read_policy),
        memory=_size("memory", options.get("memory")),
        file_size=_size("file_size", options.get("file_size")),
        output=_size("output", options.get("output")),
        cpu_time_s=_seconds("cpu_time", options.get("cpu_time")),
        timeout_s=_seconds("timeout", options.get("timeout")),
        processes=_count(options.get("processes")),
        protect=checked_names("protect", _strings("protect", options.get("protect", ()))),
        unprotected=checked_names("unprotect", _strings("unprotect", options.get("unprotect", ()))),
    )


def real_path(path: str) -> str | None:
    """Where a path leads; None: nothing is there."""
    return os.path.realpath(path) if os.path.exists(path) else None


def _listed(where: str, paths: Any, check: Callable[[str, StrPath], str]) -> tuple[str, ...]:
    """One path, or several."""
    if isinstance(paths, str | bytes | os.PathLike):
        return (check(where, os.fsdecode(paths)),)
    try:
        return tuple(check(where, path) for path in paths)
    except TypeError:
        raise PolicyError(f"{where}: expected a list of paths, got {paths!r}") from None


def _granted(where: str, path: StrPath) -> str:
    return checked_path(where, _absolute(where, path), real_path, follow=True)


def _absolute(where: str, path: StrPath) -> str:
    return os.path.abspath(os.fsdecode(path))


def _strings(where: str, given: Any) -> tuple[str, ...]:
    items = None if isinstance(given, str | bytes) or not isinstance(given, Iterable) else tuple(given)
    if items is None or not all(isinstance(item, str) for item in items):
        raise PolicyError(f"{where}: expected a list of strings, got {given!r}", hint=f"{where}=[…]")
    return items


def _mapping(where: str, given: Any) -> dict[str, object]:
    if not isinstance(given, Mapping):
        raise PolicyError(f"{where}: expected paths and what they get, got {given!r}", hint="{'/data': 'r'}")
    return {os.path.abspath(os.fsdecode(path)): word for path, word in given.items()}


def _environment(given: Any) -> tuple[tuple[str, str | None], ...]:
    """`{"NAME": "value"}`, None for the caller's own; or names alone, all of them the caller's own."""
    table = given if isinstance(given, Mapping) else dict.fromkeys(_strings("env", given))
    for value in table.values():
        if value is not None and not isinstance(value, str):
            raise PolicyError(f"env: expected a string, or None for the caller's own, got {value!r}")
    return tuple(checked_environment("env", name, value) for name, value in table.items())


def _size(where: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    return parse_size(where, str(value))


def _seconds(where: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise PolicyError(f"{where}: expected more than 0 seconds, got {value!r}")
    return min(float(value), _DAY_S)


def _count(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 65_536):
        raise PolicyError(f"processes: expected a number from 1 to 65536, got {value!r}")
    return value
