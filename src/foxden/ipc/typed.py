"""Does a value have the type that a field of the caller's own class declares?

Runs in: utility processes, before it is sent; parent, as it is built.  Trusts: the caller's annotations, not the value.
Flow: value_encode meets a named dataclass, value_decode builds one → matches(value, hint) for each field.
Source: typing's get_type_hints; what is not understood of an annotation is not checked.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from foxden.errors import ResultNotData


@functools.lru_cache(maxsize=256)
def hints_of(kind: type) -> Mapping[str, Any]:
    """The annotations of a class; those that cannot be evaluated are left out."""
    try:
        return get_type_hints(kind)
    except (NameError, TypeError, AttributeError):
        return {}


def mismatch(kind: type, name: str, hint: Any, value: object, where: str) -> ResultNotData:
    """What to say of a field that holds something else."""
    declared = hint.__name__ if isinstance(hint, type) and get_origin(hint) is None else str(hint)
    text = f"{where}: {kind.__name__}.{name}: expected {declared}, got {type(value).__name__}"
    return ResultNotData(text, hint=f"{name}={declared}(…), or another annotation")


def matches(value: object, hint: Any) -> bool:
    """False only where the annotation plainly says otherwise."""
    if hint is Any or hint is object:
        return True
    if hint is None:
        return value is None
    if isinstance(hint, type) and get_origin(hint) is None:
        return isinstance(value, hint) or (hint is float and type(value) is int)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return matches(value, arguments[0])
    if origin is Literal:
        return any(type(value) is type(known) and value == known for known in arguments)
    if origin in (Union, types.UnionType):
        return any(matches(value, option) for option in arguments)
    if not isinstance(origin, type):
        return True
    return isinstance(value, origin) and _items_match(value, origin, arguments)


def _items_match(value: Any, origin: type, arguments: tuple[Any, ...]) -> bool:
    if isinstance(value, dict) and len(arguments) == 2:
        return all(matches(key, arguments[0]) and matches(item, arguments[1]) for key, item in value.items())
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(matches, value, arguments))
    if isinstance(value, list | set | frozenset | tuple) and arguments:
        return all(matches(item, arguments[0]) for item in value)
    return True
