"""What /proc says of a child's threads: whose they are, their umask, terminal, ids.

Runs in: the broker.  Trusts: /proc, while the notification that named the thread is still valid.
Flow: tid → Who (kept) → pid of records, /proc/self of the child's view, ids in what stat answers.
Source: proc(5): NStgid and NSpid of status, tty_nr of stat, uid_map.
"""

from __future__ import annotations

import os

import msgspec

_KEPT = 256
_OVERFLOW_ID = 65534
_PTS_MAJORS = range(136, 144)


class Who(msgspec.Struct, frozen=True):
    tid: int
    tgid: int
    own_tgid: int  # as the innermost pid namespace numbers it
    own_tid: int


class IdMap(msgspec.Struct, frozen=True):
    """Of one user namespace: (inside, outside, count) a line."""

    lines: tuple[tuple[int, int, int], ...]

    @property
    def is_identity(self) -> bool:
        return not self.lines or any(
            inside == outside == 0 and count >= 0xFFFF_FFFF for inside, outside, count in self.lines
        )

    def inside(self, outer: int) -> int:
        for inside, outside, count in self.lines:
            if outside <= outer < outside + count:
                return inside + outer - outside
        return _OVERFLOW_ID

    def outside(self, inner: int) -> int:
        """-1: nothing outside is called so."""
        for inside, outside, count in self.lines:
            if inside <= inner < inside + count:
                return outside + inner - inside
        return -1


class Tasks:
    """The threads of one child, as far as they have asked."""

    def __init__(self) -> None:
        self._known: dict[int, Who] = {}
        self.maps: tuple[IdMap, IdMap] | None = None

    def who(self, tid: int) -> Who:
        """Raises OSError when it is gone."""
        found = self._known.get(tid)
        if found is None:
            rows = _status(tid)
            numbers = [int(rows[name].split()[-1]) for name in ("Tgid", "NStgid", "NSpid")]
            if len(self._known) >= _KEPT:
                self._known.clear()
            found = self._known[tid] = Who(tid, *numbers)
        return found

    def pid(self, tid: int) -> int:
        """Of the process; the thread's own number when it is gone already."""
        try:
            return self.who(tid).tgid
        except OSError:
            return tid

    def ids(self, tid: int) -> tuple[IdMap, IdMap]:
        """Maps of uids and gids: one user namespace a child, so they are read once.  Raises OSError."""
        if self.maps is None:
            self.maps = (_id_map(f"/proc/{tid}/uid_map"), _id_map(f"/proc/{tid}/gid_map"))
        return self.maps


def umask_of(tid: int) -> int:
    return int(_status(tid)["Umask"], 8)


def terminal_of(tid: int) -> str:
    """The path of the controlling terminal, in the child's view; empty: it has none.  Raises OSError."""
    with open(f"/proc/{tid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    number = int(fields[4]) & 0xFFFF_FFFF
    major, minor = os.major(number), os.minor(number)
    return f"/dev/pts/{minor}" if major in _PTS_MAJORS else ""


def open_flags(tid: int, fd: int) -> int:
    """Flags that a descriptor of the child was opened with.  Raises OSError: EBADF."""
    try:
        with open(f"/proc/{tid}/fdinfo/{fd}", "rb") as file:
            rows = dict(line.split(b":", 1) for line in file if b":" in line)
    except FileNotFoundError:
        raise OSError(9, "no such descriptor") from None
    return int(rows[b"flags"], 8)


def _status(tid: int) -> dict[str, str]:
    with open(f"/proc/{tid}/status", encoding="utf-8", errors="replace") as file:
        return dict(line.split(":", 1) for line in file if ":" in line)


def _id_map(path: str) -> IdMap:
    with open(path, "rb") as file:
        numbers = [tuple(int(word) for word in line.split()) for line in file]
    return IdMap(tuple((line[0], line[1], line[2]) for line in numbers))
