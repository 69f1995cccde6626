"""How msgspec is loaded without typing_extensions, which it prefers where it finds that, and with it half a compiler.

Runs in: command, starter, fork servers; before anything else that needs it.  Trusts: nothing.
Flow: load_msgspec() → sys.modules["msgspec"].
Source: msgspec/_utils.py, which takes get_type_hints, Required and NotRequired from there: since Python 3.11 the last
two are typing's own, and the first, asked with include_extras as msgspec does, gives what typing's gives.
"""

from __future__ import annotations

import sys
from typing import Any


def load_msgspec() -> None:
    """Load it with typing's own, which has all that it needs."""
    hidden = "typing_extensions" not in sys.modules
    if hidden:
        sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        _load_uuid()
        import msgspec  # noqa: F401
    finally:
        if hidden:
            del sys.modules["typing_extensions"]


def _load_uuid() -> None:
    """msgspec knows UUIDs, and uuid asks the module platform, which is as large as msgspec, for this one word."""
    if "platform" in sys.modules:
        return
    import os
    from types import SimpleNamespace

    word: Any = SimpleNamespace(system=lambda: os.uname().sysname)
    sys.modules["platform"] = word
    try:
        import uuid  # noqa: F401
    finally:
        del sys.modules["platform"]
