"""The arguments of `Den.run`, checked, as a request.

Runs in: the caller's thread, in the parent.  Trusts: the caller; says what is wrong with what it gave.
Flow: den.run(["python3", "job.py"], read=["job.py"]) → request_of → Request.
Source: interface.md "Python"; subprocess.run for names that both have.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict, cast

from foxden.errors import FoxdenError, PolicyError
from foxden.parent.grant_arguments import GrantArguments, StrPath, grants_of
from foxden.parent.policies import Policy, policy_grants
from foxden.parent.programs import Request
from foxden.sandbox.grants import PROGRAM_POLICY, Grants, checked_connect

_GRANTED = (
    "read", "write", "env", "timeout", "cpu_time", "memory", "file_size", "output", "processes", "protect", "unprotect",
)  # fmt: skip


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
    policy: StrPath | Policy | Grants


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
    for host in options.get("connect", ()):
        _refuse_connect(host)
    chosen = {name: value for name, value in options.items() if name in _GRANTED}
    own = grants_of(cast("GrantArguments", chosen))
    return own.over(policy_grants(options.get("policy"), PROGRAM_POLICY))


def _refuse_connect(text: str) -> None:
    checked_connect("connect", text)
    raise PolicyError("connect: the network of programs comes with a later version", hint="leave it out: no network")
