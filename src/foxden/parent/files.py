"""Opening a file for the file content process: the policy's rules decide, the process gets a descriptor.

Runs in: parent.  Trusts: the caller who named the file; not the path's links, not what lies at their end.
Flow: path → rules (as written and as resolved) → open without following links → regular? → RegularFile.
Source: openat2(2) RESOLVE_NO_SYMLINKS; policy content, [level.files.when-remote-type.file].
"""

from __future__ import annotations

import errno
import os
import stat
import struct

from foxden.errors import LoadError
from foxden.ipc.fields import RegularFile
from foxden.sandbox import linux
from foxden.sandbox.paths import AbsPath, Access, PathRules, lookup

_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS = 0x02, 0x04
_AT_FDCWD = -100

_CODES = {
    errno.ENOENT: ("NS_ERROR_FILE_NOT_FOUND", "no such file"),
    errno.ENOTDIR: ("NS_ERROR_FILE_NOT_FOUND", "a part of its path is no directory"),
    errno.EACCES: ("NS_ERROR_FILE_ACCESS_DENIED", "you may not read it"),
    errno.EPERM: ("NS_ERROR_FILE_ACCESS_DENIED", "you may not read it"),
    errno.ENAMETOOLONG: ("NS_ERROR_FILE_NAME_TOO_LONG", "its name is too long"),
    errno.ELOOP: ("NS_ERROR_FILE_UNRESOLVABLE_SYMLINK", "its links lead nowhere"),
}


_KINDS = (
    (stat.S_ISFIFO, "a fifo"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class Unreadable(LoadError):
    """The policy of file pages says no to this path: the one that was asked for, or the one that it leads to."""

    def __init__(self, asked: str, path: str) -> None:
        super().__init__(
            f"{asked}: the policy of file pages does not let them read it",
            code="NS_ERROR_FILE_ACCESS_DENIED",
            url=asked,
            hint="file pages never read /proc, /sys, /dev and the profile; copy the file elsewhere",
        )
        self.path = path


def open_for_content(path: str, rules: PathRules | None) -> tuple[RegularFile, int]:
    """Return (the open file, its size).  Raises LoadError with an NS_ERROR_FILE_… code."""
    real = _real_path(path)
    for candidate in (os.path.normpath(path), real):
        if rules is not None and not lookup(rules, AbsPath.parse(candidate)) & Access.READ:
            raise Unreadable(path, candidate)
    file = RegularFile(_open(real, path))
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        file.close()
        raise _wrong_kind(path, status.st_mode)
    return file, status.st_size


def _real_path(path: str) -> str:
    try:
        return os.path.realpath(path, strict=True)
    except (OSError, ValueError) as error:
        raise _error(path, getattr(error, "errno", None)) from None


def _open(real: str, shown: str) -> int:
    """Open without following any link: what was judged is what is opened.  Never waits for a fifo's writer."""
    try:
        status = os.stat(real, follow_symlinks=False)
    except OSError as error:
        raise _error(shown, error.errno) from None
    if not stat.S_ISREG(status.st_mode):
        raise _wrong_kind(shown, status.st_mode)  # opening a device can already act on it
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
    how = struct.pack("=QQQ", flags, 0, _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
    try:
        return linux.syscall("openat2", _AT_FDCWD, os.fsencode(real), how, len(how))
    except OSError as error:
        raise _error(shown, error.errno) from None


def _error(path: str, code: int | None) -> LoadError:
    name, words = _CODES.get(code or 0, ("NS_ERROR_FILE_ACCESS_DENIED", os.strerror(code or errno.EINVAL)))
    return LoadError(f"{path}: {words}", code=name, url=path)


def _wrong_kind(path: str, mode: int) -> LoadError:
    if stat.S_ISDIR(mode):
        return LoadError(f"{path}: expected a file, got a directory", code="NS_ERROR_FILE_IS_DIRECTORY", url=path)
    kind = next((name for test, name in _KINDS if test(mode)), "something else")
    return LoadError(f"{path}: expected a regular file, got {kind}", code="NS_ERROR_FILE_NOT_REGULAR", url=path)
