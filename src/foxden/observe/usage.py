"""What a tree of processes uses: memory, processor time, how many they are.

Runs in: the parent, the `foxden run` command.  Trusts: the kernel's figures.
Flow: pid of a tree's root → its children and theirs → sums.
Source: proc(5): task/children, status, stat, smaps_rollup.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

import msgspec

_TICKS = os.sysconf("SC_CLK_TCK")
_MOST = 65_536  # processes looked at


class Usage(msgspec.Struct, frozen=True):
    processes: int
    memory: int  # bytes that no file on a disk stands behind
    cpu_time_s: float
    tasks: int = 1  # with all threads


def tree(root: int) -> Iterator[tuple[int, int]]:
    """The process and all that descend from it, each with its number of threads.  What ends meanwhile is left out."""
    waiting, seen = [root], 0
    while waiting and seen < _MOST:
        pid = waiting.pop()
        seen += 1
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        yield pid, len(threads)
        for thread in threads:
            waiting += [int(child) for child in _read(f"/proc/{pid}/task/{thread}/children").split()]


def usage_of(root: int) -> Usage:
    """Sums over the tree.  Memory that several share counts for each of them: `shared_out` knows better, slowly."""
    found = list(tree(root))
    pids = [pid for pid, _ in found]
    memory = _together([_private_memory(pid) for pid in pids], pids)
    return Usage(len(pids), memory, sum(map(_cpu_time, pids)), sum(threads for _, threads in found))


def shared_out(root: int) -> int:
    """Bytes of memory of the tree, what several have shared out among them."""
    pids = [pid for pid, _ in tree(root)]
    return _together([_proportional(pid) for pid in pids], pids)


def _together(mapped: list[tuple[int, int]], pids: Iterable[int]) -> int:
    """A memory file may be mapped or not: it is shared memory, and counted once."""
    return sum(own for own, _ in mapped) + max(sum(shared for _, shared in mapped), _in_memory_files(pids))


def _private_memory(pid: int) -> tuple[int, int]:
    """(anonymous, shared) as far as it is mapped."""
    kib = {"RssAnon:": 0, "RssShmem:": 0}
    for line in _read(f"/proc/{pid}/status").splitlines():
        if line.startswith(tuple(kib)):
            name, number, *_ = line.split()
            kib[name] = int(number)
    return kib["RssAnon:"] << 10, kib["RssShmem:"] << 10


def _proportional(pid: int) -> tuple[int, int]:
    lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
    rows = dict(line.split()[:2] for line in lines[1:])
    return int(rows.get("Pss_Anon:", 0)) << 10, int(rows.get("Pss_Shmem:", 0)) << 10


def _in_memory_files(pids: Iterable[int]) -> int:
    """Bytes of the memory files that are open: what was written there need not be mapped anywhere."""
    files: dict[tuple[int, int], int] = {}
    for pid in pids:
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue  # it has ended, or is not to be looked into
        for name in names:
            path = f"/proc/{pid}/fd/{name}"
            try:
                if os.readlink(path).startswith("/memfd:"):
                    status = os.stat(path)
                    files[status.st_dev, status.st_ino] = status.st_blocks * 512
            except OSError:
                continue  # closed meanwhile
    return sum(files.values())


def _cpu_time(pid: int) -> float:
    """Of the process, and of its children that have ended and were waited for."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""  # it has ended
