"""A user's policy file: what `foxden run --policy F.toml` gives a program, as text that a person reviews.

Runs in: command and parent; pure (paths are looked at by the callable handed in).  Trusts: nothing in the text.
Flow: text → parse_grants → Grants; grants_toml.render_grants → text, which `parse_grants` reads back.
Source: docs/guides/write-a-policy.md; the words are those of the committed policies (policy_text).

    extends = "plugin"                     # or "utility", for functions; left out: whichever it is handed to

    [files]
    "/home/me/project" = "rw"              # r, w, c (make, rename, remove), x; stat, connect, deny
    [env]
    LANG = "C.UTF-8"
    SSH_AUTH_SOCK = true                   # the caller's own value
    [network]
    connect = ["api.example:443"]
    [syscalls]
    allow = ["sched_setaffinity(pid == 0)"]
    [limits]
    memory = "2 GiB"
    [protect]
    names = ["secrets"]                    # beyond the usual ones
    except = [".git/hooks"]                # of the usual ones
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from foxden.errors import PolicyError
from foxden.sandbox.grants import (
    PROGRAM_POLICY,
    Grants,
    RealPath,
    checked_connect,
    checked_environment,
    checked_names,
    checked_path,
    parse_size,
)
from foxden.sandbox.hopeless import hopeless_calls
from foxden.sandbox.paths import AbsPath, Access
from foxden.sandbox.policy_text import parse_sets
from foxden.sandbox.syscalls import Call, parse_call, policy_error

_KEYS: dict[str, tuple[str, ...]] = {
    "network": ("connect",),
    "syscalls": ("allow",),
    "limits": ("memory", "cpu_time", "timeout", "processes", "file_size", "output"),
    "protect": ("names", "except"),
}
_TOP = ("extends", "files", "env", *_KEYS)
_SIZE_LIMITS = ("memory", "file_size", "output")
_DAY_S = 86_400


def parse_grants(
    where: str,
    text: str,
    *,
    real: RealPath,
    read: Callable[[str], str],
    extended: tuple[str, ...] = (PROGRAM_POLICY,),
) -> Grants:
    """Read a user's policy file.  `where`: its name; `read`: of committed policies, as `policy.load` takes it;
    `extended`: which of them this one may extend.

    Raises: PolicyError, naming file, key and value.
    """
    import tomllib

    try:
        top: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"{where}: expected TOML, got an error of its grammar: {error}") from None
    _check_keys(where, "", top, _TOP)
    tables = {name: _table(where, name, top.get(name, {})) for name in ("files", "env", *_KEYS)}
    for name, known in _KEYS.items():
        _check_keys(where, f"{name}.", tables[name], known)
    extends = top.get("extends")
    if extends is not None and extends not in extended:
        raise policy_error(f"{where}: extends", " or ".join(map(repr, extended)), extends, extended)
    return Grants(
        files=checked_files(where, tables["files"], real),
        connect=tuple(
            checked_connect(f"{where}: network.connect", host)
            for host in _strings(f"{where}: network.connect", tables["network"].get("connect", []))
        ),
        environment=tuple(_environment(where, tables["env"])),
        syscalls=checked_syscalls(
            f"{where}: syscalls.allow", _strings(f"{where}: syscalls.allow", tables["syscalls"].get("allow", [])), read
        ),
        **_limits(where, tables["limits"]),
        protect=_protected(f"{where}: protect.names", tables["protect"].get("names", [])),
        unprotected=_protected(f"{where}: protect.except", tables["protect"].get("except", [])),
        extends=extends,
    )


def _check_keys(where: str, within: str, table: Mapping[str, object], known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise policy_error(where, f"one of the keys {', '.join(within + name for name in known)}", key, known)


def _table(where: str, key: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise policy_error(f"{where}: {key}", "a table", value)
    return value


def _strings(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise policy_error(where, "a list of strings", value)
    return tuple(value)


def _protected(where: str, value: object) -> tuple[str, ...]:
    return checked_names(where, _strings(where, value))


def checked_files(
    where: str, table: Mapping[str, object], real: RealPath, *, follow: bool = False
) -> tuple[tuple[str, Access], ...]:
    """Path → access word, as rules: each path once, however it is spelt.  `follow`: links, as `checked_path` says.

    Raises: PolicyError.
    """
    spelt: dict[str, str] = {}
    rules: list[tuple[str, Access]] = []
    for path, word in table.items():
        key = f"{where}: files.{path!r}"
        try:
            access = Access.parse(word if isinstance(word, str) else "")
        except ValueError:
            raise policy_error(key, "'deny', 'stat', 'connect' or letters of 'rwcx'", word) from None
        denied = access is Access.DENY
        checked = _denied_path(key, path, real) if denied else checked_path(key, path, real, follow=follow)
        if checked in spelt:
            raise PolicyError(
                f"{key}: expected one rule for a path, got {spelt[checked]!r} too", hint="leave one of them out"
            )
        spelt[checked] = path
        rules.append((checked, access))
    return tuple(rules)


def _denied_path(where: str, path: str, real: RealPath) -> str:
    """A path that is taken out of a grant: it may be missing, and come later."""
    try:
        plain = AbsPath.parse(path)
    except ValueError as error:
        raise PolicyError(f"{where}: {error}") from None
    return real(plain) or str(plain)  # messages carry plain strings


def _environment(where: str, table: Mapping[str, object]) -> Iterator[tuple[str, str | None]]:
    for name, value in table.items():
        if value is not True and not isinstance(value, str):
            raise policy_error(f"{where}: env.{name}", "a string, or true for the caller's own value", value)
        yield checked_environment(f"{where}: env.{name}", name, None if value is True else str(value))


def checked_syscalls(where: str, lines: tuple[str, ...], read: Callable[[str], str]) -> tuple[str, ...]:
    """Lines of a policy's `allow` that can be granted.  `read`: of committed policies.  Raises: PolicyError."""
    if not lines:
        return ()
    hopeless = hopeless_calls(parse_sets("sets", read("sets")))
    for line in lines:
        call = parse_call(where, line)
        if call.name in hopeless:
            raise PolicyError(f"{where}: expected a call that can be granted, got {line!r}", hint=hopeless[call.name])
    return lines


def parsed_calls(grants: Grants) -> tuple[Call, ...]:
    """The calls that these grants allow, for whoever merges them into a policy."""
    return tuple(parse_call("syscalls", line) for line in grants.syscalls)


def _limits(where: str, table: Mapping[str, object]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for key, value in table.items():
        place = f"{where}: limits.{key}"
        if key in _SIZE_LIMITS:
            if not isinstance(value, str):
                raise policy_error(place, "a size as '512 MiB'", value)
            given[key] = parse_size(place, value)
        elif key == "processes":
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= 1 << 16:
                raise policy_error(place, "a number from 1 to 65536", value)
            given[key] = value
        else:
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _DAY_S:
                raise policy_error(place, "seconds, more than 0 and at most a day", value)
            given[f"{key}_s"] = float(value)
    return given
