"""What is told of one child, and how often: the first of its kind at once, equal ones counted, a flood not at all.

Runs in: the broker.  Trusts: nothing; the child chooses paths, and how many.
Flow: operations' ends → is_first → Act to the sink; flush each second and at the end → Acts with counts.
Source: facts on violation logging: bounded memory, a bucket of tokens a child.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic

import msgspec

from foxden.broker.records import Act

_SEEN_MAX = 512
_BURST, _A_SECOND = 200.0, 50.0
_STACK_BYTES, _FRAMES_MAX, _FRAME_MAX = 65_536, 64, 512

Key = tuple[int, str, bool]  # (call number, path, granted)


class Teller:
    """One child's."""

    def __init__(self, tell: Callable[[Act], None]) -> None:
        self._tell = tell
        self._seen: dict[Key, Act] = {}
        self._counts: dict[Key, int] = {}
        self._tokens, self._filled = _BURST, monotonic()
        self.untold = 0

    def is_first(self, key: Key) -> bool:
        """Is this to be told now?  If not it was counted."""
        if key in self._seen:
            self._counts[key] = self._counts.get(key, 0) + 1
            return False
        if not self._take():
            self.untold += 1
            return False
        return True

    def _take(self) -> bool:
        now = monotonic()
        self._tokens = min(_BURST, self._tokens + (now - self._filled) * _A_SECOND)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def tell(self, key: Key, act: Act) -> None:
        if len(self._seen) >= _SEEN_MAX:
            self.flush()
            self._seen.clear()
        self._seen[key] = msgspec.structs.replace(act, stack=())
        self._tell(act)

    @property
    def has_counts(self) -> bool:
        return bool(self._counts)

    def flush(self) -> None:
        """Tell what was counted since the last time."""
        counts, self._counts = self._counts, {}
        for key, count in counts.items():
            if self._take():
                self._tell(msgspec.structs.replace(self._seen[key], times=count))
            else:
                self.untold += count


_IMPORTING = 'File "<frozen importlib'
_OURS = (f'File "{os.path.dirname(os.path.dirname(__file__))}/', 'File "<string>", line 1 in <module>')


def _telling(frames: list[str]) -> list[str]:
    """Those that say something, as in Python's own tracebacks: without the machinery of imports, and without what of
    foxden's runs every function.  All of them where there would be none: it was foxden's own code."""
    told = [frame for frame in frames if not frame.startswith(_IMPORTING)]
    while told and told[-1].startswith(_OURS):
        told.pop()
    return told or frames


class Stacks:
    """The pipe into which a child writes a stack when it is asked for one; closes it."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    def read(self) -> tuple[str, ...]:
        """Frames, innermost first, as the child wrote them: untrusted text, bounded."""
        words = self._all()
        frames = [line.strip() for line in words.decode("utf-8", "replace").splitlines() if line.startswith("  ")]
        return tuple(frame[:_FRAME_MAX] for frame in _telling(frames)[:_FRAMES_MAX])

    def _all(self) -> bytes:
        found = b""
        while len(found) < _STACK_BYTES:
            try:
                part = os.read(self._fd, _STACK_BYTES)
            except BlockingIOError:
                break
            found += part
            if len(part) < _STACK_BYTES:  # that was all
                break
        return found

    def drop(self) -> None:
        """Whatever is in there was not asked for."""
        self._all()

    def close(self) -> None:
        os.close(self._fd)
