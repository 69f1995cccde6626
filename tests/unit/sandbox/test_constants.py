"""Constants have the values of the kernel's headers, as far as the C compiler at hand can say."""

from __future__ import annotations

import errno
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from foxden.sandbox import constants
from foxden.sandbox.constants import ARCHES, ERRNOS, NAMES, value_of

HEADERS = """
#define _GNU_SOURCE
#include <stdio.h>
#include <linux/audit.h>
#include <linux/fcntl.h>
#include <linux/sched.h>
#include <linux/prctl.h>
#include <linux/mman.h>
#include <linux/memfd.h>
#include <linux/netlink.h>
#include <linux/close_range.h>
#include <time.h>
#include <linux/udp.h>
#include <asm/ioctls.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
"""

# Not in any header: our own names for sets of flags, and what only the kernel's inside has.
OURS = {"CLONE_PTHREAD", "CLONE_PTHREAD_MUSL", "CLONE_NAMESPACES", "O_TMPFILE_BIT", "SOCK_TYPE_MASK", "NULL"}


def test_values_are_those_of_the_headers(tmp_path: Path) -> None:
    arch = platform.machine()
    if shutil.which("gcc") is None or arch not in ARCHES:
        pytest.skip("needs gcc on x86_64 or aarch64")
    names = sorted(NAMES - OURS - {"O_LARGEFILE"})
    lines = [f'#ifdef {name}\nprintf("{name} %lld\\n", (long long){name});\n#endif' for name in names]
    enums = [f'printf("{name} %lld\\n", (long long){name});' for name in names if name.startswith("IPPROTO_")]
    source = tmp_path / "values.c"
    source.write_text(HEADERS + "int main(void) {\n" + "\n".join(lines + enums) + "return 0;}")
    subprocess.run(["gcc", "-w", "-o", tmp_path / "values", source], check=True)
    printed = subprocess.run([tmp_path / "values"], check=True, capture_output=True, text=True).stdout
    found = {name: int(value) for name, value in (line.split() for line in printed.splitlines())}
    width = (1 << 32) - 1
    assert {name: value_of(name, arch) & width for name in found} == {k: v & width for k, v in found.items()}
    assert len(found) > 150, "the headers say something"


def test_errnos_are_those_of_linux() -> None:
    assert {name: getattr(errno, name) for name in ERRNOS} == ERRNOS


def test_thread_flags_are_what_pthread_create_asks_for() -> None:
    names = ["VM", "FS", "FILES", "SIGHAND", "THREAD", "SYSVSEM", "SETTLS", "PARENT_SETTID", "CHILD_CLEARTID"]
    flags = sum(value_of("CLONE_" + name, "x86_64") for name in names)
    assert value_of("CLONE_PTHREAD", "x86_64") == flags
    assert value_of("CLONE_PTHREAD_MUSL", "x86_64") == flags | value_of("CLONE_DETACHED", "x86_64")


def test_namespace_flags_are_all_of_them() -> None:
    names = ["NEWNS", "NEWCGROUP", "NEWUTS", "NEWIPC", "NEWUSER", "NEWPID", "NEWNET"]
    assert value_of("CLONE_NAMESPACES", "x86_64") == sum(value_of("CLONE_" + name, "x86_64") for name in names)


def test_open_flags_differ_between_the_architectures_where_the_kernel_has_them_differ() -> None:
    assert value_of("O_DIRECTORY", "x86_64") == 0o200000
    assert value_of("O_DIRECTORY", "aarch64") == 0o40000
    assert value_of("O_TMPFILE", "x86_64") == 0o20200000
    assert value_of("O_TMPFILE", "aarch64") == 0o20040000
    assert value_of("O_CREAT", "x86_64") == value_of("O_CREAT", "aarch64") == 0o100


def test_every_name_has_a_value_on_every_architecture() -> None:
    assert all(isinstance(value_of(name, arch), int) for name in NAMES for arch in ARCHES)
    assert set(constants.AUDIT_ARCH) == set(ARCHES)
