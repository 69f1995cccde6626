"""What a function finds in its box: the caller's packages, readable, and what the caller grants beside them.

Runs in: parent.  Trusts: the caller; the caller's sys.path.
Flow: sys.path, read=, write=, memory= → policy `utility` with those rules → broker and plan of one pool's workers.
Source: issue of the executor: imports inside the box work, without widening anything else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from foxden.errors import FoxdenError, PolicyError
from foxden.sandbox.customise import Wishes, customise
from foxden.sandbox.grants import Grants
from foxden.sandbox.paths import AbsPath, Access, FileRule, PathRules, longest
from foxden.sandbox.policy import SETS, ResolvedPolicy
from foxden.sandbox.policy_files import read_policy
from foxden.sandbox.policy_text import parse_sets
from foxden.sandbox.program import PROTECTED_NAMES

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?\Z", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_LEAST_MEMORY = 32 << 20  # bytes: an interpreter with nothing to do takes about half of it
_MAX_RULES = 250
_MAX_KEPT_BACK = 512


class FunctionGrants(msgspec.Struct, frozen=True):
    """What the caller gives the workers of one pool."""

    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)
    memory: int | None = None  # bytes
    level: int = 1
    policy: Grants = Grants()  # what a policy gives beside all this

    @property
    def protected(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Below what is written, names that may not change, as for programs.  (tree, names)."""
        if self.level == 0:
            return ()
        names = tuple(name for name in (*PROTECTED_NAMES, *self.policy.protect) if name not in self.policy.unprotected)
        written = [path for path, access in self.policy.files if access & Access.WRITE]
        return tuple((tree, names) for tree in (*map(os.path.realpath, self.write), *written)) if names else ()


def make_grants(
    *,
    read: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    write: Iterable[str | os.PathLike[str]] | str | os.PathLike[str],
    connect: Iterable[str],
    env: Mapping[str, str | None] | Iterable[str] | None,
    memory: int | str | None,
    level: int | None,
    policy: Grants,
) -> FunctionGrants:
    """Check what the caller asks for.  Raises FoxdenError, PolicyError."""
    if list(_strings("connect", connect)):
        raise PolicyError(
            "connect: functions in a box have no network in this version",
            hint="fetch with Den.fetch, and hand the bytes to the function",
        )
    if level not in (None, 0, 1):
        raise PolicyError(f"level: expected 0 or 1, got {level!r}", hint="the utility process has these two")
    _check_policy(policy, level)
    grants = FunctionGrants(
        read=tuple(_paths("read", read)),
        write=tuple(_paths("write", write)),
        environment={**_policy_environment(policy), **_environment(env)},
        memory=_memory(policy.memory if memory is None else memory),
        level=1 if level is None else level,
        policy=policy,
    )
    _check_together(grants)
    return grants


def grants_of_policy(policy: Grants) -> FunctionGrants:
    """What a policy alone gives.  Raises PolicyError."""
    return make_grants(read=(), write=(), connect=(), env=None, memory=None, level=None, policy=policy)


# What a policy can say and a worker cannot keep → why not.
_NOT_FOR_FUNCTIONS = {
    "connect": ("network.connect: functions in a box have no network in this version",
                "fetch with Den.fetch, and hand the bytes to the function"),
    "output": ("limits.output: what a function prints is no part of its result",
               "max_result= of the executor bounds what a call returns; of what is printed the last lines are kept"),
}  # fmt: skip


def _check_policy(policy: Grants, level: int | None) -> None:
    for name, (text, hint) in _NOT_FOR_FUNCTIONS.items():
        if getattr(policy, name):
            raise PolicyError(f"policy: {text}", hint=hint)
    if level == 0 and not policy.is_empty():
        raise PolicyError("level: expected 1 with a policy, got 0", hint="level 0 has no rules that a policy adds to")


def _check_together(grants: FunctionGrants) -> None:
    """read= and write= may not give what the policy denies.  Raises PolicyError."""
    denied = {path for path, access in grants.policy.files if access & Access.DENY}
    for option, paths in (("read", grants.read), ("write", grants.write)):
        for path in paths:
            if os.path.realpath(path) in denied:
                raise PolicyError(
                    f"expected one answer for {path}, got {option}= and \"deny\" in the policy",
                    hint="leave one of them out",
                )


def _policy_environment(policy: Grants) -> dict[str, str]:
    """Values of a policy; one that is the caller's own and not there is left out, as for a program."""
    found = ((name, os.environ.get(name) if value is None else value) for name, value in policy.environment)
    return {name: value for name, value in found if value is not None}


def _strings(name: str, given: Any) -> Iterable[Any]:
    if isinstance(given, str | bytes | os.PathLike):
        return (given,)
    try:
        return tuple(given)
    except TypeError:
        raise FoxdenError(f"{name}: expected a list of paths, got {type(given).__name__}") from None


def _paths(name: str, given: Any) -> Iterable[str]:
    for each in _strings(name, given):
        try:
            path = os.path.abspath(os.fsdecode(each))
        except TypeError:
            raise FoxdenError(f"{name}: expected a path, got {type(each).__name__}") from None
        if not os.path.exists(path):
            raise FoxdenError(f"{name}: no such file or folder: {path!r}", hint="grants are for what exists")
        if path == "/":
            raise PolicyError(f"{name}: expected a part of the file system, got '/'", hint="level=0 is no sandbox")
        yield path


def _environment(given: Any) -> dict[str, str]:
    """`{"NAME": "value"}`, None for the caller's own, if there is one; or names whose values are the caller's own."""
    if given is None:
        return {}
    if isinstance(given, str | bytes):
        raise FoxdenError(f"env: expected a list of names, got {given!r}", hint=f"env=[{given!r}]")
    try:
        if isinstance(given, Mapping):
            own = ((name, os.environ.get(name) if value is None else value) for name, value in given.items())
            pairs = [(name, value) for name, value in own if value is not None]
        else:
            pairs = [(name, os.environ[name]) for name in given]
        found = {str(name): str(value) for name, value in pairs}
    except (TypeError, KeyError) as error:
        raise FoxdenError(f"env: expected names and values, got {error}", hint="env={'TZ': 'UTC'}") from None
    for name, value in found.items():
        if not name or "=" in name or "\0" in name + value:
            raise FoxdenError(f"env: {name!r} is no name of a variable with a value")
    return found


def _memory(given: int | str | None) -> int | None:
    if given is None:
        return None
    match = _SIZE.match(given.strip()) if isinstance(given, str) else None
    if match:
        size = int(float(match[1]) * _UNITS[match[2].upper()])
    elif isinstance(given, int) and not isinstance(given, bool):
        size = given
    else:
        raise FoxdenError(f"memory: expected bytes or a size, got {given!r}", hint="memory='512 MiB'")
    if size < _LEAST_MEMORY:
        raise FoxdenError(f"memory: expected at least {_LEAST_MEMORY >> 20} MiB, got {size} bytes")
    return size


def function_policy(
    resolved: ResolvedPolicy, grants: FunctionGrants, folders: Sequence[str], kept_back: Sequence[str] = ()
) -> ResolvedPolicy:
    """The policy with the caller's packages and grants in it, without the secrets that lie beside the packages."""
    if resolved.level == 0 or grants.level == 0:
        return ResolvedPolicy(resolved.name, 0)
    read = Access.READ | Access.STAT
    write = read | Access.WRITE | Access.CREATE
    rules = {str(rule.path): rule.access for rule in resolved.files.rules()}
    for paths, access in (((*folders, *grants.read), read), (grants.write, write)):
        for path in _places(paths, rules):
            rules[path] = rules.get(path, Access.NONE) | access
    for path, access in grants.policy.files:
        together = rules.get(path, Access.NONE) | access | Access.STAT
        rules[path] = Access.DENY if access & Access.DENY else together
    denied = _denied(kept_back, grants)
    rules |= dict.fromkeys(denied, Access.DENY)
    kept = [FileRule(AbsPath.parse(path), access) for path, access in rules.items() if not _is_covered(path, rules)]
    given = len(kept) - len(denied)
    if given > _MAX_RULES:
        raise PolicyError(f"expected at most {_MAX_RULES} readable folders, got {given}", hint="shorten sys.path")
    limits = {**resolved.limits, **_limits(grants)}
    with_files = msgspec.structs.replace(resolved, files=PathRules.of(kept), limits=limits)
    if not grants.policy.syscalls:
        return with_files
    from foxden.sandbox.grants_text import parsed_calls

    wishes = Wishes(granted=parsed_calls(grants.policy))
    return customise(with_files, wishes, parse_sets(SETS, read_policy(SETS)))


def _denied(kept_back: Sequence[str], grants: FunctionGrants) -> list[str]:
    """What is kept back of the caller's folders, but for what the caller grants in so many words."""
    given = [path for path, access in grants.policy.files if access & (Access.READ | Access.WRITE)]
    granted = [*grants.read, *grants.write, *given]
    trees = tuple({f"{os.path.realpath(path)}/" for path in granted})
    denied = [path for path in kept_back if not f"{path}/".startswith(trees)]
    if len(denied) > _MAX_KEPT_BACK:
        raise PolicyError(
            f"expected at most {_MAX_KEPT_BACK} secrets in the folders of sys.path, got {len(denied)}: {denied[0]} …",
            hint="move them elsewhere; or read=[…] of their folder, if functions may have them",
        )
    return denied


def _limits(grants: FunctionGrants) -> dict[str, int]:
    asked = {
        "memory": grants.memory, "file_size": grants.policy.file_size, "tasks": grants.policy.processes,
    }  # fmt: skip
    return {name: value for name, value in asked.items() if value is not None}


def _places(paths: Iterable[str], rules: Mapping[str, Access]) -> Iterable[str]:
    """Where each path must stand: where it really is, and where it is named, unless a link of a folder that is shown
    leads from there."""
    found = [os.path.realpath(path) for path in paths]
    yield from found
    shown = [*found, *(path for path, access in rules.items() if access & Access.READ)]
    for path in paths:
        if not any(path == above or path.startswith(above.rstrip("/") + "/") for above in shown):
            yield path


def _is_covered(path: str, rules: Mapping[str, Access]) -> bool:
    """Does a folder above it give as much already?"""
    above = os.path.dirname(path)
    while above != "/":
        if rules.get(above, Access.NONE) & Access.DENY:
            return False
        if above in rules and rules[above] & rules[path] == rules[path]:
            return True
        above = os.path.dirname(above)
    return False


def working_directory() -> str:
    """The caller's, as a worker can be told; `/` where there is none."""
    try:
        found = os.getcwd()
        found.encode()
    except (OSError, UnicodeEncodeError):
        return "/"
    return found if found.startswith("/") else "/"


def begins_in(policy: ResolvedPolicy, folder: str) -> str:
    """The folder that functions begin in: the caller's where it, or something in it, is granted; else the root."""
    if policy.level == 0:
        return folder
    rules = policy.files.by_path
    below = folder.rstrip("/") + "/"
    granted = longest(rules, folder) or Access.DENY
    seen = not granted & Access.DENY or any(
        path.startswith(below) and not access & Access.DENY for path, access in rules.items()
    )
    return folder if seen else "/"
