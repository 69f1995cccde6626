"""Results as data: which types may come up from a function, under which codes, within which bounds.

Runs in: parent, utility processes.  Trusts: nothing, it is a table.
Flow: value → `value_encode` in the child → tokens as msgpack → `value_decode` in the parent → value.
Source: interface.md "Results of a sandboxed function come back as data"; docs/concepts/ipc.md.

A value is a flat row of tokens, in the order in which a reader meets them: a scalar stands for itself, everything else
is an extension token that says what it is and how many of the tokens after it belong to it.  So the bounds hold before
anything is built: msgspec counts the tokens, and the builder counts its own depth.  A list, or a dict with text as its
keys, that holds nothing but scalars is one token: that is what most results are, and it costs no Python at all.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from msgspec.msgpack import Decoder, Encoder

MAX_DEPTH = 64  # of containers in containers
MAX_ITEMS = 1 << 24  # of all lists and dicts that hold nothing but scalars: each may be 3 bytes here, and 64 when built
MAX_TOKENS = 1 << 21  # of one value: building each takes the parent a microsecond
MAX_RESULT = 256 << 20  # bytes of one result with its buffers, unless the caller sets another bound
MAX_DATA = 256 << 20  # bytes of the tokens of one value, whatever the bound of the caller is
MAX_TEXT = 10_000  # characters of a number or a date in text
SHARED_FROM = 32_768  # bytes: longer ones go by shared memory
ALIGNMENT = 64  # of each buffer in shared memory: what vector units like
MAX_DIMENSIONS = 64  # of an array
FRACTION_BITS = 1 << 14  # of a fraction's numbers: the greatest common divisor of longer ones takes its time
VIEW_FORMATS = frozenset("cbB?hHiIlLqQnNfd")  # of a memoryview
MAX_STEPS = 1 << 18  # of an index with a frequency that is no fixed step: each costs a call
MASKED = frozenset({"Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64",
                    "boolean"})  # fmt: skip
TYPECODES = frozenset("bBhHiIlLqQfd")  # of the array module: numbers
INT_MIN, INT_MAX = -(1 << 63), (1 << 64) - 1  # what msgpack holds

Scalar = None | bool | int | float | str
SCALARS = frozenset({type(None), bool, int, float, str})


class Code:
    """Extension codes.  Numbers are for ever, like those of process types."""

    LIST = 1  # payload: number of items; then the items
    TUPLE = 2
    SET = 3
    FROZENSET = 4
    DICT = 5  # payload: number of pairs; then keys and values in turn
    BYTES = 6  # payload: the bytes
    BYTEARRAY = 7
    INTEGER = 8  # payload: two's complement, little-endian: what does not fit 64 bits
    COMPLEX = 9  # payload: two doubles
    TEXT = 10  # payload: UTF-8 with lone surrogates
    DATE = 11  # payload: ISO text
    DATETIME = 12  # payload: fold, ISO text without zone; then the zone
    TIME = 13  # likewise
    TIMEDELTA = 14  # payload: days, seconds, microseconds
    TIMEZONE = 15  # payload: offset in microseconds; then its name or None
    ZONE = 16  # payload: key of a zoneinfo
    DECIMAL = 17  # payload: text
    FRACTION = 18  # then numerator and denominator
    UUID = 19  # payload: 16 bytes
    PATH = 20  # payload: bytes
    PURE_PATH = 21
    RANGE = 22  # then start, stop, step
    ENUM = 23  # payload: type; then the member's name
    FLAG = 24  # payload: type; then the value
    RECORD = 25  # payload: type of a dataclass; then one dict of its fields
    NAMED_TUPLE = 26  # payload: type; then one tuple
    ERROR = 27  # payload: type; then arguments or None, message, notes, traceback, base of Python's own
    ARRAY_MODULE = 28  # payload: typecode, bytes
    SHARED_BYTES = 32  # payload: place, length in the shared memory
    SHARED_BYTEARRAY = 33
    SHARED_VIEW = 34  # a memoryview: likewise, format; then the shape
    NDARRAY = 35  # payload: place, length; then dtype, shape, is it Fortran order
    NUMPY_SCALAR = 36  # payload: dtype, 0, bytes
    SERIES = 37  # then name, index, attributes, values
    FRAME = 38  # then index of the columns, index, attributes, number of columns, values of each
    ARROW_ARRAY = 39  # then its type, its node: length, buffers, nodes of what is inside
    ARROW_CHUNKED = 40  # payload: number of chunks; then their type, their nodes
    ARROW_TABLE = 41  # then number of columns, metadata, fields; of each column the number of chunks, their nodes
    ARROW_BATCH = 42  # likewise, one node a column
    ARROW_BUFFER = 43  # payload: place, length
    INDEX = 44  # payload: its kind; then what it is made of, its name
    PANDAS_ARRAY = 45  # payload: its kind; then what it is made of
    PANDAS_SCALAR = 46  # likewise
    NDARRAY_HERE = 47  # payload: the bytes of a small array; then as NDARRAY


Ext = msgspec.msgpack.Ext
Token = Any  # Scalar, list[Scalar], dict[str, Scalar] or Ext

encode_tokens = Encoder().encode


def decode_tokens(data: bytes | memoryview) -> list[Token]:
    """Raises msgspec.DecodeError (a wrong type, a lie about a length, too many of something), RecursionError."""
    # One byte an item at least: so short data promises no long list, and a longer promise allocates nothing.
    if len(data) > MAX_ITEMS and (count := _items_promised(_raw.decode(data))) > MAX_ITEMS:
        raise msgspec.ValidationError(f"expected at most {MAX_ITEMS} items in lists and dicts, got {count}")
    return _decoder(1 << len(data).bit_length()).decode(data)  # type: ignore[no-any-return]


_raw: Decoder[Any] = Decoder(Annotated[list[msgspec.Raw], Meta(max_length=MAX_TOKENS)])


def _items_promised(tokens: list[msgspec.Raw]) -> int:
    """What the lists and dicts among these tokens say of their lengths; a key and its value are two."""
    count = 0
    for token in tokens:
        head = memoryview(token)
        size, each = _LENGTH_BYTES.get(head[0], (0, 0))
        if size:
            count += int.from_bytes(head[1 : 1 + size], "big") * each
        elif 0x80 <= head[0] < 0xA0:
            count += (head[0] & 15) * (2 if head[0] < 0x90 else 1)
    return count


# First bytes of msgpack's longer lists and dicts: bytes of the length that follows, items for each.
_LENGTH_BYTES = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}


@cache
def _decoder(most: int) -> Decoder[Any]:
    bound = Meta(max_length=min(most, MAX_ITEMS))
    leaf = Annotated[list[Scalar], bound] | Annotated[dict[str, Scalar], bound]
    return Decoder(Annotated[list[Scalar | leaf | Ext], Meta(max_length=min(most, MAX_TOKENS))])
