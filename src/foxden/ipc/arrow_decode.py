"""Tables and arrays of Arrow, built on the shared memory: types from a closed table, sizes checked, then contents.

Runs in: parent.  Trusts: nothing of the data.  Arrow's own IPC reader is not used: it takes far more than results need.
Flow: tokens → type → each buffer is as long as type and length ask → Array.from_buffers → validate(full=True), which
reads every offset, index and character.  The memory is frozen: what was found right stays so.
Source: ipc/arrow_types; Arrow, "Columnar Format"; pyarrow, Array.from_buffers.
"""

from __future__ import annotations

import re
from typing import Any

from foxden.errors import BadMessage, ResultNotData
from foxden.ipc import zones
from foxden.ipc.arrow_types import (
    DECIMAL_DIGITS,
    FORBIDDEN_WORDS,
    INDICES,
    MAX_ARROW_DEPTH,
    MAX_WIDTH,
    OFFSETS,
    PLAIN,
    UNITS,
    bytes_of_bits,
    is_weightless,
    name_of_type,
)
from foxden.ipc.building import Building, library
from foxden.ipc.values import MAX_ITEMS, Code, Ext

_OFFSET_ZONE = re.compile(r"[+-]\d\d:\d\d\Z")


def _pyarrow() -> Any:
    return library("pyarrow", "an Arrow table or array", ".to_pandas(), .to_pylist()")


def array(building: Building, payload: bytes) -> Any:
    pyarrow = _pyarrow()
    return _valid(pyarrow, lambda: _node(pyarrow, building, _type(pyarrow, building, 0)))


def chunked(building: Building, payload: bytes) -> Any:
    pyarrow = _pyarrow()
    count = building.count(payload)

    def make() -> Any:
        kind = _type(pyarrow, building, 0)
        return pyarrow.chunked_array([_node(pyarrow, building, kind) for _ in range(count)], type=kind)

    return _valid(pyarrow, make)


def table(building: Building, payload: bytes) -> Any:
    pyarrow = _pyarrow()

    def make() -> Any:
        schema = _schema(pyarrow, building)
        columns = [
            pyarrow.chunked_array([_node(pyarrow, building, kind) for _ in range(_number(building))], type=kind)
            for kind in schema.types
        ]
        _check_lengths(columns)
        return pyarrow.Table.from_arrays(columns, schema=schema)

    return _valid(pyarrow, make)


def batch(building: Building, payload: bytes) -> Any:
    pyarrow = _pyarrow()

    def make() -> Any:
        schema = _schema(pyarrow, building)
        columns = [_node(pyarrow, building, kind) for kind in schema.types]
        _check_lengths(columns)
        return pyarrow.RecordBatch.from_arrays(columns, schema=schema)

    return _valid(pyarrow, make)


def _valid(pyarrow: Any, make: Any) -> Any:
    try:
        made = make()
        made.validate(full=True)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError, pyarrow.ArrowIndexError, OverflowError) as error:
        raise BadMessage(f"result: no Arrow data: {str(error)[:200]}") from None
    return made


def _check_lengths(columns: list[Any]) -> None:
    if len(set(map(len, columns))) > 1:
        raise BadMessage("result: columns of one Arrow table that are not equally long")


def _number(building: Building) -> int:
    """How many of something come: never more than there are tokens left."""
    found = building.token()
    if type(found) is not int or found < 0:
        raise BadMessage("result: a number of Arrow's that is none")
    return building.count(found.to_bytes(8, "little") if found < 1 << 64 else b"")


def _schema(pyarrow: Any, building: Building) -> Any:
    count = _number(building)
    words = _metadata(building)
    return pyarrow.schema([_field(pyarrow, building, 0) for _ in range(count)], metadata=words)


def _metadata(building: Building) -> Any:
    words = building.expect((dict, type(None)))
    for key, value in (words or {}).items():
        if type(key) is not bytes or type(value) is not bytes or key.startswith(FORBIDDEN_WORDS):
            raise BadMessage("result: metadata that Arrow's data may not have")
    return words


def _field(pyarrow: Any, building: Building, depth: int) -> Any:
    name, nullable = building.expect(str), building.expect(bool)
    words = _metadata(building)
    return pyarrow.field(name, _type(pyarrow, building, depth), nullable=nullable, metadata=words)


def _type(pyarrow: Any, building: Building, depth: int) -> Any:
    said = building.token()
    if type(said) is not list or not said or type(said[0]) is not str or depth > MAX_ARROW_DEPTH:
        raise BadMessage("result: no type of Arrow's")
    name, numbers = said[0], said[1:]
    if name in PLAIN and not numbers:
        function, arguments = PLAIN[name]
        return getattr(pyarrow, function)(*arguments)
    if name == "timestamp" and len(numbers) == 2 and numbers[0] in UNITS:
        return pyarrow.timestamp(numbers[0], tz=_zone(numbers[1]))
    if name in DECIMAL_DIGITS and _are_within(numbers, (1, DECIMAL_DIGITS[name]), (-1000, 1000)):
        return getattr(pyarrow, name)(*numbers)
    if name == "fixed_size_binary" and _are_within(numbers, (0, MAX_WIDTH)):
        return pyarrow.binary(numbers[0])
    if name == "fixed_size_list" and _are_within(numbers, (0, MAX_WIDTH)):
        return pyarrow.list_(_field(pyarrow, building, depth + 1), numbers[0])
    if name in ("list", "large_list") and numbers == [1]:
        make = pyarrow.list_ if name == "list" else pyarrow.large_list
        return make(_field(pyarrow, building, depth + 1))
    if name == "struct" and _are_within(numbers, (0, MAX_ITEMS)):
        count = building.count(numbers[0].to_bytes(8, "little"))
        return pyarrow.struct([_field(pyarrow, building, depth + 1) for _ in range(count)])
    if name == "dictionary" and len(numbers) == 1 and type(numbers[0]) is bool:
        index, value = _type(pyarrow, building, depth + 1), _type(pyarrow, building, depth + 1)
        if str(index) in INDICES:
            return pyarrow.dictionary(index, value, ordered=numbers[0])
    raise BadMessage(f"result: no type of Arrow's: {ascii(name)[:80]}")


def _are_within(numbers: list[Any], *bounds: tuple[int, int]) -> bool:
    return len(numbers) == len(bounds) and all(
        type(number) is int and least <= number <= most
        for number, (least, most) in zip(numbers, bounds, strict=True)
    )


def _zone(name: object) -> str | None:
    """Only names that are known: who shows the times looks for the zone, which may import what is named after it."""
    if name is None or (type(name) is str and (name in zones.names() or _OFFSET_ZONE.match(name))):
        return name
    raise ResultNotData(f"result: no time zone {ascii(name)[:80]} in this process", hint="cast to another zone")


def _node(pyarrow: Any, building: Building, kind: Any) -> Any:
    name, count = name_of_type(pyarrow, kind), building.token()
    if type(count) is not int or not 0 <= count < 1 << 40:
        raise BadMessage("result: no length of an Arrow array")
    if is_weightless(name, kind) and count > MAX_ITEMS:
        raise BadMessage(f"result: {count} items of Arrow's without any bytes")
    if name == "null":
        return pyarrow.nulls(count)
    if name == "dictionary":
        indices, values = _node(pyarrow, building, kind.index_type), _node(pyarrow, building, kind.value_type)
        if len(indices) != count:
            raise BadMessage("result: an Arrow dictionary of another length than its indices")
        indices.validate(full=True)
        values.validate(full=True)
        return pyarrow.DictionaryArray.from_arrays(indices, values, ordered=kind.ordered, safe=True)
    buffers, children = [_buffer(pyarrow, building, bytes_of_bits(count), optional=True)], []
    if name in OFFSETS:
        buffers.append(_buffer(pyarrow, building, (count + 1) * OFFSETS[name]))
        if name in ("list", "large_list"):
            children = [_node(pyarrow, building, kind.value_type)]
        else:
            buffers.append(_buffer(pyarrow, building, None))
    elif name == "struct":
        children = [_child(pyarrow, building, kind.field(place).type, count) for place in range(kind.num_fields)]
    elif name == "fixed_size_list":
        children = [_child(pyarrow, building, kind.value_type, count * kind.list_size)]
    else:
        buffers.append(_buffer(pyarrow, building, bytes_of_bits(count * kind.bit_width)))
    return pyarrow.Array.from_buffers(kind, count, buffers, children=children or None)


def _child(pyarrow: Any, building: Building, kind: Any, count: int) -> Any:
    child = _node(pyarrow, building, kind)
    if len(child) != count:
        raise BadMessage(f"result: an Arrow array with {len(child)} items inside, where {count} belong")
    return child


def _buffer(pyarrow: Any, building: Building, size: int | None, *, optional: bool = False) -> Any:
    """A part of the shared memory, exactly as long as it must be.  `size` None: as long as it is said to be."""
    token = building.token()
    if token is None and optional:
        return None
    if type(token) is not Ext or token.code != Code.ARROW_BUFFER or len(data := bytes(token.data)) != 16:
        raise BadMessage("result: no buffer of an Arrow array")
    view = building.shared(data)
    if size is not None and view.nbytes != size:
        raise BadMessage(f"result: an Arrow buffer of {view.nbytes} bytes, where {size} belong")
    return pyarrow.py_buffer(view)
