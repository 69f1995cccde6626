"""Tokens to a value, in the parent: every bound is checked before anything is built, and nothing is imported.

Runs in: parent.  Trusts: nothing of the data; the types that the caller named, and only them.
Flow: PTasks.Finished → decode_value(msgpack, shared memory) → value, or BadMessage: the worker is ended.
Source: ipc/values.
"""

from __future__ import annotations

import array
import dataclasses
import datetime
import decimal
import enum
import fractions
import os
import struct
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from foxden.errors import BadMessage, ResultNotData
from foxden.ipc import arrays_decode, arrow_decode, errors_decode, frames_decode, typed, zones
from foxden.ipc.building import Building, text_of
from foxden.ipc.values import FRACTION_BITS, MAX_DIMENSIONS, TYPECODES, VIEW_FORMATS, Code, Ext, decode_tokens


def decode_value(data: bytes | memoryview, shared: memoryview | None, types: Mapping[str, type]) -> Any:
    """Return the value.  `shared`: memory that nobody can write any more; `types`: those that the caller named.

    Raises: BadMessage for what no honest encoder makes, ResultNotData for what this process cannot hold.
    """
    try:
        tokens = decode_tokens(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadMessage(f"result: {str(error)[:200]}") from None
    if len(tokens) == 1 and type(tokens[0]) is not Ext:
        return tokens[0]
    building = Building(tokens, shared, types, _BUILDERS)
    try:
        value = building.next()
    except (ResultNotData, BadMessage):
        raise
    except (RecursionError, MemoryError) as error:  # depth and size were checked: it is this process that has no room
        raise ResultNotData(f"result: {type(error).__name__} while it was built", hint="return less") from None
    except (ValueError, TypeError, ArithmeticError, LookupError, struct.error) as error:
        raise BadMessage(f"result: {type(error).__name__}: {str(error)[:200]}") from None
    building.finish()
    return value


def _dict(building: Building, payload: bytes) -> dict[Any, Any]:
    pairs = [(building.next(), building.next()) for _ in range(building.count(payload, each=2))]
    building.distinct([key for key, _ in pairs])
    return dict(pairs)


def _datetime(building: Building, payload: bytes) -> datetime.datetime:
    when = datetime.datetime.fromisoformat(text_of(payload[1:]))
    return when.replace(tzinfo=_zone_of(building), fold=payload[0])


def _time(building: Building, payload: bytes) -> datetime.time:
    when = datetime.time.fromisoformat(text_of(payload[1:]))
    return when.replace(tzinfo=_zone_of(building), fold=payload[0])


def _zone_of(building: Building) -> Any:
    return building.expect((type(None), *zones.kinds()))


def _timezone(building: Building, payload: bytes) -> datetime.timezone:
    offset = datetime.timedelta(microseconds=struct.unpack("<q", payload)[0])
    name = building.expect((str, type(None)))
    return datetime.timezone(offset) if name is None else datetime.timezone(offset, name)


def _zone(building: Building, payload: bytes) -> datetime.tzinfo:
    key = text_of(payload)
    if key not in zones.names():  # asked first: looking for a zone may import a package that is named after it
        raise ResultNotData(f"result: no time zone {ascii(key)[:80]} in this process", hint=".astimezone(datetime.UTC)")
    return zones.zone(key)


def _path(kind: str, payload: bytes) -> Any:
    import pathlib

    return getattr(pathlib, kind)(os.fsdecode(payload))


def _fraction(building: Building, payload: bytes) -> fractions.Fraction:
    above, below = building.expect(int), building.expect(int)
    if max(above.bit_length(), below.bit_length()) > FRACTION_BITS:
        raise BadMessage(f"result: a fraction of more than {FRACTION_BITS} bits")
    return fractions.Fraction(above, below)


def _range(building: Building, payload: bytes) -> range:
    return range(building.expect(int), building.expect(int), building.expect(int))


def _uuid(building: Building, payload: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=payload)


# ---- types that the caller named


def _type_of(building: Building, payload: bytes, base: type | None) -> type:
    name = text_of(payload)
    found = building.types.get(name)
    if found is None or (base is not None and not issubclass(found, base)):
        raise BadMessage(f"result: {ascii(name)[:80]} is not among the types that the caller named")
    return found


def _enum(building: Building, payload: bytes) -> Any:
    kind: Any = _type_of(building, payload, enum.Enum)
    return kind[building.expect(str)]


def _flag(building: Building, payload: bytes) -> Any:
    kind = _type_of(building, payload, enum.Flag)
    return kind(building.expect(int))


def _record(building: Building, payload: bytes) -> Any:
    """A dataclass: exactly its fields, each of the type that it declares; its own __init__ is not run."""
    kind = _type_of(building, payload, None)
    if not dataclasses.is_dataclass(kind):
        raise BadMessage(f"result: {kind.__name__} is no dataclass")
    given = building.expect(dict)
    fields = {field.name for field in dataclasses.fields(kind)}
    if given.keys() != fields:
        raise BadMessage(f"result: {kind.__name__}: expected the fields {sorted(fields)}")
    hints = typed.hints_of(kind)
    made = object.__new__(kind)
    for name, value in given.items():
        if not typed.matches(value, hints.get(name, Any)):
            raise typed.mismatch(kind, name, hints[name], value, "result")
        object.__setattr__(made, name, value)
    return made


def _named_tuple(building: Building, payload: bytes) -> Any:
    kind: Any = _type_of(building, payload, tuple)
    values = building.expect(tuple)
    fields = getattr(kind, "_fields", None)
    if fields is None or len(values) != len(fields):
        raise BadMessage(f"result: {kind.__name__}: expected {fields}, got {len(values)} items")
    hints = typed.hints_of(kind)
    for name, value in zip(fields, values, strict=True):
        if not typed.matches(value, hints.get(name, Any)):
            raise typed.mismatch(kind, name, hints[name], value, "result")
    return tuple.__new__(kind, values)


# ---- views of memory


def _module_array(building: Building, payload: bytes) -> array.array[Any]:
    code = payload.decode()
    if code not in TYPECODES:
        raise BadMessage(f"result: no typecode {ascii(code)[:20]} of array")
    made: array.array[Any] = array.array(code)
    made.frombytes(building.expect(bytes))
    return made


def _view(building: Building, payload: bytes) -> memoryview:
    view, form = building.shared(payload), payload[16:].decode()
    shape = building.expect(list)
    if form not in VIEW_FORMATS or len(shape) > MAX_DIMENSIONS:
        raise BadMessage("result: a memoryview of no known form")
    made: memoryview = view.cast(form, shape) if view.nbytes else view.cast(form)  # type: ignore[call-overload]
    return made


_BUILDERS: dict[int, Callable[[Building, bytes], Any]] = {
    Code.LIST: Building.items,
    Code.TUPLE: lambda building, payload: tuple(building.items(payload)),
    Code.SET: lambda building, payload: set(building.distinct(building.items(payload))),
    Code.FROZENSET: lambda building, payload: frozenset(building.distinct(building.items(payload))),
    Code.DICT: _dict,
    Code.BYTES: lambda building, payload: payload,
    Code.BYTEARRAY: lambda building, payload: bytearray(payload),
    Code.INTEGER: lambda building, payload: int.from_bytes(payload, "little", signed=True),
    Code.COMPLEX: lambda building, payload: complex(*struct.unpack("<dd", payload)),
    Code.TEXT: lambda building, payload: payload.decode("utf-8", "surrogatepass"),
    Code.DATE: lambda building, payload: datetime.date.fromisoformat(text_of(payload)),
    Code.DATETIME: _datetime,
    Code.TIME: _time,
    Code.TIMEDELTA: lambda building, payload: datetime.timedelta(*struct.unpack("<iii", payload)),
    Code.TIMEZONE: _timezone,
    Code.ZONE: _zone,
    Code.DECIMAL: lambda building, payload: decimal.Decimal(text_of(payload)),
    Code.FRACTION: _fraction,
    Code.UUID: _uuid,
    Code.PATH: lambda building, payload: _path("Path", payload),
    Code.PURE_PATH: lambda building, payload: _path("PurePath", payload),
    Code.RANGE: _range,
    Code.ENUM: _enum,
    Code.FLAG: _flag,
    Code.RECORD: _record,
    Code.NAMED_TUPLE: _named_tuple,
    Code.ERROR: errors_decode.error,
    Code.ARRAY_MODULE: _module_array,
    Code.SHARED_BYTES: lambda building, payload: bytes(building.shared(payload)),
    Code.SHARED_BYTEARRAY: lambda building, payload: bytearray(building.shared(payload)),
    Code.SHARED_VIEW: _view,
    Code.NDARRAY: arrays_decode.ndarray,
    Code.NDARRAY_HERE: arrays_decode.ndarray_here,
    Code.NUMPY_SCALAR: arrays_decode.numpy_scalar,
    Code.ARROW_ARRAY: arrow_decode.array,
    Code.ARROW_CHUNKED: arrow_decode.chunked,
    Code.ARROW_TABLE: arrow_decode.table,
    Code.ARROW_BATCH: arrow_decode.batch,
    **frames_decode.BUILDERS,
}
