"""Finding what a path names, one component at a time and never further than a root: the canonical path is the result.

Runs in: the broker.  Trusts: the kernel; no link, no name and no descriptor of a child.
Flow: a child's path → absolute → openat2 where no link lies on the way, else a walk → Place(path, descriptors).
Source: path_resolution(7), openat2(2); hostile cases 1-8.

A Place holds what was found (O_PATH), so that what is judged, by its canonical path, is what is opened afterwards.
A link is followed by its text, as if the child had written it there: whatever it leads to is judged by itself.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from typing import NamedTuple

from foxden.broker import held
from foxden.broker.kernel import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, openat2
from foxden.broker.tasks import Who

_LINKS_MAX = 40
_DEPTH_MAX = 512  # descriptors that a walk may hold at a time
_FOUND = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
STRICT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
_ELOOP, _ENOENT, _ENOTDIR, _ENAMETOOLONG, _EMFILE = 40, 2, 20, 36, 24
_OWN_DESCRIPTOR = re.compile(r"/(?:proc/(?:self|thread-self|(\d+))|dev)/fd/(\d{1,9})\Z")
_STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


class Place:
    """Where a path leads.  Holds its descriptors until `close`."""

    __slots__ = ("fd", "flags", "last_link", "linked", "mode", "name", "number", "parent", "path", "wants_folder")

    def __init__(self, path: str, parent: int, name: str, fd: int, mode: int) -> None:
        self.path = path  # canonical
        self.parent = parent  # of what lies there, or would; -1: nobody asked for it
        self.name = name
        self.fd = fd  # O_PATH; -1: nothing is there
        self.mode = mode  # st_mode; 0: nothing is there
        self.linked: tuple[str, ...] = ()  # canonical paths of the links that were followed
        self.last_link = ""  # the canonical path of the last link that stood at the end
        self.wants_folder = False  # it was written with a slash at its end
        self.number = -1  # of the child's own descriptor, whatever it names
        self.flags = held.UNKNOWN  # that this one was opened with: Job.flags_of

    @property
    def is_own(self) -> bool:
        return self.number >= 0

    @property
    def exists(self) -> bool:
        return self.fd >= 0

    def close(self) -> None:
        for fd in (self.fd, self.parent):
            if fd >= 0:
                os.close(fd)
        self.fd = self.parent = -1


class OwnFolder(NamedTuple):
    """A child's own folder of temporary files, where it is a file system that stands at no path."""

    prefix: str  # what it is called
    fd: int
    device: int

    def has(self, path: str) -> bool:
        return path.startswith(self.prefix) and path[len(self.prefix) : len(self.prefix) + 1] in ("", "/")


class NotFound(OSError):
    """Resolving failed at `path`, the canonical path of what was looked for there."""

    def __init__(self, errno: int, path: str) -> None:
        super().__init__(errno, os.strerror(errno))
        self.path = path


class View:
    """One tree of names.  `is_child`: that of an unmodified program, in a mount namespace of its own."""

    def __init__(self, root: int, *, is_child: bool, folder: OwnFolder | None = None) -> None:
        self.root, self.is_child, self.folder = root, is_child, folder

    @classmethod
    def of_host(cls) -> View:
        return cls(os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), is_child=False)

    @classmethod
    def of_task(cls, tid: int) -> View:
        """As this thread sees it.  The caller checks that the notification that named it is still valid."""
        return cls(os.open(f"/proc/{tid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), is_child=True)

    def with_own(self, prefix: str, fd: int) -> View:
        """The same, but that this path is the root of `fd`, which stays the caller's."""
        return View(os.dup(self.root), is_child=self.is_child, folder=OwnFolder(prefix, fd, os.fstat(fd).st_dev))

    def close(self) -> None:
        os.close(self.root)

    def _at(self, path: str) -> tuple[int, bytes]:
        """From where, and by which path, a canonical path is opened."""
        if self.folder is not None and self.folder.has(path):
            return self.folder.fd, os.fsencode(path[len(self.folder.prefix) :] or "/")
        return self.root, os.fsencode(path)

    # ---- where a relative path begins

    def base(self, who: Callable[[], Who], tid: int, at: int) -> str:
        """The canonical path of a child's working directory (at < 0), or of the directory that its descriptor names.

        It must be the directory that this view has at that path: one of another root or mount namespace is nothing
        that rules speak of.  Raises OSError.
        """
        fd = held.folder_of(tid) if at < 0 else self._hold(who, tid, at, os.O_DIRECTORY)[0]
        try:
            path = self._path_of(fd)
        finally:
            os.close(fd)
        if not path:
            raise NotFound(_ENOENT, "")
        return path

    def own(self, who: Callable[[], Who], tid: int, number: int) -> Place:
        """What a descriptor of the child names.  `path` is empty where no path of this view leads to it."""
        fd, flags = self._hold(who, tid, number, 0)
        try:
            place = Place(self._path_of(fd), -1, "", fd, os.fstat(fd).st_mode)
        except BaseException:
            os.close(fd)
            raise
        place.number, place.flags = number, flags
        return place

    def _hold(self, who: Callable[[], Who], tid: int, number: int, kind: int) -> tuple[int, int]:
        return held.hold(tid, number, 0 if self.is_child else who().tgid, kind)

    def _path_of(self, fd: int) -> str:
        """The path by which this view leads to what is held; empty: none does."""
        path = os.readlink(f"/proc/self/fd/{fd}")
        if self.folder is not None and os.fstat(fd).st_dev == self.folder.device:
            path = self.folder.prefix + path.rstrip("/")
        return path if self._is_at(path, fd) else ""

    def _is_at(self, path: str, fd: int) -> bool:
        if not path.startswith("/"):
            return False
        try:
            other = openat2(*self._at(path), _FOUND, STRICT)
        except OSError:
            return False
        try:
            return os.path.sameopenfile(fd, other)
        finally:
            os.close(other)

    # ---- finding

    def find(
        self, path: str, *, follow: bool, parent: bool, who: Callable[[], Who], passes: Callable[[str], bool]
    ) -> Place:
        """What an absolute path leads to.  `parent`: hold the directory, too, and take it if nothing is there yet;
        `passes`: whether `..` may lead out of the directory of this canonical path, which tells that it is there.

        Raises NotFound, OSError.
        """
        if is_plain(path):
            try:
                return self._find_parent(path, follow) if parent else self._find_plain(path, follow)
            except OSError as error:
                if error.errno not in (_ELOOP, _ENAMETOOLONG):
                    raise NotFound(error.errno or _ENOENT, path) from None
        return self._walk(path, follow, who, passes)

    def _find_plain(self, path: str, follow: bool) -> Place:
        """No link lies on the way, nor, if it is to be followed, at the end: canonical as it is.  ELOOP: one does."""
        fd = openat2(*self._at(path), os.O_PATH | os.O_CLOEXEC if follow else _FOUND, STRICT)
        return Place(path, -1, "", fd, os.fstat(fd).st_mode)

    def _find_parent(self, path: str, follow: bool) -> Place:
        folder, _, name = path.rpartition("/")
        parent = openat2(*self._at(folder or "/"), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, STRICT)
        place = Place(path, parent, name, -1, 0)
        try:
            place.fd = os.open(name, _FOUND, dir_fd=parent)
            place.mode = os.fstat(place.fd).st_mode
        except FileNotFoundError:
            return place
        except BaseException:
            place.close()
            raise
        if follow and stat.S_ISLNK(place.mode):
            place.close()
            raise OSError(_ELOOP, "a link")
        return place

    def _walk(self, path: str, follow: bool, who: Callable[[], Who], passes: Callable[[str], bool]) -> Place:
        trail = _Trail(self.root, self.folder)
        try:
            return self._steps(trail, path, follow, who, passes)
        finally:
            trail.close()

    def _steps(
        self, trail: _Trail, path: str, follow: bool, who: Callable[[], Who], passes: Callable[[str], bool]
    ) -> Place:
        pending = path.split("/")[::-1]
        linked: list[str] = []
        last_link = ""
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if not passes(trail.path):
                    raise NotFound(_ENOENT, trail.path)
                trail.back()
                continue
            is_last = not any(each not in ("", ".") for each in pending)
            fd = trail.open(name, may_lack=is_last)
            mode = os.fstat(fd).st_mode if fd >= 0 else 0
            if stat.S_ISLNK(mode) and (follow or pending):
                try:
                    if trail.path.startswith("/proc/") and not passes(trail.path):
                        _own_only(trail.path_of(name), who)
                    text = self._text(trail, name, fd, who)
                finally:
                    os.close(fd)
                linked.append(trail.path_of(name))
                last_link = linked[-1] if is_last else last_link
                if len(linked) > _LINKS_MAX:
                    raise NotFound(_ELOOP, linked[-1])
                if text.startswith("/"):
                    trail.close()
                pending += text.split("/")[::-1]
                continue
            if (not is_last and not stat.S_ISDIR(mode)) or (fd >= 0 and pending and not stat.S_ISDIR(mode)):
                os.close(fd)
                raise NotFound(_ENOTDIR, trail.path_of(name))
            if is_last:
                place = trail.take(name, fd, mode)
                place.linked, place.last_link, place.wants_folder = tuple(linked), last_link, path.endswith("/")
                return place
            trail.push(name, fd)
        place = trail.take_end()
        place.linked, place.last_link = tuple(linked), last_link
        return place

    def _text(self, trail: _Trail, name: str, fd: int, who: Callable[[], Who]) -> str:
        if trail.path == "/proc" and name in ("self", "thread-self"):
            return own_proc(name, who(), is_child=self.is_child)
        return os.readlink("", dir_fd=fd)


class _Trail:
    """The directories from the root to where a walk is, each held."""

    def __init__(self, root: int, folder: OwnFolder | None) -> None:
        self._root, self._folder = root, folder
        self._names: list[str] = []
        self._fds: list[int] = []

    @property
    def path(self) -> str:
        return "/" + "/".join(self._names)

    def path_of(self, name: str) -> str:
        return f"{self.path if self._names else ''}/{name}"

    @property
    def _here(self) -> int:
        return self._fds[-1] if self._fds else self._root

    def open(self, name: str, *, may_lack: bool) -> int:
        """Raises NotFound.  -1: nothing is there, and nothing need be."""
        if self._folder is not None and self._folder.prefix == self.path_of(name):
            return os.dup(self._folder.fd)
        try:
            return os.open(name, _FOUND, dir_fd=self._here)
        except OSError as error:
            if may_lack and error.errno == _ENOENT:
                return -1
            raise NotFound(error.errno or _ENOENT, self.path_of(name)) from None

    def push(self, name: str, fd: int) -> None:
        self._names.append(name)
        self._fds.append(fd)
        if len(self._fds) > _DEPTH_MAX:
            raise NotFound(_ENAMETOOLONG, self.path)

    def back(self) -> None:
        if self._fds:
            self._names.pop()
            os.close(self._fds.pop())

    def take(self, name: str, fd: int, mode: int) -> Place:
        try:
            return Place(self.path_of(name), os.dup(self._here), name, fd, mode)
        except OSError:
            if fd >= 0:
                os.close(fd)
            raise

    def take_end(self) -> Place:
        """Where the walk stands: it ended in `..`, `.` or nothing, so no name of it can be made or removed."""
        fd = os.dup(self._here)
        return Place(self.path, -1, "", fd, os.fstat(fd).st_mode)

    def close(self) -> None:
        while self._fds:
            os.close(self._fds.pop())
        self._names.clear()


def own_proc(name: str, who: Who, *, is_child: bool) -> str:
    """What `/proc/self` and `/proc/thread-self` say to the child: for the broker they would be the broker's."""
    tgid, tid = (who.own_tgid, who.own_tid) if is_child else (who.tgid, who.tid)
    return str(tgid) if name == "self" else f"{tgid}/task/{tid}"


def own_descriptor(path: str, who: Callable[[], Who]) -> int:
    """The number of the child's own descriptor that this path means, or -1."""
    if not path.startswith(("/proc/", "/dev/")):
        return -1
    if path in _STANDARD:
        return _STANDARD[path]
    found = _OWN_DESCRIPTOR.match(path)
    if found is None or (found[1] is not None and int(found[1]) != who().own_tgid):
        return -1
    return int(found[2])


def _own_only(link: str, who: Callable[[], Who]) -> None:
    """Raises NotFound but for the child's own descriptors: a link of a process tells what is the process's own."""
    if own_descriptor(link, who) < 0:
        raise NotFound(_ENOENT, link)


def is_plain(path: str) -> bool:
    """Absolute, and every component a name: no `.`, `..`, `//` or slash at the end."""
    return (
        path[:1] == "/"
        and "//" not in path
        and "/./" not in path
        and "/../" not in path
        and not path.endswith(("/", "/.", "/.."))
    )
