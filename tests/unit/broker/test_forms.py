"""Registers into requests, flags into needs, and what of /proc is nobody's to open."""

from __future__ import annotations

import os

import pytest

from foxden.broker.forms import AT_FDCWD, FORMS, NEEDS, decode, forms_of, open_need, proc_refuses
from foxden.broker.rules import READ, WRITE
from foxden.broker.server import OPERATIONS
from foxden.sandbox.syscall_numbers import NUMBERS

HIGH = 0xDEAD_BEEF_0000_0000


def test_every_operation_is_done_by_a_function_and_has_its_need() -> None:
    operations = {form.operation for form in FORMS.values()}
    assert operations == set(OPERATIONS)
    assert operations - set(NEEDS) == {"open", "access"}


@pytest.mark.parametrize("arch", NUMBERS)
def test_each_architecture_has_the_calls_that_it_knows(arch: str) -> None:
    assert {name for name, _ in forms_of(arch).values()} == FORMS.keys() & NUMBERS[arch].keys()
    assert "openat" in {name for name, _ in forms_of(arch).values()}


def test_registers_are_as_wide_as_the_kernel_reads_them() -> None:
    request = decode("openat", FORMS["openat"], (HIGH | 0xFFFF_FF9C, HIGH | 5, HIGH | os.O_RDWR, HIGH | 0o640, 0, 0))
    assert (request.at, request.path, request.flags, request.mode) == (AT_FDCWD, HIGH | 5, os.O_RDWR, 0o640)


def test_calls_without_a_directory_begin_at_the_working_directory() -> None:
    request = decode("rename", FORMS["rename"], (1, 2, 3, 4, 5, 6))
    assert (request.at, request.path, request.at2, request.path2, request.flags) == (AT_FDCWD, 1, AT_FDCWD, 2, 0)


def test_flags_that_a_call_implies_are_there() -> None:
    assert decode("creat", FORMS["creat"], (1, 0o600, 0, 0, 0, 0)).flags == os.O_CREAT | os.O_WRONLY | os.O_TRUNC
    assert decode("lstat", FORMS["lstat"], (1, 2, 0, 0, 0, 0)).flags == 0x100
    assert decode("rmdir", FORMS["rmdir"], (1, 0, 0, 0, 0, 0)).flags == 0x200


@pytest.mark.parametrize(
    ("flags", "need"),
    [
        (os.O_RDONLY, READ),
        (os.O_WRONLY, WRITE),
        (os.O_RDWR, READ | WRITE),
        (3, READ | WRITE),
        (os.O_RDONLY | os.O_TRUNC, READ | WRITE),
        (os.O_PATH | os.O_RDWR, READ),
    ],
)
def test_opening_needs_what_its_flags_say(flags: int, need: int) -> None:
    assert open_need(flags) == need


@pytest.mark.parametrize(
    ("path", "reads", "writes"),
    [
        ("/etc/passwd", False, False),
        ("/proc/cpuinfo", False, True),
        ("/proc/sys/kernel/core_pattern", False, True),
        ("/proc/7/environ", False, True),
        ("/proc/7/comm", False, False),
        ("/proc/7/mem", False, True),
        ("/proc/7/uid_map", False, True),
        ("/proc/8", False, True),
        ("/proc/8/stat", False, True),
        ("/proc/8/task/9/stat", False, True),
        ("/proc/8/environ", True, True),
        ("/proc/8/mem", True, True),
        ("/proc/8/maps", True, True),
        ("/proc/8/fd/3", True, True),
        ("/proc/8/cwd/file", True, True),
        ("/proc/8/task/9/environ", True, True),
        ("/proc/8/task/9/fd/1", True, True),
    ],
)
def test_of_other_processes_only_what_anyone_may_know_is_opened(path: str, reads: bool, writes: bool) -> None:
    assert proc_refuses(path, 7, writes=False) is reads
    assert proc_refuses(path, 7, writes=True) is writes
