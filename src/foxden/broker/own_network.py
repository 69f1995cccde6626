"""Connecting a program's socket in the network that is the program's own: its loopback, its abstract names.

Runs in: the broker.  Trusts: the kernel, that a socket's network is not this process's own.
Flow: the address, copied once → the child's socket, taken by pidfd_getfd → judged → connected here, as its own.
Source: pidfd_getfd(2), ip(7), unix(7); socket(7) SO_NETNS_COOKIE.

The kernel cannot be let go on with the call: the number could mean another socket by then, as one of a path.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import struct

from foxden.broker.job import Job
from foxden.broker.records import Refused
from foxden.broker.tasks import open_flags
from foxden.broker.waiting import Later
from foxden.sandbox import linux

_SO_DOMAIN, _SO_NETNS_COOKIE = 39, 71
_NAMES_PORT = 53
_INTERNET = (socket.AF_INET, socket.AF_INET6)
_SIZES = {socket.AF_INET: 16, socket.AF_INET6: 24}  # at least


def connect(job: Job, family: int, address: bytes) -> int | Later:
    """Raises Refused for what is not in that network, OSError."""
    if family in _INTERNET:
        _check_internet(family, address)
    fd = _taken(job)
    try:
        _check_socket(fd, family)
        if family in _INTERNET and not open_flags(job.note.tid, job.request.at) & os.O_NONBLOCK:
            own, fd = fd, -1
            return Later(own, 0, close_on_exec=False, address=address)  # a full backlog may hold it up
        linux.syscall("connect", fd, address, len(address))
        return 0
    finally:
        if fd >= 0:
            os.close(fd)


def _check_internet(family: int, address: bytes) -> None:
    if len(address) < _SIZES[socket.AddressFamily(family)]:
        raise OSError(errno.EINVAL, "size")
    port = struct.unpack_from("!H", address, 2)[0]
    host = address[4:8] if family == socket.AF_INET else address[8:24]
    if not _is_own(host):
        shown = socket.inet_ntop(family, host)
        raise Refused(errno=errno.ENETUNREACH, detail=f"{f'[{shown}]' if ':' in shown else shown}:{port}")
    if port == _NAMES_PORT:  # nobody listens there: a name was to be looked up, in the network that it has not
        raise Refused(errno=errno.ECONNREFUSED, detail="to look up a name")


def _is_own(host: bytes) -> bool:
    """127/8, ::1, and the unspecified address, which means the same."""
    if len(host) == 16:
        mapped = host.startswith(bytes(10) + b"\xff\xff")
        return _is_own(host[12:]) if mapped else host[:15] == bytes(15) and host[15] < 2
    return host[0] == 127 or host == bytes(4)


def _taken(job: Job) -> int:
    """The child's own socket, in a descriptor of ours.  Raises OSError, Refused, Gone."""
    process = os.pidfd_open(job.who().tgid)
    try:
        job.check()
        return linux.syscall("pidfd_getfd", process, job.request.at, 0)
    except OSError as error:
        if error.errno == errno.EBADF:
            raise
        raise Refused(errno=errno.EACCES, detail="its descriptors cannot be taken") from None
    finally:
        os.close(process)


def _check_socket(fd: int, family: int) -> None:
    """It must be the program's: what it was handed may be of the machine's network.  Raises OSError, Refused."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        domain = sock.getsockopt(socket.SOL_SOCKET, _SO_DOMAIN)
        if domain not in (*_INTERNET, socket.AF_UNIX):
            raise Refused(errno=errno.EACCES, detail=f"a socket of family {domain}")
        if family == socket.AF_UNIX and domain != socket.AF_UNIX:
            raise OSError(errno.EINVAL, "not a unix socket")
        try:
            network = sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError:  # before Linux 5.14 nobody can tell
            network = _own_network()
    if network == _own_network():
        raise Refused(errno=errno.ENETUNREACH, detail="a socket of the machine's network")


@functools.cache
def _own_network() -> bytes:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            return sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError:
            return b""
