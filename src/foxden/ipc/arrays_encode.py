"""Arrays and numbers of numpy to tokens; the arrays' bytes go beside them.

Runs in: utility processes.  Trusts: nobody; a function that patched this process spoils its own results only.
Flow: value_encode meets something of numpy's → adder_of → tokens, and a place in the shared memory.
Source: ipc/values.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from foxden.errors import ResultNotData
from foxden.ipc.value_encode import Encoding
from foxden.ipc.values import SHARED_FROM, Code

_OBJECTS = "return array.tolist(), or .astype(…)"


def adder_of(kind: type) -> Callable[[Encoding, Any, str], None] | None:
    numpy: Any = sys.modules["numpy"]
    if kind is numpy.ndarray:
        return add_ndarray
    return _add_numpy_scalar if issubclass(kind, numpy.generic) else None


def add_ndarray(to: Encoding, value: Any, where: str) -> None:
    dtype = _plain_dtype(value.dtype, where)
    numpy: Any = sys.modules["numpy"]
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    laid = value if fortran else numpy.ascontiguousarray(value)
    flat = memoryview(laid.reshape(-1, order="F" if fortran else "C").view("u1")) if value.nbytes else memoryview(b"")
    if value.size and not value.dtype.itemsize:
        raise ResultNotData(f"{where}: an array of {value.dtype} holds nothing", hint="return its shape")
    if to.beside and flat.nbytes < SHARED_FROM:  # a descriptor of the receiver's for each result would be dearer
        to.extension(Code.NDARRAY_HERE, bytes(flat))
    else:
        to.extension(Code.NDARRAY, to.share(flat, where))
    to.tokens += [dtype, list(value.shape), fortran]


def _plain_dtype(dtype: Any, where: str) -> str:
    if dtype.kind not in "biufcmMSU" or dtype.names is not None:
        hint = "return its columns: {name: array[name] for name in array.dtype.names}" if dtype.names else _OBJECTS
        raise ResultNotData(f"{where}: an array of dtype {dtype} is not data", hint=hint)
    return str(dtype.str)


def _add_numpy_scalar(to: Encoding, value: Any, where: str) -> None:
    data = value.tobytes()[: value.dtype.itemsize]  # of an empty text it is more
    to.extension(Code.NUMPY_SCALAR, _plain_dtype(value.dtype, where).encode() + b"\0" + data)
