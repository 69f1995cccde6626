"""Functions and classes that a worker cannot import by name: pickled with what they are made of.

Runs in: parent, on the caller's thread.  Trusts: the caller's objects.
Flow: parent/arguments, where plain pickle has no name for something → dump → bytes → ipc/rebuilt in the worker.
Source: cloudpickle.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from foxden.ipc import rebuilt
from foxden.parent.importable import View

_PROTOCOL = 5
_NO_FILE = "<dynamic-code>"  # cloudpickle's, for the sake of equal pickles; a traceback is worth more here

_LEAST_APART = 2048  # bytes: what is smaller is copied in less time than it takes to tell where it lies

_registering = threading.Lock()


def dump(whole: object, buffers: list[pickle.PickleBuffer] | None, view: View) -> bytes:
    """Pickle `whole`.  `buffers`: where large ones go; None: everything is in the bytes.  Functions and classes of
    modules that no worker can import are sent whole.  Raises what pickle and cloudpickle raise."""
    import cloudpickle

    stream = io.BytesIO()
    pickler = _pickler_class()(stream, buffers, view)
    with _registering:  # which modules go by value is cloudpickle's for the whole process
        registered = cloudpickle.list_registry_pickle_by_value()
        modules = [module for module in view.modules_by_value() if module.__name__ not in registered]
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            pickler.dump(whole)
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)
    return stream.getvalue()


def apart(buffers: list[pickle.PickleBuffer]) -> Callable[[pickle.PickleBuffer], bool]:
    """What pickle asks of each buffer: is it to be copied into the pickle?  Others are put here."""

    def is_small(buffer: pickle.PickleBuffer) -> bool:
        if memoryview(buffer).nbytes < _LEAST_APART:
            return True
        buffers.append(buffer)
        return False

    return is_small


@functools.cache
def _pickler_class() -> Callable[[io.BytesIO, list[pickle.PickleBuffer] | None, View], Any]:
    """cloudpickle's, which also knows views of memory and caches of functions, keeps the file names of code, and gives
    the functions of one module the same globals in each pickle."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def __init__(self, stream: io.BytesIO, buffers: list[pickle.PickleBuffer] | None, view: View) -> None:
            super().__init__(stream, _PROTOCOL, buffer_callback=None if buffers is None else apart(buffers))
            self._apart, self._has_name, self._sent = buffers is not None, view.has_name, view.sent

        def reducer_override(self, value: Any) -> Any:
            if type(value) is memoryview and self._apart:
                return _reduce_view(value)
            if type(value) is _Words:
                return rebuilt.space_of, (value.key, dict(value))
            if type(value) is functools._lru_cache_wrapper and not self._has_name(value):
                return rebuilt.cache, (value.__wrapped__, value.cache_parameters())
            if type(value) is types.CodeType:
                self._sent.note(value)
                return _with_file_name(value, self.dispatch_table[types.CodeType](value))
            return super().reducer_override(value)

        def _dynamic_function_reduce(self, function: Any) -> Any:
            module = _module_of(function)
            if module:
                self.globals_ref.setdefault(id(function.__globals__), _Words()).key = module
            return (*super()._dynamic_function_reduce(function)[:5], rebuilt.set_state)

    return Pickler


class _Words(dict[str, Any]):
    """What cloudpickle says of a module; stands for the globals of its functions."""

    key = ""  # of which module


def _module_of(function: types.FunctionType) -> str:
    """The name of the module that it was defined in, if that is there: not a namespace that somebody made for exec."""
    name = function.__globals__.get("__name__")
    module = sys.modules.get(name) if isinstance(name, str) else None
    return str(name) if getattr(module, "__dict__", None) is function.__globals__ else ""


def _with_file_name(code: types.CodeType, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
    make, fields = reduced
    return make, tuple(code.co_filename if field == _NO_FILE else field for field in fields)


def _reduce_view(view: memoryview) -> tuple[Any, ...]:
    """A memoryview arrives as one: of the lent memory, without a copy.  pickle itself has no word for it."""
    if view.c_contiguous and view.nbytes:
        return rebuilt.view, (pickle.PickleBuffer(view.cast("B")), view.format, view.shape)
    return memoryview, (view.tobytes(),)
