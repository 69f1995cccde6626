"""How msgspec is loaded without what only others need of it, and of what it needs, which is more than half of its time.

Runs in: command, starter, fork servers; before anything else that needs it.  Trusts: nothing.
Flow: load_msgspec() → sys.modules["msgspec"].
Source: msgspec/__init__.py and msgspec/_utils.py; datetime.py of Python 3.11 and 3.12.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from foxden.launch import ordered
from foxden.launch.late import LateModule, WithoutRe

# Parts that msgspec loads and does not use itself.
_LATE = ("msgspec.inspect", "msgspec.json", "msgspec.toml", "msgspec.yaml")


def load_msgspec() -> None:
    """Load it with what typing has, which is all that it needs, and without its parts for other formats."""
    if "msgspec" in sys.modules:
        return
    if sys.version_info < (3, 12):
        _load_datetime()
    with WithoutRe(), _typing_alone(), _nothing_compiled():
        with _one_word_of_platform():
            import uuid  # noqa: F401
        sys.modules.update({name: LateModule(name) for name in _LATE})
        import msgspec  # noqa: F401


_OF_DATETIME = ("date", "datetime", "time", "timedelta", "timezone", "tzinfo", "MINYEAR", "MAXYEAR", "UTC")


def _load_datetime() -> None:
    """Load the module in C as `datetime`, as Python 3.12 does: that of 3.11 makes all its classes in Python first, and
    throws them away, in 1.5 ms of each start.
    """
    try:
        import _datetime  # type: ignore[import-not-found]
    except ImportError:  # then the classes in Python are all there is
        return
    if "datetime" in sys.modules or not ordered.LIES_IN_A_FOLDER:
        return
    module = ordered.make_module("datetime", f"{ordered.STANDARD}datetime")
    known = {name: value for name, value in vars(_datetime).items() if not name.startswith("_")}
    vars(module).update(known, __all__=_OF_DATETIME, __doc__=_datetime.__doc__, sys=sys)
    sys.modules["datetime"] = module


@contextmanager
def _typing_alone() -> Iterator[None]:
    """msgspec takes get_type_hints, Required and NotRequired from typing_extensions, which it prefers where it finds
    that, and with it half a compiler.  Since Python 3.11 the last two are typing's own, and the first, asked with
    include_extras as msgspec does, gives what typing's gives.
    """
    hidden = "typing_extensions" not in sys.modules
    if hidden:
        sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules["typing_extensions"]


@contextmanager
def _nothing_compiled() -> Iterator[None]:
    """msgspec makes one forward reference to see whether such take `is_class`, which since Python 3.11 they do; to make
    one compiles it, and what a process compiles first costs it a millisecond.
    """
    made = typing.ForwardRef
    typing.ForwardRef = lambda *words, **options: None  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        typing.ForwardRef = made  # type: ignore[misc]


@contextmanager
def _one_word_of_platform() -> Iterator[None]:
    """msgspec knows UUIDs, and uuid asks the module platform, which is as large as msgspec, for this one word."""
    if "platform" in sys.modules:
        yield
        return
    import os

    word: Any = SimpleNamespace(system=lambda: os.uname().sysname)
    sys.modules["platform"] = word
    try:
        yield
    finally:
        del sys.modules["platform"]
