"""Values as data: there and back in one process, every bound, and random bytes that must do no harm."""

from __future__ import annotations

import array
import contextlib
import dataclasses
import datetime
import decimal
import enum
import fractions
import struct
import time
import uuid
import zoneinfo
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foxden.errors import BadMessage, RemoteError, ResultNotData
from foxden.ipc import value_encode
from foxden.ipc.errors_decode import ERROR_TYPES
from foxden.ipc.typed import matches
from foxden.ipc.value_decode import decode_value
from foxden.ipc.value_encode import encode_error, encode_value, name_of
from foxden.ipc.values import (
    ALIGNMENT,
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_TOKENS,
    Code,
    Ext,
    _items_promised,
    _raw,
    encode_tokens,
)

LIMIT = 1 << 26


class Suit(enum.Enum):
    HEARTS = "h"


@dataclasses.dataclass
class Card:
    suit: Suit
    value: int
    notes: list[str] | None = None


TYPES = {name_of(kind): kind for kind in (Suit, Card)}


def back(value: Any) -> Any:
    encoded = encode_value(value, names=TYPES, limit=LIMIT)
    memory = bytearray(encoded.size)
    place = 0
    for part in encoded.buffers:
        memory[place : place + part.nbytes] = part.cast("B")
        place += -(-part.nbytes // ALIGNMENT) * ALIGNMENT
    return decode_value(encoded.data, memoryview(memory), TYPES)


keys = st.one_of(st.integers(), st.text(), st.binary(max_size=20), st.booleans(), st.none())
leaves = st.one_of(
    keys, st.floats(allow_nan=False), st.complex_numbers(allow_nan=False), st.decimals(allow_nan=False),
    st.dates(), st.datetimes(timezones=st.none() | st.just(datetime.UTC)), st.times(), st.timedeltas(), st.uuids(),
    st.fractions(), st.text(st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, categories=["Cs"])),
)  # fmt: skip
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(keys, inner, max_size=5), st.tuples(inner, inner),
        st.sets(keys, max_size=4), st.frozensets(keys, max_size=4),
    ),
    max_leaves=20,
)  # fmt: skip


@given(values)
def test_any_data_comes_back_as_it_was(value: Any) -> None:
    found = back(value)
    assert type(found) is type(value)
    assert found == value


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_or_are_data(data: bytes) -> None:
    _refused_or_data(data)


tokens = st.lists(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(), st.text(max_size=10),
        st.lists(st.integers(0, 9), max_size=4), st.dictionaries(st.text(max_size=3), st.integers(0, 5), max_size=2),
        st.builds(Ext, st.integers(-128, 127), st.binary(max_size=24)),
        st.builds(Ext, st.integers(1, 40), st.integers(0, 6).map(lambda count: count.to_bytes(8, "little"))),
        st.builds(lambda size: Ext(Code.NDARRAY, struct.pack("<QQ", 0, size)), st.integers(0, 64)),
        st.just(Ext(Code.RECORD, name_of(Card).encode())), st.just(Ext(Code.ENUM, name_of(Suit).encode())),
        st.just("<i8"), st.just("HEARTS"),
    ),
    max_size=12,
)  # fmt: skip


@given(tokens)
def test_random_tokens_are_refused_or_are_data(row: list[Any]) -> None:
    _refused_or_data(encode_tokens(row))


def _refused_or_data(data: bytes) -> None:
    begun = time.process_time()
    with contextlib.suppress(BadMessage, ResultNotData):  # the two answers that there are beside data
        decode_value(data, memoryview(bytes(256)), TYPES)
    assert time.process_time() - begun < 2


def count(items: int) -> bytes:
    return items.to_bytes(8, "little")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([], "announces more items"),
        ([1, 2], "1 items more than announced"),
        ([Ext(Code.LIST, count(1 << 40))], "announces 1099511627776 items, 0 are left"),
        ([Ext(Code.LIST, b"\1"), 1], "announces -1 items"),
        ([Ext(Code.DICT, count(1)), 1], "announces 1 items, 1 are left"),
        ([Ext(77, b"")], "unknown extension 77"),
        ([Ext(Code.LIST, count(1))] * 200 + [1], f"at most {MAX_DEPTH} containers"),
        ([Ext(Code.DATE, b"1" * 20_000)], "a text of 20000 bytes"),
        ([Ext(Code.DATE, b"yesterday")], "ValueError"),
        ([Ext(Code.FRACTION, b""), Ext(Code.INTEGER, b"\1" * 9000), 3], "a fraction of more than"),
        ([Ext(Code.FRACTION, b""), 1, 0], "ZeroDivisionError"),
        ([Ext(Code.UUID, b"short")], "ValueError"),
        ([Ext(Code.COMPLEX, b"short")], "error"),
        ([Ext(Code.DATETIME, b"\0002026-01-01T00:00:00"), "UTC"], "str where it cannot stand"),
        ([Ext(Code.TIMEZONE, struct.pack("<q", 1 << 60)), None], "OverflowError|ValueError"),
        ([Ext(Code.ENUM, b"builtins.open"), "x"], "not among the types that the caller named"),
        ([Ext(Code.ENUM, name_of(Card).encode()), "x"], "not among the types that the caller named"),
        ([Ext(Code.ENUM, name_of(Suit).encode()), "CLUBS"], "KeyError"),
        ([Ext(Code.RECORD, name_of(Card).encode()), {"suit": 1}], "expected the fields"),
        ([Ext(Code.RECORD, name_of(Suit).encode()), {}], "is no dataclass"),
        ([Ext(Code.SHARED_BYTES, struct.pack("<QQ", 0, 1 << 40))], "outside of the shared memory"),
        ([Ext(Code.NDARRAY, struct.pack("<QQ", 0, 8)), "|O8", [1], False], "no plain dtype"),
        ([Ext(Code.NDARRAY, struct.pack("<QQ", 0, 8)), "<i8", [2], False], "does not take 8 bytes"),
        ([Ext(Code.NDARRAY, struct.pack("<QQ", 0, 8)), "<i8", [-1, -1], False], "a few numbers"),
        ([Ext(Code.NUMPY_SCALAR, b"<i8\0abc")], "does not take 3 bytes"),
        ([Ext(Code.NUMPY_SCALAR, b"<U1\0\xff\xff\xff\xff")], "no character"),
        ([Ext(Code.ARRAY_MODULE, b"u"), Ext(Code.BYTES, b"")], "no typecode"),
        ([Ext(Code.ERROR, b"builtins.KeyError"), 5, "", [], ""], "int where it cannot stand"),
    ],
    ids=lambda value: value if isinstance(value, str) else "row",  # no addresses: every worker must find the same names
)
def test_what_no_honest_encoder_makes_is_refused(row: list[Any], words: str) -> None:
    with pytest.raises(BadMessage, match=words):
        decode_value(encode_tokens(row), memoryview(bytes(256)), TYPES)


@pytest.mark.parametrize(("dtype", "good", "evil"), [("|b1", b"\1\0", b"\1\2"), ("<U1", b"a\0\0\0", b"\0\0\x11\0"),
                                                     (">U1", b"\0\0\0a", b"\0\x11\0\0")])  # fmt: skip
def test_bytes_that_numpy_would_stumble_over_are_refused(dtype: str, good: bytes, evil: bytes) -> None:
    """Of a bool that is 255 its counting makes less than there are: what it then copies does not fit."""
    shape = [np.frombuffer(good, dtype).size]
    row = encode_tokens([Ext(Code.NDARRAY, struct.pack("<QQ", 0, len(good))), dtype, shape, False])
    assert decode_value(row, memoryview(good), {}).tolist() == np.frombuffer(good, dtype).tolist()
    with pytest.raises(BadMessage, match=r"bools that holds|no character"):
        decode_value(row, memoryview(evil), {})


def test_a_field_of_the_wrong_type_is_refused() -> None:
    assert back(Card(Suit.HEARTS, 1, ["x"])) == Card(Suit.HEARTS, 1, ["x"])
    for wrong in (Card("h", 1), Card(Suit.HEARTS, "1"), Card(Suit.HEARTS, 1, [2])):  # type: ignore[arg-type, list-item]
        with pytest.raises(ResultNotData, match=r"result: Card\.\w+: expected .*, got ") as caught:
            back(wrong)
        assert caught.value.hint
    lie = [Ext(Code.RECORD, name_of(Card).encode()), {"suit": "h", "value": 1, "notes": None}]
    with pytest.raises(ResultNotData, match=r"Card\.suit: expected Suit, got str"):
        decode_value(encode_tokens(lie), None, TYPES)


def test_a_zone_is_not_looked_for_before_it_is_known() -> None:
    with pytest.raises(ResultNotData, match=r"no time zone 'tzdata\.evil' in this process"):
        decode_value(encode_tokens([Ext(Code.ZONE, b"tzdata.evil")]), None, {})


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1, int, True), (True, int, True), ("1", int, False), (1, float, True), (1.0, int, False), (None, None, True),
        (1, int | None, True), (None, int | None, True), ("x", int | None, False), ([1], list[int], True),
        (["x"], list[int], False), ((1, "x"), tuple[int, str], True), ((1, 2), tuple[int, str], False),
        ((1, 2), tuple[int, ...], True), ({"a": 1}, dict[str, int], True), ({1: 1}, dict[str, int], False),
        ("r", Literal["r", "w"], True), ("x", Literal["r", "w"], False), (object(), Any, True), ({1}, set[str], False),
    ],
)  # fmt: skip
def test_values_match_annotations(value: Any, hint: Any, expected: bool) -> None:
    assert matches(value, hint) is expected


@pytest.mark.parametrize("name", sorted(ERROR_TYPES))
def test_every_error_of_pythons_own_comes_back(name: str) -> None:
    kind = ERROR_TYPES[name]
    arguments: tuple[Any, ...] = {
        UnicodeDecodeError: ("utf-8", b"x", 0, 1, "why"), UnicodeEncodeError: ("utf-8", "x", 0, 1, "why"),
        UnicodeTranslateError: ("x", 0, 1, "why"),
    }.get(kind, ("why",))  # fmt: skip
    found = decode_value(encode_error(kind(*arguments), limit=LIMIT).data, None, {})
    assert type(found) is kind
    assert found.args == arguments


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1)])
def test_errors_that_steer_a_program_come_back_by_name_only(error: BaseException) -> None:
    found = decode_value(encode_error(error, limit=LIMIT).data, None, {})
    assert type(found) is RemoteError
    assert found.type_name == f"builtins.{type(error).__name__}"


@pytest.mark.parametrize(
    "value",
    [
        array.array("d", [1, 2]), fractions.Fraction(1, 3), zoneinfo.ZoneInfo("Europe/Paris"), uuid.UUID(int=1),
        decimal.Decimal("sNaN").copy_abs().is_nan(), datetime.timezone(datetime.timedelta(hours=1), "X"),
        datetime.datetime(2026, 1, 1, tzinfo=zoneinfo.ZoneInfo("Asia/Tokyo"), fold=1),
    ],
    ids=repr,
)  # fmt: skip
def test_the_rarer_kinds_come_back(value: Any) -> None:
    assert back(value) == value


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12).reshape(3, 4), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.zeros((0, 3)), np.array(5),
        np.arange(10)[::2], np.array(["a", "bc"]), np.array([b"x"]), np.array([True]), np.array([1j]),
        np.array(["2026-01-01"], "M8[D]"), np.array([5], "m8[ns]"), np.arange(4, dtype=">i4"),
    ],
    ids=lambda array: f"{array.dtype} {array.shape}",
)  # fmt: skip
def test_arrays_come_back(array: Any) -> None:
    found = back(array)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert (found == array).all()


@pytest.mark.parametrize("value", [np.array([object()]), np.zeros(2, [("a", int)])], ids=["objects", "records"])
def test_arrays_of_what_is_no_data_are_refused(value: Any) -> None:
    with pytest.raises(ResultNotData, match="array of dtype"):
        back(value)


def test_a_library_that_is_not_loaded_is_not_loaded_for_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    encoded = encode_value(np.array([]), limit=LIMIT)
    assert decode_value(encoded.data, None, {}).size == 0
    monkeypatch.delitem(sys.modules, "numpy")
    with pytest.raises(ResultNotData, match="numpy is not loaded in this process") as caught:
        decode_value(encoded.data, None, {})
    assert caught.value.hint
    assert "numpy" not in sys.modules


def test_shared_items_are_counted_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few lists that hold each other twice would be more than there are: they are refused in time."""
    value: Any = []
    for _ in range(60):
        value = [value, value]
    monkeypatch.setattr(value_encode, "MAX_TOKENS", 10_000)
    with pytest.raises(ResultNotData, match="at most 10000 items in all"):
        encode_value(value, limit=LIMIT)


@pytest.mark.parametrize(
    ("part", "items"),
    [
        (b"\xdd\x00\x20\x00\x00" + b"\x01" * (1 << 21), 1 << 21),
        (b"\xdc\x80\x00" + b"\x01" * (1 << 15), 1 << 15),
        (b"\x9f" + b"\x01" * 15, 15),
        (b"\xdf\x00\x20\x00\x00" + b"\xa0\x01" * (1 << 21), 1 << 22),
        (b"\xde\x80\x00" + b"\xa0\x01" * (1 << 15), 1 << 16),
        (b"\x8f" + b"\xa0\x01" * 15, 30),
    ],
    ids=["lists", "shorter", "short", "dicts", "shorter dicts", "short dicts"],
)
def test_lists_of_more_items_together_than_may_be_are_refused_before_they_are_built(
    part: bytes, items: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """256 MiB of lists of texts of two letters would be 5 GiB when they are built."""
    most = MAX_ITEMS // items
    assert _items_promised(_raw.decode(_row(part, most))) == most * items, "the control: as many as may be"
    monkeypatch.setattr("foxden.ipc.values._decoder", lambda most: pytest.fail("it is about to build them"))
    with pytest.raises(BadMessage, match=f"at most {MAX_ITEMS} items in lists and dicts, got {(most + 1) * items}"):
        decode_value(_row(part, most + 1), None, {})


def _row(part: bytes, times: int) -> bytes:
    return b"\xdd" + times.to_bytes(4, "big") + part * times


def test_more_tokens_than_a_value_may_have_are_refused_before_anything_is_built() -> None:
    data = b"\xdd" + (MAX_TOKENS + 1).to_bytes(4, "big") + b"\x01" * (MAX_TOKENS + 1)
    with pytest.raises(BadMessage, match="length <="):
        decode_value(data, None, {})
    flat = decode_value(encode_tokens([[1] * (MAX_TOKENS + 1)]), None, {})
    assert len(flat) == MAX_TOKENS + 1, "the control: a list of numbers may be longer"
