"""A violation in one line, as MOZ_SANDBOX_LOGGING prints it.

Runs in: parent and command.  Trusts: nothing in a record that a child can influence: all of it is escaped.
Flow: Violation → line → standard error.
Source: Gecko's "Sandbox: seccomp sandbox violation: pid, tid, syscall, args" and SandboxBroker's "denied op=…".
"""

from __future__ import annotations

import sys

from foxden.model.escaped import one_line, quoted_name
from foxden.model.records import Violation
from foxden.model.violation_words import place, told


def line(violation: Violation) -> str:
    """First in the words that readers of Firefox's logs look for, then who, why and what would allow it."""
    return one_line(f"Sandbox: {_gecko(violation)}  {told(violation)}")


def say(violation: Violation) -> None:
    """Print its line on standard error."""
    _write(line(violation))


def warn(text: str) -> None:
    """Something that stops nothing, and that the user should know."""
    _write(f"warning: {one_line(text)}")


def _write(text: str) -> None:
    try:
        if sys.stderr is not None:
            sys.stderr.write(text + "\n")
            sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody is left to read it


def _gecko(violation: Violation) -> str:
    if violation.kind == "file":
        return (
            f"denied op={violation.operation} perms={violation.access or '-'} path={quoted_name(violation.path or '')} "
            f"for pid={violation.pid}"
        )
    if violation.kind == "syscall":
        args = "".join(f" {arg}" for arg in violation.args) or " unknown"
        return f"seccomp sandbox violation: pid {violation.pid}, syscall {violation.syscall or 'unknown'}, args{args}."
    if violation.kind == "network":
        return f"denied connection to {place(violation)} for pid={violation.pid}"
    return f"{violation.kind} violation: pid {violation.pid}, {quoted_name(violation.operation)}"
