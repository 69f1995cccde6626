"""A verdict table as a program of classic BPF, the form in which the kernel takes a filter.

Runs in: the parent, tools and tests; pure.  Trusts: the table.
Flow: VerdictTable → compile_filter → bytes, 8 an instruction → SandboxPlan.filter → seccomp(2) in the child.
Source: Documentation/networking/filter.rst, linux/filter.h, linux/seccomp.h; bpf_dsl of Chromium for the idea
of writing a program from its end, so that every jump goes to code that is already there.
"""

from __future__ import annotations

import struct
from itertools import chain

from foxden.sandbox.constants import AUDIT_ARCH
from foxden.sandbox.filter import Branch, Compare, Entry, VerdictTable
from foxden.sandbox.syscalls import KILL, NOT_IMPLEMENTED, Action, Verdict, policy_error

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS

# linux/bpf_common.h
LD_W_ABS = 0x20
JMP_JA = 0x05
JMP_JEQ_K = 0x15
JMP_JGE_K = 0x35
ALU_AND_K = 0x54
RET_K = 0x06

# linux/seccomp.h
RET_KILL_PROCESS = 0x8000_0000
RET_TRAP = 0x0003_0000
RET_ERRNO = 0x0005_0000
RET_USER_NOTIF = 0x7FC0_0000
RET_ALLOW = 0x7FFF_0000

# struct seccomp_data; both architectures are little-endian: the low half of an argument comes first.
OFFSET_NR = 0
OFFSET_ARCH = 4
OFFSET_ARGS = 16

_FAR = 255  # a conditional jump's offset is one byte
_LOW = 0xFFFF_FFFF


class _Assembler:
    """Instructions from the last to the first.  A label is the number of instructions after and with it."""

    def __init__(self) -> None:
        self.backwards: list[tuple[int, int, int, int]] = []
        self._returns: dict[int, int] = {}

    def _add(self, code: int, jt: int, jf: int, k: int) -> int:
        self.backwards.append((code, jt, jf, k))
        return len(self.backwards)

    def _near(self, label: int, room: int) -> int:
        """A label within a conditional jump's reach that leads to `label`."""
        if len(self.backwards) - label + room <= _FAR:
            return label
        return self._add(JMP_JA, 0, 0, len(self.backwards) - label)

    def ret(self, value: int) -> int:
        """Return `value`; an equal one near enough is used again."""
        label = self._returns.get(value, 0)
        if not label or len(self.backwards) - label > _FAR - 2:
            label = self._returns[value] = self._add(RET_K, 0, 0, value)
        return label

    def jump(self, code: int, k: int, if_true: int, if_false: int) -> int:
        if if_true == if_false:
            return if_true
        if_true = self._near(if_true, 1)  # 1: the other jump may add an instruction in between
        if_false = self._near(if_false, 0)
        end = len(self.backwards)
        return self._add(code, end - if_true, end - if_false, k)

    def straight(self, code: int, k: int, then: int) -> int:
        """An instruction that goes on to the next one, which must be `then`."""
        if then != len(self.backwards):
            self._add(JMP_JA, 0, 0, len(self.backwards) - then)
        return self._add(code, 0, 0, k)

    def program(self) -> bytes:
        instructions = reversed(self.backwards)
        return struct.pack("<" + "HBBI" * len(self.backwards), *chain.from_iterable(instructions))


def compile_filter(table: VerdictTable, *, listener: bool, traps: bool = False) -> bytes:
    """The filter of a table.  Without a listener, a verdict that would ask one answers its errno.

    `traps`: it raises SIGSYS instead, with that errno, for a handler that tells of it (`seccomp.without_traps`).

    Raises: PolicyError when the program is longer than the kernel takes.
    """
    asks = RET_USER_NOTIF if listener else RET_TRAP if traps else 0
    assembler = _Assembler()
    ranges = _ranges(table)
    start = assembler.straight(LD_W_ABS, OFFSET_NR, _tree(assembler, ranges, 0, len(ranges), asks))
    start = assembler.jump(JMP_JEQ_K, AUDIT_ARCH[table.arch], start, assembler.ret(RET_KILL_PROCESS))
    assembler.straight(LD_W_ABS, OFFSET_ARCH, start)
    if len(assembler.backwards) > MAX_INSTRUCTIONS:
        raise policy_error("filter", f"at most {MAX_INSTRUCTIONS} instructions", len(assembler.backwards))
    return assembler.program()


def _ranges(table: VerdictTable) -> list[tuple[int, Entry]]:
    """(first number, entry) of each run of numbers with one fate, over all 32-bit numbers."""
    unknown = Entry((), NOT_IMPLEMENTED)
    ranges: list[tuple[int, Entry]] = [(0, unknown)]

    def begin(number: int, entry: Entry) -> None:
        if ranges[-1][0] == number:
            ranges.pop()
        if not ranges or ranges[-1][1] != entry:
            ranges.append((number, entry))

    expected = 0
    for number, entry in table.entries.items():
        if number > expected:
            begin(expected, unknown)
        begin(number, entry)
        expected = number + 1
    begin(expected, unknown)  # x32 numbers and negative ones are here too
    return ranges


def _tree(assembler: _Assembler, ranges: list[tuple[int, Entry]], low: int, high: int, asks: int) -> int:
    """A binary tree over ranges[low:high]; the accumulator holds the number."""
    if high - low == 1:
        return _entry(assembler, ranges[low][1], asks)
    middle = (low + high) // 2
    above = _tree(assembler, ranges, middle, high, asks)
    below = _tree(assembler, ranges, low, middle, asks)
    return assembler.jump(JMP_JGE_K, ranges[middle][0], above, below)


def _entry(assembler: _Assembler, entry: Entry, asks: int) -> int:
    label = assembler.ret(_return_value(entry.otherwise, asks))
    for branch in reversed(entry.branches):
        label = _branch(assembler, branch, label, asks)
    return label


def _branch(assembler: _Assembler, branch: Branch, otherwise: int, asks: int) -> int:
    label = assembler.ret(_return_value(branch.verdict, asks))
    for compare in reversed(branch.compares):
        yes, no = (label, otherwise) if compare.equal else (otherwise, label)
        label = _compare(assembler, compare, yes, no)
    return label


def _compare(assembler: _Assembler, compare: Compare, yes: int, no: int) -> int:
    """Any of the values → `yes`.  The high half is looked at only where the mask reaches it."""
    offset = OFFSET_ARGS + 8 * compare.index
    high_mask = compare.mask >> 32
    values = [value for value in compare.values if not value & ~compare.mask]  # the others match nothing
    if not high_mask:
        return _half(assembler, offset, compare.mask, values, yes, no)
    label = no
    for value in values:
        low = _half(assembler, offset, compare.mask & _LOW, [value & _LOW], yes, label)
        label = _half(assembler, offset + 4, high_mask, [value >> 32], low, label)
    return label


def _half(assembler: _Assembler, offset: int, mask: int, values: list[int], yes: int, no: int) -> int:
    label = no
    for value in values:
        label = assembler.jump(JMP_JEQ_K, value, yes, label)
    if mask != _LOW:
        label = assembler.straight(ALU_AND_K, mask, label)
    return assembler.straight(LD_W_ABS, offset, label)


def _return_value(verdict: Verdict, asks: int) -> int:
    if verdict == KILL:
        return RET_KILL_PROCESS
    if verdict.action is Action.ALLOW:
        return RET_ALLOW
    if verdict.action is Action.NOTIFY and asks:
        return asks if asks == RET_USER_NOTIF else asks | verdict.errno
    return RET_ERRNO | verdict.errno
