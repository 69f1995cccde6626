"""Policies of platforms that are not this one: what macOS and Windows rows have in common.

Runs in: the parent, tools and tests; pure (files are read by the callable handed in).  Trusts: the policy texts.
Flow: policies/<platform>/<type>.toml → Text → macos.resolve, windows.resolve → decide, exports, `foxden policy`.
Source: MozillaWiki Security/Sandbox, tables "Windows" and "OSX"; docs/concepts/platforms.md.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import msgspec

from foxden.errors import PolicyError
from foxden.model.process_types import RemoteType
from foxden.sandbox.paths import Access
from foxden.sandbox.policy_reasons import read_reasons, reason_for
from foxden.sandbox.syscalls import policy_error


class Platform(enum.Enum):
    LINUX = "linux"
    MACOS = "macos"
    WINDOWS = "windows"

    @property
    def title(self) -> str:
        """As its maker writes it."""
        return {"linux": "Linux", "macos": "macOS", "windows": "Windows"}[self.value]


# Process types that have a table of their own, by the name of their file.  The documents have none for the others.
TABLES: dict[Platform, tuple[str, ...]] = {
    Platform.MACOS: ("content", "gmp"),
    Platform.WINDOWS: ("content", "gmp", "plugin"),
}


class Origin(msgspec.Struct, frozen=True):
    """Where a line stands, and why it is there."""

    where: str  # file and key
    level: int  # from which on it holds
    reason: str


class Rule(msgspec.Struct, frozen=True):
    """What a line says of a path.  `path`: as written, with its {variable}."""

    path: str
    access: Access
    origin: Origin
    literal: bool = False  # of the path alone, not of what is below it


class Text(msgspec.Struct, frozen=True):
    """One policy file, its TOML read and its reasons beside it."""

    name: str  # `macos/content`
    table: Mapping[str, Any]
    reasons: Mapping[tuple[str, str], str]

    def where(self, section: str, key: str = "") -> str:
        return f"{self.name}.toml: {section}{'.' if key else ''}{key}"

    def origin(self, section: str, key: str, level: int) -> Origin:
        return Origin(self.where(section, key), level, reason_for(self.reasons, section, key))


def read_text(platform: Platform, name: str, read: Callable[[str], str]) -> Text:
    """Raises: PolicyError when it is no TOML."""
    import tomllib

    full = f"{platform.value}/{name}"
    text = read(full)
    try:
        return Text(full, tomllib.loads(text), read_reasons(text))
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{full}.toml: expected TOML, got an error of its grammar: {error}") from None


def levels(text: Text, known: Collection[str]) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Each [[level]] with its number and its place, upwards.  Raises: PolicyError for what a level cannot have."""
    last = -1
    tables = text.table.get("level")
    if not isinstance(tables, list) or not tables:
        raise policy_error(text.where("level"), "[[level]] tables", tables)
    for index, table in enumerate(tables):
        section = f"level[{index}]"
        check_keys(text, section, table, ("from", *known))
        level = table.get("from")
        if isinstance(level, bool) or not isinstance(level, int) or level <= last:
            raise policy_error(text.where(section, "from"), f"a level above {last}, the one before it", level)
        last = level
        yield level, section, table


def check_keys(text: Text, section: str, table: Mapping[str, object], known: Collection[str]) -> None:
    for key in table:
        if key not in known:
            raise policy_error(text.where(section), f"one of the keys {', '.join(known)}", key, known)


def check_level(text: Text, level: int, least: int, most: int) -> None:
    """Level 0 is always to be had: it is no sandbox where the text does not speak of it."""
    if not min(0, least) <= level <= most:
        raise policy_error(f"{text.name}.toml", f"a level from 0 to {most}", level)


def check_remote_type(text: Text, remote_type: str | None) -> None:
    known = [kind.value for kind in RemoteType]
    if remote_type is not None and remote_type not in known:
        raise policy_error(f"{text.name}.toml", "a remote type", remote_type, known)


def strings(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise policy_error(where, "a list of strings", value)
    return tuple(value)


def rules(
    text: Text, section: str, table: Mapping[str, object], level: int, variables: Collection[str], *,
    literal: bool = False,
) -> Iterator[Rule]:  # fmt: skip
    """The lines `"path" = "access"` of a table; `none` takes a line of a level below away."""
    for path, word in table.items():
        where = text.where(section, repr(path))
        for variable in re.findall(r"\{(\w*)\}", path):
            if variable not in variables:
                raise policy_error(where, f"one of the variables {', '.join(variables)}", variable, variables)
        yield Rule(path, _access(where, word), text.origin(section, path, level), literal)


def _access(where: str, word: object) -> Access:
    if word == "none":
        return Access.NONE
    try:
        return Access.parse(word if isinstance(word, str) else "")
    except ValueError:
        raise policy_error(where, "'none', 'stat' or letters of 'rwcx'", word) from None


def fill(path: str, places: Mapping[str, str]) -> str:
    """The path with its {variable} filled in.  Raises: KeyError when a place is missing."""
    return re.sub(r"\{(\w+)\}", lambda found: places[found[1]], path)
