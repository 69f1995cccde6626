"""What a descriptor of a child is: held by the broker, with the flags of that very one, whatever its number is by now.

Runs in: the broker.  Trusts: the kernel; the caller checks that the notification that named the thread is still valid.
Flow: View.base, View.own → hold → an O_PATH descriptor, its flags → judged by its canonical path, as any other.
Source: pidfd_getfd(2), proc(5) fd and fdinfo; hostile cases 7, 12.

/proc/<tid>/fd is its owner's: a child that has ids of its own shows it to nobody.  From such a one the descriptor is
taken, as its memory is read: by the user that owns its user namespace.  A second thread of the child may put another in
the place of what is looked at, at any time: so flags are those of what is held, and never of a number.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os

from foxden.sandbox import linux

UNKNOWN = -1  # flags that nobody has asked for yet: see flags_of
_HELD = os.O_PATH | os.O_CLOEXEC
_SAME = ("mnt_id", "ino")


def hold(tid: int, number: int, tgid: int, kind: int = 0) -> tuple[int, int]:
    """(an O_PATH descriptor of it, its flags or UNKNOWN).  `kind`: 0, or O_DIRECTORY.  `tgid` 0: nothing is taken.

    Taken it is ours, too, for a moment, and may be ours alone when it is closed: a socket that lingers would make the
    broker wait.  So nothing is taken from programs, nor from a child that is in our network.  Raises OSError.
    """
    if not tgid or _is_in_our_network(tid):
        return _shown(tid, number, kind), UNKNOWN
    pidfd = os.pidfd_open(tgid)
    try:
        taken = linux.syscall("pidfd_getfd", pidfd, number, 0)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS):
            raise
        return _shown(tid, number, kind), UNKNOWN  # a container's own filter: its children keep our ids
    finally:
        os.close(pidfd)
    try:
        flags = fcntl.fcntl(taken, fcntl.F_GETFL)
        return os.open(f"/proc/self/fd/{taken}", _HELD | kind), flags
    finally:
        os.close(taken)


def folder_of(tid: int) -> int:
    """Its working directory, O_PATH.  Raises OSError."""
    return os.open(f"/proc/{tid}/cwd", _HELD | os.O_DIRECTORY)


def flags_of(tid: int, number: int, fd: int) -> int:
    """What a descriptor of the child was opened with, if it is of the same file and mount as `fd`.

    Raises OSError: EBADF, if it is another by now.
    """
    theirs, ours = _fdinfo(f"/proc/{tid}/fdinfo/{number}"), _fdinfo(f"/proc/self/fdinfo/{fd}")
    if any(name not in ours or theirs.get(name) != ours[name] for name in _SAME):
        raise OSError(errno.EBADF, "another descriptor by now")
    return int(theirs["flags"], 8)


def _shown(tid: int, number: int, kind: int) -> int:
    try:
        return os.open(f"/proc/{tid}/fd/{number}", _HELD | kind)
    except FileNotFoundError:
        raise OSError(errno.EBADF, "no such descriptor") from None


def _fdinfo(path: str) -> dict[str, str]:
    """The rows that every descriptor has, which come first, in one piece of one descriptor."""
    try:
        with open(path, "rb", buffering=0) as file:
            lines = file.read(4096).decode(errors="replace").splitlines()[:4]
    except FileNotFoundError:
        raise OSError(errno.EBADF, "no such descriptor") from None
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _is_in_our_network(tid: int) -> bool:
    return os.readlink(f"/proc/{tid}/ns/net") == _our_network()


@functools.cache
def _our_network() -> str:
    return os.readlink("/proc/self/ns/net")
