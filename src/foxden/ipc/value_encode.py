"""A value to tokens, in the process that the value is in: data goes, anything else is an error that says so.

Runs in: utility processes.  Trusts: nobody; a function that patched this process spoils its own results only.
Flow: value → Encoding.value → Encoded(msgpack, buffers) → PTasks.Finished.
Source: ipc/values.
"""

from __future__ import annotations

import datetime
import enum
import struct
import sys
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from foxden.errors import FoxdenError, ResultNotData
from foxden.ipc.values import (
    ALIGNMENT,
    INT_MAX,
    INT_MIN,
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_TOKENS,
    SCALARS,
    SHARED_FROM,
    TYPECODES,
    Code,
    Ext,
    Token,
    encode_tokens,
)

_HINTS = {
    "function": "return what it computes",
    "generator": "return list(…)",
    "Connection": "return the rows",
    "deque": "return list(…)",
    "mappingproxy": "return dict(…)",
    "dict_keys": "return list(…)",
    "dict_values": "return list(…)",
    "dict_items": "return list(…)",
    "map": "return list(…)",
    "filter": "return list(…)",
    "zip": "return list(…)",
}
_MANY = "return an array, or a list of numbers or texts: those are one item each"
_TRACEBACK_MAX = 64 << 10  # characters
_NOTES_MAX = 100


class Encoded(msgspec.Struct, frozen=True):
    """A value on its way: tokens as msgpack, and what goes beside them by shared memory."""

    data: bytes
    buffers: list[memoryview]  # each begins at a multiple of ALIGNMENT
    size: int  # of the buffers together, with the gaps


def encode_value(value: object, *, names: Collection[str] = (), limit: int) -> Encoded:
    """Raises ResultNotData: not data, too deep, cyclic, too large."""
    kind = type(value)
    if kind in SCALARS:
        try:
            return _bounded(Encoded(encode_tokens([value]), [], 0), limit)
        except (OverflowError, UnicodeEncodeError):
            pass  # an int or a text that msgpack has no room for
    encoding = _Encoding(names, limit)
    encoding.add(value, "result")
    return _bounded(Encoded(encode_tokens(encoding.tokens), encoding.buffers, encoding.place), limit)


def encode_error(error: BaseException, *, names: Collection[str] = (), limit: int) -> Encoded:
    """An exception as data.  Never fails: what of it is no data is left out."""
    encoding = _Encoding(names, limit)
    try:
        encoding.add(error, "exception")
    except Exception:  # its own __str__ failed, or its arguments are no data
        encoding = _Encoding(names, limit)
        encoding.bare_error(error)
    return Encoded(encode_tokens(encoding.tokens), [], 0)


def _bounded(encoded: Encoded, limit: int) -> Encoded:
    size = len(encoded.data) + encoded.size
    if size > limit:
        raise ResultNotData(f"result: expected at most {limit} bytes, got {size}", hint="max_result= allows more")
    return encoded


def name_of(kind: type) -> str:
    """How a type is named to the other side."""
    return f"{kind.__module__}.{kind.__qualname__}"


class _Encoding:
    """One value being encoded."""

    def __init__(self, names: Collection[str], limit: int) -> None:
        self.tokens: list[Token] = []
        self.buffers: list[memoryview] = []
        self.place = 0
        self._names, self._limit = names, limit
        self._path: list[int] = []  # ids of the containers around what is being encoded

    def add(self, value: Any, where: str) -> None:
        kind = type(value)
        if kind in SCALARS:
            self._scalar(kind, value)
            return
        add = _ADDERS.get(kind) or _adder_of(kind)
        if add is None:
            raise _not_data(kind, where, value)
        if len(self.tokens) >= MAX_TOKENS:
            raise ResultNotData(f"{where}: expected at most {MAX_TOKENS} items in all, got more", hint=_MANY)
        add(self, value, where)

    def _scalar(self, kind: type, value: Any) -> None:
        if kind is int and not INT_MIN <= value <= INT_MAX:
            self.tokens.append(Ext(Code.INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)))
        elif kind is str and not value.isascii() and _has_surrogates(value):
            self.tokens.append(Ext(Code.TEXT, value.encode("utf-8", "surrogatepass")))
        else:
            self.tokens.append(value)

    def extension(self, code: int, payload: bytes = b"") -> None:
        self.tokens.append(Ext(code, payload))

    def children(self, code: int, value: Any, items: Any, where: str) -> None:
        """A container's own token, and then what it holds."""
        self.enter(value, where)
        self.extension(code, len(value).to_bytes(8, "little"))
        for place, item in enumerate(items):
            self.add(item, f"{where}[{place}]" if len(where) < 200 else where)
        self._path.pop()

    def enter(self, value: Any, where: str) -> None:
        if id(value) in self._path:
            raise ResultNotData(f"{where}: the value holds itself: a cycle cannot be sent", hint="return a tree")
        if len(self._path) >= MAX_DEPTH:
            raise ResultNotData(f"{where}: expected at most {MAX_DEPTH} containers in each other, got more")
        self._path.append(id(value))

    def leave(self) -> None:
        self._path.pop()

    def share(self, view: memoryview, where: str) -> bytes:
        """Give bytes their place in the shared memory; returns place and length as a payload."""
        place, size = self.place, view.nbytes
        if place + size > self._limit:
            raise ResultNotData(
                f"{where}: expected at most {self._limit} bytes in all, got {place + size}",
                hint="max_result= allows more",
            )
        if size:
            self.buffers.append(view)
        self.place = -(-(place + size) // ALIGNMENT) * ALIGNMENT
        return struct.pack("<QQ", place, size)

    def bare_error(self, error: BaseException) -> None:
        self.extension(Code.ERROR, name_of(type(error)).encode("utf-8", "backslashreplace")[:500])
        self.tokens += [None, _clean(_text_of(error)), [], _clean(_traceback_of(error))]


# ---- one function a kind


def _add_list(to: _Encoding, value: list[Any], where: str) -> None:
    if _is_plain(value, where):
        to.tokens.append(value)
    else:
        to.children(Code.LIST, value, value, where)


def _add_dict(to: _Encoding, value: dict[Any, Any], where: str) -> None:
    if set(map(type, value)) <= {str} and _is_plain(value.values(), where) and _is_plain(value, where):
        to.tokens.append(value)
        return
    to.enter(value, where)
    to.extension(Code.DICT, len(value).to_bytes(8, "little"))
    for key, item in value.items():
        to.add(key, f"{where}, a key")
        to.add(item, f"{where}[{key!r:.40}]" if type(key) in SCALARS and len(where) < 200 else where)
    to.leave()


def _is_plain(items: Any, where: str) -> bool:
    """Nothing but scalars that msgpack has room for.  In C for all but wide numbers and strange texts."""
    if len(items) > MAX_ITEMS:
        raise ResultNotData(f"{where}: expected at most {MAX_ITEMS} items, got {len(items)}")
    kinds = set(map(type, items))
    if not kinds <= SCALARS:
        return False
    if int not in kinds and str not in kinds:
        return True
    try:
        encode_tokens(list(items))  # tried, rather than looked at one by one: it is a tenth of the cost
    except (OverflowError, UnicodeEncodeError):
        return False
    return True


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _add_bytes(to: _Encoding, value: bytes | bytearray, where: str) -> None:
    shared = len(value) >= SHARED_FROM
    if type(value) is bytes:
        code = Code.SHARED_BYTES if shared else Code.BYTES
    else:
        code = Code.SHARED_BYTEARRAY if shared else Code.BYTEARRAY
    to.extension(code, to.share(memoryview(value), where) if shared else bytes(value))


def _add_view(to: _Encoding, value: memoryview, where: str) -> None:
    if not value.c_contiguous:
        raise ResultNotData(f"{where}: expected a contiguous memoryview, got one with gaps", hint="return bytes(view)")
    to.extension(Code.SHARED_VIEW, to.share(value.cast("B") if value.nbytes else value, where) + value.format.encode())
    to.tokens.append(list(value.shape or ()))


def _add_when(to: _Encoding, value: datetime.datetime | datetime.time, where: str) -> None:
    code = Code.DATETIME if type(value) is datetime.datetime else Code.TIME
    to.extension(code, bytes([value.fold]) + value.replace(tzinfo=None).isoformat().encode())
    to.add(value.tzinfo, f"{where}.tzinfo")


def _add_timezone(to: _Encoding, value: datetime.timezone, where: str) -> None:
    offset = value.utcoffset(None) // datetime.timedelta(microseconds=1)
    to.extension(Code.TIMEZONE, struct.pack("<q", offset))
    arguments = value.__getinitargs__()  # type: ignore[attr-defined]
    to.tokens.append(arguments[1] if len(arguments) > 1 else None)


def _add_zone(to: _Encoding, value: Any, where: str) -> None:
    if value.key is None:
        raise ResultNotData(f"{where}: a zoneinfo without a key cannot be sent")
    to.extension(Code.ZONE, value.key.encode())


def _add_fraction(to: _Encoding, value: Any, where: str) -> None:
    to.extension(Code.FRACTION)
    to.add(value.numerator, where)
    to.add(value.denominator, where)


def _add_range(to: _Encoding, value: range, where: str) -> None:
    to.extension(Code.RANGE)
    for part in (value.start, value.stop, value.step):
        to.add(part, where)


def _add_error(to: _Encoding, value: BaseException, where: str) -> None:
    to.enter(value, where)
    arguments: Any = tuple(value.args)
    if isinstance(value, OSError) and value.filename is not None and len(arguments) == 2:
        arguments = (*arguments, value.filename)
    if isinstance(value, FoxdenError):
        arguments = (str(value), value.hint)
    if not all(type(item) in SCALARS or type(item) is bytes for item in arguments):
        arguments = None
    to.extension(Code.ERROR, name_of(type(value)).encode("utf-8", "backslashreplace")[:500])
    to.add(arguments, f"{where}.args")
    notes = getattr(value, "__notes__", None)
    texts = [_clean(note) for note in notes[:_NOTES_MAX] if type(note) is str] if type(notes) is list else []
    to.tokens += [_clean(_text_of(value)), texts, _clean(_traceback_of(value))]
    to.leave()


def _add_enum(to: _Encoding, value: enum.Enum, where: str) -> None:
    flag = isinstance(value, enum.Flag)
    to.extension(Code.FLAG if flag else Code.ENUM, _named(to, type(value), where))
    to.add(int(value.value) if flag else value.name, where)


def _add_record(to: _Encoding, value: Any, where: str) -> None:
    import dataclasses  # here it is loaded already: the value is one

    name = _named(to, type(value), where)
    to.enter(value, where)
    fields = dataclasses.fields(value)
    to.extension(Code.RECORD, name)
    to.extension(Code.DICT, len(fields).to_bytes(8, "little"))
    for field in fields:
        to.tokens.append(field.name)
        to.add(getattr(value, field.name), f"{where}.{field.name}")
    to.leave()


def _add_named_tuple(to: _Encoding, value: Any, where: str) -> None:
    to.extension(Code.NAMED_TUPLE, _named(to, type(value), where))
    to.children(Code.TUPLE, value, value, where)


def _named(to: _Encoding, kind: type, where: str) -> bytes:
    name = name_of(kind)
    if name not in to._names:
        raise ResultNotData(
            f"{where}: {name} is a type that the caller has not named", hint=f"returns=[{kind.__name__}] names it"
        )
    return name.encode()


def _add_module_array(to: _Encoding, value: Any, where: str) -> None:
    if value.typecode not in TYPECODES:
        raise ResultNotData(f"{where}: an array of typecode {value.typecode!r} is not data", hint="return its text")
    to.extension(Code.ARRAY_MODULE, value.typecode.encode())
    _add_bytes(to, value.tobytes(), where)


def _add_ndarray(to: _Encoding, value: Any, where: str) -> None:
    dtype = _plain_dtype(value.dtype, where)
    numpy: Any = sys.modules["numpy"]
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    laid = value if fortran else numpy.ascontiguousarray(value)
    flat = memoryview(laid.reshape(-1, order="F" if fortran else "C").view("u1")) if value.nbytes else memoryview(b"")
    to.extension(Code.NDARRAY, to.share(flat, where))
    to.tokens += [dtype, list(value.shape), fortran]


def _plain_dtype(dtype: Any, where: str) -> str:
    if dtype.kind not in "biufcmMSU" or dtype.names is not None:
        raise ResultNotData(f"{where}: an array of dtype {dtype} is not data", hint="return a list, or .astype(…)")
    return str(dtype.str)


def _add_numpy_scalar(to: _Encoding, value: Any, where: str) -> None:
    to.extension(Code.NUMPY_SCALAR, _plain_dtype(value.dtype, where).encode() + b"\0" + value.tobytes())


def _add_series(to: _Encoding, value: Any, where: str) -> None:
    to.extension(Code.SERIES)
    _add_column(to, value.index, f"{where}.index")
    to.add(value.name, f"{where}.name")
    _add_column(to, value, where)


def _add_frame(to: _Encoding, value: Any, where: str) -> None:
    to.extension(Code.FRAME)
    _add_column(to, value.index, f"{where}.index")
    to.add(list(value.columns), f"{where}.columns")
    to.extension(Code.LIST, value.shape[1].to_bytes(8, "little"))
    for place in range(value.shape[1]):
        _add_column(to, value.iloc[:, place], f"{where}, column {value.columns[place]!r:.40}")


def _add_column(to: _Encoding, column: Any, where: str) -> None:
    """One column: an array, or a list where its items are objects or text."""
    dtype = column.dtype
    if type(dtype).__module__.partition(".")[0] == "numpy" and dtype.kind != "O":
        _add_ndarray(to, column.to_numpy(), where)
    elif getattr(dtype, "kind", "") == "O" and getattr(dtype, "name", "") in ("object", "str", "string"):
        to.add(column.tolist(), where)
    else:
        raise ResultNotData(f"{where}: a column of dtype {dtype} is not data", hint=".astype(object) makes it so")


_ADDERS: dict[type, Callable[[_Encoding, Any, str], None]] = {
    list: _add_list,
    dict: _add_dict,
    tuple: lambda to, value, where: to.children(Code.TUPLE, value, value, where),
    set: lambda to, value, where: to.children(Code.SET, value, value, where),
    frozenset: lambda to, value, where: to.children(Code.FROZENSET, value, value, where),
    bytes: _add_bytes,
    bytearray: _add_bytes,
    memoryview: _add_view,
    complex: lambda to, value, where: to.extension(Code.COMPLEX, struct.pack("<dd", value.real, value.imag)),
    datetime.date: lambda to, value, where: to.extension(Code.DATE, value.isoformat().encode()),
    datetime.datetime: _add_when,
    datetime.time: _add_when,
    datetime.timedelta: lambda to, value, where: to.extension(
        Code.TIMEDELTA, struct.pack("<iii", value.days, value.seconds, value.microseconds)
    ),
    datetime.timezone: _add_timezone,
    range: _add_range,
}

# Types of modules that are never imported here: (module, name) → how, once someone else has imported it.
_LIBRARY_ADDERS: dict[tuple[str, str], Callable[[_Encoding, Any, str], None]] = {
    ("decimal", "Decimal"): lambda to, value, where: to.extension(Code.DECIMAL, str(value).encode()),
    ("fractions", "Fraction"): _add_fraction,
    ("uuid", "UUID"): lambda to, value, where: to.extension(Code.UUID, value.bytes),
    ("pathlib", "PosixPath"): lambda to, value, where: to.extension(Code.PATH, bytes(value)),
    ("pathlib", "PurePosixPath"): lambda to, value, where: to.extension(Code.PURE_PATH, bytes(value)),
    ("zoneinfo", "ZoneInfo"): _add_zone,
    ("array", "array"): _add_module_array,
    ("numpy", "ndarray"): _add_ndarray,
    ("pandas", "Series"): _add_series,
    ("pandas", "DataFrame"): _add_frame,
}


def _adder_of(kind: type) -> Callable[[_Encoding, Any, str], None] | None:
    """How a type that is not in the table itself is sent, by what it is derived from."""
    for (module, name), add in _LIBRARY_ADDERS.items():
        if kind is getattr(sys.modules.get(module), name, None):
            return _ADDERS.setdefault(kind, add)
    generic = getattr(sys.modules.get("numpy"), "generic", None)
    if generic is not None and issubclass(kind, generic):
        return _add_numpy_scalar
    if issubclass(kind, BaseException):
        return _add_error
    if issubclass(kind, enum.Enum):
        return _add_enum
    if hasattr(kind, "__dataclass_fields__"):  # as dataclasses.is_dataclass asks
        return _add_record
    return _add_named_tuple if issubclass(kind, tuple) and hasattr(kind, "_fields") else None


def _not_data(kind: type, where: str, value: object) -> ResultNotData:
    base = next((base for base in (str, bytes, int, float, dict, list, tuple, set) if issubclass(kind, base)), None)
    usual = f"return {base.__name__}(…)" if base else "return numbers, text, lists …, or name a dataclass with returns="
    hint = _HINTS.get(kind.__name__, usual)
    return ResultNotData(f"{where}: {name_of(kind)} is not data: it cannot be sent", hint=hint)


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__}: its text failed>"


def _traceback_of(error: BaseException) -> str:
    import traceback

    try:
        text = "".join(traceback.format_exception(error))
    except Exception:
        text = f"{type(error).__name__}: its traceback could not be formatted\n"
    return text if len(text) <= _TRACEBACK_MAX else f"…{text[-_TRACEBACK_MAX:]}"


def _clean(text: str) -> str:
    """Text that msgpack can carry."""
    return text.encode("utf-8", "backslashreplace").decode()[: 2 * _TRACEBACK_MAX]
