"""What this kernel, distribution or container gives to sandboxes, feature by feature, and what its operator can change.

Runs in: parent.  Trusts: a real child's experience first, the settings in /proc and /sys only to say why.
Flow: facts (children, files of /proc and /sys) → one row a feature: status, detail, what is lost, remedy.
Source: Firefox's about:support, "Sandbox"; Ubuntu 24.04 release notes (AppArmor); kernel Documentation/admin-guide.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping

import msgspec

from foxden.model.enforcement import Enforcement, LayerStatus, Status
from foxden.observe.filters import filters_on
from foxden.parent.own_ids import CALLERS_FILES, NO_NAMESPACE
from foxden.sandbox import landlock, subordinate


class Feature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row.  `lost`: what is missing without it; `remedy`: exactly what to change; both empty when it is whole."""

    name: str
    status: Status
    detail: str
    lost: str = ""
    remedy: str = ""


class Facts(msgspec.Struct, frozen=True):
    """What was learnt of this machine; files of /proc and /sys are read when they are asked for."""

    enforcements: tuple[Enforcement, ...] = ()  # of real children
    notify: frozenset[str] = frozenset()  # words of launch/kernel_probes
    notify_error: str = ""
    landlock_abi: int = 0
    seccomp: bool = True
    kept_ids: tuple[str, ...] = ()  # why children have the caller's ids, empty for each that has its own
    root: str = "/"  # for tests: another tree of /proc and /sys
    uid: int = msgspec.field(default_factory=os.getuid)

    def read(self, path: str) -> str:
        """The text of a setting; empty where there is none."""
        try:
            with open(self.root + path.lstrip("/"), encoding="utf-8", errors="replace") as file:
                return file.read(4096).strip()
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        return os.path.exists(self.root + path.lstrip("/"))


Row = tuple[Status, str, str, str]  # status, detail, lost, remedy
_FILTERS_AROUND = filters_on(os.getpid())  # before this process locks itself
_NO_LOSS = ("", "")
_NOT_USED = "no process that was asked for uses any"


def _whole(detail: str) -> Row:
    return (Status.FULL, detail, *_NO_LOSS)


def _lost(found: LayerStatus, lost: str, remedy: str) -> Row:
    return (found.status, found.reason, lost, remedy)


def _worst(statuses: Iterable[LayerStatus | None]) -> LayerStatus | None:
    known = [status for status in statuses if status is not None]
    order = {Status.NONE: 0, Status.PARTIAL: 1, Status.FULL: 2}
    return min(known, key=lambda status: order[status.status], default=None)


# --- the words of remedies --------------------------------------------------------------------------------------

_KINDS = (
    ("/run/.containerenv", "podman", "podman run --security-opt seccomp=unconfined --security-opt unmask=ALL …"),
    (
        "/.dockerenv",
        "docker",
        "docker run --security-opt seccomp=PROFILE.json --security-opt apparmor=unconfined "
        "--security-opt systempaths=unconfined …, where PROFILE.json is Docker's default profile with clone, unshare, "
        "mount, umount2, pivot_root, open_tree, move_mount, mount_setattr allowed",
    ),
    (
        "/var/run/secrets/kubernetes.io",
        "kubernetes",
        "securityContext: {procMount: Unmasked, seccompProfile: {type: Localhost, localhostProfile: PROFILE.json}} and "
        "hostUsers: false in the pod's spec",
    ),
)


def container(facts: Facts) -> tuple[str, str]:
    """The kind of container that this is, and how one is started that lets sandboxes be made; empty: none known."""
    return next(((kind, flags) for path, kind, flags in _KINDS if facts.exists(path)), ("", ""))


def apparmor_profile() -> str:
    """A profile that gives this interpreter user namespaces, on systems that take them from everyone else."""
    program = os.path.realpath(sys.executable)
    return (
        f"abi <abi/4.0>,\ninclude <tunables/global>\nprofile foxden {program} flags=(unconfined) {{\n  userns,\n"
        "  include if exists <local/foxden>\n}"
    )


def _namespace_remedy(facts: Facts) -> str:
    """The most likely cause first: each is looked for where it would be set."""
    kind, flags = container(facts)
    found = _worst(e.namespaces for e in facts.enforcements)
    if facts.read("/proc/sys/user/max_user_namespaces") == "0":
        return "sysctl -w user.max_user_namespaces=28633 (to keep it: a file in /etc/sysctl.d)"
    if found is not None and os.strerror(errno.ENOSPC) in found.reason:
        return (
            "sysctl user.max_user_namespaces is used up, or set to 0 by a sandbox around this one (as by bwrap "
            "--disable-userns): raise it there, or start foxden outside of it"
        )
    if found is not None and os.strerror(errno.EROFS) in found.reason:
        return "mount a writable /proc where this runs (bwrap --proc /proc; in a container, /proc unmasked)"
    if facts.read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "sysctl -w kernel.unprivileged_userns_clone=1 (to keep it: a file in /etc/sysctl.d)"
    if facts.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        file = "/etc/apparmor.d/foxden"
        return f"write this to {file}, then apparmor_parser -r {file}\n{apparmor_profile()}"
    if flags:
        return f"start the {kind} container with: {flags}"
    if _FILTERS_AROUND:
        return (
            "a seccomp filter of whoever started this process refuses them (systemd RestrictNamespaces=, "
            "a container, another sandbox): let clone(CLONE_NEWUSER), unshare and the mount calls pass"
        )
    return "sysctl -w user.max_user_namespaces=28633; a kernel with CONFIG_USER_NS; on Ubuntu an AppArmor profile"


# --- rows -------------------------------------------------------------------------------------------------------


def _version(facts: Facts) -> Row:
    return _whole(f"Linux {platform.release()} on {platform.machine()}")


def _namespaces(facts: Facts) -> Row:
    found = _worst(e.namespaces for e in facts.enforcements)
    if found is None or found.status is Status.FULL:
        return _whole("a child got new ones and could use them" if found else _NOT_USED)
    lost = "hidden processes, an own uid, and what stands on them: empty root, empty network, task limits"
    return _lost(found, lost, _namespace_remedy(facts))


def _mounts(facts: Facts) -> Row:
    found = _worst(e.root for e in facts.enforcements)
    if found is None or found.status is Status.FULL:
        return _whole("a child has an empty root" if found else _NOT_USED)
    return _lost(found, "the empty root", _mount_remedy(facts))


def _mount_remedy(facts: Facts) -> str:
    spaces = _worst(e.namespaces for e in facts.enforcements)
    if spaces is not None and spaces.status is not Status.FULL:
        return "comes with user-namespaces"
    kind, flags = container(facts)
    if flags:
        return f"start the {kind} container with: {flags}"
    return "Linux 5.12 or later, and no filter or security module that refuses mount, open_tree and mount_setattr"


def _max_user_namespaces(facts: Facts) -> Row:
    text = facts.read("/proc/sys/user/max_user_namespaces")
    if text == "0":
        return Status.NONE, "0", "user namespaces", _namespace_remedy(facts)
    if text.isdecimal() and int(text) < 256:
        remedy = "sysctl -w user.max_user_namespaces=28633"
        return Status.PARTIAL, f"{text}: one a child is needed", "children beyond that number do not start", remedy
    return _whole(text or "no such limit here")


def _userns_clone(facts: Facts) -> Row:
    text = facts.read("/proc/sys/kernel/unprivileged_userns_clone")
    if text == "0" and facts.uid != 0:
        return Status.NONE, "kernel.unprivileged_userns_clone = 0", "user namespaces", _namespace_remedy(facts)
    return _whole(f"kernel.unprivileged_userns_clone = {text}" if text else "no such restriction here")


def _apparmor(facts: Facts) -> Row:
    text = facts.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
    if text != "1" or facts.uid == 0:
        return _whole("does not restrict user namespaces")
    found = _worst(e.namespaces for e in facts.enforcements)
    if found is not None and found.status is Status.FULL:
        return _whole("restricts user namespaces, and lets this program's pass")
    return Status.NONE, "restricts user namespaces", "every right in a user namespace", _namespace_remedy(facts)


def _seccomp(facts: Facts) -> Row:
    if facts.seccomp:
        return _whole(f"yes; {_FILTERS_AROUND} around this process already" if _FILTERS_AROUND else "yes")
    remedy = "a kernel with CONFIG_SECCOMP_FILTER, and nobody who refuses seccomp(2)"
    return Status.NONE, "the kernel takes no filters", "every rule on system calls", remedy


def _listener(facts: Facts) -> Row:
    if "listener" in facts.notify:
        return _whole("a child could be listened to")
    kind, _ = container(facts)
    who = f"the {kind} runtime's" if kind else "a container runtime's or another sandbox's"
    remedy = f"start foxden where {who} seccomp profile has no listener (no SCMP_ACT_NOTIFY, no listenerPath)"
    return Status.PARTIAL, facts.notify_error or "not to be had", "brokered files, records of violations", remedy


def _notify_word(word: str, detail: str, lost: str, version: str) -> Callable[[Facts], Row]:
    def row(facts: Facts) -> Row:
        if word in facts.notify:
            return _whole(detail)
        if "listener" not in facts.notify:  # it cannot be tried
            return Status.PARTIAL, "not known: there is no listener", lost, "comes with seccomp-listener"
        return Status.PARTIAL, "the kernel does not know it", lost, f"Linux {version} or later"

    return row


# What each version of Landlock brought: without it, this is lost.
LANDLOCK_BROUGHT: Mapping[int, str] = {
    1: "files and directories",
    2: "renames between directories",
    3: "truncation",
    4: "TCP ports",
    5: "ioctl on devices",
    6: "signals and abstract unix sockets",
}
_LANDLOCK_KERNELS = {1: "5.13", 2: "5.19", 3: "6.2", 4: "6.7", 5: "6.10", 6: "6.12"}


def _landlock(facts: Facts) -> Row:
    highest = max(LANDLOCK_BROUGHT)
    if facts.landlock_abi >= highest:
        return _whole(f"version {facts.landlock_abi}")
    lacks = ", ".join(what for abi, what in LANDLOCK_BROUGHT.items() if abi > facts.landlock_abi)
    if facts.landlock_abi == 0:
        modules = facts.read("/sys/kernel/security/lsm")
        remedy = f"Linux {_LANDLOCK_KERNELS[1]} or later with CONFIG_SECURITY_LANDLOCK"
        remedy += f", and lsm=landlock,{modules} on its command line" if modules and "landlock" not in modules else ""
        return Status.NONE, "none", f"the second wall around: {lacks}", remedy
    remedy = f"Linux {_LANDLOCK_KERNELS[highest]} or later"
    return Status.PARTIAL, f"version {facts.landlock_abi}", f"rules on: {lacks}", remedy


def _ptrace(facts: Facts) -> Row:
    text = facts.read("/proc/sys/kernel/yama/ptrace_scope")
    names = {"": "no Yama", "0": "Yama 0", "1": "Yama 1: descendants only", "2": "Yama 2: administrators only"}
    if text == "3":
        remedy = "sysctl cannot undo it: boot with kernel.yama.ptrace_scope at most 2"
        return Status.PARTIAL, "Yama 3: nobody", "brokered files: a broker reads which path a child names", remedy
    return _whole(names.get(text, f"Yama {text}"))


def _cgroup(facts: Facts) -> Row:
    lost = "limits on the memory and number of a whole tree of processes (each one's own limits remain)"
    remedy = "systemd-run --user --scope -p Delegate=yes foxden …, or a service with Delegate=yes"
    line = next((row for row in facts.read("/proc/self/cgroup").splitlines() if row.startswith("0::")), "")
    mount = _cgroup2_mount(facts)
    if not line or not mount:
        return Status.NONE, "no cgroup v2 here", lost, "boot with systemd.unified_cgroup_hierarchy=1"
    place = os.path.join(mount, line[3:].lstrip("/")).rstrip("/")
    available = set(facts.read(f"{place}/cgroup.controllers").split())
    lacking = [name for name in ("memory", "pids") if name not in available]
    if lacking:
        return Status.NONE, f"{place} has no controller {', '.join(lacking)}", lost, remedy
    if not os.access(facts.root + place.lstrip("/"), os.W_OK):
        return Status.NONE, f"{place} belongs to someone else", lost, remedy
    return _whole(f"{place}: memory, pids")


def _cgroup2_mount(facts: Facts) -> str:
    rows = (row.split() for row in facts.read("/proc/mounts").splitlines())
    return next((row[1] for row in rows if len(row) > 2 and row[2] == "cgroup2"), "")


def _own_ids(facts: Facts) -> Row:
    missing = [why for why in facts.kept_ids if why not in ("", CALLERS_FILES, NO_NAMESPACE)]
    if not missing:
        return _whole("a uid and gid for every child in a user namespace, and no other group")
    lost = "a wall between children: they share the caller's uid and groups, and are hidden from each other only"
    spaces = _worst(e.namespaces for e in facts.enforcements)
    if spaces is not None and spaces.status is not Status.FULL:
        return Status.PARTIAL, missing[0], lost, "comes with user-namespaces"
    remedy = subordinate.find().remedy if facts.uid else "a user namespace in which root has a range of ids"
    return Status.PARTIAL, missing[0], lost, remedy or "see why newuidmap and newgidmap refuse it"


def _core_pattern(facts: Facts) -> Row:
    text = facts.read("/proc/sys/kernel/core_pattern")
    return _whole(f"{text}: children make no cores" if text else "none")


def _memfd(facts: Facts) -> Row:
    text = facts.read("/proc/sys/vm/memfd_noexec")
    named = {"": "no such setting", "0": "0: not enforced"}
    return _whole(named.get(text, f"{text}: enforced, and foxden's are not executable"))


# One row a feature, in the order in which they are shown.
FEATURES: dict[str, Callable[[Facts], Row]] = {
    "kernel": _version,
    "user-namespaces": _namespaces,
    "max-user-namespaces": _max_user_namespaces,
    "unprivileged-userns-clone": _userns_clone,
    "apparmor": _apparmor,
    "mounts": _mounts,
    "own-ids": _own_ids,
    "landlock": _landlock,
    "seccomp": _seccomp,
    "seccomp-listener": _listener,
    "seccomp-addfd": _notify_word("addfd", "yes", "brokered files", "5.9"),
    "seccomp-addfd-send": _notify_word("addfd-send", "yes", "one step in handing a file over", "5.14"),
    "seccomp-wait-killable": _notify_word("wait-killable", "yes", "calm under signals while a file is opened", "5.19"),
    "seccomp-wake-up": _notify_word("wake-up", "yes", "a little speed of brokered files", "6.6"),
    "ptrace": _ptrace,
    "cgroup-v2": _cgroup,
    "core-pattern": _core_pattern,
    "memfd-noexec": _memfd,
}


def features(facts: Facts) -> list[Feature]:
    """Every row for this machine."""
    rows = ((name, row(facts)) for name, row in FEATURES.items())
    return [
        Feature(name=name, status=status, detail=detail, lost=lost, remedy=remedy)
        for name, (status, detail, lost, remedy) in rows
    ]


def landlock_abi(limit: int) -> int:
    return min(landlock.kernel_abi(), limit)
