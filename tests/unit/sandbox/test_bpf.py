"""The assembler: far jumps, limits of the kernel, return values."""

from __future__ import annotations

import struct

import pytest
from tests.support import bpf_interpreter
from tests.support.bpf_interpreter import BadProgram

from foxden.errors import PolicyError
from foxden.sandbox import bpf
from foxden.sandbox.bpf import compile_filter
from foxden.sandbox.constants import AUDIT_ARCH
from foxden.sandbox.filter import Branch, Compare, Entry, VerdictTable, evaluate
from foxden.sandbox.syscalls import ALLOW, KILL, Action, Verdict

X86_64 = AUDIT_ARCH["x86_64"]
LOW = 0xFFFF_FFFF


def table(entries: dict[int, Entry]) -> VerdictTable:
    return VerdictTable("x86_64", dict(sorted(entries.items())))


def run(verdicts: VerdictTable, nr: int, *args: int, listener: bool = True) -> int:
    code = bpf_interpreter.decode(compile_filter(verdicts, listener=listener))
    return bpf_interpreter.run(code, nr, (*args, *(0,) * (6 - len(args))), X86_64)


def test_notify_without_a_listener_answers_its_errno() -> None:
    verdicts = table({1: Entry((), Verdict(Action.NOTIFY, 13))})
    assert run(verdicts, 1) == bpf.RET_USER_NOTIF
    assert run(verdicts, 1, listener=False) == bpf.RET_ERRNO | 13


@pytest.mark.parametrize(
    ("verdict", "value"),
    [(ALLOW, 0x7FFF_0000), (KILL, 0x8000_0000), (Verdict(Action.ERRNO, 38), 0x0005_0026)],
)
def test_return_values_are_the_kernels(verdict: Verdict, value: object) -> None:
    assert run(table({0: Entry((), verdict)}), 0) == value


def test_empty_table_knows_no_number() -> None:
    assert run(table({}), 0) == bpf.RET_ERRNO | 38
    assert len(compile_filter(table({}), listener=True)) == 5 * 8


def test_neighbours_with_one_fate_share_a_range() -> None:
    many = compile_filter(table({nr: Entry((), ALLOW) for nr in range(400)}), listener=True)
    one = compile_filter(table({0: Entry((), ALLOW)}), listener=True)
    assert len(many) == len(one)


def test_jumps_longer_than_a_byte_arrive() -> None:
    """Every number has a fate of its own, so that targets are thousands of instructions away."""
    entries = {
        nr: Entry(
            (
                Branch(
                    (Compare(0, LOW, (nr, nr + 7), True), Compare(5, 0xFF, (1,), False)),
                    Verdict(Action.ERRNO, nr + 1),
                ),
                Branch((Compare(1, (1 << 64) - 1, (nr << 32, 5), True),), KILL),
            ),
            Verdict(Action.ERRNO, 1000 + nr),
        )
        for nr in range(150)
    }
    verdicts = table(entries)
    code = bpf_interpreter.decode(compile_filter(verdicts, listener=True))
    assert len(code) > 2000
    assert any(operation == bpf.JMP_JA for operation, *_ in code), "far jumps are there to be tested"
    for nr in range(152):
        for args in ((nr,), (nr + 7, 0, 0, 0, 0, 1), (1, nr << 32), (1, 5), (1, 6)):
            padded = (*args, *(0,) * (6 - len(args)))
            expected = evaluate(verdicts, nr, padded, X86_64)
            got = bpf_interpreter.run(code, nr, padded, X86_64)
            assert got == (bpf.RET_KILL_PROCESS if expected == KILL else bpf.RET_ERRNO | expected.errno)


def test_longest_conditional_jumps_and_those_one_longer_arrive() -> None:
    """Of a list of values the match leads far away, of a list of comparisons the failure."""
    values = table({0: Entry((Branch((Compare(0, LOW, tuple(range(300)), True),), ALLOW),), KILL)})
    for value in (0, 42, 43, 44, 45, 46, 47, 299):
        assert run(values, 0, value) == bpf.RET_ALLOW
    assert run(values, 0, 300) == bpf.RET_KILL_PROCESS
    longest = set()
    for masked in range(6):  # a masked comparison is one instruction longer: every distance comes up
        compares = tuple(Compare(i % 6, 0xFF if i >= 150 - masked else LOW, (0,), True) for i in range(150))
        verdicts = table({0: Entry((Branch(compares, ALLOW),), KILL)})
        longest.add(max(jf for _, _, jf, _ in bpf_interpreter.decode(compile_filter(verdicts, listener=True))))
        assert run(verdicts, 0) == bpf.RET_ALLOW
        for i in range(6):
            assert run(verdicts, 0, *(int(i == j) for j in range(6))) == bpf.RET_KILL_PROCESS
    assert max(longest) == 255


def test_value_outside_of_its_mask_matches_nothing() -> None:
    verdicts = table({0: Entry((Branch((Compare(0, 0xF, (0x10, 1), True),), ALLOW),), KILL)})
    assert run(verdicts, 0, 0x10) == bpf.RET_KILL_PROCESS
    assert run(verdicts, 0, 0x11) == bpf.RET_ALLOW


def test_program_that_the_kernel_would_not_take_is_refused() -> None:
    entries = {
        nr: Entry(tuple(Branch((Compare(0, LOW, (i,), True),), Verdict(Action.ERRNO, i)) for i in range(20)), ALLOW)
        for nr in range(0, 400, 2)
    }
    with pytest.raises(PolicyError, match="filter: expected at most 4096 instructions, got"):
        compile_filter(table(entries), listener=True)


@pytest.mark.parametrize(
    "instructions",
    [
        [],
        [(0x06, 0, 0, 0)] * 4097,
        [(0x20, 0, 0, 3), (0x06, 0, 0, 0)],
        [(0x20, 0, 0, 64), (0x06, 0, 0, 0)],
        [(0x15, 1, 0, 0), (0x06, 0, 0, 0)],
        [(0x05, 0, 0, 1), (0x06, 0, 0, 0)],
        [(0x07, 0, 0, 0), (0x06, 0, 0, 0)],
        [(0x20, 0, 0, 0)],
    ],
)
def test_interpreter_refuses_what_the_kernel_would(instructions: list[bpf_interpreter.Instruction]) -> None:
    with pytest.raises(BadProgram):
        bpf_interpreter.decode(b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions))
