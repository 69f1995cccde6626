"""The handler of SIGSYS, in forked children under a filter that traps: what the call returns, and what is told."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import signal
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.broker.harness import libc, outcome, raw
from tests.unit.sandbox import support as policies

from foxden import native
from foxden.sandbox import linux, seccomp
from foxden.sandbox.bpf import compile_filter
from foxden.sandbox.build import _NEVER_TRAPPED, _quiet
from foxden.sandbox.constants import AUDIT_ARCH
from foxden.sandbox.filter import evaluate, verdicts
from foxden.sandbox.policy import load, resolve
from foxden.sandbox.syscall_numbers import NUMBERS
from foxden.sandbox.syscalls import Action

pytestmark = [pytest.mark.needs("native", "seccomp"), pytest.mark.usefixtures("extension")]

RECORD = struct.Struct("=4I6Q")
PAGE = 4096
AT_FDCWD = -100
NUMBER = NUMBERS[linux.ARCH]
REGISTERS = bytearray([255] * 512)
REGISTERS[NUMBER["openat"]] = REGISTERS[NUMBER["mkdirat"]] = 1
TEXT = '[syscalls]\ndefault = "allow"\nnotify.EACCES = ["openat"]\nnotify.EPERM = ["mkdirat", "io_uring_setup"]\n'


def trapping() -> bytes:
    policy = load("test", lambda name: TEXT + "[[level]]\nfrom = 1\n" if name == "test" else "")
    table = verdicts(resolve(policy, level=1, remote_type=None, variables={}), linux.ARCH)
    return compile_filter(table, listener=False, traps=True)


def run(act: Callable[[], Any], *, room: int = 65_536, program: bytes | None = None) -> tuple[Any, list[bytes]]:
    """What `act` returned in a child under the filter, and the packets that it told."""
    extension = native.load()
    assert extension is not None
    filter_ = program if program is not None else trapping()
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_DIRECT)  # a read for each write
    answers, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            extension.trap(writer, bytes(REGISTERS))
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
            seccomp.load(filter_)
            os.write(said, json.dumps(act()).encode())
        finally:
            os._exit(0)
    os.close(said)
    os.close(writer)
    packets = []
    try:
        with open(answers, "rb") as file:
            value = file.read()
        _, status = os.waitpid(pid, 0)
        while packet := os.read(reader, 4096):
            packets.append(packet)
    finally:
        os.close(reader)
    return json.loads(value) if value else -os.WTERMSIG(status), packets


def path_of(packet: bytes) -> bytes:
    _, _, size, _, *_ = RECORD.unpack_from(packet)
    assert len(packet) == RECORD.size + size
    return packet[RECORD.size :].partition(b"\0")[0]


def test_the_call_has_the_errno_of_the_filter_and_is_told_with_its_path() -> None:
    def act() -> list[Any]:
        return [
            outcome(lambda: raw("openat", AT_FDCWD, b"/etc/passwd", os.O_RDONLY, 0)),
            outcome(lambda: raw("mkdirat", AT_FDCWD, b"made", 0o700)),
            outcome(lambda: raw("io_uring_setup", 7, 0)),
        ]

    value, packets = run(act)
    assert value == ["EACCES", "EPERM", "EPERM"]
    number, code, size, _, *args = RECORD.unpack_from(packets[0])
    assert (number, code, size) == (NUMBER["openat"], 13, 255)
    assert (args[0], args[2:4]) == ((1 << 64) - 100, [0, 0])
    assert [path_of(packet) for packet in packets] == [b"/etc/passwd", b"made", b""]
    assert RECORD.unpack_from(packets[2])[:4] == (NUMBER["io_uring_setup"], 1, 0, 0)


def test_memory_that_is_not_there_is_no_crash_but_a_record_without_path() -> None:
    def act() -> list[Any]:
        area = mmap.mmap(-1, 2 * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(area))
        libc.munmap(ctypes.c_void_p(start + PAGE), ctypes.c_size_t(PAGE))
        area[PAGE - 6 : PAGE] = b"/short"  # no NUL before the memory ends
        found = [start + PAGE - 6, 16, 0, -1, (1 << 63) - 1, 0x8000_0000_0000]
        return [outcome(lambda at=at: raw("openat", AT_FDCWD, at, 0, 0)) for at in found]

    value, packets = run(act)
    assert value == ["EACCES"] * 6
    assert [path_of(packet) for packet in packets] == [b"/short", b"", b"", b"", b"", b""]


def test_a_full_pipe_delays_nobody() -> None:
    def act() -> list[Any]:
        return sorted({outcome(lambda: raw("openat", AT_FDCWD, b"/x", 0, 0)) for _ in range(3000)})

    value, packets = run(act)
    assert value == ["EACCES"]
    assert 0 < len(packets) < 3000


def test_threads_and_libc_itself_are_answered() -> None:
    def act() -> list[Any]:
        found: list[Any] = []
        threads = [
            threading.Thread(target=lambda: found.extend(outcome(lambda: os.listdir("/etc")) for _ in range(50)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [*sorted({str(each) for each in found}), str(len(found))]

    assert run(act)[0] == ["EACCES", "200"]


def test_a_signal_that_somebody_sends_changes_nothing() -> None:
    def act() -> int:
        os.kill(os.getpid(), signal.SIGSYS)
        return os.getpid() and 7

    assert run(act) == (7, [])


def test_errno_and_registers_of_the_interrupted_code_are_kept() -> None:
    def act() -> bool:
        ctypes.set_errno(0)
        resource.getrlimit(resource.RLIMIT_NOFILE)
        total = sum(range(1000))
        refused = [outcome(lambda: raw("openat", AT_FDCWD, b"/x", 0, 0)) for _ in range(100)]
        return total == 499_500 and refused == ["EACCES"] * 100

    assert run(act)[0] is True


def test_without_a_handler_the_same_filter_has_the_same_errnos() -> None:
    def act() -> list[Any]:
        signal.signal(signal.SIGSYS, signal.SIG_DFL)  # a trap would be the end
        return [
            outcome(lambda: raw("openat", AT_FDCWD, b"/x", 0, 0)), outcome(lambda: raw("mkdirat", AT_FDCWD, b"x", 0))
        ]  # fmt: skip

    assert run(act, program=seccomp.without_traps(trapping())) == (["EACCES", "EPERM"], [])
    assert run(act)[0] == -signal.SIGSYS  # the test can tell the difference


@pytest.mark.parametrize(
    "arguments", [(), (1,), (1, b""), (1, b"x" * 511), (1, b"x" * 513), ("x", b"x" * 512), (1, "x" * 512)]
)
def test_bad_arguments_are_errors_and_install_nothing(arguments: tuple[Any, ...]) -> None:
    extension: Any = native.load()
    with pytest.raises((TypeError, ValueError)):
        extension.trap(*arguments)
    assert signal.getsignal(signal.SIGSYS) is signal.SIG_DFL


@pytest.mark.parametrize("arch", sorted(NUMBERS))
@pytest.mark.parametrize("name", ["content", "utility", "socket", "rdd", "gmp"])
def test_what_libc_calls_with_signals_blocked_is_never_trapped_and_writev_is_allowed(name: str, arch: str) -> None:
    for level in range(1, policies.highest(name) + 1):
        resolved = policies.resolved(name, level)
        if resolved.default is None:
            continue
        table = _quiet(verdicts(resolved, arch))
        for call in _NEVER_TRAPPED:
            if call in NUMBERS[arch]:
                entry = table.entries[NUMBERS[arch][call]]
                assert Action.NOTIFY not in {entry.otherwise.action, *(each.verdict.action for each in entry.branches)}
        if table.may_notify():
            verdict = evaluate(table, NUMBERS[arch]["writev"], (1, 0, 2, 0, 0, 0), AUDIT_ARCH[arch])
            assert verdict.action is Action.ALLOW
