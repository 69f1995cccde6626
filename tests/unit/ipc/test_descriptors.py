"""Each kind of descriptor: the right one passes, each wrong one is a BadMessage that names the field, none leaks."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Callable

import pytest
from tests.support.loopback import count_fds
from tests.support.strategies import make_descriptor

from foxden.errors import BadMessage
from foxden.ipc.descriptors import (
    _CHECKS,
    F_SEAL_FUTURE_WRITE,
    F_SEAL_GROW,
    F_SEAL_SEAL,
    F_SEAL_SHRINK,
    F_SEAL_WRITE,
    verify,
)
from foxden.ipc.fields import Descriptor, Endpoint, Payload, PidFd, RegularFile, SharedMemory
from foxden.ipc.memory import RingWriter
from foxden.ipc.schema import Message, Reply
from foxden.protocols.forkserver import PStarter
from foxden.protocols.unittest import PIPDLUnitTest

FIXED = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL


def message_with(kind: type[Descriptor], fd: int) -> Message | Reply:
    held = kind(fd)
    if isinstance(held, Endpoint):
        return PIPDLUnitTest.ConnectPeer(endpoint=held, side="parent")
    if isinstance(held, RegularFile):
        return PIPDLUnitTest.SendFile(file=held)
    if isinstance(held, SharedMemory):
        return PIPDLUnitTest.GetMemory.Returns(memory=held)
    assert isinstance(held, PidFd)
    return PStarter.StartFamily.Returns(pid=1, errno=0, pidfd=held)


def memfd(seals: int, size: int = 1) -> int:
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def opened_again(fd: int, flags: int) -> int:
    try:
        return os.open(f"/proc/self/fd/{fd}", flags | os.O_CLOEXEC)
    finally:
        os.close(fd)


def one_socket(family: int, kind: int) -> int:
    return socket.socket(family, kind).detach()


def one_of_a_pair(kind: int) -> int:
    first, second = socket.socketpair(socket.AF_UNIX, kind)
    second.close()
    return first.detach()


def file_open_for(flags: int) -> int:
    with tempfile.NamedTemporaryFile() as file:
        return os.open(file.name, flags | os.O_CLOEXEC)


def pipe_end() -> int:
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def null_device() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


WRONG: dict[str, tuple[type[Descriptor], Callable[[], int]]] = {
    "endpoint: stream socket": (Endpoint, lambda: one_of_a_pair(socket.SOCK_STREAM)),
    "endpoint: datagram socket": (Endpoint, lambda: one_of_a_pair(socket.SOCK_DGRAM)),
    "endpoint: internet socket": (Endpoint, lambda: one_socket(socket.AF_INET, socket.SOCK_STREAM)),
    "endpoint: netlink socket": (Endpoint, lambda: one_socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "endpoint: file": (Endpoint, lambda: file_open_for(os.O_RDWR)),
    "endpoint: pipe": (Endpoint, pipe_end),
    "file: device": (RegularFile, null_device),
    "file: directory": (RegularFile, lambda: os.open("/", os.O_RDONLY | os.O_CLOEXEC)),
    "file: pipe": (RegularFile, pipe_end),
    "file: not open for reading": (RegularFile, lambda: file_open_for(os.O_WRONLY)),
    "file: only its path": (RegularFile, lambda: file_open_for(os.O_PATH)),
    "memory: file": (SharedMemory, lambda: file_open_for(os.O_RDWR)),
    "memory: no seals": (SharedMemory, lambda: memfd(0)),
    "memory: may shrink": (SharedMemory, lambda: memfd(F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_WRITE)),
    "memory: may grow": (SharedMemory, lambda: memfd(F_SEAL_SHRINK | F_SEAL_SEAL | F_SEAL_WRITE)),
    "memory: may be written by us": (SharedMemory, lambda: memfd(FIXED)),
    "memory: more seals to come": (SharedMemory, lambda: memfd(F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)),
    "memory: not open for reading": (SharedMemory, lambda: opened_again(memfd(FIXED | F_SEAL_FUTURE_WRITE), os.O_PATH)),
    "memory: too large": (SharedMemory, lambda: memfd(FIXED | F_SEAL_WRITE, SharedMemory.limit + 1)),
    "memory: empty": (SharedMemory, lambda: memfd(FIXED | F_SEAL_WRITE, 0)),
    "pidfd: pipe": (PidFd, pipe_end),
    "pidfd: another anonymous file": (PidFd, lambda: os.eventfd(0, os.EFD_CLOEXEC)),
    "pidfd: a directory of /proc": (PidFd, lambda: os.open("/proc/self", os.O_RDONLY | os.O_CLOEXEC)),
}


@pytest.mark.parametrize("kind", [Endpoint, RegularFile, SharedMemory, PidFd])
def test_right_kind_passes_and_stays_open(kind: type[Descriptor]) -> None:
    body = message_with(kind, make_descriptor(kind).detach())
    verify(body)
    held = getattr(body, body.descriptor_fields[0])
    os.fstat(held.fileno())
    held.close()


@pytest.mark.parametrize("case", WRONG)
def test_wrong_kind_is_refused_by_the_name_of_its_field_and_closed(case: str) -> None:
    kind, make = WRONG[case]
    before = count_fds()
    body = message_with(kind, make())
    with pytest.raises(BadMessage) as refused:
        verify(body)
    assert f"`$.{body.descriptor_fields[0]}`" in str(refused.value)
    assert count_fds() == before, "closed at once, whoever keeps the error"


def test_ring_that_its_writer_still_maps_passes() -> None:
    ring = RingWriter(4096)
    verify(PIPDLUnitTest.GetMemory.Returns(memory=ring.memory))
    ring.close()


@pytest.mark.parametrize("too_much", [0, 1])
def test_payload_is_bounded_by_its_limit(too_much: int) -> None:
    fd = memfd(FIXED | F_SEAL_WRITE, Payload.limit + too_much)
    body = PIPDLUnitTest.SendRaw(packet=Payload(memory=SharedMemory(fd)))
    if not too_much:
        verify(body)
        os.close(body.packet.memory.detach())  # type: ignore[union-attr]
        return
    with pytest.raises(BadMessage, match=rf"expected 0-{Payload.limit} bytes, got .* - at `\$.packet`"):
        verify(body)


def test_one_wrong_descriptor_closes_the_right_ones_beside_it() -> None:
    before = count_fds()
    body = PIPDLUnitTest.SendFile(
        file=make_descriptor(RegularFile),
        body=Payload(memory=SharedMemory(null_device())),
    )
    with pytest.raises(BadMessage, match=r"expected a memfd .* - at `\$.body`"):
        verify(body)
    assert count_fds() == before


def test_every_kind_of_descriptor_has_a_check() -> None:
    assert set(_CHECKS) == set(Descriptor.__subclasses__()) | set(SharedMemory.__subclasses__())
