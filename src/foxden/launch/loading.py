"""How msgspec is loaded where no code but ours will use it.

Runs in: command, starter, fork servers; before anything else that needs it.  Trusts: nothing.
Flow: load_msgspec() → sys.modules["msgspec"].
Source: msgspec/_utils.py, which asks typing_extensions first.
"""

from __future__ import annotations

import sys


def load_msgspec() -> None:
    """It prefers typing_extensions, where that is installed, and with it half a compiler; typing has all it needs."""
    hidden = "typing_extensions" not in sys.modules
    if hidden:
        sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        import msgspec  # noqa: F401
    finally:
        if hidden:
            del sys.modules["typing_extensions"]
