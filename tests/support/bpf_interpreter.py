"""Runs a seccomp filter without a kernel: classic BPF over one struct seccomp_data.

Runs in: tests.  Trusts: nothing; a program that the kernel would refuse is a BadProgram here.
Flow: program bytes → check → run(nr, args, arch) → the filter's return value.
Source: kernel/seccomp.c seccomp_check_filter, net/core/filter.c bpf_check_classic, Linux 6.18.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

LOAD, AND, RETURN = 0x20, 0x54, 0x06
JUMP, JUMP_EQUAL, JUMP_GREATER_OR_EQUAL = 0x05, 0x15, 0x35
DATA_SIZE = 64  # sizeof(struct seccomp_data)

Instruction = tuple[int, int, int, int]


class BadProgram(Exception):
    """The kernel would not take this program."""


def decode(program: bytes) -> list[Instruction]:
    """Instructions (code, jt, jf, k), checked as the kernel checks them."""
    if not program or len(program) % 8 or len(program) // 8 > 4096:
        raise BadProgram(f"{len(program)} bytes")
    code = list(struct.iter_unpack("<HBBI", program))
    for at, (operation, jt, jf, k) in enumerate(code):
        if operation == LOAD:
            if k % 4 or k >= DATA_SIZE:
                raise BadProgram(f"{at}: load of offset {k}")
        elif operation == JUMP:
            if at + 1 + k >= len(code):
                raise BadProgram(f"{at}: jump past the end")
        elif operation in (JUMP_EQUAL, JUMP_GREATER_OR_EQUAL):
            if at + 1 + max(jt, jf) >= len(code):
                raise BadProgram(f"{at}: jump past the end")
        elif operation not in (AND, RETURN):
            raise BadProgram(f"{at}: operation {operation:#x}")
    if code[-1][0] != RETURN:
        raise BadProgram("the last instruction does not return")
    return code


def run(code: Sequence[Instruction], nr: int, args: Sequence[int], arch: int) -> int:
    """What the filter returns for one call.  `args`: six numbers of 64 bits."""
    data = struct.pack("<IIQ6Q", nr & 0xFFFF_FFFF, arch, 0x7F00_0000_0000, *args)
    accumulator = 0
    at = 0
    while True:
        operation, jt, jf, k = code[at]
        at += 1
        if operation == LOAD:
            accumulator = struct.unpack_from("<I", data, k)[0]
        elif operation == AND:
            accumulator &= k
        elif operation == JUMP:
            at += k
        elif operation == JUMP_EQUAL:
            at += jt if accumulator == k else jf
        elif operation == JUMP_GREATER_OR_EQUAL:
            at += jt if accumulator >= k else jf
        else:
            return k
