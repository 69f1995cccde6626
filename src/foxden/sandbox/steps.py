"""What every Python child puts on, as system calls in a row: for the extension in C, which makes them without Python.

Runs in: the parent; pure.  Trusts: the plan.
Flow: SandboxPlan → steps → Sequence → PChildProcess.Launch → _native.sequence → the group that failed: there `enforce`
goes on.
Source: what namespaces.leave_for_root, capabilities.drop_all and landlock.apply call; src/native/sequence.c.

A plan that shows files of the host is put on by Python alone: what it needs depends on what is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import msgspec

from foxden.sandbox import capabilities, landlock, linux, namespaces
from foxden.sandbox.plan import HOST_NAME, LandlockPlan, SandboxPlan
from foxden.sandbox.sequence import STEP, Group, Sequence
from foxden.sandbox.syscall_numbers import NUMBERS

_NO_SLOT = 255
_VALUE, _TEXT, _SLOT = 0, 1, 2
_RULESET = 0  # the slot
_CAPABILITIES_MAX = 64  # numbers that a kernel could know
_EPERM, _EINVAL = 1, 22
_WORD = (1 << 64) - 1


class Slot(msgspec.Struct, frozen=True):
    """In the place of an argument: what an earlier step gave."""

    number: int


class Step(msgspec.Struct, frozen=True):
    group: int  # of Group
    call: str
    arguments: tuple[int | bytes | Slot, ...]  # bytes: a pointer to them; text ends with NUL
    accepted: tuple[int, ...] = ()  # errnos that are as good
    saves: int = _NO_SLOT


def sequence_of(plan: SandboxPlan, arch: str, abi: int) -> Sequence:
    """`abi`: of the kernel's Landlock; 0: it has none."""
    rules = plan.landlock is not None and bool(plan.landlock.rules)
    if not plan.empty_root or plan.binds or plan.mounts or plan.programs or rules or arch not in NUMBERS:
        return Sequence()
    named = plan.host_name or HOST_NAME if plan.namespaces & namespaces.CLONE_NEWUTS else ""
    needs_no_new_privs = plan.landlock is not None or bool(plan.filter)
    return _packed(named, plan.drop_capabilities, needs_no_new_privs, plan.landlock, arch, abi)


@lru_cache(maxsize=64)
def _packed(
    host_name: str, drops: bool, no_new_privs: bool, wanted: LandlockPlan | None, arch: str, abi: int
) -> Sequence:
    steps = [*_root(), *_host_name(host_name)]
    steps += _capabilities() if drops else ()
    if no_new_privs:
        steps.append(Step(Group.NO_NEW_PRIVS, "prctl", (linux.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)))
    if wanted is not None and abi >= 1:
        steps += _landlock(wanted, abi)
    return pack(steps, arch)


def pack(steps: list[Step], arch: str) -> Sequence:
    table, text = bytearray(), bytearray()
    for step in steps:
        kinds, values = [_VALUE] * 6, [0] * 6
        for place, argument in enumerate(step.arguments):
            if isinstance(argument, Slot):
                kinds[place], values[place] = _SLOT, argument.number
            elif isinstance(argument, bytes):
                kinds[place], values[place] = _TEXT, len(text)
                text += argument.ljust(-(-len(argument) // 8) * 8, b"\0")  # structs are aligned
            else:
                values[place] = argument & _WORD
        accepted = (*step.accepted, 0, 0)[:2]
        table += STEP.pack(NUMBERS[arch][step.call], step.group, step.saves, *kinds, *accepted, *values)
    return Sequence(bytes(table), bytes(text))


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _root() -> Iterator[Step]:
    """namespaces.leave_for_root of nothing."""
    here, top = _text("."), _text("/")
    stone = _text(namespaces.STEPPING_STONES[0])
    attributes = linux.mount_attributes(namespaces.MOUNT_ATTR_RDONLY)
    for call, *arguments in (
        ("mount", 0, top, 0, namespaces.PRIVATE, 0),
        ("mount", _text("foxden"), stone, _text("tmpfs"), namespaces.BARE, _text(namespaces.root_options(()))),
        ("chdir", stone),
        ("mount_setattr", namespaces.AT_FDCWD, here, 0, attributes, len(attributes)),
        ("pivot_root", here, here),
        ("umount2", here, namespaces.MNT_DETACH),
        ("chdir", top),
    ):
        assert isinstance(call, str)  # noqa: S101 - for the type checker
        yield Step(Group.ROOT, call, tuple(arguments))  # type: ignore[arg-type]


def _host_name(name: str) -> Iterator[Step]:
    if name:
        yield Step(Group.HOST_NAME, "sethostname", (_text(name), len(name.encode())))


def _capabilities() -> Iterator[Step]:
    """capabilities.drop_all."""
    yield Step(Group.CAPABILITIES, "prctl", (linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    for number in range(_CAPABILITIES_MAX):  # EINVAL: beyond the last that this kernel knows
        yield Step(Group.CAPABILITIES, "prctl", (linux.PR_CAPBSET_DROP, number, 0, 0, 0), (_EINVAL, _EPERM))
    yield Step(Group.CAPABILITIES, "capset", capabilities.NOTHING)


def _landlock(plan: LandlockPlan, abi: int) -> Iterator[Step]:
    """landlock.apply of a plan without rules."""
    attributes = landlock.attributes(plan, abi)
    create = (attributes, len(attributes), 0)
    yield Step(Group.LANDLOCK, "landlock_create_ruleset", create, saves=_RULESET)
    yield Step(Group.LANDLOCK, "landlock_restrict_self", (Slot(_RULESET), 0))
    yield Step(Group.LANDLOCK, "close", (Slot(_RULESET),))
