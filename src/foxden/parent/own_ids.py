"""Which uid and gid each child gets: one that no other living child has, of this den and, as good as, of any other.

Runs in: parent.  Trusts: the user's range of subordinate ids, where he has one; as root, ids that nobody uses.
Flow: take(host) → uid, or 0 and the reason on the host → PForkServer.Fork.
Source: decisions 005 and 012.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from foxden.model.process_types import KEEP_CALLERS_IDS, Family
from foxden.parent.hosts import ChildHost
from foxden.sandbox import namespaces, subordinate
from foxden.sandbox.plan import Bind, SandboxPlan

# Nothing is lost where these are the reason.
CALLERS_FILES = "it works on the caller's own files"
NO_NAMESPACE = "its level asks for no user namespace"


class OwnIds:
    """The ids of one den's children."""

    def __init__(self) -> None:
        self._first, self._count, self._reason = _ids_to_give()
        # Dens of one user share his range.  Where each begins is no secret, only unlikely to be where another does.
        self._next = int.from_bytes(os.urandom(8)) % self._count if self._count else 0
        self._taken: set[int] = set()

    def take(self, host: ChildHost, plan: SandboxPlan, family: Family) -> int:
        """A uid for this child while it lives; 0: it keeps the caller's, and `host.kept_ids` says why."""
        host.kept_ids = self._why_not(plan, family)
        if host.kept_ids:
            return 0
        while self._next in self._taken:
            self._next = (self._next + 1) % self._count
        slot, self._next = self._next, (self._next + 1) % self._count
        self._taken.add(slot)
        host.ended.add_done_callback(lambda _: self._taken.discard(slot))
        return self._first + slot

    def _why_not(self, plan: SandboxPlan, family: Family) -> str:
        if family in KEEP_CALLERS_IDS:
            return CALLERS_FILES
        if not plan.namespaces & namespaces.CLONE_NEWUSER:
            return NO_NAMESPACE
        if not self._count:
            return self._reason
        if len(self._taken) >= self._count:
            return "every id of the range is in use"
        hidden = _hidden_from_others(plan.binds)
        return f"only the caller may read {hidden}" if hidden else ""


def _ids_to_give() -> tuple[int, int, str]:
    """First id, how many, and where there are none, why."""
    if os.getuid() != 0:
        found = subordinate.find()
        return subordinate.FIRST_INSIDE, found.range.length if found.range else 0, found.reason
    try:
        maps = [_read(f"/proc/self/{name}") for name in ("uid_map", "gid_map")]
    except OSError as error:
        return 0, 0, f"which ids there are is not to be had: {error}"
    first, count = subordinate.of_root(*maps)
    return first, count, "" if count else "root has no range of ids in this namespace"


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def _hidden_from_others(binds: Sequence[Bind]) -> str:
    """The first path that a child must read, and with ids of its own could not; empty: there is none."""
    for bind in binds:
        try:
            about = os.stat(bind.source)
        except OSError:
            continue  # it is left out, whatever the ids
        is_own_tree = stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() != 0
        if is_own_tree or not about.st_mode & stat.S_IROTH:  # what lies in one's own tree may be for oneself alone
            return bind.source
    return ""
