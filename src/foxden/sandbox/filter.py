"""Verdicts by system call number: what a filter decides, as a table and as a pure function.

Runs in: the parent, the broker (to look verdicts up), tools and tests; pure.  Trusts: the resolved policy.
Flow: ResolvedPolicy → verdicts(arch) → VerdictTable → bpf.compile_filter; evaluate is what it must agree with.
Source: seccomp(2); kernel/seccomp.c of Linux 6.18; tests/property/test_filter_property.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec

from foxden.sandbox.constants import AUDIT_ARCH
from foxden.sandbox.policy import CallRules, Case, ResolvedPolicy
from foxden.sandbox.same import Same
from foxden.sandbox.syscall_numbers import NUMBERS
from foxden.sandbox.syscalls import (
    KILL,
    NOT_IMPLEMENTED,
    SYSCALLS,
    Action,
    Condition,
    Said,
    Verdict,
    bits_value,
    policy_error,
)


class Compare(msgspec.Struct, frozen=True):
    """`(args[index] & mask)` is one of `values`, or is not, as `equal` says.  `mask` says how wide: 32 or 64 bits."""

    index: int
    mask: int
    values: tuple[int, ...]
    equal: bool


class Branch(Said, frozen=True):
    """A verdict for the arguments that pass all comparisons."""

    compares: tuple[Compare, ...]
    verdict: Verdict
    where: str = ""  # the line of the policy that says so


class Entry(Said, frozen=True):
    """One system call: the first branch that matches, else `otherwise`."""

    branches: tuple[Branch, ...]
    otherwise: Verdict
    where: str = ""  # the line that says what is otherwise


class VerdictTable(msgspec.Struct, frozen=True):
    """A verdict for every number there is: those of `entries`, and ENOSYS for all others."""

    arch: str
    entries: Mapping[int, Entry]  # by number, sorted

    def may_notify(self) -> bool:
        """Whether any verdict asks a broker."""
        return any(
            verdict.action is Action.NOTIFY
            for entry in self.entries.values()
            for verdict in (entry.otherwise, *(branch.verdict for branch in entry.branches))
        )


def verdicts(resolved: ResolvedPolicy, arch: str) -> VerdictTable:
    """The table of one architecture.  A call that it lacks is skipped; a number that no table knows is ENOSYS.

    Raises: PolicyError for level 0, which has no filter, and for an architecture that foxden does not know.
    """
    if arch not in NUMBERS:
        raise policy_error(resolved.name, "an architecture", arch, NUMBERS)
    if resolved.default is None:
        raise policy_error(f"{resolved.name}.toml", "a level with a filter", resolved.level)
    return _table(Same(resolved.calls), resolved.default, resolved.default_where, arch)


@lru_cache(maxsize=16)  # grants of files leave the calls as they are, and so do most pools of a process
def _table(same: Same[Mapping[str, CallRules]], default: Verdict, default_where: str, arch: str) -> VerdictTable:
    calls = same.it
    plain = Entry((), default, default_where)
    entries: dict[int, Entry] = {}
    for number, name in sorted((number, name) for name, number in NUMBERS[arch].items()):
        rules = calls.get(name)
        if rules is None:
            entries[number] = plain
        else:
            branches = tuple(_branch(case, arch) for case in rules.cases)
            where = rules.where if rules.otherwise else default_where
            entries[number] = Entry(branches, rules.otherwise or default, where)
    assert calls.keys() <= SYSCALLS, "parse_call checked every name"  # noqa: S101
    return VerdictTable(arch, entries)


def _branch(case: Case, arch: str) -> Branch:
    return Branch(tuple(_compare(condition, arch) for condition in case.conditions), case.verdict, case.where)


def _compare(condition: Condition, arch: str) -> Compare:
    width = condition.argument.bits
    full = (1 << width) - 1
    mask = full if condition.mask is None else bits_value(condition.mask, arch, width)
    if condition.complement:
        mask = full & ~mask
    values = tuple(bits_value(value, arch, width) for value in condition.values)
    return Compare(condition.argument.index, mask, values, condition.equal)


def evaluate(table: VerdictTable, nr: int, args: Sequence[int], arch: int) -> Verdict:
    """What a filter of this table says to one call, as the kernel would see it.

    `nr`: as in seccomp_data, 32 bits; `args`: six numbers of 64 bits; `arch`: AUDIT_ARCH_*.
    """
    return judge(table, nr, args, arch)[0]


def judge(table: VerdictTable, nr: int, args: Sequence[int], arch: int) -> tuple[Verdict, str]:
    """The same, with the line of the policy that says so; empty where none does."""
    if arch != AUDIT_ARCH[table.arch]:
        return KILL, ""
    entry = table.entries.get(nr)
    if entry is None:
        return NOT_IMPLEMENTED, ""
    for branch in entry.branches:
        if all(((args[c.index] & c.mask) in c.values) == c.equal for c in branch.compares):
            return branch.verdict, branch.where
    return entry.otherwise, entry.where


def notified_errnos(table: VerdictTable) -> dict[int, int]:
    """Call number → what a broker answers when it refuses; of several verdicts on one call the strictest branch's."""
    found: dict[int, int] = {}
    for number, entry in table.entries.items():
        verdicts_on_it = (*(branch.verdict for branch in entry.branches), entry.otherwise)
        asked = [verdict.errno for verdict in verdicts_on_it if verdict.action is Action.NOTIFY]
        if asked:
            found[number] = asked[0]
    return found
