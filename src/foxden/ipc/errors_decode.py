"""Exceptions of a worker, built again: Python's own as themselves, any other as a RemoteError that stands for it.

Runs in: parent.  Trusts: nothing of the data; no type is looked up but in tables of this module's own.
Flow: tokens → error → the exception, with the worker's traceback as its cause.
Source: ipc/values.
"""

from __future__ import annotations

import builtins
from typing import Any

from foxden.errors import RemoteTraceback, ResultNotData, remote_error_type
from foxden.ipc.building import Building

# Exceptions that come back as themselves: Python's own, less those that end a program or steer its flow.
ERROR_TYPES: dict[str, type[Exception]] = {
    f"builtins.{name}": kind
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, Exception) and kind.__name__ == name
    and not issubclass(kind, (BaseExceptionGroup, StopIteration, StopAsyncIteration))
}  # fmt: skip
_OURS = f"{ResultNotData.__module__}.{ResultNotData.__qualname__}"


def error(building: Building, payload: bytes) -> Exception:
    name = payload.decode("utf-8", "replace")[:500]
    arguments = building.expect((tuple, list, type(None)))
    message, notes, trace = building.expect(str), building.expect(list), building.expect(str)
    made = _made_error(name, building.expect(str), arguments, message, trace)
    for note in notes:
        if type(note) is str and note not in getattr(made, "__notes__", ()):  # as the hint of one of ours is
            made.add_note(note)
    made.__cause__ = RemoteTraceback(trace)
    return made


def _are_sound(kind: type[Exception], arguments: Any) -> bool:
    """Python itself looks at these arguments when it shows the error, and not at whether they make sense."""
    if issubclass(kind, SyntaxError) and len(arguments) > 1:
        where = arguments[1]
        return len(arguments) == 2 and type(where) is tuple and tuple(map(type, where)) == (str, int, int, str)
    if issubclass(kind, UnicodeError) and len(arguments) == 5:
        _, data, start, end, _ = arguments
        return type(start) is int and type(end) is int and hasattr(data, "__len__") and 0 <= start <= end <= len(data)
    return True


def _made_error(name: str, base: str, arguments: Any, message: str, trace: str) -> Exception:
    """`base`: the nearest of Python's own exceptions that the worker says it is derived from."""
    if name == _OURS and arguments is not None and len(arguments) == 2 and type(arguments[1]) is str:
        return ResultNotData(str(arguments[0]), hint=arguments[1])
    kind = ERROR_TYPES.get(name)
    if kind is not None and arguments is not None and _are_sound(kind, arguments):
        try:
            return kind(*arguments)
        except (TypeError, ValueError, OverflowError):
            pass  # the worker's arguments do not fit the type: its text is kept instead
    if kind is not None and not issubclass(kind, UnicodeError):
        return kind(message)
    short = name.removeprefix("__main__.").removeprefix("builtins.")
    like = remote_error_type(ERROR_TYPES.get(f"builtins.{base}", Exception))
    return like(f"{short}: {message}" if message else short, type_name=name, remote_traceback=trace)
