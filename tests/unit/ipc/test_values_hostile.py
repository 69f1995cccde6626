"""Results that no honest worker sends: each costs the parent no more than it says, and ends in an error."""

from __future__ import annotations

import struct
import traceback
from typing import Any

import numpy as np
import pytest

from foxden.errors import BadMessage, RemoteError, ResultNotData
from foxden.ipc.value_decode import decode_value
from foxden.ipc.value_encode import encode_value
from foxden.ipc.values import Code, Ext, encode_tokens

SHARED = memoryview(bytearray(4096))


def built(*tokens: Any) -> Any:
    return decode_value(encode_tokens(list(tokens)), SHARED, {})


def count(number: int) -> bytes:
    return number.to_bytes(8, "little")


def place(start: int, size: int) -> bytes:
    return struct.pack("<QQ", start, size)


def integer(number: int) -> Ext:
    return Ext(Code.INTEGER, number.to_bytes(16, "little", signed=True))


def raised(name: str, arguments: list[Any], text: str = "text") -> Any:
    return built(Ext(Code.ERROR, name.encode()), *arguments, text, [], "trace", "")


def test_no_byte_of_shared_memory_is_two_things() -> None:
    two = [Ext(Code.LIST, count(2))]
    assert built(*two, Ext(Code.SHARED_BYTES, place(0, 9)), Ext(Code.SHARED_BYTES, place(64, 9))) == [bytes(9)] * 2
    for second in (place(0, 9), place(8, 9), place(4, 1)):
        with pytest.raises(BadMessage, match="do not follow"):
            built(*two, Ext(Code.SHARED_BYTES, place(0, 9)), Ext(Code.SHARED_BYTES, second))


@pytest.mark.parametrize("code", [Code.SET, Code.FROZENSET, Code.DICT])
def test_keys_that_all_fall_into_one_place_are_refused(code: int) -> None:
    """Python's hash of a number is the number modulo 2**61 - 1: to put 30,000 such into a set takes seconds."""
    def keys(step: int, number: int) -> list[Any]:
        made = [integer(n * step + 5) for n in range(number)]
        return [token for key in made for token in (key, 0)] if code == Code.DICT else made

    assert len(built(Ext(code, count(3000)), *keys(7, 3000))) == 3000
    assert len(built(Ext(code, count(900)), *keys((1 << 61) - 1, 900))) == 900
    with pytest.raises(ResultNotData, match="same hash"):
        built(Ext(code, count(3000)), *keys((1 << 61) - 1, 3000))


def test_an_array_of_items_without_a_size_has_no_items() -> None:
    assert built(Ext(Code.NDARRAY, place(0, 0)), "|S0", [0], False).shape == (0,)
    for code, payload in ((Code.NDARRAY, place(0, 0)), (Code.NDARRAY_HERE, b"")):
        with pytest.raises(BadMessage, match="without a size"):
            built(Ext(code, payload), "|S0", [1 << 33], False)


def test_small_arrays_take_no_descriptor_and_can_be_written() -> None:
    encoded = encode_value([np.arange(4.0), np.zeros((2, 3), order="F")], limit=1 << 20)
    assert not encoded.buffers
    found = decode_value(encoded.data, None, {})
    found[0][0] = 7
    assert found[0].tolist() == [7, 1, 2, 3]
    assert (found[1].shape, found[1].flags.f_contiguous) == ((2, 3), True)
    assert encode_value(np.zeros(1 << 16), limit=1 << 20).buffers


def test_an_error_whose_text_python_would_read_outside_of_its_data_for_is_told_by_its_words() -> None:
    row = [Ext(Code.TUPLE, count(5)), "utf-8", Ext(Code.BYTES, b"abc"), 1, 2, "why"]
    assert raised("builtins.UnicodeDecodeError", row).start == 1
    for start, end in ((-8, -7), (-(1 << 44), 1 - (1 << 44)), (2, 1), (1, 4)):
        made = raised("builtins.UnicodeDecodeError", [*row[:3], start, end, "why"], "words")
        assert isinstance(made, RemoteError)
        assert "words" in str(made)


def test_a_syntax_error_can_always_be_shown() -> None:
    for where in (["abcd"], [Ext(Code.TUPLE, count(4)), "f.py", "x", 1, "text"], [5]):
        made = raised("builtins.SyntaxError", [Ext(Code.TUPLE, count(2)), "bad", *where])
        assert "text" in "".join(traceback.format_exception(made))
    honest = [Ext(Code.TUPLE, count(2)), "bad", Ext(Code.TUPLE, count(4)), "f.py", 1, 2, "x"]
    assert raised("builtins.SyntaxError", honest).lineno == 1
