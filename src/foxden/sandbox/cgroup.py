"""A control group of a program's own, where the machine's manager lets this user make one (cgroup v2, delegated).

Runs in: the parent, the `foxden run` command, before they lock themselves.  Trusts: the kernel.
Flow: find → Group.make → join, before the program runs → what was exceeded → end: everything killed, group removed.
Source: cgroups(7); Documentation/admin-guide/cgroup-v2.rst: delegation, no internal processes, cgroup.kill.

What it adds to rlimits and watching: memory and tasks are counted by the kernel, of the whole tree, for root as well.
"""

from __future__ import annotations

import contextlib
import os
import select
from collections.abc import Iterator, Sequence

CONTROLLERS = ("memory", "pids")
_PREFIX = "foxden-"
_END_S = 2.0  # until a killed group is empty


def find(controllers: Sequence[str] = CONTROLLERS) -> str:
    """The folder below which a group may be made whose controllers these are; empty: there is none.

    It is this process's own group or one above it, as far as they are the user's: where a session's manager delegates,
    it is one above, for a group that has processes itself gives no controllers to those below it.
    """
    top = _mounted()
    own = _own_group()
    if not top or not own:
        return ""
    place = os.path.normpath(top + own)
    while place.startswith(top):
        if not _is_ours(place):
            return ""
        if set(controllers) <= set(_words(f"{place}/cgroup.subtree_control")):
            return place
        place = os.path.dirname(place)
    return ""


def _mounted() -> str:
    """Where the v2 hierarchy is."""
    for line in _read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return before.split()[4]
    return ""


def _own_group() -> str:
    return next((line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::")), "")


def _is_ours(place: str) -> bool:
    """May this user make groups there, and move processes between them?"""
    return os.access(place, os.W_OK) and os.access(f"{place}/cgroup.procs", os.W_OK)


class Group:
    """One group.  The holder calls `end`."""

    def __init__(self, path: str) -> None:
        self.path = path

    @classmethod
    def make(cls, place: str, *, memory: int | None = None, tasks: int | None = None) -> Group:
        """Below `place`.  Raises OSError when it is not to be had; nothing is left then."""
        _sweep(place)
        group = cls(f"{place}/{_PREFIX}{os.getpid()}-{next(_numbers)}")
        os.mkdir(group.path, 0o755)
        try:
            if memory is not None:
                group._write("memory.max", str(memory))
                with contextlib.suppress(OSError):  # a kernel without swap has no such file
                    group._write("memory.swap.max", "0")
                group._write("memory.oom.group", "1")
            if tasks is not None:
                group._write("pids.max", str(tasks))
        except OSError:
            os.rmdir(group.path)
            raise
        return group

    def join(self, pid: int) -> None:
        """Put a process there, and with it all that it will start.  Raises OSError."""
        self._write("cgroup.procs", str(pid))

    def exceeded(self) -> str:
        """Which limit the kernel had to keep: memory, processes, or none."""
        if self._event("memory.events", "oom_kill"):
            return "memory"
        return "processes" if self._event("pids.events", "max") else ""

    def kill(self) -> None:
        """End everything in it, at once."""
        with contextlib.suppress(OSError):  # a kernel older than 5.14; the pid namespace ends with its init anyway
            self._write("cgroup.kill", "1")

    def end(self) -> None:
        """Kill what is left, and remove it.  A second call does nothing."""
        if not os.path.isdir(self.path):
            return
        self.kill()
        self._wait_empty()
        with contextlib.suppress(OSError):  # one that is not empty after all is swept up by the next run
            os.rmdir(self.path)

    def _wait_empty(self) -> None:
        """The kernel tells of a change of cgroup.events as of a priority event."""
        try:
            fd = os.open(f"{self.path}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        try:
            poller = select.poll()
            poller.register(fd, select.POLLPRI)
            while b"populated 1" in os.pread(fd, 256, 0):
                if not poller.poll(_END_S * 1000):
                    return
        finally:
            os.close(fd)

    def _write(self, name: str, text: str) -> None:
        fd = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)

    def _event(self, name: str, which: str) -> int:
        rows = dict(line.split() for line in _read(f"{self.path}/{name}").splitlines())
        return int(rows.get(which, 0))


def _counting() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


_numbers = _counting()


def _sweep(place: str) -> None:
    """Remove empty groups of runs that were killed themselves.  One that has processes cannot be removed."""
    for name in os.listdir(place):
        pid = name.removeprefix(_PREFIX).partition("-")[0]
        if name.startswith(_PREFIX) and pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):
                os.rmdir(f"{place}/{name}")


def _words(path: str) -> list[str]:
    return _read(path).split()


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
