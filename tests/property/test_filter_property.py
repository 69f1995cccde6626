"""For every policy, call and architecture: the compiled filter says what the table says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import bpf_interpreter
from tests.unit.sandbox.support import texts

from foxden.sandbox import filter, policy
from foxden.sandbox.bpf import RET_ALLOW, RET_ERRNO, RET_KILL_PROCESS, RET_USER_NOTIF, compile_filter
from foxden.sandbox.constants import AUDIT_ARCH, NAMES
from foxden.sandbox.syscall_numbers import NUMBERS
from foxden.sandbox.syscalls import ARGUMENTS, Action, Verdict

CALLS = ["socket", "clone", "prlimit64", "openat", "mmap", "ioctl", "prctl"]
VERDICTS = ["allow", "kill", "errno.EPERM", "errno.EACCES", "notify.EPERM", "notify.EACCES"]
SMALL = st.integers(0, 3)  # few values, so that conditions meet
CONSTANTS = st.one_of(SMALL.map(str), st.sampled_from(sorted(NAMES - {"AT_FDCWD"})))
BITS = st.lists(CONSTANTS, min_size=1, max_size=3).map("|".join)
GARBAGE = st.sampled_from([0, 1 << 32, 1 << 63, 0xFFFF_FFFF << 32])


@st.composite
def conditions(draw: st.DrawFn, call: str) -> str:
    argument = draw(st.sampled_from(sorted(ARGUMENTS[call])))
    operator = draw(st.sampled_from(["==", "!=", "in", "only", "&=="]))
    if operator == "&==":
        mask = draw(BITS)
        return f"{argument} & {mask} {draw(st.sampled_from(['==', '!=']))} {draw(st.sampled_from([mask, '0']))}"
    return f"{argument} {operator} {draw(BITS)}"


@st.composite
def lines(draw: st.DrawFn) -> tuple[str, str]:
    """(verdict, conditional line)"""
    call = draw(st.sampled_from(CALLS))
    joined = " and ".join(draw(st.lists(conditions(call), min_size=1, max_size=3)))
    return draw(st.sampled_from(VERDICTS)), f"{call}({joined})"


@st.composite
def policies(draw: st.DrawFn) -> policy.ResolvedPolicy:
    given_lines = draw(st.lists(lines(), max_size=8))
    unconditional = draw(st.dictionaries(st.sampled_from([*CALLS, "read", "open"]), st.sampled_from(VERDICTS)))
    by_verdict: dict[str, list[str]] = {}
    for verdict, line in [*given_lines, *((verdict, name) for name, verdict in unconditional.items())]:
        by_verdict.setdefault(verdict, []).append(line)
    text = "[syscalls]\n" + f'default = "{draw(st.sampled_from(VERDICTS))}"\n'
    text += "\n".join(f"{verdict} = {listed!r}" for verdict, listed in by_verdict.items())
    return policy.resolve(policy.load("x", texts(x=text)), level=1, remote_type=None, variables={})


@st.composite
def arguments(draw: st.DrawFn, table: filter.VerdictTable, nr: int) -> tuple[int, ...]:
    """Six numbers: small, any, or one that the table names; with or without garbage in the high half."""
    entry = table.entries.get(nr)
    named = [v for b in entry.branches for c in b.compares for v in (*c.values, c.mask)] if entry else []
    anything = st.one_of(SMALL, st.integers(0, (1 << 64) - 1), st.sampled_from(named or [0]))
    return tuple(draw(anything) ^ draw(GARBAGE) for _ in range(6))


def returned(verdict: Verdict, listener: bool) -> int:
    if verdict.action is Action.NOTIFY and listener:
        return RET_USER_NOTIF
    return {Action.ALLOW: RET_ALLOW, Action.KILL: RET_KILL_PROCESS}.get(verdict.action, RET_ERRNO | verdict.errno)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_compiled_filter_says_what_the_table_says(data: st.DataObject) -> None:
    arch = data.draw(st.sampled_from(sorted(NUMBERS)))
    listener = data.draw(st.booleans())
    table = filter.verdicts(data.draw(policies()), arch)
    code = bpf_interpreter.decode(compile_filter(table, listener=listener))
    numbers = st.one_of(
        st.sampled_from(CALLS).map(NUMBERS[arch].__getitem__), st.integers(0, 600), st.integers(0, (1 << 32) - 1)
    )
    arches = st.one_of(st.just(AUDIT_ARCH[arch]), st.sampled_from([*AUDIT_ARCH.values(), 0x4000_0003]))
    for _ in range(12):
        nr, audit_arch = data.draw(numbers), data.draw(arches)
        args = data.draw(arguments(table, nr))
        expected = filter.evaluate(table, nr, args, audit_arch)
        assert bpf_interpreter.run(code, nr, args, audit_arch) == returned(expected, listener)
