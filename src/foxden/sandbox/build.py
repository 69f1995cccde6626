"""A resolved policy as the plain data that a child applies to itself.

Runs in: the parent, tools and tests; pure.  Trusts: the resolved policy.
Flow: ResolvedPolicy → build_plan → SandboxPlan → PChildProcess.Launch → enforce.apply in the child.
Source: linux/landlock.h (ABI 7), linux/sched.h, getrlimit(2); shared shapes in sandbox/plan.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

import msgspec

from foxden.sandbox.bpf import compile_filter
from foxden.sandbox.constants import value_of
from foxden.sandbox.filter import Branch, Compare, Entry, VerdictTable, verdicts
from foxden.sandbox.paths import Access, FileRule
from foxden.sandbox.plan import Bind, LandlockPlan, LandlockRule, Limit, SandboxPlan
from foxden.sandbox.policy import ResolvedPolicy
from foxden.sandbox.rights import landlock_rights
from foxden.sandbox.same import Same
from foxden.sandbox.syscall_numbers import NUMBERS
from foxden.sandbox.syscalls import Action, Verdict, policy_error

_CLONE_NAMES = {
    "user": "CLONE_NEWUSER",
    "pid": "CLONE_NEWPID",
    "mount": "CLONE_NEWNS",
    "net": "CLONE_NEWNET",
    "ipc": "CLONE_NEWIPC",
    "uts": "CLONE_NEWUTS",
    "cgroup": "CLONE_NEWCGROUP",
}

# linux/landlock.h.  ABI 5 has all 16 file rights, ABI 4 both network rights, ABI 6 both scopes; ABI 7 adds none.
LANDLOCK_FS_ALL = 0xFFFF
LANDLOCK_NET_BIND_TCP = 1 << 0
LANDLOCK_NET_CONNECT_TCP = 1 << 1
LANDLOCK_SCOPE_ABSTRACT_UNIX = 1 << 0
LANDLOCK_SCOPE_SIGNAL = 1 << 1

# Key of [limits] → RLIMIT_*.
_RLIMITS: dict[str, Literal["as", "data", "nofile", "fsize", "nproc", "memlock"]] = {
    "address_space": "as",
    "memory": "data",
    "descriptors": "nofile",
    "file_size": "fsize",
    "tasks": "nproc",
    "locked_memory": "memlock",
}


def build_plan(resolved: ResolvedPolicy, *, arch: str, listener: bool = False) -> SandboxPlan:
    """Everything that a child of this policy applies.  `listener`: a broker serves the filter's notifications.

    Raises: PolicyError when the kernel cannot keep the file rules as they are written.
    """
    if resolved.level == 0:
        return SandboxPlan(policy=resolved.name, level=0)
    table = verdicts(resolved, arch)
    loud, quiet = _filters(Same(table), listener)
    reads = _kernel_reads(resolved) if resolved.reads == "kernel" else ()
    return SandboxPlan(
        policy=resolved.name,
        level=resolved.level,
        namespaces=_namespace_bits(resolved.namespaces, arch),
        empty_root=resolved.root == "empty",
        binds=binds_of(reads) if resolved.root == "empty" else (),
        drop_capabilities=resolved.capabilities == "drop",
        landlock=_landlock(resolved, reads) if resolved.landlock else None,
        filter=loud,
        notify=listener and table.may_notify(),
        quiet_filter=quiet,
        limits=_limits(resolved),
        oom_score_adj=resolved.limits.get("oom_score_adj", 0),
        own_network=resolved.network == "none",
    )


@lru_cache(maxsize=16)
def _filters(same: Same[VerdictTable], listener: bool) -> tuple[bytes, bytes]:
    """The filter, and the one where no listener is to be had."""
    quiet = compile_filter(_quiet(same.it), listener=False, traps=True) if listener else b""
    return compile_filter(same.it, listener=listener), quiet


_AT_EMPTY_PATH = 0x1000
# libc makes these while all signals are blocked, when a SIGSYS is the end: they have their errno, and are not told.
_NEVER_TRAPPED = ("clone", "clone3", "fork", "vfork", "execve", "execveat", "kill", "tkill", "tgkill")


def _quiet(table: VerdictTable) -> VerdictTable:
    """The table where nobody listens."""
    numbers = {NUMBERS[table.arch][name] for name in _NEVER_TRAPPED if name in NUMBERS[table.arch]}
    entries = {number: _plain(entry) if number in numbers else entry for number, entry in table.entries.items()}
    return _with_fstat(_with_getcwd(msgspec.structs.replace(table, entries=entries)))


def _plain(entry: Entry) -> Entry:
    branches = tuple(msgspec.structs.replace(branch, verdict=_errno(branch.verdict)) for branch in entry.branches)
    return msgspec.structs.replace(entry, branches=branches, otherwise=_errno(entry.otherwise))


def _errno(verdict: Verdict) -> Verdict:
    return Verdict(Action.ERRNO, verdict.errno) if verdict.action is Action.NOTIFY else verdict


def _with_getcwd(table: VerdictTable) -> VerdictTable:
    """Where nobody answers, getcwd is the kernel's again: os.path.abspath asks it, and nothing else was entered."""
    number = NUMBERS[table.arch]["getcwd"]
    entry = table.entries[number]
    if entry.otherwise.action is not Action.NOTIFY:
        return table
    answered = msgspec.structs.replace(entry, otherwise=Verdict(Action.ALLOW))
    return msgspec.structs.replace(table, entries={**table.entries, number: answered})


def _with_fstat(table: VerdictTable) -> VerdictTable:
    """Where nobody answers, newfstatat is fstat again if its flags say so: without it no descriptor can be read from.

    Below the host's root it then tells which files there are: that belongs to what a listener that is lost costs.
    """
    number = NUMBERS[table.arch]["newfstatat"]
    entry = table.entries[number]
    if entry.branches or entry.otherwise.action is not Action.NOTIFY:
        return table
    fstat = Branch((Compare(3, 0xFFFF_FFFF, (_AT_EMPTY_PATH,), True),), Verdict(Action.ALLOW))
    answered = msgspec.structs.replace(entry, branches=(fstat,))
    return msgspec.structs.replace(table, entries={**table.entries, number: answered})


def _namespace_bits(namespaces: tuple[str, ...], arch: str) -> int:
    bits = 0
    for name in namespaces:
        bits |= value_of(_CLONE_NAMES[name], arch)
    return bits


def _kernel_reads(resolved: ResolvedPolicy) -> tuple[FileRule, ...]:
    """The trees that mounts and Landlock grant.  Neither can take a part out of what it grants: refuse that.

    A deny rule outside of every granted tree needs nothing: the kernel gives only what is granted.
    """
    rules = resolved.files.rules()
    reads = tuple(rule for rule in rules if rule.access & Access.READ)
    where = f"{resolved.name}.toml: level {resolved.level}"
    if resolved.root == "empty" and any(rule.path == "/" for rule in reads):
        raise policy_error(where, "root = 'host' where all of '/' is granted by the kernel", resolved.root)
    for denied in rules:
        within = [rule.path for rule in reads if denied.access & Access.DENY and _is_below(denied.path, rule.path)]
        if within:
            expected = f"no deny rule below {within[0]!r}, which reads = 'kernel' grants as a whole"
            raise policy_error(where, expected, str(denied.path))
    return reads


def _is_below(path: str, tree: str) -> bool:
    return path.startswith(tree.rstrip("/") + "/")


def binds_of(rules: Iterable[FileRule]) -> tuple[Bind, ...]:
    """The host's trees that these rules show."""
    return tuple(Bind(str(rule.path), str(rule.path), bool(rule.access & Access.WRITE)) for rule in rules)


_BROKERED = Access.WRITE | Access.CREATE  # by a process that Landlock does not hold


def _landlock(resolved: ResolvedPolicy, reads: tuple[FileRule, ...]) -> LandlockPlan:
    """Deny everything but the reads.  Binding a TCP port is nobody's business; connecting, where a network is."""
    net = LANDLOCK_NET_BIND_TCP
    if resolved.network == "none":
        net |= LANDLOCK_NET_CONNECT_TCP
    return LandlockPlan(
        handled_fs=LANDLOCK_FS_ALL,
        handled_net=net,
        scoped=LANDLOCK_SCOPE_ABSTRACT_UNIX | LANDLOCK_SCOPE_SIGNAL,
        rules=tuple(LandlockRule(str(rule.path), landlock_rights(rule.access & ~_BROKERED)) for rule in reads),
    )


def _limits(resolved: ResolvedPolicy) -> tuple[Limit, ...]:
    """Core dumps are always off: a dump would hold what the sandbox keeps in.  Where the core pattern is a program, the
    kernel takes 0 for no limit, and only 1 for none at all (fs/coredump.c).

    Tasks are counted by uid, so that limit is only asked for where the child gets a user namespace of its own.
    """
    own_ids = "user" in resolved.namespaces
    named = [
        Limit(name, resolved.limits[key], own_ids_only=key == "tasks")
        for key, name in _RLIMITS.items()
        if key in resolved.limits and (own_ids or key != "tasks")
    ]
    return (Limit("core", 1), *named)
