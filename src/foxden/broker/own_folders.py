"""Which child's temporary files are in which file system of their own, and how one is emptied for the next child.

Runs in: the broker; a child's is emptied on a thread.  Trusts: nothing of what a child left there.
Flow: descriptors of launch/private_folders → take → view.OwnFolder of one child → give_back → emptied → the next child.
Source: hostile case 32.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import threading
from collections.abc import Iterable, Iterator

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


class OwnFolders:
    """Those that nobody has.  What cannot be emptied is closed, and gone with that."""

    def __init__(self, folders: Iterable[int]) -> None:
        self._free: list[int] = []
        self._used: dict[int, int] = {}  # child → descriptor
        for fd in folders:  # a broker that was there before may have given it to a child
            self._have_empty(fd)

    def take(self, child_id: int) -> int:
        """-1: there are no more."""
        if self._free:
            self._used[child_id] = self._free.pop()
        return self._used.get(child_id, -1)

    def give_back(self, child_id: int) -> None:
        fd = self._used.pop(child_id, -1)
        if fd >= 0:
            self._have_empty(fd)

    def drop(self, child_id: int) -> None:
        """Its child lives on, and may hold folders of it: nobody else gets it."""
        fd = self._used.pop(child_id, -1)
        if fd >= 0:
            os.close(fd)

    def _have_empty(self, fd: int) -> None:
        """Most are: their child wrote nothing, or cleaned up."""
        try:
            if _is_empty(fd):
                self._free.append(fd)
            else:
                threading.Thread(target=self._make_free, args=(fd,), daemon=True).start()
        except (OSError, RuntimeError):  # no descriptor, no thread to be had
            os.close(fd)

    def _make_free(self, fd: int) -> None:
        try:
            empty(fd)
        except OSError:
            os.close(fd)
        else:
            self._free.append(fd)


def _is_empty(folder: int) -> bool:
    top = os.open(".", _FOLDER, dir_fd=folder)
    try:
        return not os.listdir(top)
    finally:
        os.close(top)


def empty(folder: int) -> None:
    """Remove all that lies in it, however deep: a folder's folders are moved up first.  Raises OSError."""
    top = os.open(".", _FOLDER, dir_fd=folder)
    numbers, unknown = itertools.count(), os.urandom(8).hex()  # names that nobody put there to be in the way
    try:
        while names := os.listdir(top):
            for name in names:
                if not _removed(top, name):
                    _move_up(top, name, (f"{unknown}.{number}" for number in numbers))
    finally:
        os.close(top)


def _removed(top: int, name: str) -> bool:
    """False: it is a folder that holds something."""
    if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=top)
        return True
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=top)
        return True
    return False


def _have(folder: int, name: str) -> None:
    """Its maker may have taken our rights away.  It is no link: it was looked at, and nobody else is there any more."""
    os.chmod(name, 0o700, dir_fd=folder)


def _move_up(top: int, name: str, others: Iterator[str]) -> None:
    """Remove a folder's files, and put its folders beside it, under `others`."""
    _have(top, name)
    inner = os.open(name, _FOLDER, dir_fd=top)
    try:
        for each in os.listdir(inner):
            if not _removed(inner, each):
                _have(inner, each)
                os.rename(each, next(others), src_dir_fd=inner, dst_dir_fd=top)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)
