"""The lock of a parent that is ours: no internet socket, no other program, not to be traced or dumped.

Runs in: the parent of the `foxden` command, and of a library caller who asks for it.  Cannot be undone.
Flow: starter and fork servers exist → lock → no thread of this process can make an internet socket any more.
Source: architecture.md "Where the parent lives"; seed document, goal "preventing chrome process from opening socket".
"""

from __future__ import annotations

from foxden.errors import SandboxUnavailable
from foxden.sandbox import linux, seccomp
from foxden.sandbox.plan import SandboxPlan


def lock(plan: SandboxPlan) -> None:
    """Lock all threads of this process.  Raises SandboxUnavailable when the kernel does not take the filter."""
    try:
        linux.prctl(linux.PR_SET_DUMPABLE, 0)
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.load(plan.filter, all_threads=True, spec_allow=plan.spec_allow)
    except OSError as error:
        raise SandboxUnavailable(f"the parent could not lock itself: {error}", layers=("seccomp",)) from error
