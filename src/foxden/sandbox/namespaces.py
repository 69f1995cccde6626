"""Ids and file system of a child that was forked into namespaces of its own.

Runs in: fork servers (ids of a child, when root), children (their own ids, their root).  Trusts: the plan.
Flow: fork_into → map ids → empty_root → nothing of the host is left but the plan's read-only binds.
Source: user_namespaces(7), mount_setattr(2), open_tree(2), move_mount(2), pivot_root(2).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence

from foxden.sandbox import linux, private
from foxden.sandbox.plan import Bind, Mount

CLONE_NEWUSER = 0x1000_0000
CLONE_NEWNS = 0x0002_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWNET = 0x4000_0000

AT_FDCWD = -100
_AT_EMPTY_PATH, _AT_RECURSIVE = 0x1000, 0x8000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOUNT_ATTR_RDONLY, _MOUNT_ATTR_NOSUID, _MOUNT_ATTR_NODEV, _MOUNT_ATTR_NOEXEC = 1, 2, 4, 8
_MS_REC, _MS_PRIVATE, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x4000, 1 << 18, 2, 4, 8
PRIVATE, BARE = _MS_REC | _MS_PRIVATE, _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
MNT_DETACH = 2

# A directory that every machine has, to stand the new root on for a moment.
STEPPING_STONES = ("/tmp", "/proc", "/dev")  # noqa: S108 - nothing is written into the host's


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def map_own_ids() -> None:
    """Keep the uid and gid inside as they are outside: all that an ordinary user may do.  Raises OSError."""
    uid, gid = _outside_ids()
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


_outside: tuple[int, int] | None = None
_outside_is_root = False


def remember_ids() -> None:
    """Note this process's ids: in a fresh user namespace they read as the overflow id until they are mapped."""
    global _outside, _outside_is_root
    _outside = (os.getuid(), os.getgid())
    _outside_is_root = _outside[0] == 0 and root_is_root()


def root_is_root() -> bool:
    """Is uid 0 of this namespace uid 0 of the one around it too?"""
    with open("/proc/self/uid_map", encoding="ascii") as table:
        return any(line.split()[:2] == ["0", "0"] for line in table)


def _outside_ids() -> tuple[int, int]:
    if _outside is None:
        raise OSError(22, "remember_ids was not called before the fork")
    return _outside


def was_root() -> bool:
    """Was the process that this one was forked from the machine's root, as far as it can be seen from within?

    The kernel never counts the tasks of that one.
    """
    return _outside_is_root


def map_ids_of(pid: int, uid: int) -> None:
    """With rights over ids: give the child `pid` one of its own.  Raises OSError where it is not to be had."""
    _write(f"/proc/{pid}/gid_map", f"{uid} {uid} 1")
    _write(f"/proc/{pid}/uid_map", f"{uid} {uid} 1")


def become(uid: int) -> None:
    """Take the uid and gid that were mapped for this process, and no other group."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    # Other ids made it non-dumpable.  The broker reads what it names; only its creator has rights over its namespace.
    linux.prctl(linux.PR_SET_DUMPABLE, 1)


Trees = Sequence[tuple[int, str]]  # detached mounts, and where in the new root each will stand


def open_trees(binds: Sequence[Bind]) -> Trees:
    """Take hold of what the binds show, still with the ids that may reach it.  What is not there is left out."""
    return [(tree, bind.target) for bind in binds if (tree := _open_tree(bind.source, bind.writable)) >= 0]


def _open_tree(source: str, writable: bool) -> int:
    """A detached copy of what is mounted at `source`; -1 when there is nothing that these ids may reach."""
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
    try:
        tree = linux.syscall("open_tree", AT_FDCWD, os.fsencode(source), flags)
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        if error.errno == 1:  # EPERM: not the path, the call itself is refused
            raise
        return -1
    attributes = _MOUNT_ATTR_NOSUID | _MOUNT_ATTR_NODEV | (0 if writable else MOUNT_ATTR_RDONLY)
    linux.set_mount_attributes(tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, attributes)
    return tree


def leave_for_root(trees: Trees, mounts: Sequence[Mount] = ()) -> None:
    """Make an empty read-only root with `trees` and `mounts` in it, and leave the host's behind.  Raises OSError."""
    _make_root(trees, mounts, spare_inodes=0)
    linux.set_mount_attributes(AT_FDCWD, b".", 0, MOUNT_ATTR_RDONLY)
    linux.syscall("pivot_root", b".", b".")
    linux.syscall("umount2", b".", MNT_DETACH)
    os.chdir("/")


_HOST = "/.foxden-host"  # where the host's root stands while a root that was begun is not finished
_SPARE_INODES = 8192


def begin_root(binds: Sequence[Bind], mounts: Sequence[Mount]) -> None:
    """The same, but for what is still to come: the host's root stays within reach until `finish_root`."""
    _make_root(open_trees(binds), mounts, spare_inodes=_SPARE_INODES)
    os.mkdir(_HOST.lstrip("/"), 0o700)
    linux.syscall("pivot_root", b".", _HOST.lstrip("/").encode())
    os.chdir("/")


def finish_root(binds: Sequence[Bind], mounts: Sequence[Mount]) -> None:
    """Add the rest to a root that was begun, and leave the host's behind.  Raises OSError."""
    trees = [(_open_tree(_HOST + bind.source, bind.writable), bind.target) for bind in binds]
    _furnish([(tree, target) for tree, target in trees if tree >= 0], mounts)
    linux.syscall("umount2", _HOST.encode(), MNT_DETACH)
    os.rmdir(_HOST)
    linux.set_mount_attributes(AT_FDCWD, b"/", 0, MOUNT_ATTR_RDONLY)


def _make_root(trees: Trees, mounts: Sequence[Mount], *, spare_inodes: int) -> None:
    """Stand in a new root, with everything in it, that nothing else knows of yet."""
    linux.syscall("mount", 0, b"/", 0, PRIVATE, 0)
    stone = next(path for path in STEPPING_STONES if os.path.isdir(path))
    targets = [*(target for _, target in trees), *(mount.target for mount in mounts)]
    options = root_options(targets, spare_inodes).encode()
    linux.syscall("mount", b"foxden", stone.encode(), b"tmpfs", BARE, options)
    os.chdir(stone)
    _furnish(trees, mounts)


def _furnish(trees: Trees, mounts: Sequence[Mount]) -> None:
    """Put everything in its place below the current directory, what stands above before what stands below."""
    places: list[tuple[str, int | Mount]] = [(target, tree) for tree, target in trees]
    places += [(mount.target, mount) for mount in mounts]
    for target, what in sorted(places, key=lambda place: place[0].count("/")):
        if isinstance(what, int):
            _attach(what, target.lstrip("/"))
        else:
            private.make(what)


def _attach(tree: int, target: str) -> None:
    """Move a detached tree to `target` below the current directory, making what it stands on."""
    try:
        if stat.S_ISDIR(os.fstat(tree).st_mode):
            os.makedirs(target, 0o755, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target) or ".", 0o755, exist_ok=True)
            if not os.path.lexists(target):  # as in a tree that is shown read-only, where none can be made
                os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
        linux.syscall("move_mount", tree, b"", AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(tree)


def root_options(targets: Iterable[str], spare_inodes: int = 0) -> str:
    """Of the file system that a new root is."""
    return f"size=1m,nr_inodes={_inodes(targets) + spare_inodes},mode=755"


def _inodes(targets: Iterable[str]) -> int:
    """Inodes that the root needs: itself, each target and the directories above it.  Never 0: that is no limit."""
    needed = {"/"}
    for target in targets:
        while target:
            needed.add(target)
            target = target.rpartition("/")[0]
    return 1 + len(needed)
