"""Private directories for temporary files of children: one each, made with the child, gone with it.

Runs in: parent.  Trusts: the kernel's locks to tell dens that live from dens that died; nothing that children made.
Flow: of(child) → <temporary>/foxden-<uid>/<den>/<child> → first call → make, mode 0700 → forget(child).
Source: Gecko's mediated temporary files; flock(2).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from collections.abc import Iterator


class Temporaries:
    """Of one den.  The den's directory is held locked for as long as the den lives."""

    def __init__(self) -> None:
        self._base = self._den = ""  # paths of directories that may not be there yet
        self._lock = -1
        self._named: dict[int, str] = {}
        self._made: set[int] = set()

    def of(self, child_id: int) -> str:
        """Where this child's directory will be: it is told so before it may need one.

        Raises OSError: FileNotFoundError where there is no place for temporary files at all.
        """
        if not self._den:
            self._base = os.path.join(os.path.realpath(_temporary_folder()), f"foxden-{os.getuid()}")
            self._den = os.path.join(self._base, f"{os.getpid()}-{os.urandom(8).hex()}")
        return self._named.setdefault(child_id, os.path.join(self._den, str(child_id)))

    def path(self, child_id: int) -> str:
        """Empty: it has none."""
        return self._named.get(child_id, "")

    def make(self, child_id: int) -> None:
        """Make the directory, if this child is to have one.  Raises OSError."""
        path = self.path(child_id)
        if not path or child_id in self._made:
            return
        if self._lock < 0:
            self._begin()
        os.mkdir(path, 0o700)
        self._made.add(child_id)

    def _begin(self) -> None:
        _make_private(self._base)
        self.sweep()
        os.mkdir(self._den, 0o700)
        self._lock = os.open(self._den, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def sweep(self) -> None:
        """Remove what dens left that were killed."""
        with contextlib.suppress(FileNotFoundError):
            for entry in os.scandir(self._base):
                if entry.is_dir(follow_symlinks=False) and _is_left(entry.path):
                    remove_tree(entry.path)

    def forget(self, child_id: int) -> None:
        """The child has ended: remove its directory and all that it made there."""
        path = self._named.pop(child_id, "")
        if child_id in self._made:
            self._made.discard(child_id)
            remove_tree(path)

    def close(self) -> None:
        if self._lock >= 0:
            remove_tree(self._den)
            os.close(self._lock)
            self._lock = -1
            with contextlib.suppress(OSError):
                os.rmdir(self._base)  # unless another den has its own there


def temporary_folders() -> Iterator[str]:
    """Wherever the module tempfile may put files, in its order.  To load it, and to let it try where it can write,
    takes some milliseconds of a den's first call."""
    known = getattr(sys.modules.get("tempfile"), "tempdir", None)
    candidates = (known, *map(os.environ.get, ("TMPDIR", "TEMP", "TMP")), "/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108
    yield from (os.fsdecode(folder) for folder in candidates if folder)


def _temporary_folder() -> str:
    """The first where files can be made.  Raises FileNotFoundError."""
    for folder in temporary_folders():
        if os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise FileNotFoundError(2, "expected a folder for temporary files, found none that can be written: set TMPDIR")


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
