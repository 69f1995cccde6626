"""A value to tokens, in the process that the value is in: data goes, anything else is an error that says so.

Runs in: utility processes.  Trusts: nobody; a function that patched this process spoils its own results only.
Flow: value → Encoding.value → Encoded(msgpack, buffers) → PTasks.Finished.
Source: ipc/values.
"""

from __future__ import annotations

import datetime
import enum
import importlib
import struct
import sys
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from foxden.errors import FoxdenError, ResultNotData
from foxden.ipc.value_hints import hint_of
from foxden.ipc.values import (
    ALIGNMENT,
    FRACTION_BITS,
    INT_MAX,
    INT_MIN,
    MAX_DATA,
    MAX_DEPTH,
    MAX_DIMENSIONS,
    MAX_ITEMS,
    MAX_TEXT,
    MAX_TOKENS,
    SCALARS,
    SHARED_FROM,
    TYPECODES,
    VIEW_FORMATS,
    Code,
    Ext,
    Token,
    encode_tokens,
)

_MANY = "return an array, or a list of plain numbers and texts: each of those is one item"
_NUMBERS = "return arrays or Arrow columns: what they hold is not built item by item"
_TRACEBACK_MAX = 64 << 10  # characters
_NOTES_MAX = 100
_SHOWN = SCALARS - {int}  # as keys: the text of a long int is an error
_ERROR_MAX = 16 << 20  # bytes of an exception with its arguments; a longer one goes without


class Encoded(msgspec.Struct, frozen=True):
    """A value on its way: tokens as msgpack, and what goes beside them by shared memory."""

    data: bytes
    buffers: list[memoryview]  # each begins at a multiple of ALIGNMENT
    size: int  # of the buffers together, with the gaps


def encode_value(value: object, *, names: Collection[str] = (), limit: int) -> Encoded:
    """Raises ResultNotData: not data, too deep, cyclic, too large."""
    kind = type(value)
    if kind in SCALARS or (isinstance(value, list) and _is_flat(value)):
        try:
            return _bounded(Encoded(encode_tokens([value]), [], 0), limit)
        except (OverflowError, UnicodeEncodeError):
            pass  # an int or a text that msgpack has no room for
    encoding = Encoding(names, limit)
    encoding.add(value, "result")
    encoding.check_count("result")
    return _bounded(Encoded(encode_tokens(encoding.tokens), encoding.buffers, encoding.place), limit)


def encode_error(error: BaseException, *, names: Collection[str] = (), limit: int) -> Encoded:
    """An exception as data.  Never fails: what of it is no data is left out."""
    encoding = Encoding(names, min(limit, _ERROR_MAX), beside=False)
    try:
        encoding.add(error, "exception")
        encoding.check_count("exception")
        return _bounded(Encoded(encode_tokens(encoding.tokens), [], 0), _ERROR_MAX)
    except Exception:  # its own __str__ failed, or it is too much
        encoding = Encoding(names, limit)
        encoding.bare_error(error)
    return Encoded(encode_tokens(encoding.tokens), [], 0)


def _is_flat(value: list[Any]) -> bool:
    """What most chunks of a `map` return: one token, by a shorter way than through Encoding."""
    return type(value) is list and len(value) <= MAX_ITEMS and set(map(type, value)) <= SCALARS


def _bounded(encoded: Encoded, limit: int) -> Encoded:
    size = len(encoded.data) + encoded.size
    if size > limit:
        raise ResultNotData(f"result: expected at most {limit} bytes, got {size}", hint="max_result= allows more")
    if len(encoded.data) > MAX_DATA:
        text = f"result: expected at most {MAX_DATA} bytes beside long bytes and arrays, got {len(encoded.data)}"
        raise ResultNotData(text, hint="return arrays, or one bytes object")
    return encoded


def name_of(kind: type) -> str:
    """How a type is named to the other side."""
    return f"{kind.__module__}.{kind.__qualname__}"


class Encoding:
    """One value being encoded."""

    def __init__(self, names: Collection[str], limit: int, *, beside: bool = True) -> None:
        """`beside`: may something go beside the tokens, by shared memory?"""
        self.tokens: list[Token] = []
        self.buffers: list[memoryview] = []
        self.place = 0
        self.names, self._limit, self.beside = names, limit, beside
        self._plain = 0  # items of lists and dicts that are one token each
        self._path: list[int] = []  # ids of the containers around what is being encoded

    def add(self, value: Any, where: str) -> None:
        kind = type(value)
        if len(self.tokens) >= MAX_TOKENS:
            raise ResultNotData(f"{where}: expected at most {MAX_TOKENS} items in all, got more", hint=_MANY)
        if kind in SCALARS:
            self._scalar(kind, value)
            return
        add = _ADDERS.get(kind) or _adder_of(kind)
        if add is None:
            raise _not_data(kind, where, value)
        add(self, value, where)

    def check_count(self, where: str) -> None:
        """Some things are a few tokens at once: the last one may have been too much."""
        if len(self.tokens) > MAX_TOKENS:
            raise ResultNotData(f"{where}: expected at most {MAX_TOKENS} items in all, got more", hint=_MANY)

    def plain(self, value: list[Any] | dict[str, Any], where: str) -> None:
        """A list or dict of scalars: one token."""
        self._plain += len(value) * (2 if type(value) is dict else 1)
        if self._plain > MAX_ITEMS:
            raise ResultNotData(f"{where}: expected at most {MAX_ITEMS} items in all, got more", hint=_NUMBERS)
        self.tokens.append(value)

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
        if code in (Code.SET, Code.FROZENSET) and memoryview in set(map(type, value)):
            raise _view_as_key(where)
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
        if not self.beside:
            raise ResultNotData(f"{where}: nothing goes beside an exception")
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
        self.tokens += [None, _clean(_text_of(error)), [], _clean(_traceback_of(error)), _base_of(type(error))]

    def arguments(self, value: tuple[Any, ...], where: str) -> None:
        """An exception's arguments where they are data, else None."""
        tokens, path, beside = len(self.tokens), len(self._path), self.beside
        self.beside = False
        try:
            self.add(value, where)
        except Exception:  # whatever it is, the exception itself must go
            del self.tokens[tokens:], self._path[path:]
            self.tokens.append(None)
        self.beside = beside


# ---- one function a kind


def _add_list(to: Encoding, value: list[Any], where: str) -> None:
    if _is_plain(value, where):
        to.plain(value, where)
    else:
        to.children(Code.LIST, value, value, where)


def _add_dict(to: Encoding, value: dict[Any, Any], where: str) -> None:
    if set(map(type, value)) <= {str} and _is_plain(value.values(), where) and _is_plain(value, where):
        to.plain(value, where)
        return
    to.enter(value, where)
    to.extension(Code.DICT, len(value).to_bytes(8, "little"))
    for key, item in value.items():
        if type(key) is memoryview:
            raise _view_as_key(where)
        to.add(key, f"{where}, a key")
        to.add(item, f"{where}[{key!r:.40}]" if type(key) in _SHOWN and len(where) < 200 else where)
    to.leave()


def _is_plain(items: Any, where: str) -> bool:
    """Nothing but scalars that msgpack has room for.  In C for all but wide numbers and strange texts."""
    if len(items) > MAX_ITEMS:
        raise ResultNotData(f"{where}: expected at most {MAX_ITEMS} items, got {len(items)}", hint=_NUMBERS)
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


def _add_bytes(to: Encoding, value: bytes | bytearray, where: str) -> None:
    shared = len(value) >= SHARED_FROM
    if type(value) is bytes:
        code = Code.SHARED_BYTES if shared else Code.BYTES
    else:
        code = Code.SHARED_BYTEARRAY if shared else Code.BYTEARRAY
    to.extension(code, to.share(memoryview(value), where) if shared else bytes(value))


def _add_view(to: Encoding, value: memoryview, where: str) -> None:
    form, shape = value.format.removeprefix("@"), list(value.shape or ())
    if not value.c_contiguous:
        raise ResultNotData(f"{where}: expected a contiguous memoryview, got one with gaps", hint="return bytes(view)")
    if form not in VIEW_FORMATS or len(shape) > MAX_DIMENSIONS or (not value.nbytes and shape != [0]):
        raise ResultNotData(f"{where}: a memoryview of format {form!r}, shape {shape} is no data", hint="bytes(view)")
    to.extension(Code.SHARED_VIEW, to.share(value.cast("B") if value.nbytes else value, where) + form.encode())
    to.tokens.append(shape)


def _view_as_key(where: str) -> ResultNotData:
    return ResultNotData(f"{where}: a memoryview cannot be a key: the one that comes back is writable", hint="bytes(…)")


def _add_when(to: Encoding, value: datetime.datetime | datetime.time, where: str) -> None:
    code = Code.DATETIME if type(value) is datetime.datetime else Code.TIME
    to.extension(code, bytes([value.fold]) + value.replace(tzinfo=None).isoformat().encode())
    to.add(value.tzinfo, f"{where}.tzinfo")


def _add_timezone(to: Encoding, value: datetime.timezone, where: str) -> None:
    offset = value.utcoffset(None) // datetime.timedelta(microseconds=1)
    to.extension(Code.TIMEZONE, struct.pack("<q", offset))
    arguments = value.__getinitargs__()  # type: ignore[attr-defined]
    to.add(str(arguments[1]) if len(arguments) > 1 else None, where)


def _add_zone(to: Encoding, value: Any, where: str) -> None:
    key = value.key
    if type(key) is not str or not key.isascii() or len(key) > MAX_TEXT:
        raise ResultNotData(f"{where}: a zoneinfo without a key cannot be sent", hint=".astimezone(datetime.UTC)")
    to.extension(Code.ZONE, key.encode())


def _add_decimal(to: Encoding, value: Any, where: str) -> None:
    text = str(value)
    if len(text) > MAX_TEXT:
        raise ResultNotData(f"{where}: a Decimal of more than {MAX_TEXT} digits cannot be sent", hint="return its text")
    to.extension(Code.DECIMAL, text.encode())


def _add_fraction(to: Encoding, value: Any, where: str) -> None:
    above, below = int(value.numerator), int(value.denominator)
    if max(above.bit_length(), below.bit_length()) > FRACTION_BITS:
        text = f"{where}: a Fraction of more than {FRACTION_BITS} bits cannot be sent"
        raise ResultNotData(text, hint="return numerator and denominator")
    to.extension(Code.FRACTION)
    to.add(above, where)
    to.add(below, where)


def _add_range(to: Encoding, value: range, where: str) -> None:
    to.extension(Code.RANGE)
    for part in (value.start, value.stop, value.step):
        to.add(int(part), where)  # a bool is kept by range as it is


def _add_error(to: Encoding, value: BaseException, where: str) -> None:
    to.enter(value, where)
    arguments: Any = tuple(value.args)
    if isinstance(value, OSError) and value.filename is not None and len(arguments) == 2:
        arguments = (*arguments, value.filename)
    if isinstance(value, FoxdenError):
        arguments = (str(value), value.hint)
    to.extension(Code.ERROR, name_of(type(value)).encode("utf-8", "backslashreplace")[:500])
    to.arguments(arguments, f"{where}.args")
    notes = getattr(value, "__notes__", None)
    texts = [_clean(note) for note in notes[:_NOTES_MAX] if type(note) is str] if type(notes) is list else []
    to.tokens += [_clean(_text_of(value)), texts, _clean(_traceback_of(value)), _base_of(type(value))]
    to.leave()


def _base_of(kind: type) -> str:
    """The nearest of Python's own exceptions that one is derived from."""
    return next((base.__name__ for base in kind.__mro__ if base.__module__ == "builtins"), "Exception")


def _add_enum(to: Encoding, value: enum.Enum, where: str) -> None:
    flag = isinstance(value, enum.Flag)
    if not flag and type(value).__members__.get(value.name) is not value:
        raise ResultNotData(f"{where}: {value!r:.80} is no member that has a name", hint="return its value")
    to.extension(Code.FLAG if flag else Code.ENUM, _named(to, type(value), where))
    to.add(int(value.value) if flag else value.name, where)


def _add_record(to: Encoding, value: Any, where: str) -> None:
    import dataclasses  # here it is loaded already: the value is one

    kind = type(value)
    name = _named(to, kind, where)
    to.enter(value, where)
    names = [field.name for field in dataclasses.fields(value)]
    missing = next((field for field in names if not hasattr(value, field)), None)
    if missing is not None or not is_plain_record(kind):
        text = f"has no {missing}" if missing else "is derived from what is no plain class"
        raise ResultNotData(f"{where}: the {kind.__name__} {text}: it cannot be sent", hint="return its parts")
    items = [getattr(value, field) for field in names]
    _check_fields(kind, zip(names, items, strict=True), where)
    to.extension(Code.RECORD, name)
    to.extension(Code.DICT, len(names).to_bytes(8, "little"))
    for field, item in zip(names, items, strict=True):
        to.tokens.append(field)
        to.add(item, f"{where}.{field}")
    to.leave()


def _check_fields(kind: type, items: Iterable[tuple[str, Any]], where: str) -> None:
    """As the parent will: here it can say where."""
    from foxden.ipc import typed

    hints = typed.hints_of(kind)
    for name, value in items:
        if name in hints and not typed.matches(value, hints[name]):
            raise typed.mismatch(kind, name, hints[name], value, where)


def is_plain_record(kind: type) -> bool:
    """Can the parent make one without running its code?"""
    try:
        object.__new__(kind)
    except TypeError:
        return False
    return True


def _add_named_tuple(to: Encoding, value: Any, where: str) -> None:
    if len(value) != len(type(value)._fields):
        raise ResultNotData(f"{where}: a {type(value).__name__} of {len(value)} items", hint="return tuple(…)")
    _check_fields(type(value), zip(type(value)._fields, value, strict=True), where)
    to.extension(Code.NAMED_TUPLE, _named(to, type(value), where))
    to.children(Code.TUPLE, value, value, where)


def _named(to: Encoding, kind: type, where: str) -> bytes:
    name = name_of(kind)
    if name not in to.names:
        raise ResultNotData(
            f"{where}: {name} is a type that the caller has not named", hint=f"returns=[{kind.__name__}] names it"
        )
    return name.encode()


def _add_module_array(to: Encoding, value: Any, where: str) -> None:
    if value.typecode not in TYPECODES:
        raise ResultNotData(f"{where}: an array of typecode {value.typecode!r} is not data", hint="return its text")
    to.extension(Code.ARRAY_MODULE, value.typecode.encode())
    _add_bytes(to, value.tobytes(), where)


_ADDERS: dict[type, Callable[[Encoding, Any, str], None]] = {
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

# Types of modules that are never imported here: package → name of the type → how, once someone else has imported it.
_LIBRARY_ADDERS: dict[str, dict[str, Callable[[Encoding, Any, str], None]]] = {
    "decimal": {"Decimal": _add_decimal},
    "fractions": {"Fraction": _add_fraction},
    "uuid": {"UUID": lambda to, value, where: to.extension(Code.UUID, value.bytes)},
    "pathlib": {
        "PosixPath": lambda to, value, where: to.extension(Code.PATH, bytes(value)),
        "PurePosixPath": lambda to, value, where: to.extension(Code.PURE_PATH, bytes(value)),
    },
    "zoneinfo": {"ZoneInfo": _add_zone},
    "array": {"array": _add_module_array},
}

# Libraries that have a module of their own for it, loaded when the first thing of theirs is sent.
_ENCODERS = {
    "numpy": "foxden.ipc.arrays_encode",
    "pandas": "foxden.ipc.frames_encode",
    "pyarrow": "foxden.ipc.arrow_encode",
}


def _adder_of(kind: type) -> Callable[[Encoding, Any, str], None] | None:
    """How a type that is not in the table itself is sent, by what it is derived from."""
    root = kind.__module__.partition(".")[0]
    for name, add in _LIBRARY_ADDERS.get(root, {}).items():
        if kind is getattr(sys.modules.get(root), name, None):
            return _ADDERS.setdefault(kind, add)
    if root in _ENCODERS and root in sys.modules:
        add_array = importlib.import_module(_ENCODERS[root]).adder_of(kind)
        return None if add_array is None else _ADDERS.setdefault(kind, add_array)
    if issubclass(kind, BaseException):
        return _add_error
    if issubclass(kind, enum.Enum):
        return _add_enum
    if hasattr(kind, "__dataclass_fields__"):  # as dataclasses.is_dataclass asks
        return _add_record
    return _add_named_tuple if issubclass(kind, tuple) and hasattr(kind, "_fields") else None


def _not_data(kind: type, where: str, value: object) -> ResultNotData:
    return ResultNotData(f"{where}: {name_of(kind)} is not data: it cannot be sent", hint=hint_of(kind))


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return f"<{type(error).__name__}: its text failed>"


def _traceback_of(error: BaseException) -> str:
    from foxden.ipc import traces

    try:
        text = traces.text_of(error)
    except Exception:
        text = f"{type(error).__name__}: its traceback could not be formatted\n"
    return text if len(text) <= _TRACEBACK_MAX else f"…{text[-_TRACEBACK_MAX:]}"


def _clean(text: str) -> str:
    """Text that msgpack can carry."""
    return text.encode("utf-8", "backslashreplace").decode()[: 2 * _TRACEBACK_MAX]
