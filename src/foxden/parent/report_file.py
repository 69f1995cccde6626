"""`--report FILE`: one JSON text a line, appended; what it cannot write is lost, told once, and never ends the den.

Runs in: parent.  Trusts: the path that the user named, not what somebody may have put there.
Flow: record → json_line → one write.
Source: open(2) O_APPEND: writes of several processes do not mix.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

import msgspec

from foxden.errors import FoxdenError
from foxden.model.escaped import json_line

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class ReportFile:
    """Open from its making to `close`.  `tell` hears, once, that lines are lost."""

    def __init__(self, path: str, tell: Callable[[str], None]) -> None:
        """Raises: FoxdenError when it cannot be opened, or is not the user's own plain file."""
        self._path, self._tell = path, tell
        self._torn = False  # a line was written in part: the next begins on a line of its own
        self.lost = 0
        self._fd = _open(path)

    def write(self, record: msgspec.Struct) -> None:
        if self._fd < 0:
            return
        line = json_line(msgspec.to_builtins(record)).encode("ascii") + b"\n"
        data = b"\n" + line if self._torn else line
        try:
            written = os.write(self._fd, data)
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        self._torn = written < len(data)
        if self._torn:
            self._lose(f"only {written} of {len(data)} bytes were written")

    def _lose(self, why: str) -> None:
        self.lost += 1
        if self.lost == 1:
            self._tell(f"{self._path}: {why}; violations are missing from this report from here on")

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _open(path: str) -> int:
    try:
        fd = os.open(path, _FLAGS, 0o600)
    except OSError as error:
        link = os.path.islink(path)
        why = "it is a symbolic link" if link else error.strerror or str(error)
        hint = "name the file that it leads to" if link else "name a file in a directory that you may write"
        raise FoxdenError(f"--report {path}: expected a file to append to: {why}", hint=hint) from None
    wrong = _wrong(os.fstat(fd))
    if wrong:
        os.close(fd)
        raise FoxdenError(f"--report {path}: expected a plain file of your own, got {wrong}", hint="name another file")
    return fd


def _wrong(status: os.stat_result) -> str:
    """Why lines must not go there; empty when they may."""
    if stat.S_ISCHR(status.st_mode):
        return ""  # a terminal, /dev/null
    if not stat.S_ISREG(status.st_mode):
        return "a fifo or another special file"
    if status.st_uid != os.geteuid():
        return f"one of user {status.st_uid}"
    return "one that has a second name (a hard link)" if status.st_nlink > 1 else ""
