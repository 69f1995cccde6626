"""Compiled filters of committed policies on the kernel that runs the tests, each with a positive control.

Runs in: tests; the filter is put on a child process.  Trusts: the kernel.
Flow: policy → bytes → tests/unit/sandbox/filter_probe.py → errno of each call.
Source: core feasibility, "Denials confirmed".
"""

from __future__ import annotations

import errno
import json
import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.sandbox.support import highest, table

from foxden.sandbox import bpf
from foxden.sandbox.constants import value_of
from foxden.sandbox.syscall_numbers import NUMBERS

ARCH = platform.machine()
PROBE = Path(__file__).with_name("filter_probe.py")

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or ARCH not in NUMBERS, reason="needs Linux on x86_64 or aarch64"
)


def outcome(policy: str | None, *calls: str, foreign: bool = False) -> list[int] | int:
    """Errnos of `calls` under a policy (None: no filter), or the signal that ended the child, negative.

    `foreign`: then a call of i386.
    """
    code = b"" if policy is None else bpf.compile_filter(table(policy, highest(policy), ARCH), listener=False)
    task = json.dumps({"filter": code.hex(), "foreign": foreign, "calls": [words_of(call) for call in calls]})
    ended = subprocess.run([sys.executable, "-I", PROBE], input=task, capture_output=True, text=True, timeout=60)
    if ended.returncode < 0:
        return ended.returncode
    assert ended.returncode == 0, ended.stderr
    results = json.loads(ended.stdout)
    assert len(results) == len(calls) + 1, "a thread started under the filter"
    return results[:-1]


def words_of(call: str) -> list[int | str]:
    name, *words = call.split()
    number = int(name) if name.isdigit() else NUMBERS[ARCH][name]
    return [number, *(word if word.startswith(("/", "'")) else number_of(word) for word in words)]


def number_of(word: str) -> int:
    value = 0
    for term in word.split("|"):
        value |= int(term, 0) if term.lstrip("-")[:1].isdigit() else value_of(term, ARCH)
    return value & 0xFFFF_FFFF_FFFF_FFFF


HARMLESS = {
    "getpid": 0,
    "openat AT_FDCWD /etc/passwd O_RDONLY": 0,
    "openat AT_FDCWD /dev/null O_RDWR": 0,
    "socket AF_INET SOCK_STREAM 0": 0,
    "socket AF_INET SOCK_DGRAM 0": 0,
    "socket AF_UNIX SOCK_STREAM 0": 0,
    "sched_getparam 0 0": errno.EINVAL,
    "prctl PR_CAPBSET_READ 0": 0,
    "memfd_create /name MFD_CLOEXEC": 0,
    "clone3 0 0": errno.EINVAL,
    "process_vm_readv 0 0 0 0 0 1": errno.EINVAL,
    "execve 0 0 0": errno.EFAULT,
    "600": errno.ENOSYS,
}


def test_without_a_filter_the_calls_do_something_else() -> None:
    assert outcome(None, *HARMLESS) == list(HARMLESS.values())


EXPECTED = {
    "content": [0, errno.EACCES, errno.EACCES, errno.EACCES, errno.EACCES, errno.EACCES, errno.EPERM,
                errno.EINVAL, 0, errno.ENOSYS, errno.EPERM, errno.EPERM, errno.ENOSYS],
    "socket": [0, 0, errno.EACCES, 0, 0, errno.EACCES, errno.EPERM,
               errno.EINVAL, 0, errno.ENOSYS, errno.EPERM, errno.EPERM, errno.ENOSYS],
    "parent": [0, 0, 0, errno.EACCES, errno.EACCES, 0, errno.EINVAL,
               0, 0, errno.ENOSYS, errno.EPERM, errno.EACCES, errno.ENOSYS],
    "forkserver": [0, 0, 0, errno.EACCES, errno.EACCES, 0, errno.EINVAL,
                   0, 0, errno.EINVAL, errno.EPERM, errno.EPERM, errno.ENOSYS],
}  # fmt: skip


@pytest.mark.parametrize("policy", EXPECTED)
def test_kernel_gives_the_verdicts_of_the_policy(policy: str) -> None:
    assert outcome(policy, *HARMLESS) == EXPECTED[policy]


def test_gmp_answers_what_plugins_try_and_kills_what_attacks_do() -> None:
    tried = ["getpid", "openat AT_FDCWD /etc/passwd O_RDONLY", "socket AF_INET SOCK_STREAM", "execve 0 0 0", "uname 0"]
    assert outcome("gmp", *tried) == [0, errno.EACCES, errno.EACCES, errno.EPERM, errno.EPERM]
    assert outcome("gmp", "io_uring_setup 0 0") == -signal.SIGSYS
    assert outcome("gmp", "mount /a /b /c 0 0") == -signal.SIGSYS


def test_high_bits_of_an_int_argument_do_not_change_the_verdict_of_the_kernel() -> None:
    high = 1 << 32
    tiocsti = f"ioctl 0 {value_of('TIOCSTI', ARCH) | high} 0"
    inet = f"socket {value_of('AF_INET', ARCH) | high} SOCK_STREAM 0"
    assert outcome("content", tiocsti, inet) == [errno.ENOTTY, errno.EACCES]


@pytest.mark.skipif(ARCH != "x86_64", reason="needs i386 calls, which only x86_64 has")
def test_a_call_of_another_architecture_kills_everywhere() -> None:
    if outcome(None, foreign=True) == -signal.SIGSEGV:
        pytest.skip("needs a kernel with CONFIG_IA32_EMULATION")
    assert outcome(None, foreign=True) == []
    for policy in ("content", "socket", "parent", "forkserver"):
        assert outcome(policy, foreign=True) == -signal.SIGSYS


@pytest.mark.skipif(ARCH != "x86_64", reason="needs the x32 range, which only x86_64 has")
def test_x32_numbers_do_not_exist() -> None:
    x32_getpid = 0x4000_0000 | NUMBERS["x86_64"]["getpid"]
    assert outcome("content", str(x32_getpid)) == [errno.ENOSYS]
    assert outcome("gmp", str(x32_getpid)) == [errno.ENOSYS]


def test_writable_and_executable_memory_is_refused_to_decoders_only() -> None:
    call = "mmap 0 4096 PROT_READ|PROT_WRITE|PROT_EXEC MAP_PRIVATE|MAP_ANONYMOUS -1 0"
    assert outcome("rdd", call) == [errno.EACCES]
    assert outcome("gmp", call) == [errno.EACCES]
    assert outcome("content", call) == [0]
