"""Records that users read: processes, as in `foxden ps --json`, and violations, as in `--report`.

Runs in: parent and command; pure.
Source: interface.md "Records".
"""

from __future__ import annotations

from typing import Literal

import msgspec

from foxden.model.enforcement import Enforcement

ViolationKind = Literal["file", "syscall", "network", "ipc", "limit"]


class ProcessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One process.  `memory_bytes`: proportional set size where the kernel tells, else resident size."""

    pid: int
    process_type: str
    remote_type: str | None = None
    level: int
    enforcement: Enforcement | None = None
    memory_bytes: int
    uptime_s: float
    name: str = ""


class Violation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One denied act, or `count` equal ones.  Text that a child can influence is raw here, and escaped when shown."""

    time: float  # of the first, in seconds since the epoch
    pid: int  # as the parent's namespace numbers it; 0: the process that did it is not known
    process_type: str
    remote_type: str | None = None
    level: int = 0
    kind: ViolationKind
    operation: str  # open, stat, mkdir, rename, connect … ; the call's name where it is no operation on a file
    syscall: str | None = None
    args: tuple[int, ...] = ()  # as the kernel saw them; pointers are addresses of the child
    path: str | None = None  # of operations on two paths, the one that was refused
    access: str | None = None  # what it asked for, in the words of a policy's file rules: r, rwc, stat …
    host: str | None = None
    port: int | None = None
    errno: str | None = None  # its name: what the child was told
    rule: str = ""  # the line of the policy that says no
    hint: str = ""  # the option or policy line that would allow it
    stack: tuple[str, ...] = ()  # of the child's Python code, innermost first: the child's own word, not to be trusted
    count: int = 1

    def __str__(self) -> str:
        """In one line, for a person: what was tried, what became of it, by which rule, and what would allow it."""
        from foxden.model.violation_words import sentence

        return sentence(self)


class Act(Violation, frozen=True, kw_only=True, omit_defaults=True):
    """Anything that a child asked the broker for, where everything is told (`--explain`, `--learn`)."""

    granted: bool
