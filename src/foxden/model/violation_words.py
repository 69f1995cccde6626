"""What a violation says, in words: what was tried, what became of it, why, and what would allow it.

Runs in: parent and command; pure.  Trusts: nothing in a record that a child can influence: all of it is escaped.
Flow: Violation → `str(violation)`, observe/violation_line, front/violations_view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foxden.model.escaped import one_line, quoted_name

if TYPE_CHECKING:
    from foxden.model.records import Violation


def sentence(violation: Violation) -> str:
    """All of it in one line, what was tried first."""
    return one_line(f"{act(violation)}: {told(violation)}")


def told(violation: Violation) -> str:
    """Who, rule, hint, and the child's innermost frame."""
    parts = [f"[{who(violation)}] {outcome(violation)}"]
    if violation.rule:
        parts.append(f"rule: {quoted_name(violation.rule)}")
    if violation.hint:
        parts.append(f"hint: {quoted_name(violation.hint)}")
    if violation.stack:
        parts.append(f"in: {quoted_name(violation.stack[0])}")
    return "; ".join(parts)


def who(violation: Violation) -> str:
    kind = " ".join(filter(None, (violation.process_type, violation.remote_type)))
    return f"{kind} level {violation.level}"


def act(violation: Violation) -> str:
    """What was tried, in a few words: `open /etc/shadow`, `connect example.org:25`, `ptrace`."""
    if violation.kind == "network":
        return f"{quoted_name(violation.operation)} {place(violation)}"
    target = f" {quoted_name(violation.path)}" if violation.path else ""
    return quoted_name(violation.operation) + target


def outcome(violation: Violation) -> str:
    """What became of it."""
    word = f"refused with {violation.errno}" if violation.errno else "ended" if _ended(violation) else "refused"
    return f"{word} ×{violation.count}" if violation.count > 1 else word


def _ended(violation: Violation) -> bool:
    return violation.kind in ("ipc", "limit") or violation.operation == "killed"


def place(violation: Violation) -> str:
    """Host and port, as far as they are known."""
    host = quoted_name(violation.host or "an unknown host")
    shown = f"[{host}]" if ":" in host else host
    return f"{shown}:{violation.port}" if violation.port else shown
