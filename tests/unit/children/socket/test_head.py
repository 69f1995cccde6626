"""Response heads line by line: what is read, what is passed over, and where reading ends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foxden.children.socket.head import (
    BAD_STATUS_LINE,
    CORRUPTED,
    MAX_ENCODED,
    MAX_HEADERS,
    TOO_LARGE,
    HeadReader,
)
from foxden.ipc.codec import Kind, encode
from foxden.protocols.network import PHttpTransaction

OK = b"HTTP/1.1 200 OK\r\n"


def read(raw: bytes, max_bytes: int = 262_144) -> HeadReader:
    completed = []
    reader = HeadReader(max_bytes, lambda: completed.append(True))
    for line in raw.splitlines(keepends=True) if b"\0" not in raw else raw.split(b"\n"):
        if reader.take(line if line.endswith(b"\n") else line + b"\n") is not None:
            break
    assert reader.complete == bool(completed)
    return reader


def test_plain_head_is_read() -> None:
    reader = read(OK + b"Content-Length: 5\r\nX-A:  b c \r\nX-Empty:\r\n\r\n")
    assert (reader.status, reader.version, reader.content_length) == (200, "HTTP/1.1", 5)
    assert reader.headers == (("Content-Length", "5"), ("X-A", "b c"), ("X-Empty", ""))
    assert reader.complete
    assert not reader.failure


def test_http2_head_is_read() -> None:
    reader = read(b"HTTP/2 404 \r\ncontent-type: text/html\r\n\r\n")
    assert (reader.status, reader.version) == (404, "HTTP/2")


def test_interim_heads_leave_nothing_behind() -> None:
    reader = read(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK + b"X-A: b\r\n\r\n")
    assert reader.headers == (("X-A", "b"),)


def test_trailers_are_counted_and_not_read() -> None:
    reader = read(OK + b"\r\nX-Trailer: a\r\n\r\n")
    assert reader.headers == ()
    assert reader.received > len(OK) + 2


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        (b"X-A: one\r\n two\r\n", "one two"),
        (b"X-A:\r\n\ttwo\r\n", "two"),
        (b"X-A: one\r\n \r\n", "one"),
        (b"X-A: one \r\n", "one"),
        (b"X-A: one\n", "one"),
        (b"X-A:one\r\n", "one"),
        (b"X-A: \xe9\r\n", "\xe9"),
    ],
)
def test_odd_but_lawful_lines_are_read(lines: bytes, value: str) -> None:
    assert read(OK + lines + b"\r\n").headers == (("X-A", value),)


@pytest.mark.parametrize(
    "line", [b"no colon\r\n", b"X A: b\r\n", b": b\r\n", b"\xff: b\r\n", b"X-A : b\r\n", b" fold first\r\n"]
)
def test_line_that_is_no_header_is_left_out(line: bytes) -> None:
    assert read(OK + line + b"X-B: c\r\n\r\n").headers == (("X-B", "c"),)


@pytest.mark.parametrize(
    ("raw", "failure"),
    [
        (b"HTTP/1.1 99 Low\r\n\r\n", BAD_STATUS_LINE),
        (b"HTTP/1.1 099 Low\r\n\r\n", BAD_STATUS_LINE),
        (b"HTTP/1.1 101 Switching\r\n\r\n", BAD_STATUS_LINE),
        (b"HTTP/11 200 OK\r\n\r\n", BAD_STATUS_LINE),
        (b"HTTP/1.1 2000 OK\r\n\r\n", BAD_STATUS_LINE),
        (OK + b"X-A: a\0b\r\n\r\n", CORRUPTED),
        (OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", CORRUPTED),
        (OK + b"Content-Length: 1,2\r\n\r\n", CORRUPTED),
        (OK + b"Content-Length: +1\r\n\r\n", CORRUPTED),
        (OK + b"Content-Length:\r\n\r\n", CORRUPTED),
        (OK + b"X" * 257 + b": a\r\n\r\n", TOO_LARGE),
        (OK + b"X-A: " + b"a" * 32_769 + b"\r\n\r\n", TOO_LARGE),
        (OK + b"X-A: " + b"a" * 32_700 + b"\r\n " + b"b" * 100 + b"\r\n\r\n", TOO_LARGE),
        (OK + b"X-A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n", TOO_LARGE),
        (OK + (b"X-A: " + b"a" * 30_000 + b"\r\n") * 4 + b"\r\n", TOO_LARGE),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3000, TOO_LARGE),
    ],
)
def test_head_that_cannot_stand_is_refused(raw: bytes, failure: str) -> None:
    reader = read(raw)
    assert reader.failure == failure
    assert not reader.complete


def test_as_many_headers_as_the_protocol_carries_pass() -> None:
    assert len(read(OK + b"X-A: b\r\n" * MAX_HEADERS + b"\r\n").headers) == MAX_HEADERS


def test_bytes_are_limited_while_they_come() -> None:
    reader = read(OK + b"X-A: b\r\n" * 100, max_bytes=200)
    assert reader.failure == TOO_LARGE
    assert reader.received <= 208


def test_length_beside_chunks_is_not_believed() -> None:
    assert read(OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n").content_length is None


@given(st.lists(st.tuples(st.from_regex(r"\A[A-Za-z-]{1,300}\Z"), st.binary(max_size=40_000)), max_size=8))
def test_whatever_passes_fits_into_a_message(fields: list[tuple[str, bytes]]) -> None:
    reader = HeadReader(1 << 20, lambda: None)
    lines = [OK, *(name.encode() + b": " + value.replace(b"\n", b" ") + b"\r\n" for name, value in fields), b"\r\n"]
    if all(reader.take(line) is None for line in lines) and reader.complete:
        assert reader.encoded_bytes <= MAX_ENCODED
        message = PHttpTransaction.OnStart(
            status=reader.status, http_version=reader.version, headers=reader.headers, remote="127.0.0.1",
            remote_port=80, inline=bytes(min(65_536, 118_784 - reader.encoded_bytes)),
        )  # fmt: skip
        encode(1, 0, 1, Kind.SEND, message)
