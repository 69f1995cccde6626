"""Tables and arrays of Arrow to tokens; their buffers go beside them, as they are.

Runs in: utility processes.  Trusts: nobody; a function that patched this process spoils its own results only.
Flow: value_encode meets something of pyarrow's → adder_of → type, lengths, and places in the shared memory.
Source: ipc/arrow_types; Arrow, "Columnar Format".
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any

from foxden.errors import ResultNotData
from foxden.ipc.arrow_types import (
    FORBIDDEN_WORDS,
    MAX_ARROW_DEPTH,
    MAX_WIDTH,
    OFFSETS,
    PLAIN,
    bytes_of_bits,
    is_weightless,
    name_of_type,
)
from foxden.ipc.value_encode import Encoding
from foxden.ipc.values import MAX_ITEMS, Code

_CAST = "table.cast(…) to strings, numbers, lists, structs"


def adder_of(kind: type) -> Callable[[Encoding, Any, str], None] | None:
    pyarrow: Any = sys.modules["pyarrow"]
    if kind is pyarrow.Table:
        return _add_table
    if kind is pyarrow.RecordBatch:
        return _add_batch
    if kind is pyarrow.ChunkedArray:
        return add_chunked
    return _add_array if issubclass(kind, pyarrow.Array) else None


def _add_array(to: Encoding, value: Any, where: str) -> None:
    _check(value, where)
    to.extension(Code.ARROW_ARRAY)
    _type(to, value.type, where, 0)
    _node(to, value, where)


def add_chunked(to: Encoding, value: Any, where: str) -> None:
    _check(value, where)
    to.extension(Code.ARROW_CHUNKED, value.num_chunks.to_bytes(8, "little"))
    _type(to, value.type, where, 0)
    for chunk in value.chunks:
        _node(to, chunk, where)


def _add_table(to: Encoding, value: Any, where: str) -> None:
    _check(value, where)
    to.extension(Code.ARROW_TABLE)
    _schema(to, value, where)
    for field, column in zip(value.schema, value.columns, strict=True):
        to.tokens.append(column.num_chunks)
        for chunk in column.chunks:
            _node(to, chunk, f"{where}, column {field.name!r:.40}")


def _add_batch(to: Encoding, value: Any, where: str) -> None:
    _check(value, where)
    to.extension(Code.ARROW_BATCH)
    _schema(to, value, where)
    for field, column in zip(value.schema, value.columns, strict=True):
        _node(to, column, f"{where}, column {field.name!r:.40}")


def _check(value: Any, where: str) -> None:
    """As the parent will: Arrow lets many things be made that are not what their types say."""
    try:
        value.validate(full=True)
    except sys.modules["pyarrow"].ArrowInvalid as error:
        text = f"{where}: Arrow data that is not what its type says: {str(error)[:200]}"
        raise ResultNotData(text, hint=".validate(full=True) says so in the function") from None


def _schema(to: Encoding, value: Any, where: str) -> None:
    if not value.num_columns and value.num_rows:
        raise ResultNotData(f"{where}: {value.num_rows} rows without a column", hint="return their number")
    to.tokens.append(value.num_columns)
    _metadata(to, value.schema.metadata, where)
    for field in value.schema:
        _field(to, field, f"{where}, column {field.name!r:.40}", 0)


def _metadata(to: Encoding, words: Any, where: str) -> None:
    if words and any(key.startswith(FORBIDDEN_WORDS) for key in words):
        raise ResultNotData(f"{where}: metadata of an extension type", hint=".remove_metadata()")
    to.add(dict(words) if words else None, f"{where}.metadata")


def _field(to: Encoding, field: Any, where: str, depth: int) -> None:
    to.add(field.name, where)
    to.tokens.append(field.nullable)
    _metadata(to, field.metadata, where)
    _type(to, field.type, where, depth)


def _type(to: Encoding, kind: Any, where: str, depth: int) -> None:
    pyarrow = sys.modules["pyarrow"]
    name = name_of_type(pyarrow, kind)
    if not name or depth > MAX_ARROW_DEPTH:
        storage = isinstance(kind, pyarrow.BaseExtensionType)
        raise ResultNotData(
            f"{where}: Arrow's {kind!s:.80} is not sent", hint="return array.storage" if storage else _CAST
        )
    if name in PLAIN:
        to.tokens.append([name])
    elif name == "timestamp":
        to.tokens.append([name, kind.unit, kind.tz])
    elif name in ("decimal128", "decimal256"):
        to.tokens.append([name, kind.precision, kind.scale])
    elif name in ("fixed_size_binary", "fixed_size_list"):
        width = kind.byte_width if name == "fixed_size_binary" else kind.list_size
        if width > MAX_WIDTH:
            raise ResultNotData(f"{where}: Arrow's {kind!s:.80} is not sent", hint=_CAST)
        to.tokens.append([name, width])
    elif name == "dictionary":
        to.tokens.append([name, kind.ordered])
        _type(to, kind.index_type, where, depth + 1)
        _type(to, kind.value_type, where, depth + 1)
    else:
        to.tokens.append([name, kind.num_fields])
    for place in range(kind.num_fields if name != "dictionary" else 0):
        _field(to, kind.field(place), where, depth + 1)


def _node(to: Encoding, array: Any, where: str) -> None:
    """One array: its length, its buffers, and its children likewise."""
    pyarrow = sys.modules["pyarrow"]
    if array.offset:  # a part of a longer one: cut it out, so that no offset is left in it
        array = pyarrow.concat_arrays([array])
    kind, count = array.type, len(array)
    name = name_of_type(pyarrow, kind)
    if is_weightless(name, kind) and count > MAX_ITEMS:
        raise ResultNotData(f"{where}: expected at most {MAX_ITEMS} items without any bytes, got {count}")
    to.add(count, where)  # which also counts how many tokens there are
    if name == "null":
        return
    if name == "dictionary":
        _node(to, array.indices, where)
        _node(to, array.dictionary, where)
        return
    buffers = array.buffers()
    if array.null_count:
        _buffer(to, buffers[0], bytes_of_bits(count), where)
    else:
        to.tokens.append(None)
    if name in OFFSETS:
        last = _offsets(to, buffers[1], count, OFFSETS[name], where)
        if name in ("list", "large_list"):
            _node(to, array.values.slice(0, last), where)
        else:
            _buffer(to, buffers[2], last, where)
    elif name == "struct":
        for place in range(kind.num_fields):
            _node(to, array.field(place), where)
    elif name == "fixed_size_list":
        _node(to, array.values.slice(0, count * kind.list_size), where)
    else:
        _buffer(to, buffers[1], bytes_of_bits(count * kind.bit_width), where)


def _offsets(to: Encoding, buffer: Any, count: int, width: int, where: str) -> int:
    """Send the places at which items begin; returns the last, at which all of them end."""
    if not count:
        to.extension(Code.ARROW_BUFFER, to.share(memoryview(bytes(width)), where))
        return 0
    _buffer(to, buffer, (count + 1) * width, where)
    return int(struct.unpack_from("<i" if width == 4 else "<q", buffer, count * width)[0])


def _buffer(to: Encoding, buffer: Any, size: int, where: str) -> None:
    view = memoryview(buffer if size else b"").cast("B")[:size]
    if view.nbytes != size:
        raise ResultNotData(f"{where}: Arrow data whose buffers are too short")
    to.extension(Code.ARROW_BUFFER, to.share(view, where))
