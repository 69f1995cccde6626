"""connect of internet sockets: a program in a network of its own reaches its own loopback, and nothing else.

Runs in: the broker; what may wait is done by a helper thread.  Trusts: nothing but its own copy of the address.
Flow: Job → address judged → the program's socket taken → a helper connects it (`attempt`) → the call's result.
Source: pidfd_getfd(2), connect(2), ip(7), SO_NETNS_COOKIE; hostile cases 8, 97, 109.

The socket is the program's, so it reaches what the program's network namespace has.  It is checked all the same not
to be of the broker's own network: a descriptor could have come along.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

from foxden.broker.job import EACCES, EINVAL, Job
from foxden.broker.records import Refused
from foxden.broker.rules import CONNECT
from foxden.broker.tasks import open_flags
from foxden.broker.waiting import Later
from foxden.sandbox import linux

FAMILIES = (socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6)
_SO_NETNS_COOKIE = 71
_DNS = 53
_V4_SIZE, _V6_SIZE = 16, 24  # of sockaddr_in, and of sockaddr_in6 as it was at first: the least that the kernel takes
_V4_IN_V6 = bytes(10) + b"\xff\xff"
_OWN = (bytes(4), bytes(16), bytes(15) + b"\1")  # 0.0.0.0 and :: mean this host; ::1.  And 127.0.0.0/8


def connect(job: Job, address: bytes, family: int) -> Later:
    """Judge the address, and have the program's own socket connected to it.  Raises Refused, OSError."""
    if not job.view.is_child:
        raise Refused(errno=errno.EAFNOSUPPORT, detail=f"address family {family}")
    if family != socket.AF_UNSPEC:  # which ends an association
        _judge(*_parse(address, family))
    _has_own_network(job)
    number = job.request.at
    open_flags(job.note.tid, number)  # EBADF
    job.check()
    pidfd = os.pidfd_open(job.who().tgid)
    try:
        taken = linux.syscall("pidfd_getfd", pidfd, number, 0)
    finally:
        os.close(pidfd)
    return Later(taken, 0, False, address=address, attempt=attempt)


def _parse(address: bytes, family: int) -> tuple[bytes, int]:
    """(host, port); an IPv4 address within IPv6 as what it is."""
    if len(address) < (_V4_SIZE if family == socket.AF_INET else _V6_SIZE):
        raise OSError(EINVAL, "size")
    (port,) = struct.unpack_from("!H", address, 2)
    if family == socket.AF_INET:
        return address[4:8], port
    host = address[8:24]
    return host[12:] if host.startswith(_V4_IN_V6) else host, port


def _judge(host: bytes, port: int) -> None:
    is_own = host in _OWN or (len(host) == 4 and host[0] == 127)
    shown = peer(socket.inet_ntop(socket.AF_INET if len(host) == 4 else socket.AF_INET6, host), port)
    if not is_own:
        raise Refused(shown, CONNECT, errno.ENETUNREACH, "there is no network")
    if port == _DNS:  # nobody serves there: it takes a right that no program has.  Who asks wants a name
        raise Refused(shown, CONNECT, errno.ECONNREFUSED, "there is no network, so no name is looked up")


def peer(host: str, port: int) -> str:
    """How an internet address is told in the place of a path."""
    return f"inet:{host}:{port}"


def _has_own_network(job: Job) -> None:
    try:
        own = os.readlink("/proc/self/ns/net") != os.readlink(f"/proc/{job.note.tid}/ns/net")
    except OSError as error:
        raise job.gone_or(error) from None
    job.check()
    if not own:
        raise Refused(errno=EACCES, detail="it has no network of its own: its loopback is everybody's")


def attempt(fd: int, address: bytes) -> None:
    """Connect the program's socket.  May take long.  Raises OSError."""
    if _cookie(fd) in (b"", _own_cookie()):
        raise OSError(errno.ENETUNREACH, "a socket of another network")
    linux.syscall("connect", fd, address, len(address))


def _cookie(fd: int) -> bytes:
    """Which network a socket is of.  ENOTSOCK where it is none; empty on kernels that do not tell (before 5.14)."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        try:
            return sock.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8)
        except OSError as error:
            if error.errno == errno.ENOPROTOOPT:
                return b""
            raise


def _own_cookie() -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        return _cookie(sock.fileno())
