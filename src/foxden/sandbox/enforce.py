"""Putting a sandbox plan on this process, layer by layer, and saying honestly what came of each.

Runs in: a child, right after its fork, before it has read a byte of input.  Trusts: the plan.
Flow: SandboxPlan → limits → root → capabilities → no_new_privs → Landlock → seccomp → Enforcement.
Source: architecture.md "Layers of one child"; the order matters and is the order of this file.
"""

from __future__ import annotations

import _socket
import errno
import os
from collections.abc import Callable
from typing import TypeVar

import msgspec

from foxden import native
from foxden.model.enforcement import Enforcement, LayerStatus, Status
from foxden.sandbox import capabilities, landlock, landlock_bits, limits, linux, namespaces, private, seccomp, signals
from foxden.sandbox.losses import loss
from foxden.sandbox.plan import HOST_NAME, LandlockPlan, LandlockRule, SandboxPlan
from foxden.sandbox.sequence import Group, Sequence

T = TypeVar("T")
_NOTHING = Sequence()
_EBUSY = 16
# What is said where a namespace was made and gives no right: by AppArmor, by a container's filter, by a /proc that is
# read-only (EROFS) or absent (ENOENT), by a kernel without the calls (ENOSYS), by a root that cannot be left (EINVAL),
# by a file system for which ids without a map are too large (EOVERFLOW).
_REFUSALS = frozenset(
    {errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOENT, errno.ENOSYS, errno.EINVAL, errno.EOVERFLOW}
)
FULL = LayerStatus(Status.FULL)


class Applied(msgspec.Struct, frozen=True):
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


class Begun(msgspec.Struct, frozen=True):
    """What `begin` did of a plan."""

    plan: SandboxPlan
    ruleset: landlock.Begun | None
    unset: str  # what could not be set, in words


def begin(plan: SandboxPlan, landlock_abi_limit: int) -> Begun:
    """Do beforehand what a program's plan will not change: ids, session, the root but for the grants, the own network,
    what is executed has no capability, the rules of files.

    Raises OSError; the process must then end.
    """
    unset = _oom_score(plan)
    namespaces.map_own_ids()
    os.setsid()
    private.forget_words()
    namespaces.begin_root(plan.binds, plan.mounts)
    _socket.sethostname(plan.host_name)
    private.raise_loopback()
    capabilities.drop_bounding()
    rules = _landlock_plan(plan, at_home=True)
    abi = min(landlock.kernel_abi(), landlock_abi_limit)
    return Begun(plan, landlock.begin(rules, abi) if rules is not None else None, unset)


def apply(
    plan: SandboxPlan,
    *,
    namespaces_given: bool,
    own_uid: int,
    keep_fds: set[int],
    landlock_abi_limit: int,
    begun: Begun | None = None,
    answer_traps: Callable[[], bool] = lambda: False,
    sequence: Sequence = _NOTHING,
) -> Applied:
    """Put every layer of the plan on.  `own_uid`: a uid that root mapped for this child, or -1.

    `begun`: what `begin` did beforehand of this plan.  `answer_traps`: called where no
    listener is to be had; True: SIGSYS is answered now, by who tells of what the filter refuses.
    `sequence`: of this plan; its layers are put on in one go where the kernel gives all that it asks.

    Raises EnforceError; the process must then end.  Layers that this kernel lacks are not errors here: they are
    in the result, and the parent judges.
    """
    isolated = bool(plan.namespaces) and namespaces_given
    ruleset = begun.ruleset if begun is not None else None
    kept = keep_fds | ({ruleset.ruleset} if ruleset is not None else set())
    _step("close", lambda: linux.close_all_but(kept))
    unset = _oom_score(plan) if begun is None else begun.unset
    trees, no_mounts = _open_trees(plan) if isolated and plan.empty_root and begun is None else ((), None)
    spaces = FULL if begun is not None else _namespaces(plan, namespaces_given=isolated, own_uid=own_uid)
    _step("die_with_parent", linux.die_with_parent)
    abi = min(landlock.kernel_abi(), landlock_abi_limit)
    limited = _limits(plan, isolated=isolated, whole=spaces == FULL, unset=unset)
    done = _in_one_go(sequence) if isolated and spaces == FULL and begun is None and no_mounts is None else frozenset()
    if Group.ROOT in done:
        rooted: LayerStatus | None = FULL
    else:
        rooted = _finish_root(plan, begun.plan) if begun is not None else no_mounts or _root(plan, isolated, trees)
    if trees and rooted != FULL:
        _step("close", lambda: linux.close_all_but(keep_fds))  # a tree that stands nowhere is a way to the host's files
    at_home = spaces == FULL and rooted == FULL
    unnamed = begun is None and Group.HOST_NAME not in done
    if plan.namespaces & namespaces.CLONE_NEWUTS and spaces == FULL and unnamed:
        name = plan.host_name or HOST_NAME  # the machine's would tell it apart
        _step("host_name", lambda: _socket.sethostname(name))
    if plan.programs and at_home:
        if begun is None:
            _step("loopback", private.raise_loopback)
        limited = _settle_in(plan, limited)
    terminal = _terminal(plan, begun)
    dropped = FULL if Group.CAPABILITIES in done else _capabilities(plan, begun)
    if (plan.landlock is not None or plan.filter) and Group.NO_NEW_PRIVS not in done:
        _step("no_new_privs", lambda: linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1))
    landlock_plan = _landlock_plan(plan, at_home)
    if landlock_plan is not None and Group.LANDLOCK in done:
        locked: LayerStatus | None = landlock.status(landlock_plan, abi)
    else:
        locked = _landlock(plan, landlock_plan, abi, begun)
    if plan.namespaces & namespaces.CLONE_NEWPID and not isolated and not plan.programs and seccomp.is_available():
        _step("signals", lambda: seccomp.load(signals.own_only(os.getpid())))
    filtered, listener = _seccomp(plan, answer_traps)
    enforcement = Enforcement(
        namespaces=spaces,
        limits=limited,
        root=rooted,
        capabilities=dropped,
        network=_network(plan, isolated, filtered),
        landlock=locked,
        seccomp=filtered,
    )
    return Applied(enforcement, listener, terminal)


def _in_one_go(sequence: Sequence) -> frozenset[int]:
    """The groups that are done: none where there is no extension.  Where a step fails, it and what comes after it is
    tried again layer by layer, which says what is missing."""
    extension = native.load() if sequence.steps else None
    if extension is None:
        return frozenset()
    failed, _ = extension.sequence(sequence.steps, sequence.text)
    return frozenset(group for group in sequence.groups if failed < 0 or group < failed)


def _refused(error: OSError) -> bool:
    return error.errno in _REFUSALS


def _oom_score(plan: SandboxPlan) -> str:
    """What could not be set, in words."""
    try:
        if plan.oom_score_adj:
            limits.raise_oom_score(plan.oom_score_adj)
    except OSError as error:
        if not _refused(error):
            raise EnforceError("oom_score", error) from error
        return f"oom_score_adj ({error.strerror})"
    return ""


def _open_trees(plan: SandboxPlan) -> tuple[namespaces.Trees, LayerStatus | None]:
    try:
        return namespaces.open_trees(plan.binds), None
    except OSError as error:
        if not _refused(error):
            raise EnforceError("binds", error) from error
        return (), loss("mounts-refused", error)


def _namespaces(plan: SandboxPlan, *, namespaces_given: bool, own_uid: int) -> LayerStatus | None:
    """The ids of this process in its namespaces: without them it has no right there."""
    if not plan.namespaces:
        return None
    if not namespaces_given:
        return loss("no-namespaces")
    try:
        if own_uid >= 0:
            namespaces.become(own_uid)
        else:
            namespaces.map_own_ids()
    except OSError as error:
        if not _refused(error):
            raise EnforceError("ids", error) from error
        return loss("namespaces-useless", error)
    return FULL


def _limits(plan: SandboxPlan, *, isolated: bool, whole: bool, unset: str) -> LayerStatus | None:
    # What is counted by uid is asked for only where the level asks for ids of the child's own.
    asked = [limit for limit in plan.limits if plan.namespaces or not limit.own_ids_only]
    if not asked:
        return None
    initial_root = namespaces.was_root()
    if whole:  # or it has become someone else
        initial_root = initial_root and os.getuid() == 0 and namespaces.root_is_root()
    return _step("limits", lambda: limits.apply(asked, own_ids=isolated, initial_root=initial_root, unset=unset))


def _root(plan: SandboxPlan, isolated: bool, trees: namespaces.Trees) -> LayerStatus | None:
    if not plan.empty_root:
        return None
    if not isolated:
        return loss("no-mount-namespace")
    try:
        namespaces.leave_for_root(trees, plan.mounts)
    except OSError as error:
        if not _refused(error):
            raise EnforceError("root", error) from error
        _step("root", lambda: os.chdir("/"))
        return loss("mounts-refused", error)
    return FULL


def _finish_root(plan: SandboxPlan, begun: SandboxPlan) -> LayerStatus:
    """What the plan has beyond the one that was begun.  That the rest fits is known (sandbox/program.continues)."""
    binds_there, mounts_there = set(begun.binds), set(begun.mounts)
    binds = [bind for bind in plan.binds if bind not in binds_there]
    mounts = [mount for mount in plan.mounts if mount not in mounts_there]
    _step("root", lambda: namespaces.finish_root(binds, mounts))
    return FULL


_PIDS_OF_THE_FIRST_ROUND = 301  # numbers below are not given out again: pid_max must lie that much above the limit


def _settle_in(plan: SandboxPlan, limited: LayerStatus | None) -> LayerStatus | None:
    """What the namespaces of a program need, while this process still has the capabilities to give it."""
    tasks = next((limit.value for limit in plan.limits if limit.name == "nproc"), 0)
    counted = private.limit_pid_namespace(tasks + _PIDS_OF_THE_FIRST_ROUND) if tasks else False
    private.forbid_user_namespaces()
    _step("proc", private.lock_proc)
    if counted and limited is not None and limited.status is Status.PARTIAL:
        return FULL  # root, whom RLIMIT_NPROC does not count: the pid namespace does (Linux 6.14)
    return limited


def _terminal(plan: SandboxPlan, begun: Begun | None) -> tuple[int, int]:
    """A session of its own for a program: it shares nobody's terminal."""
    if not plan.programs:
        return -1, -1
    if begun is None:
        _step("session", os.setsid)
    # Before exec nobody reads this process's memory, in which its starter's lies.
    _step("not_dumpable", lambda: linux.prctl(linux.PR_SET_DUMPABLE, 0))
    if begun is None:
        _step("words", private.forget_words)  # which the program reads in /proc/1/cmdline all the same
    return _step("terminal", private.open_terminal) if plan.terminal else (-1, -1)


def _landlock_plan(plan: SandboxPlan, at_home: bool) -> LandlockPlan | None:
    """Below a root of its own a program may list the directories that its files stand in, and serve itself."""
    if plan.landlock is None or not (plan.programs and at_home):
        return plan.landlock
    rules = (LandlockRule("/", landlock_bits.READ_DIR), *plan.landlock.rules)
    return msgspec.structs.replace(plan.landlock, handled_net=0, rules=rules)


def _landlock(
    plan: SandboxPlan, wanted: LandlockPlan | None, abi: int, begun: Begun | None
) -> LayerStatus | None:
    if wanted is None:
        return None
    if begun is None:
        return _step("landlock", lambda: landlock.apply(wanted, abi))
    before = {bind.target for bind in begun.plan.binds}
    covered = [bind.target for bind in plan.binds if bind.target not in before]
    return _step("landlock", lambda: landlock.apply(wanted, abi, begun.ruleset, covered))


def _capabilities(plan: SandboxPlan, begun: Begun | None) -> LayerStatus | None:
    if not plan.drop_capabilities:
        return None
    _step("capabilities", _drop_capabilities if begun is None else capabilities.give_up)
    return FULL


def _drop_capabilities() -> None:
    try:
        capabilities.drop_all()
    except PermissionError:
        if capabilities.held():  # in a sandbox that refuses prctl(2), and has left none to drop
            raise


def _seccomp(plan: SandboxPlan, answer_traps: Callable[[], bool]) -> tuple[LayerStatus | None, int]:
    """The filter on, and its listener where the plan wants one."""
    if not plan.filter:
        return None, -1
    try:
        if plan.notify:
            return _seccomp_with_listener(plan, answer_traps)
        seccomp.load(plan.filter, spec_allow=plan.spec_allow)
    except OSError as error:
        if error.errno in (22, 38) and not seccomp.is_available():
            return loss("no-filters"), -1
        raise EnforceError("seccomp", error) from error
    return FULL, -1


def _seccomp_with_listener(plan: SandboxPlan, answer_traps: Callable[[], bool]) -> tuple[LayerStatus, int]:
    try:
        # Waiting killably, a thread would not hear the signal that asks for its stack.
        return FULL, seccomp.load_with_listener(
            plan.filter, killable=not plan.stacks, spec_allow=plan.spec_allow
        )
    except OSError as error:
        if error.errno != _EBUSY:
            raise
    told = answer_traps()
    program = plan.quiet_filter if told else seccomp.without_traps(plan.quiet_filter)
    seccomp.load(program, spec_allow=plan.spec_allow)
    return loss("listener-taken-told" if told else "listener-taken"), -1


def _network(plan: SandboxPlan, isolated: bool, filtered: LayerStatus | None) -> LayerStatus | None:
    """An own, empty network namespace, and a filter under which no internet socket can be made."""
    if not plan.own_network:
        return None
    in_own = isolated and bool(plan.namespaces & namespaces.CLONE_NEWNET)
    is_filtered = filtered is not None and filtered.status is not Status.NONE
    if in_own and is_filtered:
        return FULL
    if is_filtered:
        return loss("network-by-filter")
    return loss("network-by-namespace" if in_own else "no-network")


def prewarm() -> None:
    """Use once, without effect, the C functions that `apply` will use: each is looked up on its first call."""
    landlock.kernel_abi()
    seccomp.is_available()
    linux.prctl(linux.PR_GET_NO_NEW_PRIVS)
    limits.read_all()
