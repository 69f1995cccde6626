"""Operations that change what lies under a name: make, remove, rename, link, and change attributes.

Runs in: the broker.  Trusts: the rules; a name is acted on in the directory that was held and judged.
Flow: Job → places with their directories → decision on each → the call, by descriptor and single name.
Source: rename(2), link(2), mknod(2), chmod(2), utimensat(2); Gecko's SandboxBroker; hostile cases 10, 15-20, 45.
"""

from __future__ import annotations

import os
import posixpath
import stat
import struct

from foxden.broker import kernel
from foxden.broker.forms import (
    AT_FDCWD,
    AT_REMOVEDIR,
    AT_SYMLINK_FOLLOW,
    AT_SYMLINK_NOFOLLOW,
    NEEDS,
    RENAME_EXCHANGE,
    RENAME_WHITEOUT,
)
from foxden.broker.job import EEXIST, EINVAL, ENOENT, EPERM, Job
from foxden.broker.looking import xattr_path
from foxden.broker.records import Refused
from foxden.broker.rules import CHANGE, READ, STAT, WRITE
from foxden.broker.tasks import umask_of
from foxden.broker.view import Place

_XATTR_NAME_MAX, _XATTR_SIZE_MAX = 256, 65_536
_SET_IDS = stat.S_ISUID | stat.S_ISGID
_MAKEABLE = (0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)  # never a device; 0 is a regular file
_TIME, _UTIMBUF, _TIMEVALS = struct.Struct("=qqqq"), struct.Struct("=qq"), struct.Struct("=qqqq")
_PRIVATE = 0o700
_EBUSY = 16


def _named(job: Job, at: int, pointer: int) -> Place:
    """A name in a directory, whether something is there or not."""
    place = job.place(at, pointer, follow=False, parent=True)
    if place.parent < 0:
        job.allow(place, CHANGE)
        raise OSError(EINVAL if place.path != "/" else _EBUSY, place.path)  # `.`, `..` and the root are nobody's name
    return place


def _mode(job: Job, kind_private: int) -> int:
    """Of something new: private for foxden's own children, else as asked, less the umask and the set-id bits."""
    if not job.view.is_child:
        return kind_private
    mode = job.request.mode & ~umask_of(job.note.tid) & 0o1777
    job.check()
    return mode


def mkdir(job: Job) -> int:
    place = job.place(job.request.at, job.request.path, follow=False, parent=True)
    if place.exists and job.client.rules.allows(place.path, STAT):
        raise OSError(EEXIST, place.path)
    job.allow(place, CHANGE)
    os.mkdir(place.name, _mode(job, _PRIVATE), dir_fd=place.parent)
    return 0


def mknod(job: Job) -> int:
    request = job.request
    kind = stat.S_IFMT(request.mode)
    place = _named(job, request.at, request.path)
    if kind not in _MAKEABLE:
        raise Refused(place.path, CHANGE, EPERM, "a device")
    job.allow(place, CHANGE)
    job.not_leading(place, CHANGE)
    os.mknod(place.name, (kind or stat.S_IFREG) | _mode(job, 0o600), dir_fd=place.parent)
    return 0


def symlink(job: Job) -> int:
    text = job.text(job.request.path2)
    if not text:
        raise OSError(ENOENT, "empty")
    place = _named(job, job.request.at, job.request.path)
    job.allow(place, CHANGE)
    job.not_leading(place, CHANGE)
    if not job.view.is_child:  # Gecko's rule: a link leads only where its maker may write
        target = posixpath.normpath(posixpath.join(posixpath.dirname(place.path), text))
        if not job.client.rules.allows(target, CHANGE):
            raise Refused(target, CHANGE)
    os.symlink(text, place.name, dir_fd=place.parent)
    return 0


def link(job: Job) -> int:
    request = job.request
    source = job.place(request.at, request.path, follow=bool(request.flags & AT_SYMLINK_FOLLOW), flags=request.flags)
    target = _named(job, request.at2, request.path2)
    job.allow(source, CHANGE)
    job.not_leading(source, CHANGE)
    _into(job, source, target)
    if not source.exists:
        raise OSError(ENOENT, source.path)
    os.link(f"/proc/self/fd/{source.fd}", target.name, dst_dir_fd=target.parent, follow_symlinks=True)
    return 0


def _into(job: Job, source: Place, target: Place) -> None:
    """May what `source` is be called `target`?  It must not gain by it: what could not be read before, cannot after."""
    job.allow(target, CHANGE)
    job.not_leading(target, CHANGE)
    if job.client.rules.allows(target.path, READ) and not job.client.rules.allows(source.path, READ):
        raise Refused(source.path, CHANGE | READ)


def rename(job: Job) -> int:
    request = job.request
    source = _named(job, request.at, request.path)
    target = _named(job, request.at2, request.path2)
    if request.flags & RENAME_WHITEOUT:
        raise Refused(source.path, CHANGE, EPERM, "a whiteout is a device")
    job.allow(source, CHANGE)
    job.not_leading(source, CHANGE)
    _into(job, source, target)
    job.not_holding(source, CHANGE)
    job.not_holding(target, CHANGE)
    if request.flags & RENAME_EXCHANGE:
        _into(job, target, source)
    kernel.rename(source.parent, os.fsencode(source.name), target.parent, os.fsencode(target.name), request.flags)
    return 0


def unlink(job: Job) -> int:
    is_folder = bool(job.request.flags & AT_REMOVEDIR)
    place = _named(job, job.request.at, job.request.path)
    job.allow(place, CHANGE)
    if not place.exists:
        raise OSError(ENOENT, place.path)
    if not is_folder:
        job.not_leading(place, CHANGE)  # `.git` that is a link, or a file: what comes in its place would be another's
    if is_folder:
        os.rmdir(place.name, dir_fd=place.parent)
    else:
        os.unlink(place.name, dir_fd=place.parent)
    return 0


# ---- attributes


def _changed(job: Job, *, may_be_link: bool = False) -> Place:
    request = job.request
    place = job.place(request.at, request.path, follow=not request.flags & AT_SYMLINK_NOFOLLOW, flags=request.flags)
    need = NEEDS[request.operation]
    if place.is_own and _is_held_for_writing(job, place):
        return place  # what it may write, under a name or none, it may change the attributes of
    job.allow(place, need)
    if not stat.S_ISDIR(place.mode):
        job.not_leading(place, need)
    if not place.exists:
        raise OSError(ENOENT, place.path)
    if stat.S_ISLNK(place.mode) and not may_be_link:
        raise OSError(95, place.path)
    return place


def _is_held_for_writing(job: Job, place: Place) -> bool:
    held = job.flags_of(place)
    return not held & os.O_PATH and held & os.O_ACCMODE != os.O_RDONLY


def chmod(job: Job) -> int:
    mode = job.request.mode & 0o7777
    place = _changed(job)
    kept = stat.S_ISGID if stat.S_ISDIR(place.mode) else 0
    if mode & _SET_IDS & ~kept:
        raise Refused(place.path, WRITE, EPERM, "set-id bits: the file is the user's, not the child's")
    os.chmod(f"/proc/self/fd/{place.fd}", mode)
    return 0


def chown(job: Job) -> int:
    place = _changed(job, may_be_link=True)
    uids, gids = job.ids()
    ids = []
    for asked, known in ((job.request.mode, uids), (job.request.extra & 0xFFFF_FFFF, gids)):
        if asked == 0xFFFF_FFFF:
            ids.append(-1)
            continue
        outer = known.outside(asked)
        if outer < 0:
            raise OSError(EINVAL, "no such id in its user namespace")
        ids.append(outer)
    if stat.S_ISLNK(place.mode):
        again = job.named(place.path, follow=False, parent=True)
        os.chown(again.name, *ids, dir_fd=again.parent, follow_symlinks=False)
    else:
        os.chown(f"/proc/self/fd/{place.fd}", *ids)
    return 0


def truncate(job: Job) -> int:
    size = job.request.size
    if size >= 1 << 63:
        raise OSError(EINVAL, "size")
    place = _changed(job)
    if not stat.S_ISREG(place.mode):
        raise OSError(21 if stat.S_ISDIR(place.mode) else EINVAL, place.path)
    os.truncate(f"/proc/self/fd/{place.fd}", size)
    return 0


def utime(job: Job) -> int:
    request = job.request
    times = _times(job)
    if not request.path and request.name in ("utimensat", "futimesat"):  # of a descriptor: futimens
        place = job.own(request.at)
        job.allow(place, WRITE)
    else:
        place = _changed(job, may_be_link=True)
    if stat.S_ISLNK(place.mode):
        again = job.named(place.path, follow=False, parent=True)
        kernel.set_times(again.parent, os.fsencode(again.name), times, AT_SYMLINK_NOFOLLOW)
    else:
        kernel.set_times(AT_FDCWD, b"/proc/self/fd/%d" % place.fd, times, 0)
    return 0


def _times(job: Job) -> bytes | None:
    """Two struct timespec, whatever the call's own structure is.  Raises OSError: EFAULT, EINVAL."""
    request = job.request
    if not request.buffer:
        return None
    if request.name == "utimensat":
        return job.data(request.buffer, _TIME.size)
    if request.name == "utime":
        accessed, modified = _UTIMBUF.unpack(job.data(request.buffer, _UTIMBUF.size))
        return _TIME.pack(accessed, 0, modified, 0)
    first, first_us, second, second_us = _TIMEVALS.unpack(job.data(request.buffer, _TIMEVALS.size))
    if not (0 <= first_us < 1_000_000 and 0 <= second_us < 1_000_000):
        raise OSError(EINVAL, "microseconds")
    return _TIME.pack(first, first_us * 1000, second, second_us * 1000)


def setxattr(job: Job) -> int:
    request = job.request
    name = job.text(request.path2, _XATTR_NAME_MAX)
    if request.size > _XATTR_SIZE_MAX:
        raise OSError(7, "size")
    value = job.data(request.buffer, request.size)
    place = _changed(job)
    _own_attribute(place, name)
    os.setxattr(xattr_path(place), name, value, request.extra & 0xFFFF_FFFF)
    return 0


def removexattr(job: Job) -> int:
    name = job.text(job.request.path2, _XATTR_NAME_MAX)
    place = _changed(job)
    _own_attribute(place, name)
    os.removexattr(xattr_path(place), name)
    return 0


def _own_attribute(place: Place, name: str) -> None:
    """Only `user.` ones: the others are labels, capabilities and lists of access, set with the broker's rights."""
    if name.startswith("system.posix_acl_"):
        raise OSError(95, name)  # as on a file system without them: cp and tar then take the mode
    if not name.startswith("user."):
        raise Refused(place.path, WRITE, EPERM, f"attribute {name[:64]!r}")
