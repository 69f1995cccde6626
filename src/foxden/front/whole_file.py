"""A file that appears when it is complete, and not before.

Runs in: command.  Trusts: the user's choice of name; replaces what is there only by something whole.
Flow: WholeFile(path) → write … → keep() puts it in place | close() without keep() leaves nothing.
Source: open(2) O_TMPFILE: a file without a name, gone with its process even when that is killed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from typing import Self

from foxden.front.failures import CommandFailed


class WholeFile:
    """Write into a nameless file beside `path`; `keep` gives it the name.  A device or fifo is written as it is."""

    def __init__(self, path: str) -> None:
        """Raises CommandFailed, at once and not after a long download, when nothing can be written there."""
        self._path = os.path.realpath(path)
        self._folder = os.path.dirname(self._path)
        self._temporary = ""  # its name, on a file system without O_TMPFILE
        self._direct = False
        try:
            self._fd = self._open()
        except OSError as error:
            hint = f"make its folder first: mkdir -p {self._folder}" if isinstance(error, FileNotFoundError) else ""
            raise CommandFailed(f"cannot write {path}: {error.strerror}", hint=hint) from None

    def _open(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            mode = os.stat(self._path).st_mode
            if not stat.S_ISREG(mode):
                self._direct = True
                return os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)  # a directory is refused here: EISDIR
            if not os.access(self._path, os.W_OK):
                raise PermissionError(13, "Permission denied")
        try:
            return os.open(self._folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            raise
        except OSError:
            self._temporary = self._spare_name()
            return os.open(self._temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)

    def _spare_name(self) -> str:
        return os.path.join(self._folder, f".{os.path.basename(self._path)[:200]}.{secrets.token_hex(4)}.part")

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            raise CommandFailed(f"cannot write {self._path}: {error.strerror}") from None

    def keep(self) -> None:
        """It is complete: put it where it was asked for."""
        if self._direct:
            return
        if not self._temporary:
            # link(2) does not replace, rename(2) does: a name for a moment, then the right one.
            self._temporary = self._spare_name()
            folder = os.open(self._folder, os.O_PATH | os.O_CLOEXEC)
            try:
                # Only with a dir_fd does Python call linkat, which alone follows the link of /proc.
                os.link(f"/proc/self/fd/{self._fd}", self._temporary, src_dir_fd=folder, follow_symlinks=True)
            finally:
                os.close(folder)
        os.rename(self._temporary, self._path)
        self._temporary = ""

    def close(self) -> None:
        """Let go.  What was not kept is gone."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._temporary)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
