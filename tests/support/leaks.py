"""What a process holds - descriptors, children, threads - and what a test left behind.

Runs in: the test process.  Flow: snapshot before → snapshot after, again and again for a while → what is new.
The kernel is asked, not Python: a leak of native code, or of a child made with CLONE_PARENT, shows as well.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

GRACE_S = 6.0  # for threads and children that are on their way out when a test ends, on a machine that is busy
_POLL_S = 0.01
_STANDARD = 3  # descriptors 0, 1, 2 are pytest's to move about


@dataclass(frozen=True)
class Holdings:
    """What one process holds.  Each item is its identity with words for a person."""

    descriptors: frozenset[tuple[int, str]] = frozenset()  # number, what it is open on
    children: frozenset[tuple[int, int]] = frozenset()  # pid, start time: a pid alone may be used again
    threads: frozenset[tuple[int, int]] = frozenset()  # tid, start time

    def without(self, other: Holdings) -> Holdings:
        return Holdings(
            self.descriptors - other.descriptors, self.children - other.children, self.threads - other.threads
        )

    def together_with(self, other: Holdings) -> Holdings:
        return Holdings(
            self.descriptors | other.descriptors, self.children | other.children, self.threads | other.threads
        )

    def __bool__(self) -> bool:
        return bool(self.descriptors or self.children or self.threads)

    def describe(self) -> list[str]:
        """One line for each item."""
        return [
            *(f"descriptor {fd} -> {target}{_seen(fd, target)}" for fd, target in sorted(self.descriptors)),
            *(f"child {pid}: {_command_line(pid)}" for pid, _ in sorted(self.children)),
            *(f"thread {tid}: {_thread_name(tid)}" for tid, _ in sorted(self.threads)),
        ]


_first_seen: dict[tuple[int, str], str] = {}


def remember(test: str) -> None:
    """Note which test left which descriptors open: of what a whole run leaves, it tells where to look."""
    held = set(_descriptors())
    for gone in _first_seen.keys() - held:
        del _first_seen[gone]
    for descriptor in held:
        _first_seen.setdefault(descriptor, test)


def _seen(fd: int, target: str) -> str:
    test = _first_seen.get((fd, target))
    return f" (there since {test})" if test else ""


def snapshot() -> Holdings:
    """What this process holds now, less what the interpreter keeps for itself."""
    fds, pids = _of_the_interpreter()
    return Holdings(
        frozenset((fd, target) for fd, target in _descriptors() if fd >= _STANDARD and fd not in fds),
        frozenset((pid, _start_time(f"/proc/{pid}")) for pid in children() if pid not in pids),
        frozenset((tid, _start_time(f"/proc/self/task/{tid}")) for tid in _task_ids()),
    )


def leaked_since(before: Holdings, grace_s: float | None = None) -> Holdings:
    """What is held now and was not before, after up to `grace_s` seconds (GRACE_S) for it to go."""
    left = snapshot().without(before)
    if left:
        gc.collect()  # an exception's traceback, or a cycle, may be all that holds a descriptor
    deadline = time.monotonic() + (GRACE_S if grace_s is None else grace_s)
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = snapshot().without(before)
    return left


def end_children(leaked: Holdings) -> None:
    """Kill and reap leaked children, so that one bad test harms no other.  They are this process's own."""
    for pid, _ in leaked.children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


def children() -> frozenset[int]:
    """Pids of the children of this process, those that it has not reaped yet among them.

    A fork server's children (CLONE_PARENT) are listed under the thread that started the fork server.
    """
    lists = [_read(f"/proc/self/task/{tid}/children") for tid in _task_ids()]
    if all(text is None for text in lists):
        return _children_by_parent()  # a kernel without CONFIG_PROC_CHILDREN
    return frozenset(int(pid) for text in lists if text is not None for pid in text.split())


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended; one that nobody reaped yet has ended."""
    return (_stat_fields(f"/proc/{pid}") or ["Z"])[0] not in ("Z", "X")


def _children_by_parent() -> frozenset[int]:
    own = os.getpid()
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return frozenset(pid for pid in pids if _stat_fields(f"/proc/{pid}")[1:2] == [str(own)])


def _descriptors() -> list[tuple[int, str]]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.append((int(name), os.readlink(f"/proc/self/fd/{name}")))
    return found


def _task_ids() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/task")]


def _of_the_interpreter() -> tuple[set[int], set[int]]:
    """Descriptors and children that multiprocessing keeps until the interpreter ends, once it was used."""
    fds: set[int] = set()
    pids: set[int] = set()
    for module, attribute in (("resource_tracker", "_resource_tracker"), ("forkserver", "_forkserver")):
        keeper = getattr(sys.modules.get(f"multiprocessing.{module}"), attribute, None)
        fds |= {fd for name in ("_fd", "_forkserver_alive_fd") if isinstance(fd := getattr(keeper, name, None), int)}
        pids |= {pid for name in ("_pid", "_forkserver_pid") if isinstance(pid := getattr(keeper, name, None), int)}
    return fds, pids


def _stat_fields(directory: str) -> list[str]:
    """Fields of `stat` from the third on: state, parent …; empty when it is gone.  The name may hold anything."""
    text = _read(f"{directory}/stat")
    return text.rpartition(")")[2].split() if text else []


def _start_time(directory: str) -> int:
    fields = _stat_fields(directory)
    return int(fields[19]) if fields else 0  # field 22 of proc(5)


def _command_line(pid: int) -> str:
    raw = _read(f"/proc/{pid}/cmdline") or ""
    state = (_stat_fields(f"/proc/{pid}") or ["gone"])[0]
    words = raw.replace("\0", " ").strip() or (_read(f"/proc/{pid}/comm") or "").strip()
    return f"{words} (ended, not reaped)" if state == "Z" else words


def _thread_name(tid: int) -> str:
    for thread in threading.enumerate():
        if thread.native_id == tid:
            return thread.name
    return f"{(_read(f'/proc/self/task/{tid}/comm') or 'gone').strip()} (not Python's)"


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return None
