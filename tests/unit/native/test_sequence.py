"""A sandbox as system calls in a row: what the extension makes of steps, and that it ends where Python's way does."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
import pytest
from msgspec.structs import astuple

from foxden import native
from foxden.launch import emulate
from foxden.model.enforcement import Enforcement
from foxden.model.process_types import BY_NAME, RemoteType
from foxden.parent.plans import Plans
from foxden.parent.prefs import Prefs
from foxden.sandbox import capabilities, enforce, landlock, linux, namespaces, seccomp
from foxden.sandbox.plan import Bind, SandboxPlan
from foxden.sandbox.sequence import Group, Sequence
from foxden.sandbox.steps import Slot, Step, pack, sequence_of

pytestmark = [pytest.mark.needs("native"), pytest.mark.usefixtures("extension")]

ROOT, LAST = Group.ROOT, Group.LANDLOCK
PR_CAPBSET_READ = 23
HOST = ("/usr", "/etc/passwd", "/tmp", "/proc/1")


def run(*steps: Step) -> tuple[int, int]:
    extension = native.load()
    assert extension is not None
    return extension.sequence(*astuple(pack(list(steps), linux.ARCH)))


# ---- steps


def test_nothing_to_do_is_done() -> None:
    assert run() == (-1, 0)


def test_steps_are_done_in_order_and_use_what_others_gave() -> None:
    before = os.listdir("/proc/self/fd")
    path = b"/proc/self/status\0"
    opened = Step(ROOT, "openat", (-100, path, os.O_RDONLY), saves=2)
    assert run(opened, Step(LAST, "lseek", (Slot(2), 3, os.SEEK_SET)), Step(LAST, "close", (Slot(2),))) == (-1, 0)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_first_that_fails_ends_it_and_says_why() -> None:
    missing, closed = Step(ROOT, "chdir", (b"/nowhere\0",)), Step(LAST, "close", (-1,))
    assert run(missing, closed) == (ROOT, errno.ENOENT)
    assert run(closed, missing) == (LAST, errno.EBADF)


@pytest.mark.parametrize("accepted", [(errno.ENOENT,), (errno.EPERM, errno.ENOENT)])
def test_what_a_step_accepts_is_as_good(accepted: tuple[int, ...]) -> None:
    missing = Step(ROOT, "chdir", (b"/nowhere\0",), accepted)
    assert run(missing) == (-1, 0)
    assert run(missing, Step(LAST, "close", (-1,), accepted)) == (LAST, errno.EBADF)


def test_kernel_may_write_to_what_it_is_given_and_the_bytes_stay() -> None:
    out = bytes(4096)
    steps = Step(ROOT, "getcwd", (out, len(out)))
    assert run(steps) == (-1, 0)
    assert out == bytes(4096)


GOOD, TEXT = astuple(pack([Step(ROOT, "chdir", (b"/\0",))], linux.ARCH))


def changed(place: int, form: str, value: int) -> bytes:
    table = bytearray(GOOD)
    struct.pack_into(form, table, place, value)
    return bytes(table)


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        (GOOD[:-1], TEXT),
        (GOOD + b"x", TEXT),
        (GOOD, b"x" * 4097),
        (GOOD, b""),  # it points to the first byte of nothing
        (changed(16, "=Q", 8), TEXT),
        (changed(16, "=Q", 1 << 63), TEXT),
        (changed(6, "=B", 3), TEXT),  # a kind that there is not
        (changed(5, "=B", 4), TEXT),  # a slot that there is not
        (changed(6, "=B", 2)[:16] + struct.pack("=Q", 4) + GOOD[24:], TEXT),
    ],
)
def test_steps_that_are_not_whole_are_refused_and_none_is_done(steps: bytes, text: bytes) -> None:
    extension = native.load()
    assert extension is not None
    here = os.getcwd()
    leaving = pack([Step(ROOT, "chdir", (b"/\0",))], linux.ARCH)
    with pytest.raises(ValueError, match="sequence"):
        extension.sequence(leaving.steps + steps if len(steps) == len(GOOD) else steps, text)
    assert os.getcwd() == here


@pytest.mark.parametrize("arguments", [(), (b"",), ("", ""), (b"", b"", b"")])
def test_arguments_are_checked(arguments: tuple[Any, ...]) -> None:
    extension = native.load()
    assert extension is not None
    with pytest.raises(TypeError):
        extension.sequence(*arguments)


# ---- plans


def plan_of(name: str = "content") -> SandboxPlan:
    remote = RemoteType.WEB if name == "content" else None
    return Plans(Prefs({}), None).plan(BY_NAME[name], remote)


def abi() -> int:
    return landlock.kernel_abi()


@pytest.mark.parametrize("name", [name for name, row in BY_NAME.items() if row.child and name != "plugin"])
def test_every_python_child_has_a_sequence(name: str) -> None:
    plan = plan_of(name)
    groups = sequence_of(plan, linux.ARCH, 6).groups
    bare = plan.empty_root and not plan.binds  # the socket process sees files of the host
    assert (Group.ROOT in groups) == bare
    if bare:
        assert (Group.CAPABILITIES in groups) == plan.drop_capabilities
        assert (Group.LANDLOCK in groups) == (plan.landlock is not None)
        assert Group.NO_NEW_PRIVS in groups


def test_what_depends_on_the_host_has_none() -> None:
    plan = plan_of()
    assert sequence_of(msgspec.structs.replace(plan, binds=(Bind("/usr", "/usr"),)), linux.ARCH, 6) == Sequence()
    assert sequence_of(msgspec.structs.replace(plan, empty_root=False), linux.ARCH, 6) == Sequence()
    assert sequence_of(plan, "riscv64", 6) == Sequence()
    assert sequence_of(plan_of("plugin"), linux.ARCH, 6) == Sequence()


def test_without_landlock_nothing_is_said_of_it() -> None:
    assert Group.LANDLOCK not in sequence_of(plan_of(), linux.ARCH, 0).groups


# ---- a child, each way


def state() -> dict[str, Any]:
    """What a process can say of itself when it has no files."""
    held = bytearray(24)
    linux.syscall("capget", capabilities.NOTHING[0], (ctypes.c_char * 24).from_buffer(held))
    return {
        "bounding": [linux.prctl(PR_CAPBSET_READ, number) for number in range(40)],
        "held": held.hex(),
        "new privileges": linux.prctl(linux.PR_GET_NO_NEW_PRIVS),
        "host": {name: errno_of(partial(os.stat, name)) for name in HOST},
        "listed": errno_of(lambda: os.listdir("/")),
        "made": errno_of(lambda: os.mkdir("/made")),
        "abstract": errno_of(lambda: socket.socket(socket.AF_UNIX).connect("\0foxden-test-of-scopes")),
        "cwd": os.getcwd(),
        "flags": os.statvfs("/").f_flag,
        "inodes": os.statvfs("/").f_files,
        "name": socket.gethostname(),
        "descriptors": [fd for fd in range(64) if not errno_of(partial(os.fstat, fd))],
    }


def errno_of(act: Callable[[], object]) -> int:
    """0: it succeeded."""
    try:
        act()
    except OSError as error:
        return error.errno or -1
    return 0


def layers_of(enforcement: Enforcement) -> dict[str, list[str]]:
    return {layer.value: [status.status.name, status.reason] for layer, status in enforcement.items()}


def put_on(plan: SandboxPlan, sequence: Sequence, before: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """What a child in the plan's namespaces says of itself with the plan on, all but the filter and the limits."""
    namespaces.remember_ids()
    bare = msgspec.structs.replace(plan, filter=b"", quiet_filter=b"", notify=False, stacks=False, limits=())
    reader, writer = os.pipe()
    pid, pidfd = linux.fork_into(plan.namespaces, own_child=True)
    if pid == 0:
        try:
            before()
            said: Any
            try:
                applied = enforce.apply(
                    bare, namespaces_given=True, own_uid=-1, keep_fds={writer}, landlock_abi_limit=1000,
                    sequence=sequence,
                )  # fmt: skip
                said = {**state(), "layers": layers_of(applied.enforcement)}
            except enforce.EnforceError as error:
                said = {"failed": [error.step, error.errno]}
            except Exception as error:
                said = {"raised": repr(error)}
            os.write(writer, json.dumps(said).encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    os.close(pidfd)
    with os.fdopen(reader, "rb") as file:
        answer: dict[str, Any] = json.loads(file.read() or b"{}")
    return answer


@pytest.mark.needs("userns", "landlock", "seccomp")
@pytest.mark.parametrize("name", ["content", "utility", "gmp", "rdd"])
def test_both_ways_end_in_the_same_sandbox(name: str) -> None:
    plan = plan_of(name)
    sequence = sequence_of(plan, linux.ARCH, abi())
    assert sequence.groups >= {Group.ROOT, Group.CAPABILITIES, Group.NO_NEW_PRIVS}
    in_one_go, by_layers = put_on(plan, sequence), put_on(plan, Sequence())
    assert in_one_go == by_layers
    assert set(in_one_go["host"].values()) == {errno.ENOENT}
    assert in_one_go["held"] == "00" * 24
    assert not any(in_one_go["bounding"])
    assert in_one_go["new privileges"] == 1
    assert in_one_go["made"] in (errno.EACCES, errno.EROFS)
    assert {in_one_go["layers"][layer][0] for layer in ("root", "capabilities", "landlock")} == {"FULL"}


@pytest.mark.needs("userns", "landlock", "seccomp")
@pytest.mark.parametrize("word", ["no-mount", "old-mount"])
def test_where_the_kernel_gives_less_both_ways_say_the_same(word: str) -> None:
    plan = plan_of()
    ways = [
        put_on(plan, sequence, before=lambda: emulate.apply(word))
        for sequence in (sequence_of(plan, linux.ARCH, abi()), Sequence())
    ]
    assert ways[0]["layers"] == ways[1]["layers"]
    assert ways[0]["layers"]["root"][0] != "FULL"
    assert ways[0]["held"] == ways[1]["held"] == "00" * 24


@pytest.mark.needs("userns", "landlock", "seccomp")
def test_a_step_that_the_kernel_had_promised_is_an_error_by_name() -> None:
    plan = plan_of()
    wrong = sequence_of(plan, linux.ARCH, abi())
    said = put_on(plan, wrong, before=lambda: _refuse("landlock_restrict_self"))
    assert said == {"failed": ["landlock", errno.EPERM]}


def _refuse(call: str) -> None:
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    rules = f'errno.EPERM = ["{call}"]\n'
    seccomp.load(emulate._compiled(rules))


def test_a_thousand_steps_take_no_time_that_shows() -> None:
    begun = time.monotonic()
    for _ in range(100):
        assert run(*[Step(ROOT, "getppid", ())] * 250) == (-1, 0)
    assert time.monotonic() - begun < 10
