"""The codec: what is written is read back, and every lie of a header or body is a BadMessage that names it."""

from __future__ import annotations

import os
import struct

import msgspec
import pytest
from tests.support.loopback import packet
from tests.support.strategies import make_descriptor

from foxden.errors import BadMessage, ProtocolMisuse
from foxden.ipc.codec import HEADER_SIZE, MAX_PACKET, Header, Kind, decode_body, describe, encode, parse_header
from foxden.ipc.fields import LargePayload, Payload, RegularFile, SharedMemory
from foxden.ipc.memory import make_memory
from foxden.protocols.content import PContent, PDocument, PDocumentChannel
from foxden.protocols.network import PHttpTransaction
from foxden.protocols.unittest import PIPDLUnitTest

Compute, Echo, SendFile, Tell = PIPDLUnitTest.Compute, PIPDLUnitTest.Echo, PIPDLUnitTest.SendFile, PIPDLUnitTest.Tell


def devnull(count: int) -> list[int]:
    return [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(count)]


def decode(cls: type, body: object, fds: list[int] | None = None) -> object:
    return decode_body(cls, memoryview(packet(0, 0, 0, body)), [] if fds is None else fds)


def test_packet_is_header_and_msgpack_array() -> None:
    raw, fds = encode(0x01020304, 5, 6, Kind.SEND, Tell(text="hé"))
    assert raw[:12] == bytes([4, 3, 2, 1, 5, 0, 0, 0, 6, 0, 0, 0])
    assert msgspec.msgpack.decode(raw[12:]) == ["hé"]
    assert not fds


def test_header_is_read_back() -> None:
    raw, _ = encode(7, 8, Tell.number, Kind.CALL, Tell(text=""))
    assert parse_header(memoryview(raw), 0) == Header(7, 8, Tell.number, Kind.CALL, 0)


@pytest.mark.parametrize("size", range(HEADER_SIZE))
def test_short_header_is_refused(size: int) -> None:
    with pytest.raises(BadMessage, match=f"expected a header of 12 bytes, got {size} bytes"):
        parse_header(memoryview(bytes(size)), 0)


@pytest.mark.parametrize("kind", [4, 5, 127, 255])
def test_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(BadMessage, match=r"header\.kind"):
        parse_header(memoryview(packet(0, 1, kind)), 0)


@pytest.mark.parametrize(("announced", "arrived"), [(1, 0), (0, 1), (2, 1), (255, 8)])
def test_header_that_lies_about_descriptors_is_refused(announced: int, arrived: int) -> None:
    with pytest.raises(BadMessage, match=f"announced {announced} descriptors, {arrived} arrived"):
        parse_header(memoryview(packet(0, 1, 0, descriptors=announced)), arrived)


@pytest.mark.parametrize(
    ("cls", "body", "said"),
    [
        (Tell, [5], "PIPDLUnitTest.Tell: Expected `str`, got `int` - at `$.text`"),
        (Tell, ["x" * 1025], "PIPDLUnitTest.Tell: Expected `str` of length <= 1024 - at `$.text`"),
        (Tell, [], "PIPDLUnitTest.Tell: Expected `array` of at least length 1, got 0 - at `$`"),
        (Tell, ["a", "b"], "PIPDLUnitTest.Tell: Expected `array` of at most length 1, got 2 - at `$`"),
        (Tell, {"text": "a"}, "PIPDLUnitTest.Tell: Expected `array`, got `object` - at `$`"),
        (Tell, b"\x91\xa2\xff\xfe", "PIPDLUnitTest.Tell: "),
        (Compute.Returns, ["1"], "PIPDLUnitTest.Compute.Returns: Expected `int`, got `str` - at `$.value`"),
        (PIPDLUnitTest.GetMemory, [1.5], "at `$.size`"),
        (PIPDLUnitTest.GetMemory, [True], "at `$.size`"),
        (PHttpTransaction.OnStart, [200, "h", [["a", "b\n"]], "::1", 1], "at `$.headers[0][1]`"),
        (PHttpTransaction.OnStart, [200, "h", [["a\n", "b"]], "::1", 1], "at `$.headers[0][0]`"),
        (PHttpTransaction.OnStart, [200, "h", [["a", "b", "c"]], "::1", 1], "at `$.headers[0]`"),
        (PHttpTransaction.OnStart, [200, "h", [], "::1", 0], "Expected `int` >= 1 - at `$.remote_port`"),
        (PHttpTransaction.OnStop, [{"code": "NS_OK", "extra": 1}, 0, {}], "unknown field `extra` - at `$.outcome`"),
        (PHttpTransaction.OnStop, [{}, 0, {}], "missing required field `code` - at `$.outcome`"),
        (PHttpTransaction.Construct, [1, "GET\n", "u", [], {}], "at `$.method`"),
        (PHttpTransaction.Construct, [1, "GET", "u", [], {}, None, float("nan")], "at `$.timeout_s`"),
        (PHttpTransaction.Construct, [1, "GET", "u", [], {"spaces": ["mars"]}], "Invalid enum value 'mars'"),
        (PDocument.OnLoaded, ["text", 0], "expected at most 65536 bytes or the index of a descriptor - at `$.content`"),
        (PDocument.OnLoaded, [b"x" * 65_537, 0], "at `$.content`"),
        (SendFile, [8, None], "expected the index of a descriptor, 0-7 - at `$.file`"),
        (SendFile, [-1, None], "at `$.file`"),
        (SendFile, [True, None], "at `$.file`"),
        (SendFile, [None, None], "at `$.file`"),
        (SendFile, ["0", None], "at `$.file`"),
        (SendFile, [0, True], "at `$.body`"),
    ],
)  # fmt: skip
def test_wrong_value_is_refused_by_protocol_message_and_field(cls: type, body: object, said: str) -> None:
    with pytest.raises(BadMessage) as refused:
        decode(cls, body)
    assert str(refused.value).startswith(describe(cls))
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("cls", "body", "field"),
    [
        (PIPDLUnitTest.ConnectPeer, [0, "\x1b]0;owned\x07" + "x" * 60_000], "$.side"),
        (PHttpTransaction.OnStop, [{"code": "", "\x1b]0;owned\x07" + "x" * 60_000: 1}, 0, {}], "$.outcome"),
    ],
)
def test_what_the_peer_sent_is_cut_and_made_harmless_in_the_error_text(cls: type, body: object, field: str) -> None:
    with pytest.raises(BadMessage) as refused:
        decode(cls, body)
    assert len(str(refused.value)) < 400
    assert str(refused.value).isprintable()
    assert field in str(refused.value)


def test_deep_nesting_is_refused_without_harm() -> None:
    with pytest.raises(BadMessage, match="recursion"):
        decode(SendFile, b"\x91" * 100_000)  # deeper than any Python goes, and still one packet


@pytest.mark.parametrize(("fds", "indexes"), [(0, [0, None]), (2, [0, None]), (1, [1, None]), (2, [0, 0]), (2, [0, 2])])
def test_descriptors_that_do_not_match_the_fields_are_refused_and_left_to_the_caller(
    fds: int, indexes: list[object]
) -> None:
    arrived = devnull(fds)
    with pytest.raises(BadMessage, match=r"descriptors in distinct places.* - at `\$.file, \$.body`"):
        decode(SendFile, indexes, arrived)
    assert len(arrived) == fds
    for fd in arrived:
        os.close(fd)


def test_descriptors_of_a_message_that_has_none_are_refused() -> None:
    arrived = devnull(1)
    with pytest.raises(BadMessage, match="expected 0 descriptors in distinct places, got 1"):
        decode(Tell, ["a"], arrived)
    os.close(arrived[0])


def test_descriptors_may_come_in_any_order() -> None:
    arrived = devnull(2)
    got = decode(SendFile, [1, 0], list(arrived))
    assert isinstance(got, SendFile)
    assert got.body is not None
    assert got.body.memory is not None
    assert (got.file.fileno(), got.body.memory.fileno()) == (arrived[1], arrived[0])
    got.file.close()
    got.body.memory.close()


def test_sent_descriptors_stay_with_the_message_and_are_announced() -> None:
    message = SendFile(file=make_descriptor(RegularFile), body=Payload(memory=make_memory(b"z")))
    raw, fds = encode(1, 0, 2, Kind.CALL, message)
    assert parse_header(memoryview(raw), 2).descriptors == 2
    assert msgspec.msgpack.decode(raw[12:]) == [0, 1]
    assert list(fds) == [message.file.fileno(), message.body.memory.fileno()]  # type: ignore[union-attr]
    message.file.close()
    message.body.memory.close()  # type: ignore[union-attr]


def test_packet_that_is_too_large_is_our_own_mistake() -> None:
    headers = tuple((f"h{i}", "v" * 30_000) for i in range(5))
    message = PHttpTransaction.OnStart(status=200, http_version="1.1", headers=headers, remote="::1", remote_port=1)
    with pytest.raises(ProtocolMisuse, match=f"PHttpTransaction.OnStart: expected a packet of at most {MAX_PACKET}"):
        encode(0, 0, 0, Kind.SEND, message)


def test_closed_descriptor_cannot_be_sent() -> None:
    memory = make_memory(b"x")
    memory.close()
    with pytest.raises(ValueError, match="SharedMemory holds no descriptor"):
        encode(0, 0, 0, Kind.SEND, Echo(payload=LargePayload(memory=memory)))


@pytest.mark.parametrize("number", [0, 1, 0xFFFF_FFFF])
def test_header_numbers_reach_their_bounds(number: int) -> None:
    raw, _ = encode(number, number, 0xFFFF, Kind.REPLY, Tell(text=""))
    assert struct.unpack("<IIHBB", raw[:12]) == (number, number, 0xFFFF, 2, 0)


def test_names_of_messages_and_replies_are_told_apart() -> None:
    assert describe(PDocumentChannel.OnStart) == "PDocumentChannel.OnStart"
    assert describe(PIPDLUnitTest.Compute.Returns) == "PIPDLUnitTest.Compute.Returns"
    assert describe(PContent.Ping) == "PChildProcess.Ping"
    assert SharedMemory.__name__ == describe(SharedMemory)
