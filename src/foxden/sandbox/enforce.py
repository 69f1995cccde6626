"""Putting a sandbox plan on this process, layer by layer, and saying honestly what came of each.

Runs in: a child, right after its fork, before it has read a byte of input.  Trusts: the plan.
Flow: SandboxPlan → limits → root → capabilities → no_new_privs → Landlock → seccomp → Enforcement.
Source: architecture.md "Layers of one child"; the order matters and is the order of this file.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import msgspec

from foxden.model.enforcement import Enforcement, LayerStatus, Status
from foxden.sandbox import capabilities, landlock, limits, linux, namespaces, private, rights, seccomp
from foxden.sandbox.plan import LandlockPlan, LandlockRule, SandboxPlan

T = TypeVar("T")
_EBUSY = 16
_NO_LISTENER = LayerStatus(
    Status.PARTIAL, "another listener serves this process: no file is brokered, no violation recorded"
)
FULL = LayerStatus(Status.FULL)
_NO_NAMESPACES = LayerStatus(Status.NONE, "the kernel gave no user namespace")


class Applied(NamedTuple):
    """What came of it.  The holder closes the descriptors, or hands them on."""

    enforcement: Enforcement
    listener: int = -1  # for a broker; -1: nobody need be asked
    terminal: tuple[int, int] = (-1, -1)  # outer and inner end


class EnforceError(Exception):
    """A step failed that the kernel had promised.  `step`: its name; `errno`."""

    def __init__(self, step: str, error: OSError) -> None:
        super().__init__(f"{step}: {error}")
        self.step = step
        self.errno = error.errno or 0
        self.reason = str(error)


def _step(name: str, act: Callable[[], T]) -> T:
    try:
        return act()
    except OSError as error:
        raise EnforceError(name, error) from error


def apply(
    plan: SandboxPlan, *, namespaces_given: bool, own_uid: int, keep_fds: set[int], landlock_abi_limit: int
) -> Applied:
    """Put every layer of the plan on.  `own_uid`: a uid that root mapped for this child, or -1.

    Raises EnforceError; the process must then end.  Layers that this kernel lacks are not errors here: they are
    in the result, and the parent judges.
    """
    isolated = bool(plan.namespaces) and namespaces_given
    _step("close", lambda: linux.close_all_but(keep_fds))
    if plan.oom_score_adj:
        _step("oom_score", lambda: limits.raise_oom_score(plan.oom_score_adj))
    trees = _step("binds", lambda: namespaces.open_trees(plan.binds)) if isolated and plan.empty_root else ()
    if isolated:
        _step("ids", (lambda: namespaces.become(own_uid)) if own_uid >= 0 else namespaces.map_own_ids)
    _step("die_with_parent", linux.die_with_parent)
    abi = min(landlock.kernel_abi(), landlock_abi_limit)
    limited = _limits(plan, isolated)
    rooted = _root(plan, isolated, trees)
    if plan.programs and isolated:
        limited = _settle_in(plan, limited)
    terminal = _terminal(plan)
    dropped = _capabilities(plan)
    if plan.landlock is not None or plan.filter:
        _step("no_new_privs", lambda: linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1))
    landlock_plan = _landlock_plan(plan, isolated)
    locked = _step("landlock", lambda: landlock.apply(landlock_plan, abi)) if landlock_plan is not None else None
    filtered, listener = _seccomp(plan)
    enforcement = Enforcement(
        namespaces=_namespaces(plan, isolated),
        limits=limited,
        root=rooted,
        capabilities=dropped,
        network=_network(plan, isolated, filtered),
        landlock=locked,
        seccomp=filtered,
    )
    return Applied(enforcement, listener, terminal)


def _namespaces(plan: SandboxPlan, isolated: bool) -> LayerStatus | None:
    if not plan.namespaces:
        return None
    return FULL if isolated else _NO_NAMESPACES


def _limits(plan: SandboxPlan, isolated: bool) -> LayerStatus | None:
    # What is counted by uid is asked for only where the level asks for ids of the child's own.
    asked = [limit for limit in plan.limits if plan.namespaces or not limit.own_ids_only]
    if not asked:
        return None
    initial_root = os.getuid() == 0 and _is_initial_root()
    return _step("limits", lambda: limits.apply(asked, own_ids=isolated, initial_root=initial_root))


def _is_initial_root() -> bool:
    """Is uid 0 here uid 0 of the parent namespace too?  Such a task is never counted by RLIMIT_NPROC."""
    with open("/proc/self/uid_map", encoding="ascii") as table:
        return any(line.split()[:2] == ["0", "0"] for line in table)


def _root(plan: SandboxPlan, isolated: bool, trees: namespaces.Trees) -> LayerStatus | None:
    if not plan.empty_root:
        return None
    if not isolated:
        return LayerStatus(Status.NONE, "an empty root needs a mount namespace")
    _step("root", lambda: namespaces.leave_for_root(trees, plan.mounts))
    return FULL


_PIDS_OF_THE_FIRST_ROUND = 301  # numbers below are not given out again: pid_max must lie that much above the limit


def _settle_in(plan: SandboxPlan, limited: LayerStatus | None) -> LayerStatus | None:
    """What the namespaces of a program need, while this process still has the capabilities to give it."""
    _step("host_name", lambda: socket.sethostname(plan.host_name))
    _step("loopback", private.raise_loopback)
    tasks = next((limit.value for limit in plan.limits if limit.name == "nproc"), 0)
    counted = private.limit_pid_namespace(tasks + _PIDS_OF_THE_FIRST_ROUND) if tasks else False
    private.forbid_user_namespaces()
    _step("proc", private.lock_proc)
    if counted and limited is not None and limited.status is Status.PARTIAL:
        return FULL  # root, whom RLIMIT_NPROC does not count: the pid namespace does (Linux 6.14)
    return limited


def _terminal(plan: SandboxPlan) -> tuple[int, int]:
    """A session of its own for a program: it shares nobody's terminal."""
    if not plan.programs:
        return -1, -1
    _step("session", os.setsid)
    # Before exec nobody reads this process's memory, in which its starter's lies.
    _step("not_dumpable", lambda: linux.prctl(linux.PR_SET_DUMPABLE, 0))
    _step("words", private.forget_words)  # which the program reads in /proc/1/cmdline all the same
    return _step("terminal", private.open_terminal) if plan.terminal else (-1, -1)


def _landlock_plan(plan: SandboxPlan, isolated: bool) -> LandlockPlan | None:
    """In namespaces of its own a program may list the directories that its files stand in, and serve itself."""
    if plan.landlock is None or not (plan.programs and isolated):
        return plan.landlock
    rules = (LandlockRule("/", rights.READ_DIR), *plan.landlock.rules)
    return msgspec.structs.replace(plan.landlock, handled_net=0, rules=rules)


def _capabilities(plan: SandboxPlan) -> LayerStatus | None:
    if not plan.drop_capabilities:
        return None
    _step("capabilities", capabilities.drop_all)
    return FULL


def _seccomp(plan: SandboxPlan) -> tuple[LayerStatus | None, int]:
    """The filter on, and its listener where the plan wants one."""
    if not plan.filter:
        return None, -1
    try:
        if plan.notify:
            return _seccomp_with_listener(plan)
        seccomp.load(plan.filter, spec_allow=plan.spec_allow)
    except OSError as error:
        if error.errno in (22, 38) and not seccomp.is_available():
            return LayerStatus(Status.NONE, "this kernel takes no seccomp filters"), -1
        raise EnforceError("seccomp", error) from error
    return FULL, -1


def _seccomp_with_listener(plan: SandboxPlan) -> tuple[LayerStatus, int]:
    try:
        # Waiting killably, a thread would not hear the signal that asks for its stack.
        return FULL, seccomp.load_with_listener(
            plan.filter, killable=not plan.stacks, spec_allow=plan.spec_allow
        )
    except OSError as error:
        if error.errno != _EBUSY:
            raise
    seccomp.load(plan.quiet_filter, spec_allow=plan.spec_allow)
    return _NO_LISTENER, -1


def _network(plan: SandboxPlan, isolated: bool, filtered: LayerStatus | None) -> LayerStatus | None:
    """An own, empty network namespace, and a filter under which no internet socket can be made."""
    if not plan.own_network:
        return None
    in_own = isolated and bool(plan.namespaces & namespaces.CLONE_NEWNET)
    is_filtered = filtered is not None and filtered.status is not Status.NONE
    if in_own and is_filtered:
        return FULL
    if is_filtered:
        return LayerStatus(Status.PARTIAL, "no network namespace: the filter alone refuses sockets")
    return LayerStatus(Status.PARTIAL if in_own else Status.NONE, "no filter refuses sockets")


def prewarm() -> None:
    """Use once, without effect, the C functions that `apply` will use: each is looked up on its first call."""
    landlock.kernel_abi()
    seccomp.is_available()
    linux.prctl(linux.PR_GET_NO_NEW_PRIVS)
    limits.read_all()
