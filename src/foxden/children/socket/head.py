"""Response heads, line by line as libcurl hands them over, bounded while they arrive.

Runs in: socket process; pure.  Trusts: nothing; a server may send anything, for ever.
Flow: lines → `HeadReader.take` → status, version, headers once the final head is complete, or `failure`.
Source: RFC 9110 and 9112 (1xx, obs-fold, Content-Length); the bounds of foxden.ipc.fields.Headers.
"""

from __future__ import annotations

import re

MAX_HEADERS = 512  # ipc.fields.Headers
MAX_NAME, MAX_VALUE = 256, 32_768
MAX_ENCODED = 98_304  # bytes of names and values in UTF-8: a packet of 128 KiB must hold them

TOO_LARGE = "NS_ERROR_RESPONSE_HEADERS_TOO_LARGE"
CORRUPTED = "NS_ERROR_CORRUPTED_CONTENT"
BAD_STATUS_LINE = "NS_ERROR_PARSING_HTTP_STATUS_LINE"

_STATUS_LINE = re.compile(rb"(HTTP/[0-9](?:\.[0-9])?) ([0-9]{3})(?: |\r|\n|\Z)")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")


class HeadReader:
    """Collects the head of the final response.  1xx heads are passed over; what follows the head are trailers."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0  # of all heads and trailers together
        self._lines = 0
        self._open: list[tuple[str, str]] = []
        self.status = 0
        self.version = ""
        self.headers: tuple[tuple[str, str], ...] = ()
        self.encoded_bytes = 0  # what the headers take in a packet, about
        self.content_length: int | None = None
        self.complete = False
        self.failure = ""  # code of model/network_errors, once something was wrong

    def take(self, line: bytes) -> bool:
        """Read one line.  False: `failure` says why no more should come."""
        self._bytes += len(line)
        self._lines += 1
        if self._bytes > self._max_bytes or self._lines > 4 * MAX_HEADERS:
            return self._fail(TOO_LARGE)
        if self.complete:
            return True  # a trailer
        if line.startswith(b"HTTP/"):
            return self._take_status(line)
        if line in (b"\r\n", b"\n"):
            return self._end()
        if line[:1] in (b" ", b"\t"):
            return self._take_fold(line)
        return self._take_field(line)

    def _fail(self, code: str) -> bool:
        self.failure = code
        return False

    def _take_status(self, line: bytes) -> bool:
        found = _STATUS_LINE.match(line)
        if found is None:
            return self._fail(BAD_STATUS_LINE)
        self.version, self.status = found[1].decode(), int(found[2])
        if self.status < 100 or self.status == 101:  # nobody asked for another protocol
            return self._fail(BAD_STATUS_LINE)
        self._open.clear()
        return True

    def _take_field(self, line: bytes) -> bool:
        name, colon, value = line.partition(b":")
        if b"\0" in line:
            return self._fail(CORRUPTED)
        if not colon or _NAME.match(name) is None:
            return True  # as browsers do: a line that is no header is no header
        value = value.strip(b" \t\r\n")
        if b"\r" in value or b"\n" in value:
            return self._fail(CORRUPTED)
        if len(name) > MAX_NAME or len(value) > MAX_VALUE or len(self._open) == MAX_HEADERS:
            return self._fail(TOO_LARGE)
        self._open.append((name.decode(), value.decode("latin-1")))
        return True

    def _take_fold(self, line: bytes) -> bool:
        """A line that continues the last one, which RFC 9112 tells us to join by a space."""
        more = line.strip(b" \t\r\n").decode("latin-1")
        if "\0" in more or "\r" in more or "\n" in more:
            return self._fail(CORRUPTED)
        if not self._open or not more:
            return True
        name, value = self._open[-1]
        joined = f"{value} {more}" if value else more
        if len(joined) > MAX_VALUE:
            return self._fail(TOO_LARGE)
        self._open[-1] = (name, joined)
        return True

    def _end(self) -> bool:
        if self.status < 200:
            self._open.clear()
            return True
        self.headers = tuple(self._open)
        self.encoded_bytes = sum(_encoded_size(name, value) for name, value in self.headers)
        if self.encoded_bytes > MAX_ENCODED:
            return self._fail(TOO_LARGE)
        self.complete = self._read_length()
        return self.complete

    def _read_length(self) -> bool:
        """Two lengths that differ are how requests and responses are smuggled."""
        lengths = {
            part.strip(" \t")
            for name, value in self.headers
            if name.lower() == "content-length"
            for part in value.split(",")
        }
        if not lengths:
            return True
        length = lengths.pop()
        if lengths or not (length.isascii() and length.isdigit() and len(length) < 19):
            return self._fail(CORRUPTED)
        if not any(name.lower() == "transfer-encoding" for name, _ in self.headers):
            self.content_length = int(length)
        return True


def _encoded_size(name: str, value: str) -> int:
    return len(name) + (len(value) if value.isascii() else len(value.encode())) + 8
