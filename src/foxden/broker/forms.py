"""Every system call that the broker can do for a child: where its arguments are, what it needs, which flags it knows.

Runs in: the broker; computes only.  Trusts: the kernel, that these are the child's registers; nothing in them.
Flow: Notification (number, six registers) → decode → Request → operations.
Source: the kernel's syscall tables and man pages; Gecko's SandboxBroker (permissions, flags of open).
"""

from __future__ import annotations

import os

import msgspec

from foxden.broker.rules import CHANGE, CONNECT, CREATE, READ, STAT, WRITE
from foxden.sandbox.syscall_numbers import NUMBERS

AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR, AT_SYMLINK_FOLLOW, AT_NO_AUTOMOUNT = 0x100, 0x200, 0x400, 0x800
AT_EACCESS, AT_EMPTY_PATH, AT_STATX_SYNC = 0x200, 0x1000, 0x6000
RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
O_LARGEFILE = {"x86_64": 0o100000, "aarch64": 0o400000}
O_TMPFILE_BIT = 0o20000000
O_CREATE_AND_TRUNCATE = os.O_CREAT | os.O_WRONLY | os.O_TRUNC


class Form(msgspec.Struct, frozen=True):
    """Indexes of registers; -1: this call has no such argument."""

    operation: str
    path: int = -1
    at: int = -1
    path2: int = -1
    at2: int = -1
    flags: int = -1
    mode: int = -1
    buffer: int = -1
    size: int = -1
    extra: int = -1
    fixed: int = 0  # flags that the call implies


class Request(msgspec.Struct, frozen=True):
    """One call, as numbers.  Pointers are the child's; nothing was read there yet."""

    operation: str
    name: str  # of the call
    at: int
    path: int
    at2: int
    path2: int
    flags: int
    mode: int
    buffer: int
    size: int
    extra: int


_NOFOLLOW = AT_SYMLINK_NOFOLLOW
FORMS: dict[str, Form] = {
    "open": Form("open", path=0, flags=1, mode=2),
    "openat": Form("open", at=0, path=1, flags=2, mode=3),
    "creat": Form("open", path=0, mode=1, fixed=O_CREATE_AND_TRUNCATE),
    "access": Form("access", path=0, mode=1),
    "faccessat": Form("access", at=0, path=1, mode=2),
    "faccessat2": Form("access", at=0, path=1, mode=2, flags=3),
    "stat": Form("stat", path=0, buffer=1),
    "lstat": Form("stat", path=0, buffer=1, fixed=_NOFOLLOW),
    "newfstatat": Form("stat", at=0, path=1, buffer=2, flags=3),
    "statx": Form("statx", at=0, path=1, flags=2, mode=3, buffer=4),
    "readlink": Form("readlink", path=0, buffer=1, size=2),
    "readlinkat": Form("readlink", at=0, path=1, buffer=2, size=3),
    "statfs": Form("statfs", path=0, buffer=1),
    "getxattr": Form("getxattr", path=0, path2=1, buffer=2, size=3),
    "lgetxattr": Form("getxattr", path=0, path2=1, buffer=2, size=3, fixed=_NOFOLLOW),
    "listxattr": Form("listxattr", path=0, buffer=1, size=2),
    "llistxattr": Form("listxattr", path=0, buffer=1, size=2, fixed=_NOFOLLOW),
    "setxattr": Form("setxattr", path=0, path2=1, buffer=2, size=3, extra=4),
    "lsetxattr": Form("setxattr", path=0, path2=1, buffer=2, size=3, extra=4, fixed=_NOFOLLOW),
    "fsetxattr": Form("setxattr", at=0, path2=1, buffer=2, size=3, extra=4, fixed=AT_EMPTY_PATH),
    "fremovexattr": Form("removexattr", at=0, path2=1, fixed=AT_EMPTY_PATH),
    "removexattr": Form("removexattr", path=0, path2=1),
    "lremovexattr": Form("removexattr", path=0, path2=1, fixed=_NOFOLLOW),
    "chmod": Form("chmod", path=0, mode=1),
    "fchmodat": Form("chmod", at=0, path=1, mode=2),
    "fchmodat2": Form("chmod", at=0, path=1, mode=2, flags=3),
    "fchmod": Form("chmod", at=0, mode=1, fixed=AT_EMPTY_PATH),
    "chown": Form("chown", path=0, mode=1, extra=2),
    "fchown": Form("chown", at=0, mode=1, extra=2, fixed=AT_EMPTY_PATH),
    "lchown": Form("chown", path=0, mode=1, extra=2, fixed=_NOFOLLOW),
    "fchownat": Form("chown", at=0, path=1, mode=2, extra=3, flags=4),
    "link": Form("link", path=0, path2=1),
    "linkat": Form("link", at=0, path=1, at2=2, path2=3, flags=4),
    "symlink": Form("symlink", path=1, path2=0),
    "symlinkat": Form("symlink", path2=0, at=1, path=2),
    "mkdir": Form("mkdir", path=0, mode=1),
    "mkdirat": Form("mkdir", at=0, path=1, mode=2),
    "mknod": Form("mknod", path=0, mode=1, extra=2),
    "mknodat": Form("mknod", at=0, path=1, mode=2, extra=3),
    "rename": Form("rename", path=0, path2=1),
    "renameat": Form("rename", at=0, path=1, at2=2, path2=3),
    "renameat2": Form("rename", at=0, path=1, at2=2, path2=3, flags=4),
    "rmdir": Form("unlink", path=0, fixed=AT_REMOVEDIR),
    "unlink": Form("unlink", path=0),
    "unlinkat": Form("unlink", at=0, path=1, flags=2),
    "truncate": Form("truncate", path=0, size=1),
    "utime": Form("utime", path=0, buffer=1),
    "utimes": Form("utime", path=0, buffer=1),
    "futimesat": Form("utime", at=0, path=1, buffer=2),
    "utimensat": Form("utime", at=0, path=1, buffer=2, flags=3),
    "chdir": Form("chdir", path=0),
    "fchdir": Form("chdir", at=0, fixed=AT_EMPTY_PATH),
    "getcwd": Form("getcwd", buffer=0, size=1),
    "connect": Form("connect", at=0, buffer=1, size=2),
    "memfd_create": Form("memfd", path=0, flags=1),
}

# What each operation needs of the path that it names, of both where it names two.  `open` and `access` by their flags.
NEEDS: dict[str, int] = {
    "stat": STAT, "statx": STAT, "statfs": STAT, "chdir": STAT, "getcwd": 0,
    "readlink": READ, "getxattr": READ, "listxattr": READ,
    "chmod": WRITE, "chown": WRITE, "truncate": WRITE, "utime": WRITE, "setxattr": WRITE, "removexattr": WRITE,
    "link": CHANGE, "symlink": CHANGE, "mkdir": CHANGE, "mknod": CHANGE, "rename": CHANGE, "unlink": CHANGE,
    "connect": CONNECT, "memfd": 0,
}  # fmt: skip

# Flags that a call may have; any other is EINVAL, as the kernel says, for nobody knows what it would mean.
KNOWN_FLAGS: dict[str, int] = {
    "access": AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH,
    "stat": AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH,
    "statx": AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC,
    "chmod": AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH,
    "chown": AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH,
    "link": AT_SYMLINK_FOLLOW | AT_EMPTY_PATH,
    "rename": RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT,
    "unlink": AT_REMOVEDIR,
    "utime": AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH,
}

_SYNC = os.O_SYNC | os.O_DSYNC
OPEN_FLAGS = (  # Gecko's list; O_ASYNC, O_PATH and whatever comes later are not in it
    os.O_ACCMODE | os.O_APPEND | os.O_DIRECT | os.O_DIRECTORY | os.O_EXCL | os.O_NOATIME | os.O_NOCTTY
    | os.O_NOFOLLOW | os.O_NONBLOCK | _SYNC | os.O_TRUNC | os.O_CLOEXEC | os.O_CREAT | O_TMPFILE_BIT
)  # fmt: skip
OPEN_FLAGS_OF_PROGRAMS = OPEN_FLAGS | os.O_PATH  # view=child: unmodified programs have use for it


def forms_of(arch: str) -> dict[int, tuple[str, Form]]:
    """Call number → (name, form)."""
    numbers = NUMBERS.get(arch, {})
    return {numbers[name]: (name, form) for name, form in FORMS.items() if name in numbers}


def decode(name: str, form: Form, args: tuple[int, ...]) -> Request:
    """The registers, each as wide as the kernel reads it."""

    def word(index: int) -> int:
        return args[index] if index >= 0 else 0

    return Request(
        operation=form.operation,
        name=name,
        at=signed_32(args[form.at]) if form.at >= 0 else AT_FDCWD,
        path=word(form.path),
        at2=signed_32(args[form.at2]) if form.at2 >= 0 else AT_FDCWD,
        path2=word(form.path2),
        flags=word(form.flags) & 0xFFFF_FFFF | form.fixed,
        mode=word(form.mode) & 0xFFFF_FFFF,
        buffer=word(form.buffer),
        size=word(form.size),
        extra=word(form.extra),
    )


def signed_32(value: int) -> int:
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value & 0x8000_0000 else value


def signed_64(value: int) -> int:
    return value - (1 << 64) if value & (1 << 63) else value


def open_need(flags: int) -> int:
    """What opening with these flags needs, but for the creation of a file."""
    if flags & os.O_PATH:
        return READ  # of what is handed over in its place: see opening
    mode = flags & os.O_ACCMODE
    need = 0
    if mode != os.O_WRONLY:  # 3 too: the kernel asks for both
        need |= READ
    if mode != os.O_RDONLY or flags & os.O_TRUNC:
        need |= WRITE
    return need


def need_of(request: Request) -> int:
    """What the call is about to need of its path, as far as its registers tell."""
    if request.operation == "open":
        return open_need(request.flags) | (CREATE if request.flags & os.O_CREAT else 0)
    if request.operation == "access":
        return (READ if request.mode & os.R_OK else 0) | (WRITE if request.mode & os.W_OK else 0) or STAT
    return NEEDS[request.operation]


# Of processes other than the asking one: what anyone may know of them.  The rest of /proc/<pid> would be opened with
# the broker's rights over them, which the child does not have.
_PUBLIC_OF_OTHERS = frozenset(
    {"stat", "status", "statm", "cmdline", "comm", "limits", "cgroup", "sched", "schedstat", "oom_score",
     "oom_score_adj", "loginuid", "task"}
)  # fmt: skip
_WRITABLE_OF_OWN = frozenset({"comm", "coredump_filter", "oom_score_adj", "clear_refs"})


def proc_refuses(path: str, own: int, *, writes: bool) -> bool:
    """Is this a file of /proc that the broker must not open for process `own`, whatever the rules grant?"""
    if not path.startswith("/proc/"):
        return False
    parts = path[6:].split("/")
    if not parts[0].isdigit():
        return writes  # /proc/sys, /proc/sysrq-trigger …
    if parts[0] == str(own):
        return writes and parts[-1] not in _WRITABLE_OF_OWN
    rest = parts[3:] if parts[1:2] == ["task"] else parts[1:]
    return writes or (bool(rest) and (len(rest) > 1 or rest[0] not in _PUBLIC_OF_OTHERS))
