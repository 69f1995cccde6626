"""Bounded types at their edges, and the life of a descriptor object."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import pytest
from tests.support.loopback import count_fds

from foxden.ipc import fields
from foxden.ipc.fields import Endpoint, LargePayload, Payload, RegularFile
from foxden.ipc.header_fields import HeaderName, Headers, HeaderValue


def accepts(kind: Any, value: object) -> bool:
    try:
        msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (fields.Port, [1, 65_535], [0, 65_536, -1, "80", 80.5, True, None]),
        (fields.ActorId, [0, 0xFFFF_FFFF], [-1, 1 << 32]),
        (fields.ChannelId, [1, (1 << 53) - 1], [0, 1 << 53]),
        (fields.Errno, [0, 4095], [-1, 4096]),
        (fields.HttpStatus, [0, 200, 999], [-1, 1000]),
        (fields.Token, [0, (1 << 63) - 1], [-1, 1 << 63]),
        (fields.Seconds, [0, 0.5, 86_400], [-0.001, 86_401, float("nan"), float("inf"), float("-inf")]),
        (fields.Name, ["", "x" * 128], ["x" * 129, b"x"]),
        (fields.HostName, ["a", "x" * 255], ["", "x" * 256]),
        (fields.InlineBytes, [b"", b"x" * 65_536], [b"x" * 65_537, "x"]),
        (HeaderName, ["x-a", "!#$%&'*+.^_`|~09"], ["", "a b", "a:", "a\r", "a\n", "\na", "é", "x" * 257]),
        (HeaderValue, ["", "a b\té", "x" * 32_768], ["a\r\nb: c", "a\n", "\n", "a\r", "a\x00", "x" * 32_769]),
        (Headers, [[], [["a", "b"]], [["a", "b"]] * 512], [[["a"]], [["a", "b", "c"]], [["a", "b"]] * 513, {}]),
    ],
)
def test_bounds_hold_at_their_edges(kind: Any, good: list[object], bad: list[object]) -> None:
    assert [value for value in good if not accepts(kind, value)] == []
    assert [value for value in bad if accepts(kind, value)] == []


def test_detached_descriptor_is_the_callers() -> None:
    held = RegularFile(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    fd = held.detach()
    held.close()
    assert not held.held
    os.close(fd)  # would fail if anybody else had closed it
    with pytest.raises(ValueError, match="RegularFile holds no descriptor"):
        held.detach()


def test_forgotten_descriptor_is_closed() -> None:
    before = count_fds()
    held = Endpoint(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    assert held.held
    assert count_fds() == before + 1
    del held
    assert count_fds() == before


def test_closing_twice_closes_once() -> None:
    held = Endpoint(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    fd = held.fileno()
    held.close()
    again = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    assert again == fd, "the number is used again"
    held.close()
    os.fstat(again)
    os.close(again)


@pytest.mark.parametrize("wrong", [True, -1, 8, 1 << 40, "0", None, 0.0, [0]])
def test_what_is_no_index_names_no_descriptor(wrong: object) -> None:
    with pytest.raises(ValueError, match="expected the index of a descriptor"):
        Endpoint.from_wire(wrong)


def test_payload_is_bytes_or_an_index() -> None:
    assert Payload.from_wire(b"abc").data == b"abc"
    memory = LargePayload.from_wire(3).memory
    assert memory is not None
    assert memory.index == 3
    for wrong in ("abc", None, [b"a"], b"x" * 65_537, True):
        with pytest.raises(ValueError, match="expected"):
            Payload.from_wire(wrong)


def test_without_a_closer_nothing_is_closed_in_silence() -> None:
    with pytest.raises(RuntimeError, match="no process has installed a closer"):
        fields._no_closer(5)
