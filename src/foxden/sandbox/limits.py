"""Resource limits: what a child may use of memory, descriptors, file size and tasks.

Runs in: children.  Trusts: the plan.
Source: getrlimit(2), proc(5) oom_score_adj.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping, Sequence

from foxden.model.enforcement import LayerStatus, Status
from foxden.sandbox.plan import Limit

_NUMBERS = {
    "as": resource.RLIMIT_AS,
    "data": resource.RLIMIT_DATA,
    "stack": resource.RLIMIT_STACK,
    "core": resource.RLIMIT_CORE,
    "nofile": resource.RLIMIT_NOFILE,
    "fsize": resource.RLIMIT_FSIZE,
    "nproc": resource.RLIMIT_NPROC,
    "cpu": resource.RLIMIT_CPU,
    "memlock": resource.RLIMIT_MEMLOCK,
}


def apply(limits: Sequence[Limit], *, own_ids: bool, initial_root: bool, unset: str = "") -> LayerStatus:
    """Set every limit, soft and hard.  `own_ids`: in a user namespace of its own, so that counts by uid are the
    child's alone; `initial_root`: its real uid is the machine's root, whose tasks the kernel never counts; `unset`:
    what could not be set before, in words."""
    lost = [unset] if unset else []
    for limit in limits:
        if limit.own_ids_only and (not own_ids or initial_root):
            why = "root is exempt" if initial_root else "its uid is shared with other processes"
            lost.append(f"{limit.name} (counted by uid, and {why})")
            continue
        _set(limit)
    if lost:
        return LayerStatus(Status.PARTIAL, f"not limited: {', '.join(lost)}")
    return LayerStatus(Status.FULL)


def read_all() -> dict[str, tuple[int, int]]:
    """The limits of this process as they are: name → (soft, hard)."""
    return {name: resource.getrlimit(number) for name, number in _NUMBERS.items()}


def _set(limit: Limit) -> None:
    number = _NUMBERS[limit.name]
    _, hard = resource.getrlimit(number)
    value = limit.value if hard == resource.RLIM_INFINITY else min(limit.value, hard)
    resource.setrlimit(number, (value, value))


_OOM_SCORE = "/proc/self/oom_score_adj"


def raise_oom_score(score: int) -> None:
    """Make the kernel prefer this process when memory runs out; it can be raised by anyone and never lowered."""
    if _oom_score() >= score:
        return  # as within another sandbox, which lets nobody write there
    fd = os.open(_OOM_SCORE, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(score).encode())
    finally:
        os.close(fd)


def _oom_score() -> int:
    fd = os.open(_OOM_SCORE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(fd, 16))
    finally:
        os.close(fd)


def landlock_abi_limit(environment: Mapping[str, str]) -> int:
    """For tests: act as on a kernel with this Landlock ABI at most."""
    return int(environment.get("FOXDEN_TEST_LANDLOCK_ABI", "1000"))
