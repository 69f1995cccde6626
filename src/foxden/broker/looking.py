"""Operations that look: stat, access, readlink, statfs, attributes.

Runs in: the broker.  Trusts: the rules; the place was found before it was judged.
Flow: Job → one function → the call's value; what the child is to read is written into its memory.
Source: stat(2), statx(2), access(2), readlink(2), getxattr(2); Gecko's SandboxBroker.
"""

from __future__ import annotations

import os
import stat
import struct

from foxden.broker import kernel
from foxden.broker.forms import AT_EMPTY_PATH, AT_STATX_SYNC, AT_SYMLINK_NOFOLLOW, need_of
from foxden.broker.job import EINVAL, ENOENT, Job
from foxden.broker.records import Refused
from foxden.broker.rules import READ, STAT
from foxden.broker.view import Place, own_proc

_IDS = struct.Struct("=II")
_ERANGE, _ENOTSUP = 34, 95
_XATTR_NAME_MAX = 256


def _seen(job: Job) -> Place:
    """The place that stat and its like are about, which the child may look at."""
    request = job.request
    place = job.place(request.at, request.path, follow=not request.flags & AT_SYMLINK_NOFOLLOW, flags=request.flags)
    if not place.is_own:  # what its own descriptors name, fstat tells anyway
        job.allow(place, STAT)
    if not place.exists:
        raise OSError(ENOENT, place.path)
    return place


def stat_(job: Job) -> int:
    words = kernel.stat_bytes(_seen(job).fd)
    _as_seen_inside(job, words, kernel.STAT_IDS)
    job.write(job.request.buffer, bytes(words))
    return 0


def statx(job: Job) -> int:
    request = job.request
    words = kernel.statx_bytes(_seen(job).fd, request.flags & AT_STATX_SYNC, request.mode)
    _as_seen_inside(job, words, kernel.STATX_IDS)
    job.write(request.buffer, bytes(words))
    return 0


def _as_seen_inside(job: Job, words: bytearray, offset: int) -> None:
    """Owner and group as the child's user namespace numbers them."""
    uids, gids = job.ids()
    if uids.is_identity and gids.is_identity:
        return
    uid, gid = _IDS.unpack_from(words, offset)
    _IDS.pack_into(words, offset, uids.inside(uid), gids.inside(gid))


def access(job: Job) -> int:
    request = job.request
    mode = request.mode
    if mode & ~7:
        raise Refused(errno=EINVAL if job.view.is_child else 13, detail="bits that access does not have")
    place = job.place(request.at, request.path, follow=not request.flags & AT_SYMLINK_NOFOLLOW, flags=request.flags)
    if not place.is_own:
        job.allow(place, need_of(request))
    if not place.exists:
        raise OSError(ENOENT, place.path)
    if mode and not stat.S_ISLNK(place.mode) and not os.access(f"/proc/self/fd/{place.fd}", mode, effective_ids=True):
        raise OSError(13 if not mode & os.W_OK else _why_not(place, mode), place.path)
    return 0


def _why_not(place: Place, mode: int) -> int:
    """EROFS of a read-only mount, else EACCES."""
    return 30 if os.fstatvfs(place.fd).f_flag & os.ST_RDONLY and stat.S_IFMT(place.mode) != stat.S_IFCHR else 13


def readlink(job: Job) -> int:
    request = job.request
    if request.size & 0x8000_0000 or not request.size:
        raise OSError(EINVAL, "size")
    place = job.place(
        request.at, request.path, follow=False, flags=AT_EMPTY_PATH if request.name == "readlinkat" else 0
    )
    if not place.is_own:
        # Of what is no link only that is told, which stat tells; of one on the way to what is granted, where it leads.
        is_apart = stat.S_ISLNK(place.mode) and place.path not in job.client.rules.ancestors
        job.allow(place, READ if is_apart else STAT)
    if not place.exists:
        raise OSError(ENOENT, place.path)
    if not stat.S_ISLNK(place.mode):
        raise OSError(EINVAL, place.path)
    folder, _, name = place.path.rpartition("/")
    if folder == "/proc" and name in ("self", "thread-self"):
        text = own_proc(name, job.who(), is_child=job.view.is_child).encode()
    else:
        text = os.readlink(b"", dir_fd=place.fd)
    text = text[: request.size & 0x7FFF_FFFF]
    job.write(request.buffer, text)
    return len(text)


def statfs(job: Job) -> int:
    words = kernel.statfs_bytes(_seen(job).fd)
    job.write(job.request.buffer, words)
    return 0


def xattr_path(place: Place) -> str:
    """A path by which a call without a descriptor reaches what the place holds."""
    if not place.exists:
        raise OSError(ENOENT, place.path)
    if stat.S_ISLNK(place.mode):
        raise OSError(_ENOTSUP, place.path)  # attributes of links themselves: trusted ones only, which are not given
    return f"/proc/self/fd/{place.fd}"


def getxattr(job: Job) -> int:
    request = job.request
    place = job.place(request.at, request.path, follow=not request.flags & AT_SYMLINK_NOFOLLOW)
    name = job.text(request.path2, _XATTR_NAME_MAX)
    job.allow(place, READ)
    return _sized(job, os.getxattr(xattr_path(place), name))


def listxattr(job: Job) -> int:
    request = job.request
    place = job.place(request.at, request.path, follow=not request.flags & AT_SYMLINK_NOFOLLOW)
    job.allow(place, READ)
    names = os.listxattr(xattr_path(place)) if not stat.S_ISLNK(place.mode) else []
    return _sized(job, b"".join(os.fsencode(name) + b"\0" for name in names))


def _sized(job: Job, words: bytes) -> int:
    """Into a buffer of the child's if it has room; with room for nothing only the size is asked for."""
    size = job.request.size
    if size:
        if size < len(words):
            raise OSError(_ERANGE, "too small")
        job.write(job.request.buffer, words)
    return len(words)
