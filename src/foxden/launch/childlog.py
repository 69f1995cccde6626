"""What a child writes to its standard output and error: read, bounded, escaped; never shown raw.

Runs in: the parent.  Trusts: nothing of it; a child may write terminal escapes, false lines, without end.
Flow: the child's 1 and 2 are one stream → tail kept here → crash reports; whole lines → `--log child:5`, output=.
Source: cases on terminal injection and output floods in the threat list.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

_TAIL_MAX = 8192  # bytes kept: enough for a traceback
_READ_MAX = 16_384
_READS_AT_THE_END = 1024  # more than the socket's buffer holds
_READS_MAX = 8  # a turn, so that a flood cannot hold the loop
_LINES_MAX = 1024  # told a turn; of one read those beyond are told as one
_LINE_MAX = 4096  # bytes kept of a line whose end has not come

listener: Callable[[str, str], None] | None = None  # (who, an escaped line); set by observe/log when asked for


def make_log() -> tuple[socket.socket, socket.socket]:
    """Our end, and the one that a child writes to.  A stream: packets have a largest size, writes have none."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


class ChildLog:
    """Reads one child's log socket for as long as it lives."""

    def __init__(self, sock: socket.socket, who: str) -> None:
        sock.setblocking(False)
        self._sock: socket.socket | None = sock
        self._who = who
        self.on_line: Callable[[str], object] | None = None  # who has each line of this child, escaped
        self._tail = b""
        self._line = b""  # begun, and not told yet
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._readable)

    def _readable(self, reads: int = _READS_MAX) -> None:
        told = 0
        for _ in range(reads):
            if self._sock is None or (told > _LINES_MAX and reads <= _READS_MAX):
                return
            try:
                data = self._sock.recv(_READ_MAX)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                return self._detach()
            self._tail = (self._tail + data)[-_TAIL_MAX:]
            if listener is not None or self.on_line is not None:
                told += self._tell(self._line + data)
        return None

    def _tell(self, data: bytes) -> int:
        """Each whole line, escaped; the rest of the last one waits for its end.  Returns how many."""
        *lines, self._line = data.split(b"\n", _LINES_MAX)
        if len(self._line) > _LINE_MAX or b"\n" in self._line:
            lines.append(self._line)
            self._line = b""
        for line in map(escape, lines):
            if listener is not None:
                listener(self._who, line)
            if self.on_line is not None:
                self.on_line(line)
        return len(lines)

    def _detach(self) -> None:
        if self._line:
            self._tell(self._line + b"\n")
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None

    def tail(self) -> str:
        """The last line that was written, escaped; empty when nothing was."""
        self._readable()
        lines = self._tail.strip().splitlines()
        return escape(lines[-1])[:500] if lines else ""

    def text(self) -> str:
        """All that is kept, escaped, for a crash report."""
        self._readable(_READS_AT_THE_END)
        return "\n".join(escape(line) for line in self._tail.splitlines())

    def close(self) -> None:
        self._readable()
        self._detach()


def escape(data: bytes) -> str:
    """Printable text only: controls, escapes and bytes that are no UTF-8 are shown as \\x.. or \\u...."""
    text = data.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
