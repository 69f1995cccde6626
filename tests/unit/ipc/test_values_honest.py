"""Whatever an honest encoder accepts, a parent builds: a slip is the caller's to hear of, and no breach of protocol."""

from __future__ import annotations

import collections
import ctypes
import dataclasses
import datetime
import decimal
import enum
import fractions
import io
import ipaddress
import json
import pickle
import struct
import sys
import types
import xml.etree.ElementTree
import zipfile
import zoneinfo
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foxden.errors import FoxdenError, RemoteError, ResultNotData, remote_error_type
from foxden.ipc.errors_decode import ERROR_TYPES
from foxden.ipc.value_decode import decode_value
from foxden.ipc.value_encode import encode_error, encode_value, name_of
from foxden.ipc.values import ALIGNMENT, MAX_DEPTH, MAX_ITEMS, MAX_TOKENS, Code, Ext, encode_tokens
from foxden.parent.functions import _types

LIMIT = 1 << 26


@dataclasses.dataclass
class Row:
    b: int
    name: str = ""


class Pair(NamedTuple):
    first: int
    second: str


class Custom(ValueError):
    pass


TYPES = {name_of(kind): kind for kind in (Row, Pair)}


def back(value: Any) -> Any:
    encoded = encode_value(value, names=TYPES, limit=LIMIT)
    memory = bytearray(encoded.size)
    place = 0
    for part in encoded.buffers:
        memory[place : place + part.nbytes] = part.cast("B")
        place += -(-part.nbytes // ALIGNMENT) * ALIGNMENT
    return decode_value(encoded.data, memoryview(memory), TYPES)


def raised(error: BaseException) -> Exception:
    found: Exception = decode_value(encode_error(error, limit=LIMIT).data, None, {})
    return found


# --- as much as a value may be -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda: set(range(MAX_TOKENS + 1)), lambda: tuple(range(MAX_TOKENS)), lambda: dict.fromkeys(range(MAX_TOKENS)),
        lambda: [(1,), *range(MAX_TOKENS)], lambda: [np.arange(3)] * (MAX_TOKENS // 4),
    ],
    ids=["set", "tuple", "dict", "list", "arrays"],
)  # fmt: skip
def test_too_many_items_are_refused_where_they_are(make: Any) -> None:
    with pytest.raises(ResultNotData, match=f"at most {MAX_TOKENS} items in all") as caught:
        encode_value(make(), limit=1 << 30)
    assert "an array, or a list" in caught.value.hint


@pytest.mark.slow
def test_lists_of_more_items_together_than_one_may_have_are_refused() -> None:
    part = [None] * (1 << 22)
    assert encode_value([part] * 4, limit=1 << 30).size == 0, "the control"
    texts = dict.fromkeys(map(str, range(1 << 20)))
    for many in ([part] * 4 + [[1]], [texts] * 8 + [[1]], {"a": (part, part), "b": (part, part), "c": [1]}):
        with pytest.raises(ResultNotData, match=f"at most {MAX_ITEMS} items in all") as caught:
            encode_value(many, limit=1 << 30)
        assert "return arrays" in caught.value.hint


def test_as_many_items_as_may_be_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (tuple(range(999)), dict.fromkeys(range(499))):
        assert back(value) == value
    assert len(back(tuple(range(MAX_TOKENS - 1)))) == MAX_TOKENS - 1


@pytest.mark.parametrize(
    "leaf",
    [datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(0), "\ud800")), ValueError((1, (2,))),
     fractions.Fraction(1, 1 << 100)],
    ids=["time", "error", "fraction"],
)  # fmt: skip
def test_as_deep_as_may_be_comes_back(leaf: Any) -> None:
    for wrap in (lambda value: [value], lambda value: (value,), lambda value: {1: value}):
        value = leaf
        for _ in range(MAX_DEPTH - 3):
            value = wrap(value)
        assert type(back(value)) is type(value)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (fractions.Fraction(1, 1 << 20_000), "a Fraction of more than"),
        (decimal.Decimal("1" * 20_000), "a Decimal of"),
        ({memoryview(b"x"): 1}, "cannot be a key"), (frozenset([memoryview(b"x")]), "cannot be a key"),
        (memoryview((ctypes.c_int * 2)()), "a memoryview of format"), (memoryview(np.zeros((0, 3))), "a memoryview of"),
        (memoryview(np.zeros(1, complex)), "a memoryview of format"),
        (Row(np.int64(1)), r"result: Row\.b: expected int, got int64"),  # type: ignore[arg-type]
        ([Pair(1, 2)], r"result\[0\]: Pair\.second: expected str, got int"),  # type: ignore[arg-type]
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_the_parent_would_refuse_is_refused_where_it_is(value: Any, words: str) -> None:
    with pytest.raises(ResultNotData, match=words) as caught:
        encode_value(value, names=TYPES, limit=LIMIT)
    assert caught.value.hint


def test_a_field_that_was_never_set_is_named() -> None:
    empty = object.__new__(Row)
    del Row.name
    with pytest.raises(ResultNotData, match="the Row has no b"):
        encode_value(empty, names=TYPES, limit=LIMIT)


def test_a_dataclass_that_is_more_than_one_is_refused() -> None:
    @dataclasses.dataclass
    class Named(dict):  # type: ignore[type-arg]
        x: int = 1

    with pytest.raises(ResultNotData, match="derived from what is no plain class"):
        encode_value(Named(), names={name_of(Named)}, limit=LIMIT)


def test_a_member_without_a_name_is_refused() -> None:
    class Open(enum.Enum):
        A = 1

        @classmethod
        def _missing_(cls, value: object) -> Any:
            made = object.__new__(cls)
            made._name_, made._value_ = f"x{value}", value
            return made

    assert encode_value(Open.A, names={name_of(Open)}, limit=LIMIT)
    with pytest.raises(ResultNotData, match="no member that has a name"):
        encode_value(Open(5), names={name_of(Open)}, limit=LIMIT)


def test_a_parent_without_room_does_not_blame_the_worker() -> None:
    encoded = encode_value(((((1,),),),), limit=LIMIT)

    def deeper(levels: int) -> Any:
        return deeper(levels - 1) if levels else decode_value(encoded.data, None, {})

    def as_deep_as_goes() -> Any:
        for levels in range(sys.getrecursionlimit()):
            try:
                deeper(levels)
            except RecursionError:
                return None
            except ResultNotData as error:
                return error
        return None

    assert "RecursionError while it was built" in str(as_deep_as_goes())


@pytest.mark.parametrize(
    "value",
    [
        range(True, 5), {1: bytearray(b"x")}, {1 << 20_000: [b"x"]}, memoryview(b""),
        memoryview(np.zeros(0)), memoryview(np.arange(6).reshape(2, 3)),
        np.zeros((1,) * 40), np.array([b"x" * 10_000_000]), datetime.timezone(datetime.timedelta(1, -1), "\ud800"),
        {float("nan"): 1}, zoneinfo.ZoneInfo("Europe/Paris"), -(1 << 63), (1 << 64, -(1 << 64)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_the_edges_come_back(value: Any) -> None:
    found = back(value)
    assert type(found) is type(value)
    assert np.array_equal(found, value) or repr(found) == repr(value)


# --- numbers of numpy --------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-128, 127).map(np.int8), st.integers(0, 2**64 - 1).map(np.uint64), st.booleans().map(np.bool_),
    st.floats(allow_nan=False).map(np.float64), st.floats(width=32, allow_nan=False).map(np.float32),
    st.floats(width=16, allow_nan=False).map(np.float16), st.complex_numbers(allow_nan=False).map(np.complex128),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9).map(np.str_),
    st.binary(max_size=9).map(lambda data: np.bytes_(data.rstrip(b"\0"))),
    st.datetimes().map(lambda when: np.datetime64(when, "us")), st.dates().map(np.datetime64),
    st.integers(-(10**9), 10**9).map(lambda count: np.timedelta64(count, "s")),
    st.integers(-(10**9), 10**9).map(lambda count: np.datetime64(count * 1000, "ns")),
)  # fmt: skip


@given(numbers)
def test_numbers_of_numpy_are_pythons_own_where_numpy_is_not_loaded(value: Any) -> None:
    encoded = encode_value(value, limit=LIMIT)
    here = decode_value(encoded.data, None, {})
    assert (type(here), here) == (type(value), value)
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "numpy")
        found = decode_value(encoded.data, None, {})
    as_python = value.astype("datetime64[us]").item() if value.dtype.str == "<M8[ns]" else value.item()
    assert (type(found), found) == (type(as_python), as_python)


@pytest.mark.parametrize(
    "value",
    [np.longdouble(1), np.datetime64("NaT", "s"), np.datetime64(1, "ns"), np.datetime64(1, "M"),
     np.timedelta64(1 << 60, "s")],
    ids=repr,
)  # fmt: skip
def test_numbers_that_python_has_not_need_numpy(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = encode_value(value, limit=LIMIT)
    monkeypatch.delitem(sys.modules, "numpy")
    with pytest.raises(ResultNotData, match="numpy is not loaded") as caught:
        decode_value(encoded.data, None, {})
    assert "preload=['numpy']" in caught.value.hint


# --- what may be named -------------------------------------------------------------------------------------------


class Model:
    def model_dump(self) -> dict[str, Any]:
        return {}


@pytest.mark.parametrize("kind", [int, dict, object, Model, ValueError, Custom, enum.Enum, list[int], "Row"], ids=repr)
def test_what_cannot_be_named_is_refused(kind: Any) -> None:
    with pytest.raises(FoxdenError, match="returns: expected dataclasses, enums, named tuples, got ") as caught:
        _types([kind])
    assert caught.value.hint


def test_what_can_be_named_is_taken() -> None:
    class Suit(enum.Flag):
        A = 1

    assert list(_types([Row, Pair, Suit, np.ndarray]).values()) == [Row, Pair, Suit, np.ndarray]


def test_preloading_a_library_loads_it_here() -> None:
    import subprocess

    program = (
        "import sys; from foxden.parent.functions import _types; _types([], ['json']); print('numpy' in sys.modules);"
        "_types([], ['no_such_module', 'numpy.linalg']); print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\nTrue\n"


# --- exceptions --------------------------------------------------------------------------------------------------


class _Numpys(MemoryError):
    pass


def made(name: str, base: type[BaseException]) -> Any:
    return type(name, (base,), {})


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (json.JSONDecodeError("Expecting value", "x", 0), ValueError), (Custom("x"), ValueError),
        (_Numpys(1, 2), MemoryError), (made("Twice", KeyError)("a"), KeyError),
        (made("Mine", FileNotFoundError)(2, "no"), FileNotFoundError),
        (xml.etree.ElementTree.ParseError("bad"), SyntaxError),
        (made("E", UnicodeDecodeError)("a", b"", 0, 1, ""), UnicodeError),
        (made("W", UserWarning)("careful"), UserWarning), (made("A", AttributeError)("x"), AttributeError),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_an_exception_is_also_what_it_is_derived_from(error: Exception, base: type[Exception]) -> None:
    found = raised(error)
    assert isinstance(found, RemoteError)
    assert isinstance(found, base)
    assert found.type_name == name_of(type(error))
    assert str(found).endswith(str(error))
    assert type(raised(error)) is type(found), "made once"
    copy = pickle.loads(pickle.dumps(found))
    assert (type(copy), str(copy), copy.type_name) == (type(found), str(found), found.type_name)


@pytest.mark.parametrize(
    "error",
    [zipfile.BadZipFile("x"), struct.error("x"), made("S", StopIteration)("x"), made("K", KeyboardInterrupt)("x"),
     made("G", ExceptionGroup)("x", [ValueError()])],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_an_exception_that_is_nothing_more_is_a_remote_error_only(error: BaseException) -> None:
    assert type(raised(error)) is RemoteError


@pytest.mark.parametrize("name", sorted(ERROR_TYPES))
def test_a_remote_error_can_be_any_of_pythons_own(name: str) -> None:
    kind = remote_error_type(ERROR_TYPES[name])
    made = kind("text", type_name="a.B", remote_traceback="t")
    assert (str(made), made.type_name, made.hint) == ("text", "a.B", "")


def test_a_base_that_the_worker_makes_up_is_none() -> None:
    for base in ("SystemExit", "KeyboardInterrupt", "eval", "os.system", "RemoteError", "StopIteration", ""):
        row = [Ext(Code.ERROR, b"a.B"), None, "text", [], "trace", base]
        assert type(decode_value(encode_tokens(row), None, {})) is RemoteError


@pytest.mark.parametrize(
    "error",
    [KeyError((1, 2)), ValueError({"a": [1, b"x"]}, None), RuntimeError(decimal.Decimal(1)),
     KeyError(datetime.date(2026, 1, 1)), SyntaxError("bad", ("f.py", 1, 2, "x"))],
    ids=repr,
)  # fmt: skip
def test_arguments_that_are_data_keep_their_shape(error: Exception) -> None:
    found = raised(error)
    assert type(found) is type(error)
    assert found.args == error.args


@pytest.mark.parametrize("argument", [object(), np.arange(3), bytes(100_000), np.array([]), tuple(range(MAX_TOKENS))],
                         ids=lambda value: type(value).__name__)  # fmt: skip
def test_arguments_that_are_not_become_text(argument: Any) -> None:
    found = raised(ValueError(argument))
    assert type(found) is ValueError
    assert found.args == (str(ValueError(argument))[:131072],)


def test_an_exception_inside_an_exception_comes_back() -> None:
    found = raised(RuntimeError(ValueError("inner"), 3))
    assert (type(found.args[0]), found.args[0].args, found.args[1]) == (ValueError, ("inner",), 3)


# --- hints -------------------------------------------------------------------------------------------------------


def _of(package: str, name: str, *bases: type) -> Any:
    return object.__new__(type(name, bases, {"__module__": package}))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (collections.OrderedDict(), "dict("), (collections.Counter(), "dict("), (collections.deque(), "list("),
        (Model(), "model_dump"),
        (types.SimpleNamespace(a=1), "vars("), (ipaddress.ip_address("::1"), "str("),
        (slice(1), "s.start"),
        (np.ma.array([1]), "filled"), (np.zeros(1, [("a", int)]), "dtype.names"), (np.array([object()]), "tolist"),
        (_of("sklearn.svm", "SVC"), "pickle.dumps"),
        (_of("mine", "SVC", _of("torch.nn", "Module").__class__), "pickle.dumps"),
        (_of("polars.dataframe", "DataFrame"), ".to_arrow()"), (io.BytesIO(), "getvalue"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_hints_name_what_works(value: Any, words: str) -> None:
    with pytest.raises(ResultNotData) as caught:
        encode_value(value, limit=LIMIT)
    assert words in caught.value.hint
