"""What is rebuilt in a worker of what goes by value: the functions of a module with one dict for their globals, as if
it had been imported there; caches of functions; views of memory.

Runs in: utility processes; the parent names these functions in its pickles.  Trusts: the parent's pickles.
Flow: parent/by_value → pickle → space_of, set_state, cache, view, in the worker that unpickles.
Source: cloudpickle, which gives the functions of each pickle a dict of their own; then what an initializer leaves in
its globals is nowhere for the functions after it.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from foxden.ipc import traces

_SPACES_MAX = 64  # modules

_SCALARS = (type(None), bool, int, float, complex, str, bytes)
_CONTAINERS = (list, dict, set, tuple, frozenset)


class _Space:
    """The globals of one module's functions, and what of them came last, where that was something plain."""

    def __init__(self, words: Mapping[str, Any]) -> None:
        self.names = dict(words)
        self.sent: dict[str, Any] = {}


_spaces: OrderedDict[str, _Space] = OrderedDict()


def space_of(key: str, words: Mapping[str, Any]) -> dict[str, Any]:
    """The globals of the functions of one module.  `key`: its name; `words`: what it begins with."""
    space = _spaces.get(key)
    if space is None:
        space = _spaces[key] = _Space(words)
        if len(_spaces) > _SPACES_MAX:
            _spaces.popitem(last=False)
    _spaces.move_to_end(key)
    return space.names


def set_state(function: Any, state: Any) -> None:
    """Give a function the globals that came with it.  A name that came before with the same plain value keeps what
    functions have made of it here since: `model = None`, which an initializer has set."""
    from cloudpickle import cloudpickle

    traces.note_sent(function.__code__)
    _, slots = state
    names = slots["__globals__"]
    for space in _spaces.values():
        if space.names is function.__globals__:
            slots["__globals__"] = {name: value for name, value in names.items() if _is_news(space, name, value)}
    cloudpickle._function_setstate(function, state)


def _is_news(space: _Space, name: str, value: Any) -> bool:
    plain = type(value) in _SCALARS or (type(value) in _CONTAINERS and not value)
    if not plain:
        space.sent.pop(name, None)
        return True
    before = space.sent.get(name, space)  # itself: nothing
    space.sent[name] = value if type(value) in _SCALARS else type(value)()  # this one may be filled
    return name not in space.names or type(before) is not type(value) or before != value


def cache(function: Callable[..., Any], parameters: Mapping[str, Any]) -> Callable[..., Any]:
    """functools.lru_cache around a function that went by value; it begins empty."""
    cached: Callable[..., Any] = functools.lru_cache(**parameters)(function)
    return cached


def view(data: Any, kind: str, shape: tuple[int, ...]) -> memoryview:
    """A memoryview: of the lent memory, or of what came in the pickle."""
    flat = memoryview(data)
    return flat.cast("B").cast(kind, shape) if (kind, shape) != ("B", flat.shape) else flat  # type: ignore[call-overload]
