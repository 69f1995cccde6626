"""What pandas has, there and back: the same, or an error; and what a hostile worker would say of it."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from tests.support.results import back, memory_of

from foxden.errors import BadMessage, ResultNotData
from foxden.ipc.value_decode import decode_value
from foxden.ipc.value_encode import encode_value
from foxden.ipc.values import Code, Ext, encode_tokens

pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.leaks_ok("Arrow has threads of its own from its first use on")

COLUMNS = {
    "zone": pd.date_range("2026", periods=3, tz="Europe/Paris"), "utc": pd.date_range("2026", periods=3, tz="UTC"),
    "Int64": pd.array([1, None, 3], dtype="Int64"), "boolean": pd.array([True, None, False], dtype="boolean"),
    "Float64": pd.array([1.5, None, 2], dtype="Float64"), "UInt8": pd.array([1, None, 3], dtype="UInt8"),
    "months": pd.period_range("2026", periods=3, freq="M"), "quarters": pd.period_range("2026", periods=3,
    freq="Q-DEC"),
    "interval": pd.interval_range(0, 3), "category": pd.Categorical(["a", "b", None]),
    "ordered": pd.Categorical(["a", "b", "a"], ordered=True, categories=["b", "a", "c"]),
    "string": pd.array(["a", None, "c"], dtype="string"), "python": pd.array(["a", None, "c"],
    dtype=pd.StringDtype("python")),
    "str": pd.Series(["a", None, "b"]), "objects": pd.Series([1, "x", None], dtype=object),
    "lists": pd.Series([[1], [2], [3]], dtype=object), "texts": pd.Series(["a", "b", "c"], dtype=object),
    "missing": pd.Series([pd.NA, pd.NaT, pd.Timestamp("2026")], dtype=object), "dates": pd.date_range("2026",
    periods=3),
    "seconds": pd.to_datetime([1, 2, 3], unit="s").as_unit("s"), "delta": pd.to_timedelta([1, 2, 3], unit="s"),
    "bool": np.array([True, False, True]), "int8": np.array([1, 2, 3], "i1"), "complex": np.array([1j, 2, 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_come_back(name: str) -> None:
    series = pd.Series(COLUMNS[name], name=name)
    pd.testing.assert_series_equal(back(series), series, check_exact=True)
    pd.testing.assert_series_equal(back(series.iloc[:0]), series.iloc[:0])
    pd.testing.assert_frame_equal(back(series.to_frame()), series.to_frame())
    index = pd.Index(COLUMNS[name], name="n") if name != "lists" else pd.RangeIndex(3)
    found = back(index)
    pd.testing.assert_index_equal(found, index, exact=True)
    assert getattr(found, "freq", None) == getattr(index, "freq", None)


def frames() -> dict[str, Any]:
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"], "c": [1.5, None, 2]})
    return {
        "plain": frame, "named": frame.rename_axis("id"), "aggregated": frame.groupby("b").agg({"a": ["sum", "mean"]}),
        "pivot": frame.pivot_table(index="b", columns="a", values="c"), "empty": pd.DataFrame(), "turned": frame.T,
        "empty objects": pd.DataFrame({"x": pd.Series([], dtype=object)}), "levels": frame.set_index(["a", "b"]),
        "rows only": pd.DataFrame(index=range(5)), "columns only": pd.DataFrame(columns=["a", "b"]),
        "twice": frame.rename(columns={"b": "a"}), "repeated": frame.set_index("a").loc[[1, 1, 2]],
        "columns named": frame.rename_axis(columns="cc"), "floats": frame.set_axis([1.5, 2.5, 3.5], axis=1),
        "freq": frame.set_axis(pd.date_range("2026", periods=3, freq="ME", name="t")),
    }  # fmt: skip


@pytest.mark.parametrize("name", frames())
def test_frames_come_back_with_all_they_have(name: str) -> None:
    frame = frames()[name]
    frame.attrs = {"source": ["x", 1]}
    found = back(frame)
    pd.testing.assert_frame_equal(found, frame, check_freq=True, check_index_type="exact", check_column_type="exact")
    assert (found.index.names, found.columns.names) == (frame.index.names, frame.columns.names)
    assert (type(found.index), type(found.columns), found.attrs) == (type(frame.index), type(frame.columns),
        frame.attrs)


@pytest.mark.parametrize(
    "value",
    [
        pd.Timestamp("2026-01-01 00:00:00.123456789"), pd.Timestamp("2026", tz="Asia/Tokyo"), pd.Timedelta("1D 3ns"),
        pd.NaT,
        pd.Timestamp("2026-10-25 01:30", tz="UTC").tz_convert("Europe/Paris"), pd.NA, pd.Period("2026-01", "M"),
        pd.Interval(1, 2, "both"),
    ],
    ids=str,
)  # fmt: skip
def test_scalars_come_back(value: Any) -> None:
    found = back(value)
    assert (type(found), repr(found)) == (type(value), repr(value))
    assert getattr(found, "fold", 0) == getattr(value, "fold", 0)


def test_numbers_are_not_copied() -> None:
    encoded = encode_value(pd.DataFrame({"a": np.zeros(9000), "b": np.zeros(9000)}), limit=1 << 20)
    memory = memory_of(encoded)
    found = decode_value(encoded.data, memoryview(memory), {})
    assert all(np.shares_memory(found[name].to_numpy(), np.frombuffer(memory, "u1")) for name in "ab")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (pd.Series(pd.arrays.SparseArray([0, 1])), "to_dense"),
        (pd.DataFrame().set_flags(allows_duplicate_labels=False), "set_flags"),
        (pd.date_range("2026", periods=3, freq=pd.offsets.CustomBusinessDay(holidays=["2026-01-02"])), "freq = None"),
    ],
    ids=["sparse", "flag", "holidays"],
)  # fmt: skip
def test_what_is_not_sent_says_what_works(value: Any, hint: str) -> None:
    with pytest.raises(ResultNotData) as caught:
        back(value)
    assert hint in caught.value.hint


def numbers(dtype: str, count: int, place: int = 0) -> list[Any]:
    return [Ext(Code.NDARRAY, struct.pack("<QQ", place, np.dtype(dtype).itemsize * count)), dtype, [count], False]


RANGE = [Ext(Code.INDEX, b"range"), 0, 2, 1, None]
EMPTY = [Ext(Code.LIST, bytes(8))]


def test_the_control() -> None:
    row = [Ext(Code.SERIES, b""), "n", *RANGE, None, *numbers("<i8", 2)]
    assert decode_value(encode_tokens(row), memoryview(bytearray(64)), {}).tolist() == [0, 0]


@pytest.mark.parametrize(
    "row",
    [
        [Ext(Code.SERIES, b""), "n", *RANGE, None, *numbers("<i8", 3)], [Ext(Code.SERIES, b""), [], *RANGE, None,
        *numbers("<i8", 2)],
        [Ext(Code.SERIES, b""), "n", *RANGE, None, [1, 2]], [Ext(Code.SERIES, b""), "n", 5], [Ext(Code.FRAME, b""), 5],
        [Ext(Code.FRAME, b""), *RANGE, *RANGE, None, *EMPTY], [Ext(Code.INDEX, b"range"), 0, 2, 0, None],
        [Ext(Code.PANDAS_ARRAY, b"masked"), *numbers("<i8", 2), *numbers("|b1", 3)],
        [Ext(Code.PANDAS_ARRAY, b"masked"), *numbers("<f2", 2), *numbers("|b1", 2)],
        [Ext(Code.PANDAS_ARRAY, b"category"), *numbers("|i1", 2), *RANGE[:2], 0, 1, None, False],
        [Ext(Code.PANDAS_ARRAY, b"zoned"), *numbers("<M8[s]", 2), "UTC"], [Ext(Code.PANDAS_ARRAY, b"arrow"), 5],
        [Ext(Code.PANDAS_ARRAY, b"period"), *numbers("<i8", 2), "no such"], [Ext(Code.PANDAS_ARRAY, b"text"),
        "python", True, [1]],
        [Ext(Code.PANDAS_ARRAY, b"text"), "os", True, ["a"]], [Ext(Code.PANDAS_ARRAY, b"eval"), "1"],
        [Ext(Code.PANDAS_SCALAR, b"timestamp"), 5, None], [Ext(Code.PANDAS_SCALAR, b"period"), 5, "D" * 100],
        [Ext(Code.INDEX, b"plain"), *numbers("<M8[ns]", 2), None, "D"],
        [Ext(Code.INDEX, b"multi"), Ext(Code.LIST, (1).to_bytes(8, "little")), Ext(Code.INDEX, b"range"), 0, 0, 1, None,
         *numbers("|i1", 2), None],
    ],
    ids=lambda row: "row",
)  # fmt: skip
def test_what_no_honest_worker_says_of_pandas_is_refused(row: list[Any]) -> None:
    with pytest.raises(BadMessage):
        decode_value(encode_tokens(row), memoryview(bytearray(64)), {})
