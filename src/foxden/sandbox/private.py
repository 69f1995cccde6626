"""File systems, devices and files of a program's own, below a root that is being made.

Runs in: children with a mount namespace and all capabilities over it, before they give these up.  Trusts: the plan.
Flow: Mount → one mount, link or file below the current directory, which is the new root.
Source: mount(2), tmpfs(5), devpts in Documentation/filesystems, proc(5); bubblewrap's --dev and --proc.
"""

from __future__ import annotations

import _socket
import ctypes
import fcntl
import os
import stat
import struct
from collections.abc import Callable

from foxden.sandbox import linux
from foxden.sandbox.plan import Mount

_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NOEXEC = 1, 2, 8
_INODES = 65_536  # of each tmpfs: ten million empty files take memory too
_PUBLIC = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - of the child; anyone may write there, as anywhere


def make(mount: Mount) -> None:
    """Put it in its place.  Raises OSError."""
    place = mount.target.lstrip("/")
    os.makedirs(os.path.dirname(place) or ".", 0o755, exist_ok=True)
    _MAKERS[mount.what](mount, place)


def _tmpfs(mount: Mount, place: str) -> None:
    os.makedirs(place, 0o755, exist_ok=True)
    mode = "1777" if mount.target in _PUBLIC else "700"
    options = f"size={mount.size},nr_inodes={_INODES},mode={mode}".encode()
    linux.syscall("mount", b"tmpfs", os.fsencode(place), b"tmpfs", _MS_NOSUID | _MS_NODEV, options)


def _proc(mount: Mount, place: str) -> None:
    os.makedirs(place, 0o555, exist_ok=True)
    linux.syscall("mount", b"proc", os.fsencode(place), b"proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, 0)


def _terminals(mount: Mount, place: str) -> None:
    os.makedirs(place, 0o755, exist_ok=True)
    options = b"newinstance,ptmxmode=0666,mode=620"
    linux.syscall("mount", b"devpts", os.fsencode(place), b"devpts", _MS_NOSUID | _MS_NOEXEC, options)


def _device(mount: Mount, place: str) -> None:
    flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC
    try:
        node = linux.syscall("open_tree", _AT_FDCWD, os.fsencode(mount.source), flags)
    except FileNotFoundError:
        return
    try:
        linux.set_mount_attributes(node, b"", _AT_EMPTY_PATH, _ATTR_NOSUID | _ATTR_NOEXEC)
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444))
        linux.syscall("move_mount", node, b"", _AT_FDCWD, os.fsencode(place), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(node)


def _link(mount: Mount, place: str) -> None:
    os.symlink(mount.source, place)


def _text(mount: Mount, place: str) -> None:
    fd = os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o444)
    try:
        os.write(fd, mount.content)
    finally:
        os.close(fd)


def _folder(mount: Mount, place: str) -> None:
    if not os.path.isdir(place or "."):
        os.makedirs(place, 0o755)


_NOTHING = ".foxden-nothing"  # an empty file that nobody may read, in the root
_ATTRS_OF_NOTHING = _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NOEXEC


def _hidden(mount: Mount, place: str) -> None:
    """Put nothing over what is there.  Where nothing is there is nothing to hide; the broker lets none be made."""
    try:
        is_folder = stat.S_ISDIR(os.stat(place, follow_symlinks=False).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    if is_folder:
        linux.syscall(
            "mount", b"tmpfs", os.fsencode(place), b"tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC,
            b"size=4k,nr_inodes=1,mode=0",
        )  # fmt: skip
        linux.set_mount_attributes(_AT_FDCWD, os.fsencode(place), 0, _ATTRS_OF_NOTHING)
        return
    os.close(os.open(_NOTHING, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0))
    nothing = linux.syscall("open_tree", _AT_FDCWD, os.fsencode(_NOTHING), _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC)
    try:
        linux.set_mount_attributes(nothing, b"", _AT_EMPTY_PATH, _ATTRS_OF_NOTHING)
        linux.syscall("move_mount", nothing, b"", _AT_FDCWD, os.fsencode(place), _MOVE_MOUNT_F_EMPTY_PATH)
    finally:
        os.close(nothing)


_MAKERS: dict[str, Callable[[Mount, str], None]] = {
    "tmpfs": _tmpfs,
    "proc": _proc,
    "terminals": _terminals,
    "device": _device,
    "link": _link,
    "text": _text,
    "folder": _folder,
    "hidden": _hidden,
}


_TIOCSPTLCK, _TIOCGPTN, _TIOCSCTTY = 0x4004_5431, 0x8004_5430, 0x540E


def open_terminal() -> tuple[int, int]:
    """Make a terminal, and make it this session's.  Returns (the outer end, the inner end).  Raises OSError."""
    outer = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(outer, _TIOCSPTLCK, struct.pack("i", 0))
    (number,) = struct.unpack("i", fcntl.ioctl(outer, _TIOCGPTN, bytes(4)))
    inner = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    fcntl.ioctl(inner, _TIOCSCTTY, 0)
    return outer, inner


def lock_proc() -> None:
    """Make the child's /proc read-only: as root its files are root's, and no capability is asked for."""
    linux.set_mount_attributes(_AT_FDCWD, b"/proc", 0, _ATTR_RDONLY)


def limit_pid_namespace(greatest: int) -> bool:
    """Let no process of this pid namespace get a higher number.  False: this kernel has one bound for all (to 6.13)."""
    return _set("/proc/sys/kernel/pid_max", greatest)


def forbid_user_namespaces() -> bool:
    """Let none be made inside this one: a second wall behind the filter, which refuses to make them."""
    return _set("/proc/sys/user/max_user_namespaces", 0)


def _set(path: str, value: int) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.write(fd, str(value).encode()) > 0
    except OSError:
        return False
    finally:
        os.close(fd)


_SIOCSIFFLAGS, _IFF_UP, _IFF_RUNNING = 0x8914, 0x1, 0x40


def raise_loopback() -> None:
    """Bring up the only interface of an own network namespace.  Raises OSError."""
    sock = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    try:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP | _IFF_RUNNING))
    finally:
        sock.close()


_ARG_START, _ARG_END, _ENV_START, _ENV_END = 47, 48, 49, 50  # of /proc/self/stat, counted from 0
_INIT_NAME = b"foxden-init"


def forget_words() -> None:
    """Blank the command line and the environment that this process began with: they are its starter's.

    Anyone who sees its number may read /proc/<pid>/cmdline, dumpable or not; who may trace it, environ.
    """
    with open("/proc/self/stat", "rb") as file:
        text = file.read()
    fields = text[text.rindex(b")") + 2 :].split()
    words = [int(fields[place - 2]) for place in (_ARG_START, _ARG_END, _ENV_START, _ENV_END)]
    for start, end in (words[:2], words[2:]):
        if 0 < start < end:
            ctypes.memset(start, 0, end - start)
    room = words[1] - words[0]
    if room > len(_INIT_NAME):
        ctypes.memmove(words[0], _INIT_NAME, len(_INIT_NAME))
    linux.set_process_name(_INIT_NAME.decode())
