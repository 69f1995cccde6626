"""What the workers of one pool write, line by line, for a function or a file of the caller's: escaped, and in bounds.

Runs in: parent, on the den's loop.  Trusts: the caller's function, but not that it never fails; nothing of a line.
Flow: launch/childlog → ChildHost → Output.line → the caller's function.
Source: docs/guides/run-a-models-code.md.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable
from typing import Any

from foxden.errors import FoxdenError

_BURST, _A_SECOND = 2000.0, 1000.0  # lines of all workers together; what is beyond is counted
_LINE_MAX = 4096  # characters shown of one line
_FLUSH_S = 1.0


class Output:
    """See the module's text."""

    def __init__(self, to: Any) -> None:
        """`to`: a function that takes a line, or something with `write`.  Raises FoxdenError."""
        self._write = _writer(to)
        self._tokens, self._filled = _BURST, time.monotonic()
        self._left_out = 0
        self._has_failed = False

    def line(self, text: str) -> None:
        now = time.monotonic()
        self._tokens = min(_BURST, self._tokens + (now - self._filled) * _A_SECOND)
        self._filled = now
        if self._tokens >= 1:
            self._tokens -= 1
            self._tell_left_out()
            self._tell(text if len(text) <= _LINE_MAX else f"{text[:_LINE_MAX]}…")
            return
        if not self._left_out:
            asyncio.get_running_loop().call_later(_FLUSH_S, self._tell_left_out)
        self._left_out += 1

    def _tell_left_out(self) -> None:
        if self._left_out:
            count, self._left_out = self._left_out, 0
            self._tell(f"… {count} more, which came too fast")

    def _tell(self, text: str) -> None:
        try:
            self._write(text)
        except Exception:
            if not self._has_failed:
                self._has_failed = True
                traceback.print_exc()


def _writer(to: Any) -> Callable[[str], object]:
    if callable(to):
        return to  # type: ignore[no-any-return]
    write = getattr(to, "write", None)
    if not callable(write):
        raise FoxdenError(f"output: expected a function or a file, got {to!r}", hint="output=print, output=sys.stderr")
    return lambda text: write(text + "\n")
