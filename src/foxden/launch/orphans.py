"""Children that a fork server made and died before it could say so: they end by themselves, and are reaped here.

Runs in: the parent.  Trusts: /proc about its own children.
Flow: a fork server is lost with an answer outstanding → look for ended children that nobody knows → waitid.
Source: clone(2) CLONE_PARENT: such a child is ours to reap; proc(5) stat.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection

# How ours are called from the first moment on: a user's own child of that name, in another session, ended and not
# waited for, would be taken for one.
_NAMES = ("fx-", "foxden-")


def reap(known: Collection[int]) -> int:
    """Reap ended children of this process that are ours by name and session and not in `known`; returns how many."""
    own, session, found = os.getpid(), os.getsid(0), 0
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in known and _is_orphan(int(entry), own, session):
            with contextlib.suppress(ChildProcessError):
                found += os.waitpid(int(entry), os.WNOHANG)[0] != 0
    return found


def _is_orphan(pid: int, parent: int, session: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            text = stat.read()
    except OSError:
        return False  # gone meanwhile
    name = text[text.index("(") + 1 : text.rindex(")")]
    state, ppid, _, its_session = text[text.rindex(")") + 2 :].split()[:4]
    return state == "Z" and int(ppid) == parent and int(its_session) != session and name.startswith(_NAMES)
