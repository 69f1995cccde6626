"""Descriptors that others of this user have on their way: a child waits for them, and gives up in the end."""

from __future__ import annotations

import array
import errno
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable

import pytest

from foxden.ipc import pipe
from foxden.ipc.pipe import PacketBuffer, send_packet, send_packet_patiently
from foxden.sandbox import capabilities

LIMIT, EACH = 32, 8


def in_a_child(act: Callable[[], None]) -> None:
    """In a process that the limit holds for: one with rights over resources may have any number."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(30)
            os.closerange(3, 65_536)  # what the test process has open would count, too
            act()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def crowd() -> tuple[socket.socket, socket.socket]:
    """More descriptors on their way than one may then have open."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * EACH))
    for _ in range(2 * LIMIT // EACH):
        ours.sendmsg([b"x"], [rights])
    capabilities.give_up()
    resource.setrlimit(resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
    return ours, theirs


def drain(sock: socket.socket) -> None:
    for _ in range(2 * LIMIT // EACH):
        _, fds, _, _ = socket.recv_fds(sock, 10, EACH)
        for fd in fds:
            os.close(fd)


def test_it_waits_until_they_have_arrived() -> None:
    def act() -> None:
        _, theirs = crowd()
        one, other = pipe.make_pair()
        with pytest.raises(OSError, match="Too many references") as caught:  # the control
            send_packet(one, b"packet", [0])
        assert caught.value.errno == errno.ETOOMANYREFS
        send_packet(one, b"without", [])
        threading.Timer(0.3, drain, [theirs]).start()
        send_packet_patiently(one, b"packet", [0])
        buffer = PacketBuffer()
        assert bytes(buffer.receive(other)[0]) == b"without"
        packet, fds = buffer.receive(other)
        assert (bytes(packet), len(fds)) == (b"packet", 1)

    in_a_child(act)


def test_it_does_not_wait_for_ever() -> None:
    def act() -> None:
        _ours = crowd()
        pipe._PATIENCE_S = 0.2
        one, _other = pipe.make_pair()
        with pytest.raises(OSError, match="Too many references"):
            send_packet_patiently(one, b"packet", [0])

    in_a_child(act)


def test_other_errors_are_told_at_once() -> None:
    one, other = pipe.make_pair()
    other.close()
    with pytest.raises(BrokenPipeError):
        send_packet_patiently(one, b"packet", [])
    one.close()
