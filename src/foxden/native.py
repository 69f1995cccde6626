"""The gate to foxden._native, the extension in C: used where it could be built, and done without where not.

Runs in: every process that has a faster way with it.  Trusts: the build.
Flow: load() → the module, or None: then the caller goes the way that is Python, with the same outcome.
Source: docs/design/decisions/013-a-native-extension-that-may-be-absent.md.

FOXDEN_NO_NATIVE=1 switches it off in every process of a den: fork servers, which have no environment, hear of it by a
word (launch/emulate).
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

INTERFACE = 5  # FOXDEN_INTERFACE of src/native/native.h
NO_NATIVE = "no-native"  # the word for fork servers


if TYPE_CHECKING:  # a class of shapes is made like any other, in each process
    _IdLine = tuple[int, int, int]  # inside, outside, count
    _Event = tuple[int, int]  # descriptor, what epoll says
    _Taken = tuple[int, int, int, int, int, int, tuple[int, ...], bytes | None]  # and id, tid, number, ip, args, path

    class NativeLoop(Protocol):
        """src/native/broker.c.  `listener`: its descriptor names a child."""

        def set_rules(self, listener: int, root: int, rules: bytes, text: bytes, /) -> None: ...
        def set_ids(self, listener: int, uids: _IdLine, gids: _IdLine, /) -> None: ...
        def hold(self, listener: int, on: bool, /) -> None: ...
        def remove(self, listener: int, /) -> None: ...
        def served(self, listener: int, /) -> int: ...
        def serve(self, epoll: int, timeout: float, /) -> _Event | _Taken | None: ...
        def allows(self, listener: int, path: bytes, need: int, /) -> bool: ...

    class Native(Protocol):
        """What the extension offers.  Every function checks its arguments: TypeError, ValueError, OSError."""

        def interface(self) -> int: ...
        def trap(self, fd: int, registers: bytes, /) -> None: ...
        def sequence(self, steps: bytes, text: bytes, /) -> tuple[int, int]: ...
        def Loop(self, calls: bytes, descriptors: int, /) -> NativeLoop: ...


_native: Native | None = None
_off = False
_why_not = ""  # empty: nobody has tried, or it is here


def switch_off() -> None:
    """From now on there is none in this process, and in those that are forked from it."""
    global _off
    _off = True


def is_off() -> bool:
    """By the user's word.  Fork servers have no environment: they are told when they are started."""
    return _off or os.environ.get("FOXDEN_NO_NATIVE", "") not in ("", "0")


def load() -> Native | None:
    """The extension, or None.  Loaded when it is first asked for: before a sandbox is on, if it is to be used there."""
    global _native, _why_not
    if is_off():
        return None
    if _native is None and not _why_not:
        try:
            found = cast("Native", import_module("foxden._native"))
        except ImportError:
            _why_not = "not built"
        else:
            if found.interface() == INTERFACE:
                _native = found
            else:
                _why_not = f"built from other sources (interface {found.interface()}, expected {INTERFACE})"
    return _native


def preload() -> str:
    """The extension's file, for LD_PRELOAD: with it fstat is the call of that name (src/native/fstat.c).

    Empty: there is none, or ld.so would not take its name for one file."""
    path = str(getattr(load(), "__file__", ""))
    return path if not set(path) & set(" :$\t\n") else ""


def status() -> str:
    """For people: `in use`, or why there is none."""
    if is_off():
        return "switched off by FOXDEN_NO_NATIVE"
    return "in use" if load() is not None else _why_not
