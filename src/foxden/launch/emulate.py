"""A lesser kernel, for tests: what a container, a distribution or an old kernel would refuse is refused here too.

Runs in: the starter and fork servers.  Trusts: the parent's words, which come from FOXDEN_TEST_EMULATE.
Flow: words → one filter for all that a filter can refuse, the rest by the kernel itself → children inherit it.
Source: Docker's default profile; sysctl user.max_user_namespaces; Ubuntu 24.04's AppArmor profile for user namespaces.
"""

from __future__ import annotations

import struct

from foxden import native
from foxden.sandbox import capabilities, linux, namespaces, seccomp

# Word → what a filter refuses under it.  clone3 is unknown where clone is judged: no filter can see its flags, so every
# container's says ENOSYS, and the caller falls back to clone.
_FILTERS: dict[str, str] = {
    # A container: no namespaces and no mounts for processes without CAP_SYS_ADMIN.
    "no-userns": """
errno.EPERM = ["unshare", "setns", "mount", "umount2", "pivot_root", "open_tree", "move_mount", "mount_setattr",
               "clone(flags & CLONE_NAMESPACES != 0)"]
errno.ENOSYS = ["clone3"]
""",
    # user.max_user_namespaces = 0
    "userns-enospc": """
errno.ENOSPC = ["unshare(flags & CLONE_NEWUSER != 0)", "clone(flags & CLONE_NEWUSER != 0)"]
errno.ENOSYS = ["clone3"]
""",
    # A container that lets namespaces pass, and no mount.
    "no-mount": """
errno.EPERM = ["mount", "umount2", "pivot_root", "open_tree", "move_mount", "mount_setattr"]
""",
    # Before Linux 5.2 and 5.12: no open_tree, no mount_setattr.
    "old-mount": """
errno.ENOSYS = ["open_tree", "move_mount", "mount_setattr"]
""",
    # Before Linux 5.19 and 6.6: a listener, but no killable wait and no synchronous wake-up.
    "old-notify": """
errno.EINVAL = ["seccomp(flags & 32 == 32)", "ioctl(cmd == SECCOMP_IOCTL_NOTIF_SET_FLAGS)"]
""",
    # Before CONFIG_SECCOMP_FILTER, or where a runtime refuses it.  The last row: no filter loads after it.
    "no-seccomp": """
errno.ENOSYS = ["seccomp"]
""",
}

# Namespaces are made, and give no capability: mounts and maps of ids are refused by the kernel itself.
USELESS_NAMESPACES = "userns-apparmor"
# A container runtime listens to its own filter: a process can have one listener.
LISTENER_TAKEN = "listener-taken"
WORDS = frozenset({*_FILTERS, USELESS_NAMESPACES, LISTENER_TAKEN})

_words: frozenset[str] = frozenset()
_listener = -1


def apply(words: str) -> None:
    """Put the emulation on this process and all that come from it.  Several words are joined by commas.

    One more word is no kernel's: `no-native`, for foxden without its extension.
    """
    global _words, _listener
    asked = frozenset(filter(None, words.split(",")))
    if native.NO_NATIVE in asked:
        native.switch_off()
    _words = asked - {native.NO_NATIVE}
    if not _words <= WORDS:
        raise ValueError(f"emulate: expected words of {sorted(WORDS)}, got {sorted(_words - WORDS)}")
    if not _words:
        return
    if not seccomp.is_available():
        return  # taken away already by the starter, which made this process, together with the rest
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    if LISTENER_TAKEN in _words:
        _listener = _listen()
    programs = [_compiled(rules) for word, rules in _FILTERS.items() if word in _words]
    for program in programs:
        seccomp.load(program)


def in_child(flags: int) -> None:
    """What cannot be inherited: called in a child that was just forked into these namespaces."""
    if USELESS_NAMESPACES in _words and flags & namespaces.CLONE_NEWUSER:
        capabilities.give_up()


def _listen() -> int:
    """Hold a listener, as a runtime's agent does.  Only acct(2) is notified, which nobody calls: no answer is due."""
    try:
        return seccomp.load_with_listener(_notifying("acct"), killable=False)
    except OSError as error:
        if error.errno != 16:  # EBUSY: the starter, which made this process, holds one already
            raise
        return -1


def _notifying(name: str) -> bytes:
    """A filter of its own, in four instructions: this call is notified, every other one allowed."""
    from foxden.sandbox.syscall_numbers import NUMBERS

    load_number, jump_equal, answer = 0x20, 0x15, 0x06
    notify, allow = 0x7FC0_0000, 0x7FFF_0000
    number = NUMBERS[linux.ARCH][name]
    rows = ((load_number, 0, 0, 0), (jump_equal, 0, 1, number), (answer, 0, 0, notify), (answer, 0, 0, allow))
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


def _compiled(rules: str) -> bytes:
    # Imported here: no process but an emulating one compiles policies outside the parent.
    from foxden.sandbox.bpf import compile_filter
    from foxden.sandbox.filter import verdicts
    from foxden.sandbox.policy import load, resolve
    from foxden.sandbox.policy_files import read_policy

    text = f'[syscalls]\ndefault = "allow"\n{rules}\n[[level]]\nfrom = 1\n'
    policy = load("emulated", lambda name: text if name == "emulated" else read_policy(name))
    table = verdicts(resolve(policy, level=1, remote_type=None, variables={}), linux.ARCH)
    return compile_filter(table, listener=False)
