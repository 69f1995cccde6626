"""The committed table of numbers is the one that the headers give."""

from __future__ import annotations

import importlib.util
import platform
from pathlib import Path
from types import ModuleType

import pytest

from foxden.sandbox import syscall_numbers
from foxden.sandbox.syscall_numbers import NUMBERS

TOOL = Path(__file__).parents[3] / "tools/make_syscall_tables.py"


def load_tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_syscall_tables", TOOL)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    return tool


def test_making_the_table_again_changes_nothing() -> None:
    tool = load_tool()
    if platform.machine() != "x86_64" or not tool.GENERIC_HEADER.exists():
        pytest.skip("needs the headers of linux-libc-dev on x86_64")
    assert tool.render(tool.tables()) == Path(syscall_numbers.__file__).read_text()


@pytest.mark.parametrize("arch", NUMBERS)
def test_no_number_has_two_names(arch: str) -> None:
    assert len(set(NUMBERS[arch].values())) == len(NUMBERS[arch])


def test_well_known_numbers() -> None:
    x86_64, aarch64 = NUMBERS["x86_64"], NUMBERS["aarch64"]
    assert (x86_64["openat"], x86_64["seccomp"], x86_64["clone"]) == (257, 317, 56)
    assert (aarch64["openat"], aarch64["seccomp"], aarch64["clone"]) == (56, 277, 220)
    assert (aarch64["newfstatat"], aarch64["fcntl"], aarch64["memfd_secret"]) == (79, 25, 447)
    assert x86_64["mseal"] == aarch64["mseal"] == 462
    assert "open" not in aarch64


def test_conditional_parts_of_the_generic_header_are_read_as_a_preprocessor_would() -> None:
    tool = load_tool()
    text = """
#if defined(__ARCH_WANT_A) || __BITS_PER_LONG != 32
#define __NR_kept 1
#else
#define __NR_lost 2
#endif
#ifndef __ARCH_WANT_A
#define __NR_lost_too 3
#endif
#if __BITS_PER_LONG == 64 && !defined(__SYSCALL_COMPAT)
#define __NR_long __NR3264_long
#define __NR3264_long 4
#endif
#define __NR_syscalls 5
"""
    lines = tool.active_lines(text, {"__BITS_PER_LONG": 64, "__ARCH_WANT_A": 1})
    assert tool.numbers_of(lines) == {"kept": 1, "long": 4}
