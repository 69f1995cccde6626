"""A function and its arguments on the way down: pickled here, unpickled in a worker and nowhere else.

Runs in: parent, on the caller's thread.  Trusts: the caller's objects.
Flow: submit(function, …) → pack → Packed(pickle, buffers) → parent/workers copies the buffers into lent memory.
Source: pickle protocol 5, PEP 574; cloudpickle for what has no importable name.
"""

from __future__ import annotations

import functools
import pickle
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from foxden.errors import ArgumentsNotSendable
from foxden.ipc.fields import LargePayload
from foxden.ipc.values import ALIGNMENT, SHARED_FROM
from foxden.parent import by_value
from foxden.parent.importable import MAIN, View

_PROTOCOL = 5
_DEFINITION_MAX = LargePayload.limit
_MAX_BUFFERS = 4000
_STATELESS = {types.FunctionType, types.BuiltinFunctionType, type}  # where they are what their name says
_OF_BUILTINS, _NAMES = b"\x8c\x08builtins", b"\x93"  # pickle's SHORT_BINUNICODE of that name; STACK_GLOBAL
_WORK_MAX = 32_768  # bytes of a pickle inside a packet; a longer one goes with the buffers


class Packed(msgspec.Struct, frozen=True):
    """A call ready to be sent.  `buffers`: (data, may the function write there); a long pickle is the first."""

    work: bytes  # empty: it is the first buffer
    buffers: tuple[tuple[memoryview, bool], ...]
    size: int  # of the buffers together, each at a multiple of ALIGNMENT
    definition: bytes = b""  # pickle of the function, where that goes apart; `work` is then without it
    is_named: bool = False  # that one only names it
    is_by_value: bool = False  # there is something by value in `work`, which may bring functions other globals

    @property
    def goes_by_value(self) -> bool:
        """Is there anything in it that is not only named?"""
        return self.is_by_value or (bool(self.definition) and not self.is_named)

    @property
    def imports_nothing(self) -> bool:
        """Is it a function of `builtins`, with arguments that name nothing?  A worker hardly opens a file for it."""
        return self.is_named and _OF_BUILTINS in self.definition and bool(self.work) and _NAMES not in self.work


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
    whole: tuple[Any, ...] = (arguments,)
    if keywords is not None:
        assert isinstance(arguments, tuple)  # noqa: S101 - for the type checker
        large = {key: _wrapped(value) for key, value in keywords.items()} if keywords else {}
        whole = (tuple(map(_wrapped, arguments)), large)
    definition, is_named = _definition(function, view)
    buffers: list[pickle.PickleBuffer] = []
    try:
        work, is_by_value = _dump(whole if definition else (function, *whole), function, buffers, view)
    except Exception as error:
        raise _not_sendable(function, arguments, keywords, error) from error
    if not buffers and len(work) <= _WORK_MAX:
        return Packed(work, (), 0, definition, is_named, is_by_value)
    views, work = _laid_out(work, buffers)
    size = sum(-(-view.nbytes // ALIGNMENT) * ALIGNMENT for view, _ in views)
    return Packed(work, tuple(views), size, definition, is_named, is_by_value)


class _Packed:
    """Stands for a function that was pickled before, and will be sent apart from what it is called with."""

    def __init__(self, function: Callable[..., Any], work: bytes, *, is_named: bool) -> None:
        self.work, self.is_named = work, is_named
        self.__qualname__ = getattr(function, "__qualname__", type(function).__qualname__)  # for error texts

    def __call__(self) -> None:
        """Not here: a worker has the function."""


def pack_function(function: Callable[..., Any], *, view: View) -> Callable[..., Any]:
    """What to call `pack` with, again and again: a function is pickled here, once, unless it is an object with a state
    of its own, which each call gets anew.

    Raises: ArgumentsNotSendable.
    """
    if not callable(function):
        raise _no_function(function)
    if view.has_name(function):
        return _Packed(function, _by_name(function), is_named=True) if type(function) in _STATELESS else function
    try:
        if _dump_by_name(function, function, [], view) is not None:
            return function
        work = by_value.dump(function, None, view)
    except Exception as error:
        raise _not_sendable(function, (), {}, error) from error
    return function if len(work) > _DEFINITION_MAX else _Packed(function, work, is_named=False)


@functools.lru_cache(maxsize=256)
def _by_name(function: Callable[..., Any]) -> bytes:
    """The pickle of a function that is what its name says."""
    return pickle.dumps(function, _PROTOCOL)


def _definition(function: Callable[..., Any], view: View) -> tuple[bytes, bool]:
    """The pickle of a function that goes apart, and whether that only names it: workers keep it for the next calls.
    Empty: it goes with its arguments."""
    kind = type(function)
    if kind is _Packed:
        return function.work, function.is_named  # type: ignore[attr-defined]
    if kind in _STATELESS and view.has_name(function):
        return _by_name(function), True
    if kind is not types.FunctionType:
        if not callable(function):
            raise _no_function(function)
        return b"", False
    try:
        work = by_value.dump(function, None, view)
    except Exception as error:
        raise _not_sendable(function, (), {}, error) from error
    return (work, False) if len(work) <= _DEFINITION_MAX else (b"", False)


def _no_function(given: object) -> ArgumentsNotSendable:
    return ArgumentsNotSendable(f"expected a function, got {type(given).__name__}")


def pack_whole(function: Callable[..., Any], arguments: object, *, view: View) -> bytes:
    """Pickle (function, arguments) in one piece.  Raises ArgumentsNotSendable."""
    if not callable(function):
        raise _no_function(function)
    try:
        return by_value.dump((function, arguments), None, view)
    except Exception as error:
        raise _not_sendable(function, arguments, {}, error) from error


def _wrapped(value: Any) -> Any:
    return _Large(value) if type(value) in (bytes, bytearray) and len(value) >= SHARED_FROM else value


def _dump(whole: object, function: Any, buffers: list[pickle.PickleBuffer], view: View) -> tuple[bytes, bool]:
    """The pickle, and whether there is something in it that goes by value."""
    work = _dump_by_name(whole, function, buffers, view)
    if work is not None:
        return work, False
    buffers.clear()
    return by_value.dump(whole, buffers, view), True


def _dump_by_name(whole: object, function: Any, buffers: list[pickle.PickleBuffer], view: View) -> bytes | None:
    """None: something in it has no name that a worker can import."""
    if type(function) is _Packed:
        is_apart = not function.is_named
    else:
        module = getattr(function, "__module__", None)
        is_apart = module is not None and not view.is_importable(module)
    if is_apart and type(whole) is tuple and whole and whole[0] is function:
        return None
    try:
        work = pickle.dumps(whole, _PROTOCOL, buffer_callback=by_value.apart(buffers))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None  # no importable name: a lambda, something local, a memoryview
    hidden = view.names_what_is_hidden(work) if is_apart else MAIN in work
    return None if hidden else work


def _laid_out(work: bytes, buffers: Sequence[pickle.PickleBuffer]) -> tuple[list[tuple[memoryview, bool]], bytes]:
    """What goes beside the packet, and what is left for the packet."""
    views = [(view, not view.readonly) for view in (buffer.raw() for buffer in buffers)]
    if len(work) > _WORK_MAX:
        views.insert(0, (memoryview(work), False))
        work = b""
    if len(views) > _MAX_BUFFERS:
        text = f"expected at most {_MAX_BUFFERS} buffers in the arguments, got {len(views)}"
        raise ArgumentsNotSendable(text, hint="put arrays together, with numpy.stack or pandas.concat, or send fewer")
    return views, work


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
