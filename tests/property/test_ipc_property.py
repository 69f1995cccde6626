"""Whatever a declaration allows goes through the codec unchanged; whatever it does not is a BadMessage and no leak."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support import strategies
from tests.support.loopback import count_fds

from foxden.errors import BadMessage
from foxden.ipc.codec import Kind, decode_body, describe, encode, parse_header
from foxden.ipc.descriptors import close_all, verify
from foxden.ipc.fields import Descriptor, Payload
from foxden.ipc.memory import read_payload
from foxden.ipc.schema import Message, Reply
from foxden.protocols.registry import PROTOCOLS

BODIES = strategies.declared(PROTOCOLS)
by_name = pytest.mark.parametrize("struct", BODIES, ids=describe)
quick = settings(
    deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def duplicated(fds: Sequence[int]) -> list[int]:
    """What the kernel would hand to the receiver."""
    return [os.dup(fd) for fd in fds]


def comparable(body: Any) -> list[Any]:
    """The fields of a message; descriptors as what they are open on."""
    return [_plain(getattr(body, name)) for name in body.__struct_fields__]


def _plain(value: Any) -> Any:
    if isinstance(value, Payload):
        return (type(value), read_payload(value))
    if isinstance(value, Descriptor):
        status = os.fstat(value.fileno())
        return (type(value), status.st_dev, status.st_ino)
    return value


def receive(struct: type[Message] | type[Reply], packet: bytes, fds: list[int]) -> Any:
    """What ActorTree does with a packet that belongs to this struct."""
    view = memoryview(packet)
    try:
        parse_header(view, len(fds))
        body = decode_body(struct, view, fds)
        verify(body)
    finally:
        close_all(fds)
    return body


@by_name
@settings(quick, max_examples=12)
@given(data=st.data())
def test_what_was_encoded_decodes_to_the_same(struct: type[Message], data: st.DataObject) -> None:
    before = count_fds()
    sent = data.draw(strategies.bodies(struct))
    packet, fds = encode(5, 6, 7, Kind.SEND, sent)
    got = receive(struct, packet, duplicated(fds))
    assert comparable(got) == comparable(sent)
    close_descriptors(sent)
    close_descriptors(got)
    assert count_fds() == before


@by_name
@settings(quick, max_examples=25)
@given(data=st.data())
def test_mutated_packet_raises_bad_message_or_decodes_and_leaks_nothing(
    struct: type[Message], data: st.DataObject
) -> None:
    sent = data.draw(strategies.bodies(struct))
    packet, fds = encode(5, 6, 7, Kind.SEND, sent)
    wrong = data.draw(strategies.mutated(packet))
    before = count_fds()
    kept: list[BadMessage] = []  # as the parent's records keep them: what the error holds must not stay open
    try:
        close_descriptors(receive(struct, wrong, duplicated(fds)))
    except BadMessage as error:
        kept.append(error)
    assert count_fds() == before
    for said in map(str, kept):
        assert said.startswith((describe(struct), "packet:")), said
        assert said.isprintable(), "an error text must not steer the terminal it is shown on"
        assert len(said) < 500
    close_descriptors(sent)


def close_descriptors(body: Any) -> None:
    for name in body.descriptor_fields:
        value = getattr(body, name)
        held = value.memory if isinstance(value, Payload) else value
        if held is not None:
            held.close()


@by_name
@pytest.mark.parametrize("raw", strategies.RAW_BODIES, ids=range(len(strategies.RAW_BODIES)))
def test_bodies_that_no_encoder_makes_raise_nothing_but_bad_message(struct: type[Message], raw: bytes) -> None:
    with pytest.raises(BadMessage):
        receive(struct, bytes(12) + raw, [])


@settings(quick, max_examples=200)
@given(noise=st.binary(max_size=64), extra=st.integers(0, 8))
def test_random_bytes_as_a_packet_raise_nothing_but_bad_message(noise: bytes, extra: int) -> None:
    before = count_fds()
    fds = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(extra)]
    with contextlib.suppress(BadMessage):
        receive(BODIES[extra % len(BODIES)], noise, fds)
    assert count_fds() == before
