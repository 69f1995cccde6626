"""Operations that give the child a descriptor: open, and connect to a unix socket.

Runs in: the broker.  Trusts: the rules; what is opened is what was found, held and judged, never its name again.
Flow: Job → place → decision → /proc/self/fd/<what was found> opened with the child's flags → Given.
Source: open(2), unix(7); Gecko's SandboxBroker; hostile cases 1-8, 12, 14.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct

from foxden.broker import loopback
from foxden.broker.forms import (
    AT_FDCWD,
    O_LARGEFILE,
    O_TMPFILE_BIT,
    OPEN_FLAGS,
    OPEN_FLAGS_OF_PROGRAMS,
    open_need,
)
from foxden.broker.job import EACCES, EEXIST, EINVAL, EISDIR, ELOOP, ENOENT, ENOTDIR, Job
from foxden.broker.records import Given, Refused
from foxden.broker.rules import CONNECT, CREATE, READ, STAT, WRITE
from foxden.broker.tasks import open_flags, terminal_of, umask_of
from foxden.broker.view import Place
from foxden.broker.waiting import Later
from foxden.sandbox import linux

_NEW_FILE_MODE = 0o600  # of files of foxden's own children: nobody else's business, whatever they ask for
_KEPT_MODE = 0o1777  # never set-id bits: the file is the user's, not the child's
_ALWAYS = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_OF_NAMES = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SETTABLE = os.O_APPEND | os.O_DIRECT | os.O_NOATIME  # what F_SETFL sets or clears, but for O_NONBLOCK
_TRIES = 4  # at a name that someone else makes and removes meanwhile
_LARGE = O_LARGEFILE.get(linux.ARCH, 0)
_ENXIO, _EWOULDBLOCK = errno.ENXIO, errno.EWOULDBLOCK
_SUN_PATH_MAX = 108


def open_(job: Job) -> Given | Later:
    flags = job.request.flags & ~_LARGE
    allowed = OPEN_FLAGS_OF_PROGRAMS if job.view.is_child else OPEN_FLAGS
    if flags & ~allowed:
        raise Refused(_path_for_record(job), open_need(flags), EACCES, f"flags {flags & ~allowed:#o} of open")
    if flags & O_TMPFILE_BIT:
        return _unnamed(job, flags)
    for _ in range(_TRIES):
        try:
            return _open_once(job, flags)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
    raise OSError(EEXIST, "made and removed all the time")


def _path_for_record(job: Job) -> str:
    try:
        return job.text(job.request.path)
    except OSError:
        return ""


def _open_once(job: Job, flags: int) -> Given | Later:
    request = job.request
    creates = bool(flags & os.O_CREAT)
    follow = not (flags & os.O_NOFOLLOW or (creates and flags & os.O_EXCL))
    place = job.place(request.at, request.path, follow=follow, parent=creates)
    if place.is_own:
        return _reopen_own(job, place, flags)
    need = open_need(flags)
    if creates and (not place.exists or not job.view.is_child):
        need |= CREATE
    job.allow(place, need)
    if need & (WRITE | CREATE):
        job.not_leading(place, need)
    if not place.exists:
        if not creates:
            raise OSError(ENOENT, place.path)
        return _create(job, place, flags)
    return _open_found(job, place, flags)


def _create(job: Job, place: Place, flags: int) -> Given:
    if place.wants_folder:
        raise OSError(EISDIR, place.path)
    if place.parent < 0:
        raise OSError(ENOENT, place.path)
    mode = _NEW_FILE_MODE
    if job.view.is_child:
        mode = job.request.mode & ~umask_of(job.note.tid) & _KEPT_MODE
    job.check()
    wanted = flags & ~_OF_NAMES | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | _ALWAYS
    return _given(os.open(place.name, wanted, mode, dir_fd=place.parent), flags)


def _unnamed(job: Job, flags: int) -> Given:
    """O_TMPFILE: a file without a name, in a directory of a program's view.  A child of foxden's own hears that there
    are none, as on many a file system, and makes one with a name."""
    place = job.place(job.request.at, job.request.path)
    job.allow(place, open_need(flags) | CREATE)
    if not job.view.is_child:
        raise OSError(errno.EOPNOTSUPP, place.path)
    mode = job.request.mode & ~umask_of(job.note.tid) & _KEPT_MODE
    job.check()
    return _given(os.open(f"/proc/self/fd/{place.fd}", flags | _ALWAYS, mode), flags)


def _open_found(job: Job, place: Place, flags: int) -> Given | Later:
    kind = stat.S_IFMT(place.mode)
    if flags & os.O_CREAT and flags & os.O_EXCL:
        raise OSError(EEXIST, place.path)
    if kind == stat.S_IFLNK:
        raise OSError(ELOOP, place.path)
    if flags & os.O_DIRECTORY and kind != stat.S_IFDIR:
        raise OSError(ENOTDIR, place.path)
    if flags & os.O_PATH:
        return _path_only(place, flags, kind)
    if kind == stat.S_IFDIR and flags & os.O_CREAT:
        raise OSError(EISDIR, place.path)
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        return _open_device(job, place, flags)
    return reopen(f"/proc/self/fd/{place.fd}", place, flags)


def _open_device(job: Job, place: Place, flags: int) -> Given | Later:
    """A device that a rule names, or that the program's own mounts show; its own terminal where it means that."""
    if place.path == "/dev/tty":
        terminal = terminal_of(job.note.tid)
        job.check()
        if not terminal:
            raise OSError(_ENXIO, "no controlling terminal")
        if not job.view.is_child:
            raise Refused(place.path, open_need(flags), EACCES, "a terminal")
        place = job.named(terminal, follow=False)
        if not place.exists or not stat.S_ISCHR(place.mode):
            raise OSError(_ENXIO, "its terminal is in another view")
    elif not job.view.is_child and not job.client.rules.names(place.path):
        raise Refused(place.path, open_need(flags), EACCES, "a device that no rule names")
    return reopen(f"/proc/self/fd/{place.fd}", place, flags)


def reopen(path: str, place: Place, flags: int) -> Given | Later:
    """Open what a descriptor holds.  A fifo, or a file under a lease, may take long: a helper does it."""
    wanted = flags & ~_OF_NAMES
    if stat.S_ISFIFO(place.mode) and not flags & os.O_NONBLOCK:
        return _later(place, wanted, flags)
    try:
        return _given(os.open(path, wanted | _ALWAYS), flags)
    except OSError as error:
        if error.errno == _EWOULDBLOCK and not flags & os.O_NONBLOCK:
            return _later(place, wanted, flags)
        raise


def _later(place: Place, wanted: int, flags: int) -> Later:
    fd, place.fd = place.fd, -1
    return Later(fd, wanted | os.O_CLOEXEC | os.O_NOCTTY, bool(flags & os.O_CLOEXEC))


def _given(fd: int, flags: int) -> Given:
    if not flags & os.O_NONBLOCK:
        fcntl.fcntl(fd, fcntl.F_SETFL, flags & _SETTABLE)
    return Given(fd, bool(flags & os.O_CLOEXEC))


def _path_only(place: Place, flags: int, kind: int) -> Given | Later:
    """O_PATH: the kernel hands over no such descriptor, so the child gets one that reads, which it may."""
    if kind not in (stat.S_IFDIR, stat.S_IFREG):
        raise OSError(errno.EOPNOTSUPP, place.path)
    return reopen(f"/proc/self/fd/{place.fd}", place, flags & (os.O_DIRECTORY | os.O_CLOEXEC))


# ---- the child's own descriptors


def _reopen_own(job: Job, place: Place, flags: int) -> Given | Later:
    """It means no more than the descriptor does: what that cannot write, this cannot."""
    held = job.flags_of(place)
    asked, mode = open_need(flags & ~os.O_CREAT), held & os.O_ACCMODE
    given = STAT if held & os.O_PATH else (READ if mode != os.O_WRONLY else 0) | (WRITE if mode != os.O_RDONLY else 0)
    if asked & ~(given | STAT):
        raise Refused(place.path, asked, EACCES, "more than the descriptor may")
    if flags & os.O_DIRECTORY and not stat.S_ISDIR(place.mode):
        raise OSError(ENOTDIR, place.path)
    if stat.S_ISSOCK(place.mode):
        raise OSError(_ENXIO, "a socket")
    if flags & os.O_PATH:
        return _path_only(place, flags, stat.S_IFMT(place.mode))
    return reopen(f"/proc/self/fd/{place.fd}", place, flags)


# ---- unix sockets


def connect(job: Job) -> Later:
    """A connected unix socket takes the place of the child's own, which was never bound or connected."""
    request = job.request
    if not 2 <= request.size <= 128:
        raise OSError(EINVAL, "size")
    address = job.data(request.buffer, request.size)
    family = struct.unpack_from("=H", address)[0]
    if family in loopback.FAMILIES:
        return loopback.connect(job, address, family)
    if family != socket.AF_UNIX:
        raise Refused(errno=errno.EAFNOSUPPORT, detail=f"address family {family}")
    name = address[2:]
    if not name or name[0] == 0:
        raise Refused(os.fsdecode(name.replace(b"\0", b"@", 1)), CONNECT, _abstract(job), "an abstract name")
    path, end, _ = name.partition(b"\0")
    if not end and len(path) >= _SUN_PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, "no end")
    kind, blocks = _socket_of(job, request.at)
    place = job.named(os.fsdecode(path), AT_FDCWD)
    job.allow(place, CONNECT)
    if not place.exists:
        raise OSError(ENOENT, place.path)
    if not stat.S_ISSOCK(place.mode):
        raise OSError(errno.ECONNREFUSED, place.path)
    fd, place.fd = place.fd, -1
    return Later(fd, 0, _is_close_on_exec(job, request.at), socket_type=kind, blocks=blocks, target=request.at)


def _abstract(job: Job) -> int:
    return errno.ECONNREFUSED if job.view.is_child else errno.ENETUNREACH


def _socket_of(job: Job, number: int) -> tuple[int, bool]:
    """(type, blocks) of a unix socket that the child holds; its type is in its network namespace's table."""
    place = job.own(number)
    name, flags = os.readlink(f"/proc/self/fd/{place.fd}"), job.flags_of(place)
    if not name.startswith("socket:["):
        raise OSError(errno.ENOTSOCK, name)
    inode = name[8:-1].encode()
    with open(f"/proc/{job.note.tid}/net/unix", "rb") as table:
        rows = (line.split(maxsplit=7) for line in table)
        found = next((row for row in rows if len(row) >= 7 and row[6] == inode), None)
    job.check()
    if found is None:
        raise Refused(errno=errno.EAFNOSUPPORT, detail="not a unix socket")
    kind, state = int(found[4], 16), int(found[5], 16)
    if kind not in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        raise Refused(errno=EACCES, detail="datagrams reach any address")
    if state == 3:
        raise OSError(errno.EISCONN, "connected")
    return kind, not flags & os.O_NONBLOCK


def _is_close_on_exec(job: Job, number: int) -> bool:
    return bool(open_flags(job.note.tid, number) & os.O_CLOEXEC)
