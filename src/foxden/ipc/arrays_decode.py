"""Arrays and numbers of numpy, built on the shared memory; numbers become Python's own where numpy is not loaded.

Runs in: parent.  Trusts: nothing of the data: sizes, kinds, and bytes that numpy's own code relies on are checked.
Flow: tokens → ndarray, numpy_scalar → an array that shows the shared memory, or a number.
Source: ipc/values; numpy, "The N-dimensional array".
"""

from __future__ import annotations

import datetime
import math
import re
import struct
import sys
from typing import Any

from foxden.errors import BadMessage, ResultNotData
from foxden.ipc.building import Building, library
from foxden.ipc.values import MAX_DIMENSIONS

_DTYPE = re.compile(r"[<>|=]([biufcmMSU])\d{1,10}(\[\d{0,9}[A-Za-z]{1,3}(/\d{1,9})?\])?\Z")
_LAST_CODE_POINT = 0x10FFFF
_NUMBERS = {"f2": "e", "f4": "f", "f8": "d", "c8": "ff", "c16": "dd"}  # as struct has them
_MICROSECONDS = {"s": 1_000_000, "ms": 1000, "us": 1}


def numpy_here() -> Any:
    return library("numpy", "a numpy array", "return array.tolist()")


def _dtype(text: object) -> Any:
    if type(text) is not str or not _DTYPE.match(text):
        raise BadMessage(f"result: {ascii(text)[:80]} is no plain dtype")
    return numpy_here().dtype(text)


def ndarray(building: Building, payload: bytes) -> Any:
    return _array_on(building, building.shared(payload))


def ndarray_here(building: Building, payload: bytes) -> Any:
    return _array_on(building, memoryview(bytearray(payload)))


def _array_on(building: Building, view: memoryview) -> Any:
    dtype, shape, fortran = _dtype(building.token()), building.token(), building.token()
    if type(shape) is not list or len(shape) > MAX_DIMENSIONS or not all(type(n) is int and n >= 0 for n in shape):
        raise BadMessage("result: an array's shape is a list of a few numbers")
    if math.prod(shape) * dtype.itemsize != view.nbytes:
        raise BadMessage(f"result: an array of shape {shape} and {dtype} does not take {view.nbytes} bytes")
    if not dtype.itemsize and math.prod(shape):  # of nothing there may be any number, and numpy makes it one byte each
        raise BadMessage(f"result: an array of shape {shape} of items without a size")
    numpy = numpy_here()
    if not view.nbytes:
        return numpy.empty(shape, dtype)
    flat = numpy.frombuffer(view, dtype)
    _check_bytes(numpy, flat)
    return flat.reshape(shape, order="F" if fortran is True else "C")


def _check_bytes(numpy: Any, flat: Any) -> None:
    """Of truths and characters not every bit pattern is one: numpy counts truths by adding their bytes up."""
    if flat.dtype.kind == "b" and flat.view("u1").max() > 1:
        raise BadMessage("result: an array of bools that holds other bytes than 0 and 1")
    if flat.dtype.kind == "U" and flat.view(f"{flat.dtype.str[0]}u4").max() > _LAST_CODE_POINT:
        raise BadMessage("result: an array of text that holds what is no character")


def numpy_scalar(building: Building, payload: bytes) -> Any:
    name, _, data = payload.partition(b"\0")
    text = name.decode()
    if sys.modules.get("numpy") is None:
        return _number_of(text, data)
    dtype = _dtype(text)
    if len(data) != dtype.itemsize:
        raise BadMessage(f"result: a number of {dtype} does not take {len(data)} bytes")
    numpy = numpy_here()
    if not data:
        return dtype.type()
    flat = numpy.frombuffer(data, dtype)
    _check_bytes(numpy, flat)
    return flat[0]


def _number_of(text: str, data: bytes) -> Any:
    """What a number of numpy's is to Python.  Raises ResultNotData for what Python has nothing like."""
    if not _DTYPE.match(text):
        raise BadMessage(f"result: {ascii(text)[:80]} is no plain dtype")
    order = ">" if text[0] == ">" else "<"
    kind, unit = text[1], text[2:].partition("[")[2].rstrip("]")
    size = int(text[2:].partition("[")[0]) * (4 if kind == "U" else 1)
    if len(data) != size:
        raise BadMessage(f"result: a number of {text} does not take {len(data)} bytes")
    if kind in "iu":
        return int.from_bytes(data, "big" if order == ">" else "little", signed=kind == "i")
    if kind == "b" and data in (b"\0", b"\1"):
        return data == b"\1"
    if kind == "S":
        return data.rstrip(b"\0")
    if kind == "U":
        return data.decode("utf-32-be" if order == ">" else "utf-32-le", "surrogatepass").rstrip("\0")
    if text[1:] in _NUMBERS:
        parts = struct.unpack(order + _NUMBERS[text[1:]], data)
        return parts[0] if kind == "f" else complex(*parts)
    if kind in "mM" and size == 8:
        return _time_of(kind, int.from_bytes(data, "big" if order == ">" else "little", signed=True), unit)
    if kind == "b":
        raise BadMessage("result: a bool that is neither 0 nor 1")
    raise _unlike(text)


def _time_of(kind: str, count: int, unit: str) -> Any:
    if unit == "ns" and count % 1000 == 0:
        count, unit = count // 1000, "us"
    days = datetime.timedelta(days=count) if unit == "D" and abs(count) < 1 << 22 else None
    if days is not None:
        return datetime.date(1970, 1, 1) + days if kind == "M" else days
    if unit in _MICROSECONDS and count != -(1 << 63):
        try:
            since = datetime.timedelta(microseconds=count * _MICROSECONDS[unit])
            return datetime.datetime(1970, 1, 1) + since if kind == "M" else since
        except OverflowError:
            pass
    raise _unlike(f"{'datetime64' if kind == 'M' else 'timedelta64'}[{unit}]")


def _unlike(what: str) -> ResultNotData:
    return ResultNotData(
        f"result: a number of {what}, and numpy is not loaded in this process",
        hint="preload=['numpy'] loads it here and there, or import it here, or return int(…), float(…) or text",
    )
