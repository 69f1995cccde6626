"""Which policy is meant: `TYPE[:REMOTE][@LEVEL][/PLATFORM]`, as `content:file@3/macos`.

Runs in: command; pure.  Trusts: nothing in the words.
Flow: words of the command line → Target, or a usage error that says what there is.
Source: interface.md "Command"; model/process_types for the names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

import click
import msgspec

from foxden.model.process_types import BY_NAME, ProcessType, RemoteType
from foxden.sandbox.platforms import TABLES, Platform

_FORM = re.compile(r"(?P<type>[^:@/]+)(?::(?P<remote>[^@/]*))?(?:@(?P<level>[^/]*))?(?:/(?P<platform>.*))?")


class Target(msgspec.Struct, frozen=True):
    row: ProcessType
    remote_type: RemoteType | None
    platform: Platform
    level: int | None  # None: the one that a den would use, or the highest of another platform

    def title(self) -> str:
        """`content web`."""
        return f"{self.row.name} {self.remote_type.value}" if self.remote_type else self.row.name


def parse_target(text: str) -> Target:
    """Raises: click.UsageError."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise click.UsageError(f"expected TYPE[:REMOTE][@LEVEL][/PLATFORM], got {text!r}")
    row = BY_NAME.get(found["type"])
    if row is None:
        raise _unknown("a process type", found["type"], BY_NAME)
    remote_type = _remote_type(row, found["remote"]) if found["remote"] is not None else _usual(row)
    platform = parse_platform(found["platform"]) if found["platform"] is not None else Platform.LINUX
    target = Target(row, remote_type, platform, parse_level(found["level"]) if found["level"] is not None else None)
    check_platform(target)
    return target


def _usual(row: ProcessType) -> RemoteType | None:
    """What is meant when nobody says: a page of the web."""
    return row.remote_types[0] if row.remote_types else None


def with_remote_type(target: Target, name: str) -> Target:
    return msgspec.structs.replace(target, remote_type=_remote_type(target.row, name))


def _remote_type(row: ProcessType, name: str) -> RemoteType:
    known = [kind.value for kind in row.remote_types]
    if not known:
        raise click.UsageError(f"expected no remote type, since {row.name} processes have none; got {name!r}")
    if name not in known:
        raise _unknown("a remote type", name, known)
    return RemoteType(name)


def parse_platform(name: str) -> Platform:
    known = [platform.value for platform in Platform]
    if name not in known:
        raise _unknown("a platform", name, known)
    return Platform(name)


def parse_level(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text):
        raise click.UsageError(f"expected a level, a number from 0 on; got {text!r}")
    return int(text)


def check_platform(target: Target) -> None:
    """The documents have tables of some types only."""
    names = TABLES.get(target.platform)
    if names is not None and target.row.policy not in names:
        raise click.UsageError(
            f"expected a type that Firefox's tables of {target.platform.title} speak of, one of {', '.join(names)}; "
            f"got {target.row.name!r}"
        )


def check_level(target: Target, level: int, most: int) -> None:
    if not 0 <= level <= most:
        raise click.UsageError(
            f"expected a level of {target.row.name} on {target.platform.title}, 0 to {most}; got {level}"
        )


def _unknown(expected: str, got: str, known: Iterable[str]) -> click.UsageError:
    names = list(known)
    close = get_close_matches(got, names, 1)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return click.UsageError(f"expected {expected}, one of {', '.join(names)}; got {got!r}{meant}")
