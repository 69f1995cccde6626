"""A function and its arguments on the way down: pickled here, unpickled in a worker and nowhere else.

Runs in: parent, on the caller's thread.  Trusts: the caller's objects.
Flow: submit(function, …) → pack → Packed(pickle, buffers) → parent/workers copies the buffers into lent memory.
Source: pickle protocol 5, PEP 574; cloudpickle for what has no importable name.
"""

from __future__ import annotations

import functools
import operator
import pickle
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from foxden.errors import ArgumentsNotSendable
from foxden.ipc.values import ALIGNMENT, SHARED_FROM
from foxden.parent import by_value

_PROTOCOL = 5
_MAIN = b"__main__"
_MAX_BUFFERS = 4000
_WORK_MAX = 32_768  # bytes of a pickle inside a packet; a longer one goes with the buffers


class Packed(msgspec.Struct, frozen=True):
    """A call ready to be sent.  `buffers`: (data, may the function write there); a long pickle is the first."""

    work: bytes  # empty: it is the first buffer
    buffers: tuple[tuple[memoryview, bool], ...]
    size: int  # of the buffers together, each at a multiple of ALIGNMENT


class _Large:
    """Stands for bytes at the top of the arguments, which pickle would copy into its own stream."""

    __slots__ = ("value",)

    def __init__(self, value: bytes | bytearray) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self.value), (pickle.PickleBuffer(self.value),)


def pack(function: Callable[..., Any], arguments: object, keywords: Mapping[str, Any] | None, *, view: View) -> Packed:
    """Pickle a call.  `keywords` None: `arguments` are the columns of many calls.

    Raises: ArgumentsNotSendable, naming what cannot be sent.
    """
    if not callable(function):
        raise ArgumentsNotSendable(f"expected a function, got {type(function).__name__}")
    whole: tuple[Any, ...]
    if keywords is None:
        whole = (function, arguments)
    else:
        assert isinstance(arguments, tuple)  # noqa: S101 - for the type checker
        large = {key: _wrapped(value) for key, value in keywords.items()} if keywords else {}
        whole = (function, tuple(map(_wrapped, arguments)), large)
    buffers: list[pickle.PickleBuffer] = []
    try:
        work = _dump(whole, function, buffers, view)
    except Exception as error:
        raise _not_sendable(function, arguments, keywords, error) from error
    return _laid_out(work, buffers)


class _Packed:
    """Stands for a function that was pickled before, in what is pickled with it."""

    def __init__(self, function: Callable[..., Any], work: bytes) -> None:
        self.work, self.mains = work, work.count(_MAIN)
        self.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)  # for error texts

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (self.work,)

    def __call__(self) -> None:
        """Not here: a worker has the function."""


def pack_function(function: Callable[..., Any], *, view: View) -> Callable[..., Any]:
    """What to call `pack` with, again and again: where a function goes by value that is done here, once.

    Raises: ArgumentsNotSendable.
    """
    if not callable(function):
        raise ArgumentsNotSendable(f"expected a function, got {type(function).__name__}")
    buffers: list[pickle.PickleBuffer] = []
    try:
        if _dump_by_name(function, function, buffers, view) is not None:
            return function
        work = by_value.dump(function, buffers, view.modules_by_value)
    except Exception as error:
        raise _not_sendable(function, (), {}, error) from error
    # What holds large data is copied anyway; as buffers it is copied once.
    return function if buffers or len(work) > _WORK_MAX // 2 else _Packed(function, work)


def pack_whole(function: Callable[..., Any], arguments: object, *, view: View) -> bytes:
    """Pickle (function, arguments) in one piece.  Raises ArgumentsNotSendable."""
    if not callable(function):
        raise ArgumentsNotSendable(f"expected a function, got {type(function).__name__}")
    try:
        return by_value.dump((function, arguments), None, view.modules_by_value)
    except Exception as error:
        raise _not_sendable(function, arguments, {}, error) from error


def _wrapped(value: Any) -> Any:
    return _Large(value) if type(value) in (bytes, bytearray) and len(value) >= SHARED_FROM else value


def _dump(whole: object, function: Any, buffers: list[pickle.PickleBuffer], view: View) -> bytes:
    work = _dump_by_name(whole, function, buffers, view)
    if work is None:
        buffers.clear()
        work = by_value.dump(whole, buffers, view.modules_by_value)
    return work


def _dump_by_name(whole: object, function: Any, buffers: list[pickle.PickleBuffer], view: View) -> bytes | None:
    """None: something in it has no name that a worker can import."""
    known = 0  # names in __main__ that a worker can do with
    if type(function) is _Packed:
        known = function.mains
    elif (module := getattr(function, "__module__", None)) is not None and not view.is_importable(module):
        return None
    try:
        work = pickle.dumps(whole, _PROTOCOL, buffer_callback=buffers.append)
    except (pickle.PicklingError, AttributeError, TypeError):
        return None  # no importable name: a lambda, something local, a memoryview
    # A name in __main__ is no name for a worker: it has another one.
    return work if work.count(_MAIN) == known else None


def _laid_out(work: bytes, buffers: Sequence[pickle.PickleBuffer]) -> Packed:
    if not buffers and len(work) <= _WORK_MAX:
        return Packed(work, (), 0)
    views = [(view, not view.readonly) for view in (buffer.raw() for buffer in buffers)]
    if len(work) > _WORK_MAX:
        views.insert(0, (memoryview(work), False))
        work = b""
    if len(views) > _MAX_BUFFERS:
        raise ArgumentsNotSendable(f"expected at most {_MAX_BUFFERS} buffers in the arguments, got {len(views)}")
    size = sum(-(-view.nbytes // ALIGNMENT) * ALIGNMENT for view, _ in views)
    return Packed(work, tuple(views), size)


def _not_sendable(
    function: Any, arguments: object, keywords: Mapping[str, Any] | None, error: Exception
) -> ArgumentsNotSendable:
    """Say which of them it was: the error of pickle names a type at best."""
    named: list[tuple[str, Any]] = [("the function", function)]
    if keywords is not None and isinstance(arguments, tuple):
        named += [(f"argument {place}", value) for place, value in enumerate(arguments, start=1)]
        named += [(f"argument {name}", value) for name, value in keywords.items()]
    culprit = next((name for name, value in named if not _can_pickle(value)), "an argument")
    name = getattr(function, "__qualname__", None) or type(function).__name__
    return ArgumentsNotSendable(
        f"{name}: {culprit} cannot be sent: {type(error).__name__}: {str(error)[:300]}",
        hint="send data, and open files, sockets and locks inside the function",
    )


def _can_pickle(value: Any) -> bool:
    import cloudpickle

    try:
        cloudpickle.dumps(value, _PROTOCOL, buffer_callback=lambda buffer: None)
    except Exception:
        return False
    return True


class View:
    """What of the caller's modules a worker can import by name, told from the folders that it may read."""

    def __init__(self, folders: Sequence[str], by_value: Sequence[str] = ()) -> None:
        """`by_value`: names of modules that are sent along although a worker could import them."""
        self._by_value = frozenset(by_value)
        self._folders = tuple(folder.rstrip("/") + "/" for folder in folders)
        self._known = functools.lru_cache(maxsize=1024)(self._look)
        self._seen: tuple[list[object], list[types.ModuleType]] = [], []

    def is_importable(self, name: str) -> bool:
        return name != "__main__" and name not in self._by_value and self._known(name)

    def _look(self, name: str) -> bool:
        module = sys.modules.get(name)
        if module is None:
            return False
        if name in sys.builtin_module_names:
            return True
        path = getattr(module, "__file__", None)
        if path is None:  # a namespace package, a frozen module, or one that was made by hand
            spec = getattr(module, "__spec__", None)
            return spec is not None and (spec.origin in ("frozen", "built-in") or bool(spec.submodule_search_locations))
        return any(str(path).startswith(folder) for folder in self._folders)

    def modules_by_value(self) -> list[types.ModuleType]:
        """Modules of the caller's that lie where no worker looks: what is defined in them is sent along."""
        # To look at each takes longer than the rest of a call, and there are seldom others than the last time.
        there: list[object] = list(sys.modules.values())
        seen, hidden = self._seen
        if len(seen) != len(there) or not all(map(operator.is_, seen, there)):
            hidden = [module for name, module in list(sys.modules.items()) if self._is_hidden(name, module)]
            self._seen = there, hidden
        return hidden

    def _is_hidden(self, name: str, module: object) -> bool:
        if name == "__main__" or not isinstance(module, types.ModuleType) or module.__name__ != name:
            return False
        return getattr(module, "__file__", None) is not None and not self.is_importable(name)
