"""The arguments of `Den.run`, checked, as a request.

Runs in: the caller's thread, in the parent.  Trusts: the caller; says what is wrong with what it gave.
Flow: den.run(["python3", "job.py"], read=["job.py"]) → request_of → Request.
Source: interface.md "Python"; subprocess.run for names that both have.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

from foxden.errors import FoxdenError, PolicyError
from foxden.parent.programs import Request
from foxden.sandbox.grants import Grants, checked_connect, checked_environment, checked_names, checked_path, parse_size
from foxden.sandbox.policy_files import read_grants

StrPath = str | os.PathLike[str]
_DAY_S = 86_400.0


class RunArguments(TypedDict, total=False):
    """What `Den.run` takes beside the program."""

    read: Iterable[StrPath]
    write: Iterable[StrPath]
    connect: Iterable[str]
    env: Mapping[str, str | None]
    cwd: StrPath
    input: bytes | str
    timeout: float
    cpu_time: float
    memory: int | str
    file_size: int | str
    output: int | str
    processes: int
    protect: Iterable[str]
    unprotect: Iterable[str]
    designate: bool
    explain: bool
    policy: StrPath | Grants


def request_of(arguments: Sequence[str], options: RunArguments) -> Request:
    """Raises PolicyError, FoxdenError."""
    words = _words(arguments)
    unknown = sorted(set(options) - set(RunArguments.__annotations__))
    if unknown:
        raise FoxdenError(f"run: expected options of Den.run, got {', '.join(unknown)}")
    cwd = os.path.abspath(options.get("cwd", os.getcwd()))
    if not os.path.isdir(cwd):
        raise FoxdenError(f"cwd: expected a directory, got {cwd!r}")
    given = options.get("input")
    return Request(
        arguments=words,
        grants=_grants(options),
        cwd=cwd,
        stdin=given.encode() if isinstance(given, str) else given,
        designate=options.get("designate", True),
        explain=options.get("explain", False),
        environment=dict(os.environ),
    )


def _words(arguments: Sequence[str]) -> tuple[str, ...]:
    if isinstance(arguments, str | bytes):
        raise FoxdenError(
            f"run: expected a list of words, got {arguments!r}", hint="a shell is a program: run(['sh', '-c', '…'])"
        )
    words = tuple(os.fspath(word) for word in arguments)
    if not words or not words[0] or not all(isinstance(word, str) for word in words):
        raise FoxdenError(f"run: expected a program and its arguments as str, got {arguments!r}")
    if any("\0" in word for word in words):
        raise FoxdenError(f"run: expected arguments without NUL, got {arguments!r}")
    return words


def _grants(options: RunArguments) -> Grants:
    own = Grants(
        read=_paths("read", options.get("read", ())),
        write=_paths("write", options.get("write", ())),
        connect=tuple(_connect(text) for text in options.get("connect", ())),
        environment=tuple(checked_environment("env", name, value) for name, value in options.get("env", {}).items()),
        memory=_size("memory", options.get("memory")),
        file_size=_size("file_size", options.get("file_size")),
        output=_size("output", options.get("output")),
        cpu_time_s=_seconds("cpu_time", options.get("cpu_time")),
        timeout_s=_seconds("timeout", options.get("timeout")),
        processes=_count(options.get("processes")),
        protect=checked_names("protect", options.get("protect", ())),
        unprotected=checked_names("unprotect", options.get("unprotect", ())),
    )
    policy = options.get("policy")
    if policy is None:
        return own
    return own.over(policy if isinstance(policy, Grants) else read_grants("policy", os.fspath(policy), real_path))


def _paths(where: str, paths: Iterable[StrPath]) -> tuple[str, ...]:
    if isinstance(paths, str | bytes | os.PathLike):
        raise PolicyError(f"{where}: expected a list of paths, got {paths!r}", hint=f"{where}=[{str(paths)!r}]")
    return tuple(checked_path(where, os.path.abspath(path), real_path, follow=True) for path in paths)


def real_path(path: str) -> str | None:
    """Where a path leads; None: nothing is there."""
    return os.path.realpath(path) if os.path.exists(path) else None


def _connect(text: str) -> str:
    checked_connect("connect", text)
    raise PolicyError("connect: the network of programs comes with a later version", hint="leave it out: no network")


def _size(where: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    return parse_size(where, str(value))


def _seconds(where: str, value: float | None) -> float | None:
    if value is None:
        return None
    if not value > 0:
        raise PolicyError(f"{where}: expected more than 0 seconds, got {value!r}")
    return min(float(value), _DAY_S)


def _count(value: int | None) -> int | None:
    if value is not None and not 0 < value <= 65_536:
        raise PolicyError(f"processes: expected a number from 1 to 65536, got {value!r}")
    return value
