"""What pandas has, to tokens: frames, series, indexes and arrays with all that belongs to them, and its scalars.

Runs in: utility processes.  Trusts: nobody; a function that patched this process spoils its own results only.
Flow: value_encode meets something of pandas' → adder_of → its arrays, and what says how to read them.
Source: pandas, "Essential basic functionality: dtypes".  Nothing is left out silently: what cannot go is an error.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any

from foxden.errors import ResultNotData
from foxden.ipc.arrays_encode import add_ndarray
from foxden.ipc.value_encode import Encoding
from foxden.ipc.values import MASKED, MAX_STEPS, Code

_FREQUENCY = re.compile(r"[A-Za-z0-9-]{1,40}\Z")
_INDEXES = ("Index", "RangeIndex", "MultiIndex", "DatetimeIndex", "TimedeltaIndex", "PeriodIndex", "IntervalIndex",
            "CategoricalIndex")  # fmt: skip

_NUMPYS = ("NumpyExtensionArray", "DatetimeArray", "TimedeltaArray")  # alone they would come back as numpy's


def adder_of(kind: type) -> Callable[[Encoding, Any, str], None] | None:
    pandas: Any = sys.modules["pandas"]
    if any(kind is getattr(pandas, name) for name in _INDEXES):
        return _add_index
    if issubclass(kind, pandas.api.extensions.ExtensionArray) and kind.__name__ not in _NUMPYS:
        return _add_values
    table: dict[type, Callable[[Encoding, Any, str], None]] = {
        pandas.DataFrame: _add_frame,
        pandas.Series: _add_series,
        pandas.Timestamp: _add_timestamp,
        pandas.Timedelta: lambda to, value, where: _add_scalar(to, b"timedelta", value.asm8, where=where),
        pandas.Period: lambda to, value, where: _add_scalar(
            to, b"period", value.ordinal, _period_frequency(value, where), where=where
        ),
        pandas.Interval: lambda to, value, where: _add_scalar(
            to, b"interval", value.left, value.right, value.closed, where=where
        ),
        type(pandas.NaT): lambda to, value, where: to.extension(Code.PANDAS_SCALAR, b"NaT"),
        type(pandas.NA): lambda to, value, where: to.extension(Code.PANDAS_SCALAR, b"NA"),
    }
    return table.get(kind)


def _add_scalar(to: Encoding, kind: bytes, *parts: Any, where: str) -> None:
    to.extension(Code.PANDAS_SCALAR, kind)
    for part in parts:
        to.add(part, where)


def _add_timestamp(to: Encoding, value: Any, where: str) -> None:
    _add_scalar(to, b"timestamp", value.asm8, value.tz, where=where)


def _add_series(to: Encoding, value: Any, where: str) -> None:
    to.enter(value, where)
    to.extension(Code.SERIES)
    to.add(value.name, f"{where}.name")
    _add_around(to, value, where)
    _add_values(to, value.array, where)
    to.leave()


def _add_frame(to: Encoding, value: Any, where: str) -> None:
    to.enter(value, where)
    to.extension(Code.FRAME)
    _add_index(to, value.columns, f"{where}.columns")
    _add_around(to, value, where)
    to.extension(Code.LIST, value.shape[1].to_bytes(8, "little"))
    for place in range(value.shape[1]):
        _add_values(to, value.iloc[:, place].array, f"{where}, column {value.columns[place]!r:.40}")
    to.leave()


def _add_around(to: Encoding, value: Any, where: str) -> None:
    if not value.flags.allows_duplicate_labels:
        hint = ".set_flags(allows_duplicate_labels=True)"
        raise ResultNotData(f"{where}: a flag that forbids duplicate labels cannot be sent", hint=hint)
    _add_index(to, value.index, f"{where}.index")
    to.add(dict(value.attrs) or None, f"{where}.attrs")


def _add_index(to: Encoding, value: Any, where: str) -> None:
    pandas = sys.modules["pandas"]
    kind = type(value)
    if all(kind is not getattr(pandas, name) for name in _INDEXES):
        raise ResultNotData(f"{where}: an index of type {kind.__name__} is not data", hint="pandas.Index(…)")
    if kind is pandas.RangeIndex:
        to.extension(Code.INDEX, b"range")
        for part in (value.start, value.stop, value.step):
            to.add(int(part), where)
        to.add(value.name, f"{where}.name")
    elif kind is pandas.MultiIndex:
        to.extension(Code.INDEX, b"multi")
        to.extension(Code.LIST, len(value.levels).to_bytes(8, "little"))
        for level, codes, name in zip(value.levels, value.codes, value.names, strict=True):
            _add_index(to, level.rename(None), where)
            add_ndarray(to, sys.modules["numpy"].asarray(codes), where)
            to.add(name, f"{where}.names")
    else:
        to.extension(Code.INDEX, b"plain")
        _add_values(to, value.array, where)
        to.add(value.name, f"{where}.name")
        timed = kind in (pandas.DatetimeIndex, pandas.TimedeltaIndex) and value.freq is not None
        to.tokens.append(_frequency(value.freq, where, len(value)) if timed else None)


def _frequency(freq: Any, where: str, count: int) -> str:
    """Its name, where that says all of it.  A long row of what is no fixed step takes the parent too long to check."""
    pandas = sys.modules["pandas"]
    text = str(freq.freqstr)
    try:
        same = _FREQUENCY.match(text) and pandas.tseries.frequencies.to_offset(text) == freq
    except ValueError:
        same = False
    if not same or (count > MAX_STEPS and not isinstance(freq, pandas.tseries.offsets.Tick)):
        text = f"{where}: an index with the frequency {text[:40]!r}, of {count} items, cannot be sent"
        raise ResultNotData(text, hint="index.freq = None")
    return text


def _period_frequency(value: Any, where: str) -> str:
    text = str(value.freqstr)
    if not _FREQUENCY.match(text) or sys.modules["pandas"].PeriodDtype(text).freq != value.freq:
        raise ResultNotData(f"{where}: periods of {text[:40]!r} cannot be sent", hint=".to_timestamp()")
    return text


def _add_values(to: Encoding, values: Any, where: str) -> None:
    """An array of pandas': numpy's own where it is one, else its parts."""
    pandas, numpy = sys.modules["pandas"], sys.modules["numpy"]
    if type(values) is pandas.arrays.NumpyExtensionArray:  # text is derived from it
        values = values.to_numpy()
    dtype = values.dtype
    if isinstance(dtype, numpy.dtype) and dtype.kind != "O":
        add_ndarray(to, numpy.asarray(values), where)
        return
    parts = _PARTS.get(type(dtype).__name__)
    if isinstance(dtype, numpy.dtype):
        to.extension(Code.PANDAS_ARRAY, b"object")
        to.add(numpy.asarray(values).tolist(), where)
    elif dtype.name in MASKED and type(dtype) is type(pandas.api.types.pandas_dtype(dtype.name)):
        to.extension(Code.PANDAS_ARRAY, b"masked")
        add_ndarray(to, values._data, where)
        add_ndarray(to, values._mask, where)
    elif parts is not None and type(dtype) is getattr(pandas, type(dtype).__name__):
        parts(to, values, where)
    else:
        hint = ".sparse.to_dense()" if isinstance(dtype, pandas.SparseDtype) else ".to_numpy(), or a list"
        raise ResultNotData(f"{where}: a column of dtype {dtype} is not data", hint=hint)


def _add_text(to: Encoding, values: Any, where: str) -> None:
    to.extension(Code.PANDAS_ARRAY, b"text")
    dtype = values.dtype
    to.tokens += [str(dtype.storage), dtype.na_value is not sys.modules["pandas"].NA]
    to.add(values.to_numpy(object, na_value=None).tolist(), where)


def _add_zoned(to: Encoding, values: Any, where: str) -> None:
    to.extension(Code.PANDAS_ARRAY, b"zoned")
    add_ndarray(to, sys.modules["numpy"].asarray(values.tz_convert("UTC").tz_localize(None)), where)
    to.add(values.dtype.tz, f"{where}.tz")


def _add_categories(to: Encoding, values: Any, where: str) -> None:
    to.extension(Code.PANDAS_ARRAY, b"category")
    add_ndarray(to, sys.modules["numpy"].asarray(values.codes), where)
    _add_index(to, values.categories, f"{where}.categories")
    to.tokens.append(bool(values.ordered))


def _add_periods(to: Encoding, values: Any, where: str) -> None:
    to.extension(Code.PANDAS_ARRAY, b"period")
    add_ndarray(to, values.asi8, where)
    to.tokens.append(_period_frequency(values, where))


def _add_intervals(to: Encoding, values: Any, where: str) -> None:
    to.extension(Code.PANDAS_ARRAY, b"interval")
    for side in (values.left, values.right):
        _add_values(to, side.array, where)
    to.tokens.append(values.closed)


def _add_arrow(to: Encoding, values: Any, where: str) -> None:
    from foxden.ipc.arrow_encode import add_chunked

    pyarrow = sys.modules["pyarrow"]
    found = values.__arrow_array__()
    to.extension(Code.PANDAS_ARRAY, b"arrow")
    add_chunked(to, found if isinstance(found, pyarrow.ChunkedArray) else pyarrow.chunked_array([found]), where)


_PARTS: dict[str, Callable[[Encoding, Any, str], None]] = {
    "StringDtype": _add_text,
    "DatetimeTZDtype": _add_zoned,
    "CategoricalDtype": _add_categories,
    "PeriodDtype": _add_periods,
    "IntervalDtype": _add_intervals,
    "ArrowDtype": _add_arrow,
}
