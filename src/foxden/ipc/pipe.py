"""The OS socket under an endpoint: SOCK_SEQPACKET, one packet a message, descriptors beside it.

Runs in: every process.  Trusts: nothing that arrives; sizes and numbers of descriptors are bounded here.
Flow: make_pair → one end to another process → send_packet / receive_packet.
Source: unix(7), cmsg(3): MSG_TRUNC, MSG_CTRUNC, SCM_RIGHTS.
"""

from __future__ import annotations

import _socket  # socket makes enums of its constants, which takes a fork server longer than most else that it loads
import array
import errno
import mmap
import select
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from foxden.errors import BadMessage
from foxden.ipc.codec import MAX_PACKET
from foxden.ipc.descriptors import close_all
from foxden.ipc.fields import MAX_DESCRIPTORS, Endpoint

if TYPE_CHECKING:
    import socket

# Room for exactly what a packet may carry: a sender of more gets MSG_CTRUNC, and the surplus is never installed.
_ANCILLARY = _socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
# Plain ints: or-ing members of an enum takes as long as the system call.
NOW = _socket.MSG_DONTWAIT
_LOST_DESCRIPTORS = _socket.MSG_CTRUNC
_TOO_MUCH = _socket.MSG_TRUNC | _LOST_DESCRIPTORS
_CLOSE_ON_EXEC = _socket.MSG_CMSG_CLOEXEC
_NO_SIGNAL = _socket.MSG_NOSIGNAL


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends, both close-on-exec."""
    import socket

    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def make_endpoints() -> tuple[Endpoint, Endpoint]:
    """Return two ends that are about to be sent to two processes."""
    first, second = make_pair()
    return Endpoint(first.detach()), Endpoint(second.detach())


def bind_endpoint(endpoint: Endpoint) -> _socket.socket:
    """Return the socket of an endpoint that has arrived; this process owns it now."""
    return bind(endpoint.detach())


def bind(fd: int) -> _socket.socket:
    """Return the socket of a descriptor that this process owns."""
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, fd)


def send_packet(sock: _socket.socket, packet: bytes, fds: Sequence[int], flags: int = 0) -> None:
    """Send one packet.  Raises BlockingIOError (with flag NOW), OSError when the peer is gone."""
    if fds:
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", fds))
        sock.sendmsg([packet], [rights], flags | _NO_SIGNAL)
    else:
        sock.send(packet, flags | _NO_SIGNAL)


_PATIENCE_S, _PAUSE_MS = 5.0, 10


def send_packet_patiently(sock: _socket.socket, packet: bytes, fds: Sequence[int]) -> None:
    """The same, blocking.  The kernel counts the descriptors that all processes of a user have on their way against the
    limit of the one that sends: where others have too many, wait a while for those to arrive.
    """
    until = 0.0
    while True:
        try:
            return send_packet(sock, packet, fds)
        except OSError as error:
            until = until or time.monotonic() + _PATIENCE_S
            if error.errno != errno.ETOOMANYREFS or time.monotonic() > until:
                raise
        select.poll().poll(_PAUSE_MS)  # of nothing: a sleep by a call that every child may make


class PacketBuffer:
    """One buffer that packets are received into, again and again."""

    def __init__(self) -> None:
        # Anonymous memory: pages that no packet has reached are never touched, which a fresh child is glad of.
        self._bytes = mmap.mmap(-1, MAX_PACKET + 1, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._view = memoryview(self._bytes)
        self._parts = [self._view]

    def receive(self, sock: _socket.socket, flags: int = 0) -> tuple[memoryview, list[int]]:
        """Return (packet, descriptors); an empty packet is the end of the pipe, and comes without descriptors.

        The view is good until the next call.  Raises BadMessage on a packet too large or with too many
        descriptors, after closing those that came.
        """
        count, ancillary, message_flags, _ = sock.recvmsg_into(self._parts, _ANCILLARY, flags | _CLOSE_ON_EXEC)
        fds = _descriptors(ancillary) if ancillary else []
        if message_flags & _TOO_MUCH or count > MAX_PACKET:
            close_all(fds)
            what = f"{MAX_DESCRIPTORS} descriptors" if message_flags & _LOST_DESCRIPTORS else f"{MAX_PACKET} bytes"
            raise BadMessage(f"packet: expected at most {what}, got more")
        if not count and fds:  # an empty packet is no end, but nobody honest sends one
            close_all(fds)
            fds = []
        return self._view[:count], fds


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)
