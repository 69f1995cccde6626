"""Lines of source for a worker's traceback, which has none of what went there by value: its caller's files have them.

Runs in: parent.  Trusts: nothing of the text.  Whoever has written the function may be who reads the traceback in the
end: no line is shown but of code that was sent to this pool.
Flow: parent/by_value notes each code that it pickles → with_source(text of a RemoteTraceback) → the same, with a line
below each frame of that code that had none.
Source: traceback.format_exception; linecache, in which notebooks and prompts keep what they have run.
"""

from __future__ import annotations

import linecache
import os
import re
import types
from collections.abc import Iterator

_FRAME = re.compile(r'([ |]{0,200}  )File "([^"\n]{1,4096})", line (\d{1,7}), in ')
_LINE_MAX = 500  # characters
_NOTED_MAX = 8192  # functions


class SentCode:
    """Which lines of which files went to the workers of a pool."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, str], None] = {}
        self._lines: dict[str, dict[tuple[int, int], None]] = {}  # file → first and last

    def note(self, code: types.CodeType) -> None:
        """By whoever pickles it; any thread."""
        key = (code.co_filename, code.co_firstlineno, code.co_qualname)
        if key in self._known or len(self._known) >= _NOTED_MAX:
            return
        self._known[key] = None
        last = max((line for _, _, line in code.co_lines() if line), default=0)
        self._lines.setdefault(code.co_filename, {})[code.co_firstlineno, last] = None

    def with_source(self, trace: str) -> str:
        """Add what is known."""
        return "\n".join(self._completed(trace.split("\n"))) if self._known else trace

    def _completed(self, lines: list[str]) -> Iterator[str]:
        for line, after in zip(lines, [*lines[1:], ""], strict=True):
            yield line
            frame = _FRAME.match(line)
            if frame and not after.startswith(f"{frame[1]}  "):
                source = self._source(frame[2], int(frame[3]))
                if source:
                    yield f"{frame[1]}  {source}"

    def _source(self, name: str, number: int) -> str:
        if not any(first <= number <= last for first, last in list(self._lines.get(name, ()))):
            return ""
        if name in linecache.cache:
            linecache.checkcache(name)
        elif not os.path.isfile(name):  # a script may have come out of a pipe
            return ""
        return linecache.getline(name, number).strip()[:_LINE_MAX]
