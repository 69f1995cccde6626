"""Private directories for temporary files of children: one each, made with the child, gone with it.

Runs in: parent.  Trusts: the kernel's locks to tell dens that live from dens that died; nothing that children made.
Flow: of(child) → <temporary>/foxden-<uid>/<den>/<child>, mode 0700 → rule `{tmp}` of its policy → forget(child).
Source: Gecko's mediated temporary files; flock(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile


class Temporaries:
    """Of one den.  The den's directory is held locked for as long as the den lives."""

    def __init__(self) -> None:
        self._base = ""
        self._den = ""
        self._lock = -1
        self._made: dict[int, str] = {}

    def of(self, child_id: int) -> str:
        """The directory of this child, made when first asked for.

        Raises OSError: FileNotFoundError where there is no place for temporary files at all.
        """
        if child_id in self._made:
            return self._made[child_id]
        if not self._den:
            self._begin()
        path = os.path.join(self._den, str(child_id))
        os.mkdir(path, 0o700)
        self._made[child_id] = path
        return path

    def path(self, child_id: int) -> str:
        """Empty: it has none."""
        return self._made.get(child_id, "")

    def _begin(self) -> None:
        self._base = os.path.join(tempfile.gettempdir(), f"foxden-{os.getuid()}")
        _make_private(self._base)
        self.sweep()
        den = tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=self._base)
        self._lock = os.open(den, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._den = os.path.realpath(den)

    def sweep(self) -> None:
        """Remove what dens left that were killed."""
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._base):
                if entry.is_dir(follow_symlinks=False) and _is_left(entry.path):
                    remove_tree(entry.path)

    def forget(self, child_id: int) -> None:
        """The child has ended: remove its directory and all that it made there."""
        path = self._made.pop(child_id, "")
        if path:
            remove_tree(path)

    def close(self) -> None:
        for child_id in list(self._made):
            self.forget(child_id)
        if self._den:
            remove_tree(self._den)
            os.close(self._lock)
            self._den, self._lock = "", -1


def _make_private(path: str) -> None:
    """Ours alone, in a directory where others may write as well.  Raises OSError: EPERM when another has the name."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(1, f"{path}: expected a directory of this user's with mode 0700")


def _is_left(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False  # its den lives
    finally:
        os.close(fd)
    return True


def remove_tree(path: str) -> None:
    """Remove a tree of any depth; nobody works in it any more.  What cannot be removed is left to the next sweep."""
    pending, folders = [path], []
    while pending:
        folder = pending.pop()
        folders.append(folder)
        with contextlib.suppress(OSError):
            os.chmod(folder, 0o700)  # its maker may have taken our rights away; the folder is no link: it was looked at
            for entry in os.scandir(folder):
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    os.unlink(entry.path)
    for folder in reversed(folders):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
