"""The text of a policy: TOML in, checked and typed lines out.

Runs in: the parent, tools and tests; pure.  Trusts: nothing in the text; an unknown word is an error, never ignored.
Flow: text → parse → PolicySource (one file, sets and includes not yet followed) → policy.load.
Source: docs/reference/policies.md; MozillaWiki Security/Sandbox for the meaning of levels.

A text has `include`, `[syscalls]` and `[files]` (from level 1 on), any number of `[[level]]` tables that add to
them from a level on, and `[limits]`.  Level 0 is no sandbox at all and has no text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import msgspec

from foxden.errors import PolicyError
from foxden.model.process_types import RemoteType
from foxden.sandbox.constants import ERRNOS
from foxden.sandbox.paths import AbsPath, Access
from foxden.sandbox.syscalls import Call, Verdict, parse_call, parse_verdict, policy_error

MAX_LEVEL = 4  # content's highest; no other type has more

NAMESPACES = ("user", "pid", "mount", "net", "ipc", "uts", "cgroup")

# Names that a file rule may start with; the parent says what they stand for, each for one path or several.
VARIABLES = (
    "install",  # foxden's own code
    "profile",  # the user's profile directory
    "stdlib",  # Python's standard library
    "python",  # the interpreter, by each of its names, and where one that was built in place has its settings
    "packages",  # site-packages that the den uses
    "home",  # the user's home
    "config",  # the user's configuration: $XDG_CONFIG_HOME, or ~/.config
    "runtime",  # the user's sockets: $XDG_RUNTIME_DIR
    "xauthority",  # what an X11 server wants to see: $XAUTHORITY, or ~/.Xauthority
    "tmp",  # the directory of temporary files, each child's own
    "certificates",  # CA bundles and certificate directories
    "system_libraries",  # where the dynamic linker looks
    "fonts",  # font directories beyond the usual
)

# What a [[level]] may set beside calls and files: key → values, None for true and false.
_CHOICES: dict[str, tuple[str, ...] | None] = {
    "root": ("host", "empty"),
    "network": ("host", "none"),
    "capabilities": ("keep", "drop"),
    "reads": ("kernel", "broker"),
    "landlock": None,
}
_CALL_KEYS = ("default", "allow", "errno", "notify", "kill", "trap")
_LEVEL_KEYS = ("from", "namespaces", "files", *_CHOICES, *_CALL_KEYS)
_TOP_KEYS = ("include", "syscalls", "files", "level", "limits")

# Limit → its unit and the greatest value that makes sense.
_LIMITS: dict[str, tuple[str, int]] = {
    "memory": ("size", 1 << 50),  # private memory that can be written (RLIMIT_DATA)
    "address_space": ("size", 1 << 50),  # everything mapped (RLIMIT_AS); engines that reserve much cannot have it
    "file_size": ("size", 1 << 50),  # of each file and memfd (RLIMIT_FSIZE)
    "locked_memory": ("size", 1 << 50),  # that cannot be swapped (RLIMIT_MEMLOCK)
    "descriptors": ("count", 1 << 20),  # open at a time (RLIMIT_NOFILE)
    "tasks": ("count", 1 << 16),  # threads and processes (RLIMIT_NPROC)
    "oom_score_adj": ("count", 1000),  # who goes first when memory is short: 1000 first
}
_SIZES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


class CallLine(msgspec.Struct, frozen=True):
    """One entry of a verdict's list: a call, or the name of a set of calls."""

    where: str  # file and key, for error texts
    verdict: Verdict
    call: Call | None
    set_name: str = ""


class FileLine(msgspec.Struct, frozen=True):
    """One file rule before its variable is known: `{variable}` + `rest`, or `rest` alone."""

    where: str
    variable: str
    rest: str
    access: Access
    remote_type: str | None  # None: of every remote type


class Place(msgspec.Struct, frozen=True):
    """Everything that one file says from one level on."""

    where: str
    level: int
    default: Verdict | None = None
    calls: tuple[CallLine, ...] = ()
    files: tuple[FileLine, ...] = ()
    namespaces: tuple[str, ...] | None = None
    choices: Mapping[str, str | bool] = msgspec.field(default_factory=dict)


class PolicySource(msgspec.Struct, frozen=True):
    """One policy file as it stands."""

    name: str
    include: tuple[str, ...]
    places: tuple[Place, ...]  # [syscalls] and [files] first, then the levels upwards
    limits: Mapping[str, int]  # sizes in bytes


def parse(name: str, text: str) -> PolicySource:
    """Read one policy file.  `name`: without `.toml`.  Raises: PolicyError, naming file, key and value."""
    top = _toml(name, text)
    _check_keys(f"{name}.toml", top, _TOP_KEYS)
    base = Place(
        where=f"{name}.toml: syscalls",
        level=1,
        default=_parse_default(name, "syscalls", _table(name, "syscalls", top.get("syscalls", {}))),
        calls=_parse_calls(name, "syscalls", top.get("syscalls", {}), known=_CALL_KEYS),
        files=_parse_files(name, "files", top.get("files", {})),
    )
    return PolicySource(
        name=name,
        include=_strings(f"{name}.toml: include", top.get("include", [])),
        places=(base, *_parse_levels(name, top.get("level", []))),
        limits=_parse_limits(name, _table(name, "limits", top.get("limits", {}))),
    )


@lru_cache(maxsize=2)  # every policy of a den asks for the same text
def parse_sets(name: str, text: str) -> Mapping[str, tuple[Call, ...]]:
    """Read the file of named sets: a name, and a list of calls.  Raises: PolicyError."""
    found = {
        key: tuple(parse_call(f"{name}.toml: {key}", line) for line in _strings(f"{name}.toml: {key}", value))
        for key, value in _toml(name, text).items()
    }
    return MappingProxyType(found)


def _toml(name: str, text: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{name}.toml: expected TOML, got an error of its grammar: {error}") from None


def _check_keys(where: str, table: Mapping[str, object], known: Collection[str]) -> None:
    for key in table:
        if key not in known:
            raise policy_error(where, f"one of the keys {', '.join(known)}", key, known)


def _table(name: str, key: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise policy_error(f"{name}.toml: {key}", "a table", value)
    return value


def _strings(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise policy_error(where, "a list of strings", value)
    return tuple(value)


def _parse_default(name: str, key: str, table: Mapping[str, object]) -> Verdict | None:
    if "default" not in table:
        return None
    return parse_verdict(f"{name}.toml: {key}.default", table["default"])


def _parse_calls(name: str, key: str, value: object, *, known: Collection[str]) -> tuple[CallLine, ...]:
    """The lists `allow`, `kill`, `errno.NAME`, `notify.NAME` of a table, in the order of the text."""
    table = _table(name, key, value)
    _check_keys(f"{name}.toml: {key}", table, known)
    lines: list[CallLine] = []
    for word, listed in table.items():
        where = f"{name}.toml: {key}.{word}"
        if word in ("allow", "kill"):
            lines += _parse_lines(where, parse_verdict(where, word), listed)
        elif word in ("errno", "notify"):
            for errno, calls in _table(name, f"{key}.{word}", listed).items():
                if errno not in ERRNOS:
                    raise policy_error(where, "the name of an errno", errno, ERRNOS)
                lines += _parse_lines(f"{where}.{errno}", parse_verdict(where, f"{word}.{errno}"), calls)
        elif word == "trap":
            parse_verdict(where, "trap")
    return tuple(lines)


def _parse_lines(where: str, verdict: Verdict, listed: object) -> Iterator[CallLine]:
    for line in _strings(where, listed):
        if line.startswith("@"):
            yield CallLine(where, verdict, None, line[1:])
        else:
            yield CallLine(where, verdict, parse_call(where, line))


def _parse_levels(name: str, value: object) -> tuple[Place, ...]:
    if not isinstance(value, list):
        raise policy_error(f"{name}.toml: level", "[[level]], not [level]", value)
    places: list[Place] = []
    for index, item in enumerate(value):
        key = f"level[{index}]"
        place = _parse_level(name, key, _table(name, key, item))
        if places and place.level <= places[-1].level:
            expected = f"a level above {places[-1].level}, the one before it"
            raise policy_error(f"{name}.toml: {key}.from", expected, place.level)
        places.append(place)
    return tuple(places)


def _parse_level(name: str, key: str, table: dict[str, Any]) -> Place:
    where = f"{name}.toml: {key}"
    level = table.get("from")
    if isinstance(level, bool) or not isinstance(level, int) or not 1 <= level <= MAX_LEVEL:
        raise policy_error(f"{where}.from", f"a level from 1 to {MAX_LEVEL} (0 is no sandbox)", level)
    calls = _parse_calls(name, key, table, known=_LEVEL_KEYS)
    return Place(
        where=where,
        level=level,
        default=_parse_default(name, key, table),
        calls=calls,
        files=_parse_files(name, f"{key}.files", table.get("files", {})),
        namespaces=_parse_namespaces(f"{where}.namespaces", table),
        choices={word: _parse_choice(f"{where}.{word}", word, table[word]) for word in _CHOICES if word in table},
    )


def _parse_namespaces(where: str, table: Mapping[str, object]) -> tuple[str, ...] | None:
    if "namespaces" not in table:
        return None
    listed = _strings(where, table["namespaces"])
    for item in listed:
        if item not in NAMESPACES:
            raise policy_error(where, f"one of {', '.join(NAMESPACES)}", item, NAMESPACES)
    return tuple(item for item in NAMESPACES if item in listed)


def _parse_choice(where: str, word: str, value: object) -> str | bool:
    choices = _CHOICES[word]
    if choices is None:
        if not isinstance(value, bool):
            raise policy_error(where, "true or false", value)
        return value
    if not isinstance(value, str) or value not in choices:
        raise policy_error(where, " or ".join(repr(choice) for choice in choices), value, choices)
    return value


def _parse_files(name: str, key: str, value: object) -> tuple[FileLine, ...]:
    """`"{variable}/rest" = "r"`, and the same under `when-remote-type.NAME`."""
    table = _table(name, key, value)
    lines = [_parse_file(name, key, path, access, None) for path, access in table.items() if path != _WHEN]
    remote_types = [remote_type.value for remote_type in RemoteType]
    for remote_type, rules in _table(name, f"{key}.{_WHEN}", table.get(_WHEN, {})).items():
        if remote_type not in remote_types:
            raise policy_error(f"{name}.toml: {key}.{_WHEN}", "a remote type", remote_type, remote_types)
        within = f"{key}.{_WHEN}.{remote_type}"
        lines += [_parse_file(name, within, path, access, remote_type) for path, access in
                  _table(name, within, rules).items()]  # fmt: skip
    return tuple(lines)


_WHEN = "when-remote-type"


def _parse_file(name: str, key: str, path: str, access: object, remote_type: str | None) -> FileLine:
    where = f"{name}.toml: {key}.{path!r}"
    given = _parse_access(where, access)
    found = re.fullmatch(r"\{(\w+)\}(.*)", path)
    variable, rest = (found[1], found[2]) if found else ("", path)
    if found and variable not in VARIABLES:
        raise policy_error(where, f"one of the variables {', '.join(VARIABLES)}", variable, VARIABLES)
    stand_in = f"/{variable}" if found and rest[:1] in ("", "/") else ""
    try:
        AbsPath.parse(stand_in + rest)
    except ValueError as error:
        raise PolicyError(f"{where}: {error}") from None
    return FileLine(where, variable, rest, given, remote_type)


def _parse_access(where: str, access: object) -> Access:
    try:
        return Access.parse(access if isinstance(access, str) else "")
    except ValueError:
        raise policy_error(where, "'deny', 'stat', 'connect' or letters of 'rwcx'", access) from None


def _parse_limits(name: str, table: Mapping[str, object]) -> dict[str, int]:
    _check_keys(f"{name}.toml: limits", table, _LIMITS)
    return {key: _parse_limit(f"{name}.toml: limits.{key}", key, value) for key, value in table.items()}


def _parse_limit(where: str, key: str, value: object) -> int:
    unit, greatest = _LIMITS[key]
    if unit == "count":
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= greatest:
            raise policy_error(where, f"a number from 0 to {greatest}", value)
        return value
    found = re.fullmatch(r"(\d+) (\w+)", value) if isinstance(value, str) else None
    if found is None or found[2] not in _SIZES:
        raise policy_error(where, f"a size as '64 MiB' in one of {', '.join(_SIZES)}", value)
    size = int(found[1]) * _SIZES[found[2]]
    if size > greatest:
        raise policy_error(where, f"at most {greatest >> 30} GiB", value)
    return size
