"""Modules that are not loaded before somebody asks them for something.

Runs in: command, starter, fork servers; before anything else.  Trusts: nothing.
Flow: load_typing() → sys.modules["typing"]; WithoutRe: imports in it; LateModule(name) → at the first word, the module.
Source: typing.py of Python 3.11, 3.12 and 3.13; _sre.c.
"""

from __future__ import annotations

import sys

from foxden.launch import ordered

TYPE_CHECKING = False  # typing is what is loaded here
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any
else:
    ModuleType = type(sys)


class LateModule(ModuleType):
    """A module that is loaded when it is asked for something: by us hardly ever, by users' functions perhaps."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # whoever looks over all modules wants nothing of this one
            raise AttributeError(name)
        from importlib import import_module

        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = import_module(self.__name__)
        vars(self).update(vars(module))
        return getattr(module, name)


_MATCHES_NOTHING = [1]  # SUCCESS: the only code that has been one in every version


class WithoutRe:
    """What is imported in here gets a module re with no more in it than typing and msgspec ask for at once: two types,
    the very ones, and a function.  The real one takes as long to load as typing, which since Python 3.13 does without;
    who names it later loads it.
    """

    def __enter__(self) -> None:
        self._late = None if "re" in sys.modules else _late_re()
        if self._late is not None:
            sys.modules["re"] = self._late

    def __exit__(self, *error: object) -> None:
        if self._late is not None and sys.modules.get("re") is self._late:
            del sys.modules["re"]


def _late_re() -> LateModule | None:
    """None: this Python makes patterns in another way."""
    try:
        import _sre  # type: ignore[import-not-found]

        pattern = _sre.compile("", 0, _MATCHES_NOTHING, 0, {}, ())
        found = type(pattern), type(pattern.match(""))
    except (ImportError, AttributeError, TypeError, ValueError, RuntimeError):
        return None
    late = LateModule("re")
    vars(late).update(Pattern=found[0], Match=found[1], compile=_compile)
    return late


def _compile(*words: Any) -> Any:
    from re import compile as real

    return real(*words)


def load_typing() -> None:
    """Load typing, and what that needs."""
    with WithoutRe():
        ordered.load("first")
        import typing  # noqa: F401
