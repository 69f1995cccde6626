"""What the tests of the sandbox's pure parts share: the committed policies, and filters run without a kernel.

Runs in: tests.  Trusts: the working tree.
Flow: policy name and level → resolved → table and program → the verdict of one call.
Source: src/foxden/sandbox/policies.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from tests.support import bpf_interpreter

from foxden.sandbox import bpf, filter, policy
from foxden.sandbox.constants import AUDIT_ARCH, ERRNOS, value_of
from foxden.sandbox.syscall_numbers import NUMBERS

POLICIES = Path(policy.__file__).parent / "policies"
ONLY_INCLUDED = {"common", "strict", "code", "content-display", "content-namespaces", "descriptor-stats", "sets"}
NAMES = sorted(path.stem for path in POLICIES.glob("*.toml") if path.stem not in ONLY_INCLUDED)


def read(name: str) -> str:
    """The text of a committed policy."""
    return (POLICIES / f"{name}.toml").read_text(encoding="utf-8")


def texts(**by_name: str) -> Callable[[str], str]:
    """A `read` over texts of a test's own, with an empty file of sets unless one is given."""
    given = {"sets": "", **by_name}
    return given.__getitem__


@functools.cache
def committed(name: str) -> policy.Policy:
    return policy.load(name, read)


def highest(name: str) -> int:
    return committed(name).max_level


@functools.cache
def resolved(name: str, level: int, remote_type: str | None = None) -> policy.ResolvedPolicy:
    variables = {"install": "/opt/foxden", "profile": "/home/u/.foxden", "home": "/home/u",
                 "config": "/home/u/settings", "tmp": "/tmp/own",
                 "system_libraries": ("/lib", "/usr/lib")}  # fmt: skip
    return policy.resolve(committed(name), level=level, remote_type=remote_type, variables=variables)


@functools.cache
def table(name: str, level: int, arch: str) -> filter.VerdictTable:
    return filter.verdicts(resolved(name, level), arch)


@functools.cache
def program(name: str, level: int, arch: str, listener: bool) -> list[bpf_interpreter.Instruction]:
    return bpf_interpreter.decode(bpf.compile_filter(table(name, level, arch), listener=listener))


def word_of(value: int) -> str:
    """A filter's return value as policies write verdicts."""
    if value == bpf.RET_ALLOW:
        return "allow"
    if value == bpf.RET_KILL_PROCESS:
        return "kill"
    if value == bpf.RET_USER_NOTIF:
        return "notify"
    assert value & 0xFFFF_0000 == bpf.RET_ERRNO
    return next(name for name, number in ERRNOS.items() if number == value & 0xFFFF)


def args_of(text: str, arch: str) -> tuple[int, ...]:
    """`"0 O_RDWR|O_CREAT 3"` → six arguments; the rest are zero."""
    words = []
    for word in text.split():
        value = 0
        for term in word.split("|"):
            value |= int(term, 0) if term.lstrip("-")[:1].isdigit() else value_of(term, arch)
        words.append(value & 0xFFFF_FFFF_FFFF_FFFF)
    return (*words, *(0,) * (6 - len(words)))


def say(name: str, level: int, arch: str, call: str, *, listener: bool = False) -> str:
    """What the compiled filter of a committed policy says to `"openat 0 0 O_RDWR"`."""
    word, _, rest = call.partition(" ")
    nr = int(word, 0) if word[0].isdigit() else NUMBERS[arch][word]
    code = program(name, level, arch, listener)
    return word_of(bpf_interpreter.run(code, nr, args_of(rest, arch), AUDIT_ARCH[arch]))
