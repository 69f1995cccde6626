"""Resource limits: what a child may use of memory, descriptors, file size and tasks.

Runs in: children.  Trusts: the plan.
Source: prlimit(2), proc(5) oom_score_adj.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Mapping, Sequence

from foxden.model.enforcement import LayerStatus, Status
from foxden.sandbox import linux
from foxden.sandbox.plan import Limit

# asm-generic/resource.h, which x86_64 and aarch64 share.  The module resource knows them too, and takes a fork server
# a hundredth of its start to load.
_NUMBERS = {
    "cpu": 0, "fsize": 1, "data": 2, "stack": 3, "core": 4, "nproc": 6, "nofile": 7, "memlock": 8, "as": 9,
}  # fmt: skip
_PAIR = struct.Struct("=QQ")  # struct rlimit64: soft, hard; all bits: no limit, which is more than any other
_found = ctypes.create_string_buffer(_PAIR.size)  # made here: in a child its type would be made anew


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
    return {name: _read(number) for name, number in _NUMBERS.items()}


def _read(number: int) -> tuple[int, int]:
    linux.syscall("prlimit64", 0, number, None, _found)
    soft, hard = _PAIR.unpack(_found.raw)
    return soft, hard


def _set(limit: Limit) -> None:
    number = _NUMBERS[limit.name]
    value = min(limit.value, _read(number)[1])
    linux.syscall("prlimit64", 0, number, _PAIR.pack(value, value), None)


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
