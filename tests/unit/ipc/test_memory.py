"""Payloads and rings: sealed when they arrive, read as what they hold, and bounded whatever the other side says."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable

import pytest
from tests.support.loopback import count_fds

from foxden.errors import BadMessage, ProtocolMisuse
from foxden.ipc.descriptors import verify
from foxden.ipc.fields import INLINE_MAX, LargePayload, Payload, SharedMemory
from foxden.ipc.memory import RingReader, RingWriter, make_memory, make_payload, read_payload
from foxden.protocols.unittest import PIPDLUnitTest

SMALL, LARGE = b"x" * (INLINE_MAX // 2), b"y" * (INLINE_MAX // 2 + 1)


@pytest.mark.parametrize("data", [b"", b"a", SMALL, LARGE, bytes(range(256)) * 4096])
def test_payload_is_read_as_it_was_made(data: bytes) -> None:
    before = count_fds()
    payload = make_payload(Payload, data)
    assert (payload.memory is None) == (len(data) <= len(SMALL))
    assert read_payload(payload) == data
    assert count_fds() == before, "reading lets go of the memory"


def test_payload_over_its_limit_is_our_own_mistake() -> None:
    class Tiny(Payload):
        limit = 10

    assert make_payload(Tiny, b"x" * 10).data
    with pytest.raises(ProtocolMisuse, match="Tiny: expected at most 10 bytes, got 11"):
        make_payload(Tiny, b"x" * 11)


CHANGES: dict[str, Callable[[int], object]] = {
    "write": lambda fd: os.pwrite(fd, b"x", 0),
    "shrink": lambda fd: os.ftruncate(fd, 0),
    "grow": lambda fd: os.ftruncate(fd, 4096),
    "map": lambda fd: mmap.mmap(fd, 5),
}


@pytest.mark.parametrize("change", CHANGES)
def test_sealed_payload_cannot_be_changed_by_anybody(change: str) -> None:
    memory = make_memory(b"fixed")
    with pytest.raises(OSError, match=r"Operation not permitted|Permission denied"):
        CHANGES[change](memory.fileno())
    assert read_payload(Payload(memory=memory)) == b"fixed"


def test_sealed_payload_passes_and_a_growing_file_is_refused() -> None:
    good = PIPDLUnitTest.Echo(payload=make_payload(LargePayload, LARGE))
    verify(good)
    assert read_payload(good.payload) == LARGE
    growing = SharedMemory(os.memfd_create("growing", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING))
    with pytest.raises(BadMessage, match=r"expected a memfd sealed against resizing and writing - at `\$.payload`"):
        verify(PIPDLUnitTest.Echo(payload=LargePayload(memory=growing)))


def ring(size: int) -> tuple[RingWriter, RingReader]:
    writer = RingWriter(size)
    return writer, RingReader(SharedMemory(os.dup(writer.memory.fileno())))


def test_ring_carries_more_than_it_holds_round_and_round() -> None:
    writer, reader = ring(10)
    sent = bytes(range(200))
    got = b""
    for start in range(0, 200, 7):
        part = sent[start : start + 7]
        assert writer.free >= len(part)
        writer.write(part)
        got += b"".join(bytes(view) for view in reader.read(len(part)))
        writer.consume(len(part))
    assert got == sent
    writer.close()
    reader.close()


def test_ring_read_across_its_end_is_two_views_and_exactly_full_is_one() -> None:
    writer, reader = ring(8)
    writer.write(b"01234567")
    assert writer.free == 0
    (whole,) = reader.read(8)
    assert bytes(whole) == b"01234567"
    writer.consume(8)
    writer.write(b"abcde")
    reader.read(5)
    writer.consume(5)
    writer.write(b"vwxyz")
    assert [bytes(view) for view in reader.read(5)] == [b"vwx", b"yz"]
    for view in (whole,):
        view.release()
    writer.close()
    reader.close()


@pytest.mark.parametrize("lie", [-1, 6, 1 << 40])
def test_reader_that_says_it_consumed_what_was_never_written_is_caught(lie: int) -> None:
    writer, reader = ring(8)
    writer.write(b"12345")
    with pytest.raises(ValueError, match="expected at most 5 bytes consumed"):
        writer.consume(lie)
    writer.consume(5)
    with pytest.raises(ValueError, match="expected at most 0 bytes consumed"):
        writer.consume(1)
    writer.close()
    reader.close()


@pytest.mark.parametrize("lie", [-1, 9, 1 << 40])
def test_writer_that_announces_more_than_the_ring_holds_is_caught(lie: int) -> None:
    writer, reader = ring(8)
    with pytest.raises(ValueError, match="expected at most 8 bytes in the ring"):
        reader.read(lie)
    writer.close()
    reader.close()


def test_reader_cannot_write_into_the_ring() -> None:
    writer = RingWriter(4096)
    verify(PIPDLUnitTest.GetMemory.Returns(memory=writer.memory))
    copy = SharedMemory(os.dup(writer.memory.fileno()))
    with pytest.raises(OSError, match="Operation not permitted"):
        os.pwrite(copy.fileno(), b"x", 0)
    with pytest.raises(OSError, match=r"Operation not permitted|Permission denied"):
        mmap.mmap(copy.fileno(), 4096)
    reader = RingReader(copy)
    with pytest.raises(TypeError, match="read-only"):
        reader.read(1)[0][0] = 1
    writer.close()
    reader.close()


def test_ring_of_no_bytes_is_refused() -> None:
    before = count_fds()
    with pytest.raises(ValueError, match="expected a ring of at least one byte"):
        RingReader(make_memory(b""))
    assert count_fds() == before
