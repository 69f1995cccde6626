"""Landlock: rights on files, TCP ports and scopes that a process gives up for itself and its children.

Runs in: children, while single-threaded (a domain is per thread before ABI 8).  Trusts: the plan.
Flow: LandlockPlan → what this kernel's ABI knows of it → ruleset → restrict → LayerStatus.
Source: landlock(7); linux/landlock.h: which ABI brought which right.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Collection

import msgspec

from foxden.model.enforcement import LayerStatus, Status
from foxden.sandbox import linux
from foxden.sandbox.plan import LandlockPlan, LandlockRule

_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

# Highest set of rights by ABI: (file system, network, scopes).
_RIGHTS_OF_ABI: dict[int, tuple[int, int, int]] = {
    1: (0x1FFF, 0, 0),
    2: (0x3FFF, 0, 0),  # + refer
    3: (0x7FFF, 0, 0),  # + truncate
    4: (0x7FFF, 0x3, 0),  # + TCP bind and connect
    5: (0xFFFF, 0x3, 0),  # + ioctl on devices
    6: (0xFFFF, 0x3, 0x3),  # + abstract unix sockets and signals
}
_FILE_RIGHTS = 0x1 | 0x2 | 0x4 | 0x4000 | 0x8000  # execute, write, read, truncate, ioctl: all that a file may have


def kernel_abi() -> int:
    """The running kernel's Landlock ABI; 0: there is none, or it is switched off."""
    try:
        return linux.syscall("landlock_create_ruleset", 0, 0, _CREATE_RULESET_VERSION)
    except OSError:
        return 0


class Begun(msgspec.Struct, frozen=True):
    """A ruleset that restricts nobody yet.  The holder closes it."""

    ruleset: int
    handled: tuple[int, int, int]  # file system, network, scopes
    rules: frozenset[LandlockRule]  # that are in it: what they speak of was there


def begin(plan: LandlockPlan, abi: int) -> Begun | None:
    """Make a ruleset beforehand, for a plan that will have these rules and more.  None: there is no Landlock."""
    if abi < 1:
        return None
    handled = _handled(plan, abi)
    ruleset = _create_ruleset(*handled, abi=abi)
    try:
        return Begun(ruleset, handled, frozenset(rule for rule in plan.rules if _add_rule(ruleset, rule, handled[0])))
    except BaseException:
        os.close(ruleset)
        raise


def apply(
    plan: LandlockPlan, abi: int, begun: Begun | None = None, covered: Collection[str] = ()
) -> LayerStatus:
    """Restrict this thread.  Needs no_new_privs.  Raises OSError when the kernel refuses what it said it knows.

    `begun`: taken over if all that is in it is in the plan; in any case it is closed.  `covered`: paths where something
    else stands since then: their rules, and those below, are made anew.
    """
    if abi < 1:
        return LayerStatus(Status.NONE, "this kernel has no Landlock (5.13 or later, CONFIG_SECURITY_LANDLOCK)")
    handled = _handled(plan, abi)
    if begun is not None and (begun.handled != handled or not begun.rules <= set(plan.rules)):
        os.close(begun.ruleset)
        begun = None
    ruleset = begun.ruleset if begun is not None else _create_ruleset(*handled, abi=abi)
    there: frozenset[LandlockRule] = begun.rules if begun is not None else frozenset()
    try:
        for rule in plan.rules:
            if rule not in there or any(rule.path == path or rule.path.startswith(path + "/") for path in covered):
                _add_rule(ruleset, rule, handled[0])
        linux.syscall("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return status(plan, abi)


def _handled(plan: LandlockPlan, abi: int) -> tuple[int, int, int]:
    known_fs, known_net, known_scopes = _RIGHTS_OF_ABI[min(abi, max(_RIGHTS_OF_ABI))]
    return plan.handled_fs & known_fs, plan.handled_net & known_net, plan.scoped & known_scopes


def attributes(plan: LandlockPlan, abi: int) -> bytes:
    """struct landlock_ruleset_attr, as this ABI knows it."""
    return _attributes(*_handled(plan, abi), abi=abi)


def _attributes(fs: int, net: int, scopes: int, *, abi: int) -> bytes:
    return struct.pack("=QQQ", fs, net, scopes)[: 8 if abi < 4 else 16 if abi < 6 else 24]


def _create_ruleset(fs: int, net: int, scopes: int, *, abi: int) -> int:
    packed = _attributes(fs, net, scopes, abi=abi)
    return linux.syscall("landlock_create_ruleset", packed, len(packed), 0)


def _add_rule(ruleset: int, rule: LandlockRule, handled_fs: int) -> bool:
    """False: nothing is there that this user could grant."""
    try:
        path = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return False
    try:
        access = rule.access & handled_fs
        if not stat.S_ISDIR(os.fstat(path).st_mode):
            access &= _FILE_RIGHTS
        if access:
            linux.syscall("landlock_add_rule", ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", access, path), 0)
        return True
    finally:
        os.close(path)


def status(plan: LandlockPlan, abi: int) -> LayerStatus:
    """What a plan that was put on gives under this ABI."""
    handled = _handled(plan, abi)
    asked = (plan.handled_fs, plan.handled_net, plan.scoped)
    if handled == asked:
        return LayerStatus(Status.FULL)
    lost = [
        name
        for name, want, got in zip(("file rights", "TCP ports", "scopes"), asked, handled, strict=True)
        if want != got
    ]
    return LayerStatus(Status.PARTIAL, f"Landlock ABI {abi} does not know all {', '.join(lost)} that the policy asks")
