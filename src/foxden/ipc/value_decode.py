"""Tokens to a value, in the parent: every bound is checked before anything is built, and nothing is imported.

Runs in: parent.  Trusts: nothing of the data; the types that the caller named, and only them.
Flow: PTasks.Finished → decode_value(msgpack, shared memory) → value, or BadMessage: the worker is ended.
Source: ipc/values.
"""

from __future__ import annotations

import array
import builtins
import datetime
import decimal
import enum
import functools
import math
import os
import pathlib
import re
import struct
import sys
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from foxden.errors import BadMessage, RemoteError, RemoteTraceback, ResultNotData
from foxden.ipc import typed
from foxden.ipc.values import MAX_DEPTH, MAX_TEXT, SCALARS, TYPECODES, Code, Ext, Token, decode_tokens

if TYPE_CHECKING:
    import fractions
    import zoneinfo

_MAX_DIMENSIONS = 32
_DTYPE = re.compile(r"[<>|=]([biufcMmSU])\d{1,7}(\[\d{0,9}[A-Za-z]{1,3}(/\d{1,9})?\])?\Z")
_FRACTION_BITS = 1 << 14  # the greatest common divisor of longer numbers takes its time
_VIEW_FORMATS = frozenset("cbB?hHiIlLqQnNfd")

# Exceptions that come back as themselves: Python's own, less those that end a program or steer its flow.
ERROR_TYPES: dict[str, type[Exception]] = {
    f"builtins.{name}": kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__name__ == name
    and not issubclass(kind, (BaseExceptionGroup, StopIteration, StopAsyncIteration))
}  # fmt: skip
_OURS = f"{ResultNotData.__module__}.{ResultNotData.__qualname__}"


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
    building = _Building(tokens, shared, types)
    try:
        value = building.next()
    except (ResultNotData, BadMessage):
        raise
    except (ValueError, TypeError, ArithmeticError, LookupError, struct.error, RecursionError, MemoryError) as error:
        raise BadMessage(f"result: {type(error).__name__}: {str(error)[:200]}") from None
    building.finish()
    return value


class _Building:
    """One value being built from its tokens."""

    def __init__(self, tokens: list[Token], shared: memoryview | None, types: Mapping[str, type]) -> None:
        self._tokens, self._place = tokens, 0
        self._shared = shared
        self._depth = 0
        self.types = types

    def token(self) -> Token:
        if self._place >= len(self._tokens):
            raise BadMessage("result: announces more items than came")
        self._place += 1
        return self._tokens[self._place - 1]

    def finish(self) -> None:
        if self._place != len(self._tokens):
            raise BadMessage(f"result: {len(self._tokens) - self._place} items more than announced")

    def next(self) -> Any:
        token = self.token()
        if type(token) is not Ext:
            return token
        build = _BUILDERS.get(token.code)
        if build is None:
            raise BadMessage(f"result: unknown extension {token.code}")
        self._depth += 1
        if self._depth > 2 * MAX_DEPTH:  # some containers are two tokens deep
            raise BadMessage(f"result: expected at most {MAX_DEPTH} containers in each other, got more")
        value = build(self, bytes(token.data))
        self._depth -= 1
        return value

    def expect(self, kind: type | tuple[type, ...]) -> Any:
        value = self.next()
        if type(value) is not kind and not (type(kind) is tuple and type(value) in kind):
            raise BadMessage(f"result: {type(value).__name__} where it cannot stand")
        return value

    def count(self, payload: bytes, each: int = 1) -> int:
        """A number of items: never more than there are tokens left."""
        found = int.from_bytes(payload, "little") if len(payload) == 8 else -1
        if not 0 <= found * each <= len(self._tokens) - self._place:
            raise BadMessage(f"result: announces {found} items, {len(self._tokens) - self._place} are left")
        return found

    def items(self, payload: bytes) -> list[Any]:
        return [self.next() for _ in range(self.count(payload))]

    def shared(self, payload: bytes) -> memoryview:
        place, size = struct.unpack_from("<QQ", payload)
        if size == 0:
            return memoryview(b"")
        if self._shared is None or place + size > len(self._shared):
            raise BadMessage(f"result: bytes {place}-{place + size} lie outside of the shared memory")
        return self._shared[place : place + size]


def _dict(building: _Building, payload: bytes) -> dict[Any, Any]:
    return {building.next(): building.next() for _ in range(building.count(payload, each=2))}


def _text(payload: bytes) -> str:
    if len(payload) > MAX_TEXT:
        raise BadMessage(f"result: a text of {len(payload)} bytes where {MAX_TEXT} is most")
    return payload.decode()


def _datetime(building: _Building, payload: bytes) -> datetime.datetime:
    when = datetime.datetime.fromisoformat(_text(payload[1:]))
    return when.replace(tzinfo=_zone_of(building), fold=payload[0])


def _time(building: _Building, payload: bytes) -> datetime.time:
    when = datetime.time.fromisoformat(_text(payload[1:]))
    return when.replace(tzinfo=_zone_of(building), fold=payload[0])


def _zone_of(building: _Building) -> Any:
    import zoneinfo

    return building.expect((type(None), datetime.timezone, zoneinfo.ZoneInfo))


def _timezone(building: _Building, payload: bytes) -> datetime.timezone:
    offset = datetime.timedelta(microseconds=struct.unpack("<q", payload)[0])
    name = building.expect((str, type(None)))
    return datetime.timezone(offset) if name is None else datetime.timezone(offset, name)


@functools.cache
def _zone_names() -> frozenset[str]:
    import zoneinfo

    return frozenset(zoneinfo.available_timezones())


def _zone(building: _Building, payload: bytes) -> zoneinfo.ZoneInfo:
    import zoneinfo

    key = _text(payload)
    if key not in _zone_names():  # asked first: looking for a zone may import a package that is named after it
        raise BadMessage(f"result: no time zone {ascii(key)[:80]}")
    return zoneinfo.ZoneInfo(key)


def _fraction(building: _Building, payload: bytes) -> fractions.Fraction:
    import fractions

    above, below = building.expect(int), building.expect(int)
    if max(above.bit_length(), below.bit_length()) > _FRACTION_BITS:
        raise BadMessage(f"result: a fraction of more than {_FRACTION_BITS} bits")
    return fractions.Fraction(above, below)


def _range(building: _Building, payload: bytes) -> range:
    return range(building.expect(int), building.expect(int), building.expect(int))


def _uuid(building: _Building, payload: bytes) -> uuid.UUID:
    return uuid.UUID(bytes=payload)


# ---- types that the caller named


def _type_of(building: _Building, payload: bytes, base: type | None) -> type:
    name = _text(payload)
    found = building.types.get(name)
    if found is None or (base is not None and not issubclass(found, base)):
        raise BadMessage(f"result: {ascii(name)[:80]} is not among the types that the caller named")
    return found


def _enum(building: _Building, payload: bytes) -> Any:
    kind: Any = _type_of(building, payload, enum.Enum)
    return kind[building.expect(str)]


def _flag(building: _Building, payload: bytes) -> Any:
    kind = _type_of(building, payload, enum.Flag)
    return kind(building.expect(int))


def _record(building: _Building, payload: bytes) -> Any:
    """A dataclass: exactly its fields, each of the type that it declares; its own __init__ is not run."""
    import dataclasses

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
            raise BadMessage(f"result: {kind.__name__}.{name}: expected {hints[name]}, got {type(value).__name__}")
        object.__setattr__(made, name, value)
    return made


def _named_tuple(building: _Building, payload: bytes) -> Any:
    kind: Any = _type_of(building, payload, tuple)
    values = building.expect(tuple)
    fields = getattr(kind, "_fields", None)
    if fields is None or len(values) != len(fields):
        raise BadMessage(f"result: {kind.__name__}: expected {fields}, got {len(values)} items")
    hints = typed.hints_of(kind)
    for name, value in zip(fields, values, strict=True):
        if not typed.matches(value, hints.get(name, Any)):
            raise BadMessage(f"result: {kind.__name__}.{name}: expected {hints[name]}, got {type(value).__name__}")
    return tuple.__new__(kind, values)


def _error(building: _Building, payload: bytes) -> Exception:
    name = payload.decode("utf-8", "replace")[:500]
    arguments = building.expect((tuple, list, type(None)))
    message, notes, trace = building.expect(str), building.expect(list), building.expect(str)
    error = _made_error(name, arguments, message, trace)
    for note in notes:
        if type(note) is str:
            error.add_note(note)
    error.__cause__ = RemoteTraceback(trace)
    return error


def _made_error(name: str, arguments: Any, message: str, trace: str) -> Exception:
    if name == _OURS and arguments is not None and len(arguments) == 2 and type(arguments[1]) is str:
        return ResultNotData(str(arguments[0]), hint=arguments[1])
    kind = ERROR_TYPES.get(name)
    if kind is not None and arguments is not None:
        plain = all(type(item) in SCALARS or type(item) is bytes for item in arguments)
        try:
            if plain:
                return kind(*arguments)
        except (TypeError, ValueError, OverflowError):
            pass  # the worker's arguments do not fit the type: its text is kept instead
    if kind is not None and not issubclass(kind, UnicodeError):
        return kind(message)
    short = name.removeprefix("__main__.").removeprefix("builtins.")
    return RemoteError(f"{short}: {message}" if message else short, type_name=name, remote_traceback=trace)


# ---- arrays, and what libraries make of them


def _module_array(building: _Building, payload: bytes) -> array.array[Any]:
    code = payload.decode()
    if code not in TYPECODES:
        raise BadMessage(f"result: no typecode {ascii(code)[:20]} of array")
    made: array.array[Any] = array.array(code)
    made.frombytes(building.expect(bytes))
    return made


def _view(building: _Building, payload: bytes) -> memoryview:
    view, form = building.shared(payload), payload[16:].decode()
    shape = building.expect(list)
    if form not in _VIEW_FORMATS or len(shape) > _MAX_DIMENSIONS:
        raise BadMessage("result: a memoryview of no known form")
    return view.cast(form, shape) if view.nbytes else view  # type: ignore[call-overload]


def _library(name: str, what: str, hint: str) -> Any:
    """A library that this process has already loaded: a child's word loads nothing."""
    module = sys.modules.get(name)
    if module is None:
        raise ResultNotData(f"result: {what}, and {name} is not loaded in this process", hint=hint)
    return module


def _numpy() -> Any:
    return _library("numpy", "a numpy array", "import numpy here, or return array.tolist()")


def _dtype(text: object) -> Any:
    if type(text) is not str or not _DTYPE.match(text):
        raise BadMessage(f"result: {ascii(text)[:80]} is no plain dtype")
    return _numpy().dtype(text)


def _ndarray(building: _Building, payload: bytes) -> Any:
    view = building.shared(payload)
    dtype, shape, fortran = _dtype(building.token()), building.token(), building.token()
    if type(shape) is not list or len(shape) > _MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        raise BadMessage("result: an array's shape is a list of a few numbers")
    if math.prod(shape) * dtype.itemsize != view.nbytes:
        raise BadMessage(f"result: an array of shape {shape} and {dtype} does not take {view.nbytes} bytes")
    numpy = _numpy()
    if not view.nbytes:
        return numpy.empty(shape, dtype)
    return numpy.frombuffer(view, dtype).reshape(shape, order="F" if fortran is True else "C")


def _numpy_scalar(building: _Building, payload: bytes) -> Any:
    text, _, data = payload.partition(b"\0")
    dtype = _dtype(text.decode())
    if len(data) != dtype.itemsize:
        raise BadMessage(f"result: a number of {dtype} does not take {len(data)} bytes")
    return _numpy().frombuffer(data, dtype)[0] if data else dtype.type()


def _pandas() -> Any:
    return _library("pandas", "a pandas object", "import pandas here, or return its columns")


def _column(building: _Building) -> Any:
    column = building.next()
    if type(column) is not list and type(column).__name__ != "ndarray":
        raise BadMessage(f"result: {type(column).__name__} is no column")
    if type(column) is not list and column.ndim != 1:
        raise BadMessage(f"result: a column has one dimension, not {column.ndim}")
    return column


def _series(building: _Building, payload: bytes) -> Any:
    pandas = _pandas()
    index, name, values = _column(building), building.next(), _column(building)
    if len(index) != len(values):
        raise BadMessage(f"result: a series of {len(values)} values with {len(index)} labels")
    return pandas.Series(values, index=pandas.Index(index), name=name)


def _frame(building: _Building, payload: bytes) -> Any:
    pandas = _pandas()
    index, names = _column(building), building.expect(list)
    token = building.token()
    if type(token) is not Ext or token.code != Code.LIST:
        raise BadMessage("result: a frame's columns are a list")
    columns = [_column(building) for _ in range(building.count(bytes(token.data)))]
    if len(names) != len(columns) or any(len(column) != len(index) for column in columns):
        raise BadMessage(f"result: a frame of {len(index)} rows has {len(columns)} columns, {len(names)} names")
    frame = pandas.DataFrame(dict(enumerate(columns)), index=pandas.Index(index))
    frame.columns = names
    return frame


_BUILDERS: dict[int, Callable[[_Building, bytes], Any]] = {
    Code.LIST: _Building.items,
    Code.TUPLE: lambda building, payload: tuple(building.items(payload)),
    Code.SET: lambda building, payload: set(building.items(payload)),
    Code.FROZENSET: lambda building, payload: frozenset(building.items(payload)),
    Code.DICT: _dict,
    Code.BYTES: lambda building, payload: payload,
    Code.BYTEARRAY: lambda building, payload: bytearray(payload),
    Code.INTEGER: lambda building, payload: int.from_bytes(payload, "little", signed=True),
    Code.COMPLEX: lambda building, payload: complex(*struct.unpack("<dd", payload)),
    Code.TEXT: lambda building, payload: payload.decode("utf-8", "surrogatepass"),
    Code.DATE: lambda building, payload: datetime.date.fromisoformat(_text(payload)),
    Code.DATETIME: _datetime,
    Code.TIME: _time,
    Code.TIMEDELTA: lambda building, payload: datetime.timedelta(*struct.unpack("<iii", payload)),
    Code.TIMEZONE: _timezone,
    Code.ZONE: _zone,
    Code.DECIMAL: lambda building, payload: decimal.Decimal(_text(payload)),
    Code.FRACTION: _fraction,
    Code.UUID: _uuid,
    Code.PATH: lambda building, payload: pathlib.Path(os.fsdecode(payload)),
    Code.PURE_PATH: lambda building, payload: pathlib.PurePath(os.fsdecode(payload)),
    Code.RANGE: _range,
    Code.ENUM: _enum,
    Code.FLAG: _flag,
    Code.RECORD: _record,
    Code.NAMED_TUPLE: _named_tuple,
    Code.ERROR: _error,
    Code.ARRAY_MODULE: _module_array,
    Code.SHARED_BYTES: lambda building, payload: bytes(building.shared(payload)),
    Code.SHARED_BYTEARRAY: lambda building, payload: bytearray(building.shared(payload)),
    Code.SHARED_VIEW: _view,
    Code.NDARRAY: _ndarray,
    Code.NUMPY_SCALAR: _numpy_scalar,
    Code.SERIES: _series,
    Code.FRAME: _frame,
}
