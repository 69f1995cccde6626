"""Where a child of foxden's own stands: its working directory, which is a name that the broker keeps.

Runs in: the broker.  Trusts: the rules; a name gives nothing: what is found from it is judged as any other path.
Flow: chdir, fchdir → found, judged → Client.folder → Job: where a relative path begins; getcwd → the child's buffer.
Source: chdir(2), getcwd(2); hostile cases 1, 3, 24.

The kernel's own cannot follow: the root of such a child is empty, and a child with ids of its own may not enter the
user's private folders.  Whatever it opens comes from here, so what it stands in need be known nowhere else.  It is one
process that makes no other: one name does for all of its threads.  Programs have a view of their own, and the kernel's.

Kept only for a child whose policy has getcwd asked here: any other is refused, as it stays where it is.
"""

from __future__ import annotations

import errno
import os
import stat

from foxden.broker.forms import AT_EMPTY_PATH
from foxden.broker.job import ENOENT, ENOTDIR, Job
from foxden.broker.kernel import PATH_MAX
from foxden.broker.records import Refused
from foxden.broker.rules import STAT
from foxden.sandbox import linux
from foxden.sandbox.syscall_numbers import NUMBERS

_GETCWD = NUMBERS[linux.ARCH]["getcwd"]


def chdir(job: Job) -> int:
    """chdir, and fchdir: into what is granted, or lies above it, which `..` tells of, too."""
    request = job.request
    _kept(job)
    place = job.place(request.at, request.path, flags=request.flags & AT_EMPTY_PATH)
    if not (place.path and job.client.rules.passes(place.path)):
        job.allow(place, STAT)
    if not place.exists:
        raise OSError(ENOENT, place.path)
    if not stat.S_ISDIR(place.mode):
        raise OSError(ENOTDIR, place.path)
    job.check()
    job.client.folder = place.path
    return 0


def getcwd(job: Job) -> int:
    """The name, if a folder is still there.  ENOENT where it is not, or is granted no more."""
    _kept(job)
    path = job.client.folder or "/"
    if path != "/":
        _still_there(job, path)
    words = os.fsencode(path) + b"\0"
    if len(words) > PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, path)
    if len(words) > job.request.size:
        raise OSError(errno.ERANGE, "too small")
    job.write(job.request.buffer, words)
    return len(words)


def _kept(job: Job) -> None:
    """Raises Refused unless the broker is to keep where this child stands."""
    if job.view.is_child or _GETCWD not in job.client.errnos:
        raise Refused(detail="it stays where it is")


def _still_there(job: Job, path: str) -> None:
    try:
        place = job.named(path, follow=False)
    except Refused:
        raise OSError(ENOENT, path) from None
    if not place.exists or not stat.S_ISDIR(place.mode) or not job.client.rules.passes(path):
        raise OSError(ENOENT, path)
