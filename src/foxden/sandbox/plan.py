"""A sandbox as plain data: everything a child must apply to itself, computed by the parent beforehand.

Runs in: the parent builds it (`build`), the child applies it (`enforce`); pure.  Trusts: the policy.
Flow: policy text → policy.resolve → plan.build → PChildProcess.Launch → enforce.apply → Enforcement.
Source: docs/design/tour-of-the-house.md; namespaces(7), landlock(7), seccomp(2), getrlimit(2).
"""

from typing import Annotated, Literal

import msgspec

PlanPath = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]

HOST_NAME = "foxden"  # of a uts namespace of one's own


class Bind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One view of the host in the child's root.  A source that does not exist is left out."""

    source: PlanPath  # absolute, on the host
    target: PlanPath  # absolute, in the child
    writable: bool = False


class Mount(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something in a program's root that is not the host's."""

    what: Literal["tmpfs", "proc", "terminals", "device", "link", "text", "folder", "hidden"]
    target: PlanPath  # absolute, in the child
    source: Annotated[str, msgspec.Meta(max_length=4096)] = ""  # device: the host's node; link: where it leads
    content: Annotated[bytes, msgspec.Meta(max_length=65_536)] = b""  # of a text
    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 50)] = 0  # bytes that a tmpfs may hold


class LandlockRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: PlanPath  # absolute, in the child's root
    access: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]  # LANDLOCK_ACCESS_FS_* bits


class LandlockPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rights that are denied unless a rule grants them.  Bits are those of the newest ABI that foxden knows;
    `enforce` takes away what the running kernel lacks and says so."""

    handled_fs: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
    handled_net: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
    scoped: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)]
    rules: Annotated[tuple[LandlockRule, ...], msgspec.Meta(max_length=1024)] = ()


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One resource limit, soft and hard alike.  `name`: as in resource.RLIMIT_<NAME>, lower case."""

    name: Literal["as", "data", "stack", "core", "nofile", "fsize", "nproc", "cpu", "memlock"]
    value: Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]
    own_ids_only: bool = False  # True: counts over all processes of the uid, so only applied in an own user namespace


class SandboxPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one child applies, in the order of `enforcement.Layer`.  None or 0: this layer is not asked for."""

    policy: Annotated[str, msgspec.Meta(max_length=64)]
    level: Annotated[int, msgspec.Meta(ge=0, le=20)]
    namespaces: Annotated[int, msgspec.Meta(ge=0, le=0xFFFF_FFFF)] = 0  # CLONE_NEW* bits
    empty_root: bool = False
    binds: Annotated[tuple[Bind, ...], msgspec.Meta(max_length=512)] = ()
    mounts: Annotated[tuple[Mount, ...], msgspec.Meta(max_length=256)] = ()
    host_name: Annotated[str, msgspec.Meta(max_length=64)] = ""  # of an own uts namespace
    programs: bool = False  # the child starts programs: it is the init of its pid namespace
    terminal: bool = False  # it gets a terminal of its own, and this process becomes the leader of its session
    drop_capabilities: bool = False
    landlock: LandlockPlan | None = None
    filter: Annotated[bytes, msgspec.Meta(max_length=4096 * 8)] = b""  # BPF program, 8 bytes an instruction
    notify: bool = False  # the filter has a verdict for a listener, and a broker serves it
    quiet_filter: Annotated[bytes, msgspec.Meta(max_length=4096 * 8)] = b""  # the same where no listener is to be had
    spec_allow: bool = True  # the filter leaves the mitigations of speculative execution as they are
    stacks: bool = False  # the broker asks for the Python stack of what it refuses
    limits: Annotated[tuple[Limit, ...], msgspec.Meta(max_length=16)] = ()
    oom_score_adj: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0
    own_network: bool = False  # no address of the host is reachable: own net namespace, and no internet socket
