"""A lesser kernel, for tests: what a container runtime or an old kernel would refuse is refused here too.

Runs in: the starter and fork servers.  Trusts: the parent's words, which come from FOXDEN_TEST_* names.
Source: Docker's default profile: no namespaces, no mounts for processes without CAP_SYS_ADMIN, clone3 unknown.
"""

from __future__ import annotations

from foxden.sandbox import linux, seccomp

NO_USER_NAMESPACES = "no-userns"

_CONTAINER = """
[syscalls]
default = "allow"
errno.ENOSYS = ["clone3"]
errno.EPERM = ["unshare", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "mount_setattr",
               "clone(flags & CLONE_NAMESPACES != 0)"]
[[level]]
from = 1
"""


def apply(words: str) -> None:
    """Put the emulation on this process and all that come from it."""
    if words == NO_USER_NAMESPACES:
        _load_container_filter()


def _load_container_filter() -> None:
    # Imported here: no process but an emulating one compiles policies outside the parent.
    from foxden.sandbox.bpf import compile_filter
    from foxden.sandbox.filter import verdicts
    from foxden.sandbox.policy import load, resolve
    from foxden.sandbox.policy_files import read_policy

    policy = load("emulated", lambda name: _CONTAINER if name == "emulated" else read_policy(name))
    table = verdicts(resolve(policy, level=1, remote_type=None, variables={}), linux.ARCH)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.load(compile_filter(table, listener=False))
