"""Response heads, line by line as libcurl hands them over, bounded while they arrive.

Runs in: socket process; pure.  Trusts: nothing; a server may send anything, for ever.
Flow: lines → `HeadReader.take` → status, version, headers once the final head is complete, or `failure`.
Source: RFC 9110 and 9112 (1xx, obs-fold, Content-Length); the bounds of foxden.ipc.header_fields.Headers.
"""

from __future__ import annotations

import re
from collections.abc import Callable

MAX_HEADERS = 512  # ipc.header_fields.Headers
MAX_NAME, MAX_VALUE = 256, 32_768
MAX_ENCODED = 98_304  # bytes of names and values in UTF-8: a packet of 128 KiB must hold them
_MAX_LINES = 4 * MAX_HEADERS  # of all heads together

TOO_LARGE = "NS_ERROR_RESPONSE_HEADERS_TOO_LARGE"
CORRUPTED = "NS_ERROR_CORRUPTED_CONTENT"
BAD_STATUS_LINE = "NS_ERROR_PARSING_HTTP_STATUS_LINE"

_STATUS_LINE = re.compile(rb"(HTTP/[0-9](?:\.[0-9])?) ([0-9]{3})(?: |\r|\n|\Z)")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\0\r\n]*)\r?\n")
_FOLD = re.compile(r"[ \t]+([^\0\r\n]*)\r?\n")
# What nearly all heads consist of, and nothing else: one pass in C instead of a loop over lines.
_PLAIN_FIELD = re.compile(r"(?m)^([!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}): ?((?:[^\0\r\n\t ][^\0\r\n]{0,32000})?)\r\n")
_SPACE_AT_END = re.compile(r"[ \t]\r?\n")


class _Failed(Exception):
    """With the code that says why."""


class HeadReader:
    """Collects the head of the final response.  1xx heads are passed over; what follows the head are trailers."""

    def __init__(self, max_bytes: int, on_complete: Callable[[], None]) -> None:
        self._max_bytes = max_bytes
        self._on_complete = on_complete
        self._lines: list[bytes] = []
        self._lines_before = 0  # in heads that were passed over
        self.received = 0  # bytes of all heads and trailers together
        self.status = 0
        self.version = ""
        self.headers: tuple[tuple[str, str], ...] = ()
        self.encoded_bytes = 0  # what the headers take in a packet, about
        self.content_length: int | None = None
        self.complete = False
        self.failure = ""  # code of model/network_errors, once something was wrong

    def take(self, line: bytes) -> int | None:
        """libcurl's header callback.  0 breaks the transfer off: `failure` says why."""
        self.received += len(line)
        lines = self._lines
        if self.received > self._max_bytes or len(lines) + self._lines_before > _MAX_LINES:
            self.failure = TOO_LARGE
            return 0
        if self.complete:
            return None  # a trailer
        lines.append(line)
        if len(line) > 2 or line not in (b"\r\n", b"\n"):
            return None
        try:
            self._read(lines)
        except _Failed as failed:
            self.failure = str(failed)
            return 0
        return None

    def _read(self, lines: list[bytes]) -> None:
        self.version, self.status = _read_status(lines[0])
        if self.status < 200:
            self._lines_before += len(lines)
            self._lines = []
            return
        text = b"".join(lines[1:-1]).decode("latin-1")
        fields = _PLAIN_FIELD.findall(text)
        if len(fields) != len(lines) - 2 or _SPACE_AT_END.search(text):
            fields = _read_lines(lines[1:-1])
        if len(fields) > MAX_HEADERS:
            raise _Failed(TOO_LARGE)
        # In UTF-8 a character of Latin-1 has two bytes at most: count exactly only when that might be too many.
        self.encoded_bytes = 2 * len(text) + 8 * len(fields)
        if self.encoded_bytes > MAX_ENCODED // 2:
            self.encoded_bytes = sum(map(_encoded_size, fields))
        if self.encoded_bytes > MAX_ENCODED:
            raise _Failed(TOO_LARGE)
        self.headers = tuple(fields)
        self.content_length = _read_length(fields)
        self._lines = []
        self.complete = True
        self._on_complete()


def _read_status(line: bytes) -> tuple[str, int]:
    found = _STATUS_LINE.match(line)
    if found is None:
        raise _Failed(BAD_STATUS_LINE)
    status = int(found[2])
    if status < 100 or status == 101:  # nobody asked for another protocol
        raise _Failed(BAD_STATUS_LINE)
    return found[1].decode(), status


def _read_lines(lines: list[bytes]) -> list[tuple[str, str]]:
    """The fields of a head that is not plain."""
    fields: list[tuple[str, str]] = []
    for line in lines:
        text = line.decode("latin-1")
        found = _FIELD.fullmatch(text)
        if found is None:
            _read_odd_line(text, fields)
            continue
        name, value = found[1], found[2].rstrip(" \t")
        if len(name) > MAX_NAME or len(value) > MAX_VALUE:
            raise _Failed(TOO_LARGE)
        fields.append((name, value))
    return fields


def _read_odd_line(text: str, fields: list[tuple[str, str]]) -> None:
    """A line that continues the last one, which RFC 9112 tells us to join by a space; or one that is no header."""
    if "\0" in text or "\r" in text.rstrip("\r\n"):
        raise _Failed(CORRUPTED)
    found = _FOLD.fullmatch(text)
    if found is None or not fields:
        return  # as browsers do: a line that is no header is no header
    name, value = fields[-1]
    joined = " ".join((value, found[1].rstrip(" \t"))).strip(" ")
    if len(joined) > MAX_VALUE:
        raise _Failed(TOO_LARGE)
    fields[-1] = (name, joined)


def _read_length(fields: list[tuple[str, str]]) -> int | None:
    """Two lengths that differ are how requests and responses are smuggled."""
    names = [name.lower() for name, _ in fields]
    if "content-length" not in names:
        return None
    values = [value for name, (_, value) in zip(names, fields, strict=True) if name == "content-length"]
    lengths = {part.strip(" \t") for value in values for part in value.split(",")}
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit() and len(length) < 19):
        raise _Failed(CORRUPTED)
    return None if "transfer-encoding" in names else int(length)


def _encoded_size(field: tuple[str, str]) -> int:
    name, value = field
    return len(name) + (len(value) if value.isascii() else len(value.encode())) + 8
