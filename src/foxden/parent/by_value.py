"""Functions and classes that a worker cannot import by name: pickled with what they are made of.

Runs in: parent, on the caller's thread.  Trusts: the caller's objects.
Flow: parent/arguments, where plain pickle has no name for something → dump → bytes.
Source: cloudpickle.
"""

from __future__ import annotations

import functools
import io
import operator
import pickle
import threading
import types
from collections.abc import Callable
from typing import Any

_PROTOCOL = 5
_NO_FILE = "<dynamic-code>"  # cloudpickle's, for the sake of equal pickles; a traceback is worth more here

_registering = threading.Lock()


def dump(
    whole: object, buffers: list[pickle.PickleBuffer] | None, hidden: Callable[[], list[types.ModuleType]]
) -> bytes:
    """Pickle `whole`.  `buffers`: where large ones go; None: everything is in the bytes.  `hidden`: the modules that no
    worker can import, whose functions and classes are sent whole.  Raises what pickle and cloudpickle raise."""
    import cloudpickle

    stream = io.BytesIO()
    pickler = _pickler_class()(stream, buffers)
    with _registering:  # which modules go by value is cloudpickle's for the whole process
        registered = cloudpickle.list_registry_pickle_by_value()
        modules = [module for module in hidden() if module.__name__ not in registered]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            pickler.dump(whole)
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)
    return stream.getvalue()


@functools.cache
def _pickler_class() -> Callable[[io.BytesIO, list[pickle.PickleBuffer] | None], Any]:
    """cloudpickle's, which also knows views of memory, and keeps the file names of code."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def __init__(self, stream: io.BytesIO, buffers: list[pickle.PickleBuffer] | None) -> None:
            super().__init__(stream, _PROTOCOL, buffer_callback=None if buffers is None else buffers.append)
            self._apart = buffers is not None

        def reducer_override(self, value: Any) -> Any:
            if type(value) is memoryview and self._apart:
                return _reduce_view(value)
            if type(value) is types.CodeType:
                return _with_file_name(value, self.dispatch_table[types.CodeType](value))
            return super().reducer_override(value)

    return Pickler


def _with_file_name(code: types.CodeType, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    make, fields = reduced
    return make, tuple(code.co_filename if field == _NO_FILE else field for field in fields)


def _reduce_view(view: memoryview) -> tuple[Any, ...]:
    """A memoryview arrives as one: of the lent memory, without a copy.  pickle itself has no word for it."""
    flat = pickle.PickleBuffer(view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes())
    if view.c_contiguous and view.nbytes and (view.ndim != 1 or view.format != "B"):
        cast = operator.methodcaller("cast", view.format, list(view.shape or ()))
        return operator.call, (cast, flat)
    return memoryview, (flat,)
