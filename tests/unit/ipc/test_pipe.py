"""The socket under an endpoint: packets keep their borders, and too much of anything is refused and leaves nothing."""

from __future__ import annotations

import array
import contextlib
import os
import socket
from collections.abc import Iterator

import pytest
from tests.support.loopback import count_fds

from foxden.errors import BadMessage
from foxden.ipc.codec import MAX_PACKET
from foxden.ipc.fields import MAX_DESCRIPTORS
from foxden.ipc.pipe import NOW, PacketBuffer, bind_endpoint, make_endpoints, make_pair, send_packet

KERNEL_MAX = 253  # SCM_MAX_FD


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = make_pair()
    yield ends
    for end in ends:
        end.close()


Pair = tuple[socket.socket, socket.socket]


def send_descriptors(sock: socket.socket, count: int, packet: bytes = b"x" * 12) -> None:
    with open("/dev/null", "rb") as null:
        rights = array.array("i", [null.fileno()] * count)
        sock.sendmsg([packet], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def test_packets_keep_their_borders(pair: Pair) -> None:
    for packet in (b"one", b"two" * 1000, b"x" * MAX_PACKET):
        send_packet(pair[0], packet, [])
        got, fds = PacketBuffer().receive(pair[1])
        assert bytes(got) == packet
        assert fds == []


def test_packet_one_byte_too_large_is_refused(pair: Pair) -> None:
    pair[0].send(b"x" * (MAX_PACKET + 1))
    with pytest.raises(BadMessage, match=f"expected at most {MAX_PACKET} bytes, got more"):
        PacketBuffer().receive(pair[1])


def test_truncated_packet_leaves_no_descriptor_open(pair: Pair) -> None:
    before = count_fds()
    send_descriptors(pair[0], 3, b"x" * (MAX_PACKET + 4096))
    with pytest.raises(BadMessage, match="bytes, got more"):
        PacketBuffer().receive(pair[1])
    assert count_fds() == before


def test_descriptors_up_to_the_limit_arrive_close_on_exec(pair: Pair) -> None:
    send_descriptors(pair[0], MAX_DESCRIPTORS)
    _, fds = PacketBuffer().receive(pair[1])
    assert len(fds) == MAX_DESCRIPTORS
    assert not any(os.get_inheritable(fd) for fd in fds)
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("count", [MAX_DESCRIPTORS + 1, MAX_DESCRIPTORS + 2, 100, KERNEL_MAX])
def test_too_many_descriptors_are_refused_and_none_stays_open(pair: Pair, count: int) -> None:
    before = count_fds()
    send_descriptors(pair[0], count)
    with pytest.raises(BadMessage, match=f"expected at most {MAX_DESCRIPTORS} descriptors, got more"):
        PacketBuffer().receive(pair[1])
    assert count_fds() == before


def test_empty_packet_with_descriptors_looks_like_the_end_and_leaves_none_open(pair: Pair) -> None:
    before = count_fds()
    send_descriptors(pair[0], MAX_DESCRIPTORS, b"")
    got, fds = PacketBuffer().receive(pair[1])
    assert (bytes(got), fds) == (b"", [])
    assert count_fds() == before


def test_end_of_the_pipe_is_an_empty_packet(pair: Pair) -> None:
    pair[0].send(b"last words")
    pair[0].close()
    buffer = PacketBuffer()
    assert bytes(buffer.receive(pair[1])[0]) == b"last words"
    assert bytes(buffer.receive(pair[1])[0]) == b""


def test_sending_to_nobody_raises_and_sends_no_signal(pair: Pair) -> None:
    pair[1].close()
    with pytest.raises(BrokenPipeError):
        send_packet(pair[0], b"x", [])


def test_without_room_or_packets_a_pipe_that_may_not_wait_says_so(pair: Pair) -> None:
    with pytest.raises(BlockingIOError):
        PacketBuffer().receive(pair[1], NOW)
    with pytest.raises(BlockingIOError):
        fill(pair[0])


def fill(sock: socket.socket) -> None:
    for _ in range(10_000):
        send_packet(sock, b"x" * 1000, [], NOW)


def test_endpoints_are_two_ends_of_one_pipe() -> None:
    first, second = make_endpoints()
    with contextlib.closing(bind_endpoint(first)) as one, contextlib.closing(bind_endpoint(second)) as other:
        assert not first.held
        assert not os.get_inheritable(one.fileno())
        one.send(b"through")
        assert other.recv(100) == b"through"
