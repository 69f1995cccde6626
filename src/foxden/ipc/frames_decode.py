"""What pandas has, from tokens: every part is of the kind and length it must be, and pandas checks it, too.

Runs in: parent.  Trusts: nothing of the data; pandas is used only where this process has loaded it already.
Flow: tokens → arrays on the shared memory, indexes → Series, DataFrame, with nothing of theirs copied.
Source: ipc/frames_encode.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from typing import Any

from foxden.errors import BadMessage, ResultNotData
from foxden.ipc import zones
from foxden.ipc.building import Building, library
from foxden.ipc.values import MASKED, MAX_STEPS, Code, Ext

_FREQUENCY = re.compile(r"[A-Za-z0-9-]{1,40}\Z")
_UNITS = frozenset({"s", "ms", "us", "ns"})
Build = Callable[[Any, Building], Any]


def _checked(build: Build) -> Callable[[Building, bytes], Any]:
    """With pandas, and with whatever it raises for parts that do not fit as what it is."""

    @functools.wraps(build)
    def checked(building: Building, payload: bytes) -> Any:
        pandas = library("pandas", "a pandas object", "return its columns")
        try:
            return build(pandas, building)
        except (ResultNotData, BadMessage, RecursionError, MemoryError):
            raise
        except Exception as error:
            raise BadMessage(f"result: {type(error).__name__}: {str(error)[:200]}") from None

    return checked


def _by_kind(table: dict[bytes, Build]) -> Callable[[Building, bytes], Any]:
    def build(building: Building, payload: bytes) -> Any:
        found = table.get(payload)
        if found is None:
            raise BadMessage(f"result: nothing of pandas': {ascii(payload)[:80]}")
        return _checked(found)(building, payload)

    return build


def _array(building: Building, kinds: str = "") -> Any:
    """One of numpy's, of one dimension."""
    made = building.next()
    numpy = sys.modules["numpy"]
    if type(made) is not numpy.ndarray or made.ndim != 1 or (kinds and made.dtype.kind not in kinds):
        raise BadMessage(f"result: {type(made).__name__} where an array belongs")
    return made


def _values(building: Building) -> Any:
    """A column: an array of numpy's or of pandas'."""
    token = building.peek()
    if type(token) is not Ext or token.code not in (Code.NDARRAY, Code.NDARRAY_HERE, Code.PANDAS_ARRAY):
        raise BadMessage("result: no column")
    return building.next() if token.code == Code.PANDAS_ARRAY else _array(building, "biufcmM")


def _index(building: Building) -> Any:
    token = building.peek()
    if type(token) is not Ext or token.code != Code.INDEX:
        raise BadMessage("result: no index")
    return building.next()


def _frequency(text: object) -> str:
    if type(text) is not str or not _FREQUENCY.match(text):
        raise BadMessage("result: no frequency")
    return text


def _same_length(*parts: Any) -> None:
    if len(set(map(len, parts))) > 1:
        raise BadMessage(f"result: parts of one thing that are {[len(part) for part in parts][:4]} long")


def _plain_index(pandas: Any, building: Building) -> Any:
    values, name, freq = _values(building), building.next(), building.token()
    dtype = _said_type(values)
    index = pandas.Index(values, dtype=dtype, name=name, tupleize_cols=False, copy=False)
    if freq is None:
        return index
    offset = pandas.tseries.frequencies.to_offset(_frequency(freq))
    if len(index) > MAX_STEPS and not isinstance(offset, pandas.tseries.offsets.Tick):
        raise BadMessage(f"result: {len(index)} steps of a frequency")
    return type(index)(index, freq=offset, name=name)  # which checks that it is


def _range_index(pandas: Any, building: Building) -> Any:
    start, stop, step = building.expect(int), building.expect(int), building.expect(int)
    return pandas.RangeIndex(start, stop, step, name=building.next())


def _multi_index(pandas: Any, building: Building) -> Any:
    levels, codes, names = [], [], []
    for _ in range(_count(building)):
        levels.append(_index(building))
        codes.append(_array(building, "i"))
        names.append(building.next())
    return pandas.MultiIndex(levels=levels, codes=codes, names=names)  # which checks them


def _count(building: Building) -> int:
    token = building.token()
    if type(token) is not Ext or token.code != Code.LIST:
        raise BadMessage("result: no number of columns")
    return building.count(bytes(token.data))


def _series(pandas: Any, building: Building) -> Any:
    name, index, attrs = building.next(), _index(building), building.expect((dict, type(None)))
    values = _values(building)
    _same_length(index, values)
    made = _as_series(pandas, values, index)
    made.name = name
    made.attrs = attrs or {}
    return made


def _as_series(pandas: Any, values: Any, index: Any) -> Any:
    return pandas.Series(values, index=index, dtype=_said_type(values), copy=False)


def _said_type(values: Any) -> Any:
    """Of objects it is said, or pandas guesses from what is in them."""
    return object if type(values) is sys.modules["numpy"].ndarray and values.dtype.kind == "O" else None


def _frame(pandas: Any, building: Building) -> Any:
    columns, index, attrs = _index(building), _index(building), building.expect((dict, type(None)))
    found = []
    for _ in range(_count(building)):
        values = _values(building)
        _same_length(index, values)
        found.append(_as_series(pandas, values, index))
    _same_length(columns, found)
    made = pandas.DataFrame(dict(enumerate(found)), index=index, copy=False)
    made.columns = columns
    made.attrs = attrs or {}
    return made


def _objects(pandas: Any, building: Building) -> Any:
    items = building.expect(list)
    made = sys.modules["numpy"].empty(len(items), object)
    for place, item in enumerate(items):  # one by one: a list of lists would be taken for more dimensions
        made[place] = item
    return made


def _text(pandas: Any, building: Building) -> Any:
    storage, nan = building.token(), building.token()
    items = building.expect(list)
    if storage not in ("python", "pyarrow") or type(nan) is not bool or not set(map(type, items)) <= {str, type(None)}:
        raise BadMessage("result: no column of text")
    if storage == "pyarrow":
        library("pyarrow", "text that Arrow holds", ".astype(object)")
    dtype = pandas.StringDtype(storage, na_value=float("nan") if nan else pandas.NA)
    return pandas.array(items, dtype=dtype)


def _masked(pandas: Any, building: Building) -> Any:
    values, mask = _array(building, "biuf"), _array(building, "b")
    _same_length(values, mask)
    name = MASKED_BY_NUMPY.get(values.dtype.name)
    if name is None:
        raise BadMessage("result: no column of numbers that may be missing")
    return pandas.api.types.pandas_dtype(name).construct_array_type()(values, mask)


MASKED_BY_NUMPY = {"bool" if name == "boolean" else name.lower(): name for name in MASKED}


def _zoned(pandas: Any, building: Building) -> Any:
    values = _array(building, "M")
    return pandas.DatetimeIndex(values).tz_localize("UTC").tz_convert(_zone(building)).array


def _zone(building: Building) -> Any:
    return building.expect(zones.kinds())


def _categories(pandas: Any, building: Building) -> Any:
    codes, categories, ordered = _array(building, "i"), _index(building), building.expect(bool)
    return pandas.Categorical.from_codes(codes, pandas.Index(categories), ordered=ordered)


def _periods(pandas: Any, building: Building) -> Any:
    values = _array(building, "i")
    if values.dtype.str != "<i8":
        raise BadMessage("result: no periods")
    return pandas.arrays.PeriodArray(values, dtype=pandas.PeriodDtype(_frequency(building.token())))


def _intervals(pandas: Any, building: Building) -> Any:
    left, right, closed = _values(building), _values(building), building.expect(str)
    _same_length(left, right)
    return pandas.arrays.IntervalArray.from_arrays(left, right, closed)


def _arrow(pandas: Any, building: Building) -> Any:
    token = building.peek()
    if type(token) is not Ext or token.code != Code.ARROW_CHUNKED:
        raise BadMessage("result: no column of Arrow's")
    return pandas.arrays.ArrowExtensionArray(building.next())


def _timestamp(pandas: Any, building: Building) -> Any:
    made = pandas.Timestamp(_time(building, "datetime64"))
    zone = building.expect((*zones.kinds(), type(None)))
    return made if zone is None else made.tz_localize("UTC").tz_convert(zone)


def _time(building: Building, name: str) -> Any:
    numpy = sys.modules["numpy"]
    found = building.next()
    if type(found) is not getattr(numpy, name) or numpy.datetime_data(found.dtype)[0] not in _UNITS:
        raise BadMessage("result: no time of pandas'")
    return found


def _period(pandas: Any, building: Building) -> Any:
    ordinal = building.expect(int)
    return pandas.Period(ordinal=ordinal, freq=_frequency(building.token()))


BUILDERS: dict[int, Callable[[Building, bytes], Any]] = {
    Code.SERIES: _checked(_series),
    Code.FRAME: _checked(_frame),
    Code.INDEX: _by_kind({b"plain": _plain_index, b"range": _range_index, b"multi": _multi_index}),
    Code.PANDAS_ARRAY: _by_kind({
        b"object": _objects, b"text": _text, b"masked": _masked, b"zoned": _zoned, b"category": _categories,
        b"period": _periods, b"interval": _intervals, b"arrow": _arrow,
    }),
    Code.PANDAS_SCALAR: _by_kind({
        b"timestamp": _timestamp, b"period": _period,
        b"timedelta": lambda pandas, building: pandas.Timedelta(_time(building, "timedelta64")),
        b"interval": lambda pandas, building: pandas.Interval(building.next(), building.next(), building.expect(str)),
        b"NaT": lambda pandas, building: pandas.NaT,
        b"NA": lambda pandas, building: pandas.NA,
    }),
}  # fmt: skip
