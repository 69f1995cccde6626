"""Arrow's data there and back, on the same memory; and what a hostile worker would say of it."""

from __future__ import annotations

import datetime
import decimal
import struct
from typing import Any

import pytest
from tests.support.results import back, memory_of

from foxden.errors import BadMessage, ResultNotData
from foxden.ipc.value_decode import decode_value
from foxden.ipc.value_encode import encode_value
from foxden.ipc.values import Code, Ext, encode_tokens

pa = pytest.importorskip("pyarrow")
pytestmark = pytest.mark.leaks_ok("Arrow has threads of its own from its first use on")

ARRAYS = [
    pa.array([1, 2, None]), pa.array([True, None, False] * 5), pa.array(["a", None, "bcd"]), pa.array([b"x"]),
    pa.array(["a"], pa.large_string()), pa.array([], pa.string()), pa.array([], pa.int8()), pa.array([None, None]),
    pa.array([1.5], pa.float16()), pa.array([decimal.Decimal("1.5")]), pa.array([decimal.Decimal(2)],
    pa.decimal256(50, 2)),
    pa.array([datetime.date(2026, 1, 1)]), pa.array([datetime.datetime(2026, 1, 1)], pa.timestamp("us",
    "Europe/Paris")),
    pa.array([datetime.timedelta(1)]), pa.array([datetime.time(1)]), pa.array([[1, 2], None, [3]]),
    pa.array([[[1]], None, []], pa.large_list(pa.list_(pa.int8()))), pa.array([{"a": 1, "b": ["x"]}, None]),
    pa.array(["a", "b", None]).dictionary_encode(), pa.array([[1, 2], None], pa.list_(pa.int8(), 2)),
    pa.array([b"abc"], pa.binary(3)), pa.array([{"a": 1}] * 5).slice(2, 2), pa.array([["x"], ["z"], None]).slice(1),
    pa.array(list("abca")).dictionary_encode().slice(2), pa.array([True] * 20).slice(3, 9), pa.array([{}],
    pa.struct([])),
    pa.array([], pa.list_(pa.int8())), pa.array([], pa.struct([("a", pa.string())])),
]  # fmt: skip


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.type} {len(array)}")
def test_arrow_data_comes_back(array: Any) -> None:
    found = back(array)
    assert (found.type, found.equals(array)) == (array.type, True)
    chunked = pa.chunked_array([array, array])
    assert (back(chunked).num_chunks, back(chunked).equals(chunked)) == (2, True)
    table = pa.table({"a": array, "b": array}).replace_schema_metadata({"k": "v"})
    assert back(table).equals(table, check_metadata=True)
    batch = pa.record_batch({"a": array})
    assert back(batch).equals(batch)


def test_nothing_is_copied() -> None:
    table = pa.table({"n": list(range(1000)), "s": ["text"] * 1000})
    encoded = encode_value(table, limit=1 << 20)
    memory = memory_of(encoded)
    found = decode_value(encoded.data, memoryview(memory), {})
    start = pa.py_buffer(memory).address
    for column in found.columns:
        for buffer in column.chunk(0).buffers():
            assert buffer is None or start <= buffer.address < start + len(memory)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())), r"map<string, int8> is not sent"),
        (pa.array(["x"], pa.string_view()), "string_view is not sent"),
        (pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{}"])), "JsonArray|extension<arrow.json> is not sent"),
        (pa.table({"a": [1]}).select([]), "1 rows without a column"),
    ],
    ids=["map", "view", "extension", "rows"],
)  # fmt: skip
def test_what_is_not_sent_says_so(value: Any, words: str) -> None:
    with pytest.raises(ResultNotData, match=words) as caught:
        back(value)
    assert caught.value.hint


def piece(place: int, size: int) -> Ext:
    return Ext(Code.ARROW_BUFFER, struct.pack("<QQ", place, size))


WORDS = struct.pack("<iii", 0, 1, 2), b"ab"
# Twice: what is read of it comes in order.
MEMORY = b"".join(part.ljust(64, b"\0") for part in (*WORDS, bytes([7, 1, 255, 254]), *WORDS))
EVIL_OFFSETS = struct.pack("<iii", 0, 1 << 30, 2), struct.pack("<iii", -5, 1, 2), struct.pack("<iii", 0, 2, 1)


def decode(row: list[Any], memory: bytes = MEMORY) -> Any:
    return decode_value(encode_tokens([Ext(Code.ARROW_ARRAY, b""), *row]), memoryview(bytearray(memory)), {})


def test_the_control() -> None:
    assert decode([["string"], 2, None, piece(0, 12), piece(64, 2)]).to_pylist() == ["a", "b"]
    dictionary = [["dictionary", False], ["int8"], ["string"], 1, 1, None, piece(129, 1), 2, None, piece(192, 12),
        piece(256, 2)]
    assert decode(dictionary).to_pylist() == ["b"]


@pytest.mark.parametrize("offsets", EVIL_OFFSETS, ids=["beyond", "negative", "backwards"])
def test_offsets_that_lead_elsewhere_are_refused(offsets: bytes) -> None:
    with pytest.raises(BadMessage, match="no Arrow data"):
        decode([["string"], 2, None, piece(0, 12), piece(64, 2)], offsets.ljust(64, b"\0") + MEMORY[64:])


@pytest.mark.parametrize(
    "row",
    [
        [["int64"], -1, None, piece(0, 8)], [["int64"], 1 << 39, None, piece(0, 8)], [["int64"], 2, None, piece(0, 8)],
        [["int64"], 1, piece(0, 0), piece(0, 8)], [["int64"], 1, None, piece(0, 1 << 40)], [["int64"], 1, None, None],
        [["string"], 2, None, piece(0, 8), piece(64, 2)], [["string"], 2, None, piece(0, 12), piece(64, 1)],
        [["string"], 2, None, piece(0, 12), piece(130, 2)],
        [["dictionary", False], ["int8"], ["string"], 1, 1, None, piece(128, 1), 2, None, piece(192, 12),
        piece(256, 2)],
        [["dictionary", False], ["string"], ["string"], 0], [["null"], 1 << 39], [["fixed_size_binary", 0], 1 << 30,
        None],
        [["fixed_size_binary", -1], 1, None, piece(0, 0)], [["struct", 0], 1 << 30, None], [["struct", 1 << 20], 0],
        [["struct", 1], "a", True, None, ["int8"], 2, None, 1, None, piece(0, 1)], [["extension"], 1], [["map"], 1],
        [[], 1],
        [["list", 1], "x", True, None, ["int8"], 2, None, piece(0, 12), 1, None, piece(64, 1)], [["decimal128", 39,
        0], 0],
        [["list", 1], "x", True, {"a": 1}, ["int8"], 0], [["timestamp", "h", None], 0], ["int64", 1], [5, 1],
        [["fixed_size_list", 1 << 23], "x", True, None, ["int8"], 1 << 39, None, 0, None, piece(0, 0)],
        *[[["list", 1], "x", True, None] * 40],
    ],
)  # fmt: skip
def test_what_no_honest_worker_says_of_arrow_is_refused(row: list[Any]) -> None:
    with pytest.raises(BadMessage):
        decode(row)


def test_words_of_an_extension_are_refused() -> None:
    row = [["list", 1], "x", True, Ext(Code.DICT, (1).to_bytes(8, "little")), Ext(Code.BYTES, b"ARROW:extension:name"),
           Ext(Code.BYTES, b"evil"), ["int8"], 0, None, piece(0, 4), 0, None, piece(0, 0)]  # fmt: skip
    with pytest.raises(BadMessage, match="metadata"):
        decode(row)
    row[4] = Ext(Code.BYTES, b"harmless")
    assert decode(row).to_pylist() == []


def test_a_zone_of_arrows_is_one_that_is_known() -> None:
    with pytest.raises(ResultNotData, match="no time zone"):
        decode([["timestamp", "us", "tzdata.evil"], 0, None, piece(0, 0)])
