"""Media types: the header as the WHATWG standard parses it, and what bytes may and may not decide."""

from __future__ import annotations

import pytest

from foxden.children.content.media_type import SNIFF_BYTES, MediaType, computed_type, parse_media_type


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("text/html", "text/html"),
        ("  TEXT/HTML \r\n", "text/html"),
        ("text/html;charset=UTF-8", "text/html;charset=UTF-8"),
        ('text/html; charset="utf-8"', "text/html;charset=utf-8"),
        ("text/html;charset=gbk;charset=utf-8", "text/html;charset=gbk"),  # the first counts
        ("text/html;;;charset=x", "text/html;charset=x"),
        ("text/html;charset", "text/html"),
        ("text/html;charset=", "text/html"),
        ('text/html;charset=""', 'text/html;charset=""'),
        ("text/html;CHARSET= x", 'text/html;charset=" x"'),
        ("text/html ; charset=x", "text/html;charset=x"),
        ('text/html;a="x;y";charset=z', 'text/html;a="x;y";charset=z'),
        ('text/html;a="x\\"y"junk;b=c', 'text/html;a="x\\"y";b=c'),
        ('text/html;a="unclosed', "text/html;a=unclosed"),
        ("text/html;a b=c;d=e", "text/html;d=e"),
        ("text/html;a=\x01;d=e", "text/html;d=e"),
        ("text/html;é=c", "text/html"),
    ],
)
def test_header_is_parsed_as_the_standard_says(header: str, expected: str) -> None:
    assert str(parse_media_type(header)) == expected


@pytest.mark.parametrize("header", ["", "text", "text/", "/html", "te xt/html", "text/ht ml", "text/html, x/y", "é/x"])
def test_header_that_is_no_media_type_gives_none(header: str) -> None:
    assert parse_media_type(header) is None


def test_backslash_and_quote_in_a_value_survive_a_round_trip() -> None:
    kind = MediaType("a", "b", (("c", 'x"y\\z'),))
    assert parse_media_type(str(kind)) == kind


@pytest.mark.parametrize(
    ("essence", "shown_as"),
    [
        ("text/html", "html"), ("application/xhtml+xml", "html"), ("text/xml", "xml"), ("application/rss+xml", "xml"),
        ("image/svg+xml", "xml"), ("application/json", "json"), ("application/ld+json", "json"), ("text/plain", "text"),
        ("text/css", "text"), ("application/javascript", "text"), ("image/png", ""), ("application/pdf", ""),
    ],
)  # fmt: skip
def test_kind_of_document_follows_from_the_type(essence: str, shown_as: str) -> None:
    kind = parse_media_type(essence)
    assert kind is not None
    shown = "html" if kind.is_html else "xml" if kind.is_xml else "json" if kind.is_json else "text" * kind.is_text
    assert shown == shown_as
    assert kind.displayable is bool(shown_as)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<!DOCTYPE html>", "text/html"),
        (b"\n\t <!doctype HTML >", "text/html"),
        (b"<html>", "text/html"), (b"<HTML lang=x>", "text/html"), (b"<htmlx>", "text/plain"), (b"<p>", "text/html"),
        (b"<!-- x", "text/html"), (b"<script>", "text/html"), (b"<a href", "text/html"), (b"<b", "text/plain"),
        (b"<?xml version", "text/xml"), (b"%PDF-1.7", "application/pdf"), (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF89a", "image/gif"), (b"\xff\xd8\xff\xe0", "image/jpeg"), (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\0\0\0\0WAVE", "audio/wave"), (b"FORM\0\0\0\0AIFF", "audio/aiff"), (b"RIFF\0\0\0\0zzzz", None),
        (b"\0\0\0\x18ftypmp42", "video/mp4"), (b"PK\3\4", "application/zip"), (b"\x1f\x8b\x08", "application/x-gzip"),
        (b"\xfe\xff\0<", "text/plain"), (b"\xef\xbb\xbf<p>", "text/plain"), (b"", "text/plain"),
        (b"plain", "text/plain"), (b"a\0b", None), (b"tab\tff\x0cesc\x1b", "text/plain"), (b"\x0b", None),
        (b"x" * SNIFF_BYTES + b"\0", "text/plain"),
    ],
)  # fmt: skip
def test_body_without_a_type_is_known_by_its_bytes(body: bytes, expected: str | None) -> None:
    assert computed_type(None, body).essence == (expected or "application/octet-stream")


@pytest.mark.parametrize("header", ["*/*", "unknown/unknown", "application/unknown", "garbage"])
def test_header_that_says_nothing_counts_as_none(header: str) -> None:
    assert computed_type(header, b"<html>").essence == "text/html"


@pytest.mark.parametrize("body", [b"<html>", b"<?xml version='1.0'?>"])
def test_nosniff_keeps_bytes_from_becoming_a_page(body: bytes) -> None:
    assert computed_type(None, body, nosniff=True).essence == "text/plain"


@pytest.mark.parametrize("header", ["text/plain", "text/plain; charset=UTF-8", "application/octet-stream"])
def test_text_that_looks_like_a_page_stays_text(header: str) -> None:
    assert computed_type(header, b"<!DOCTYPE html><script>").essence == "text/plain"


@pytest.mark.parametrize(
    ("header", "body", "expected"),
    [
        ("text/plain", b"\0\1\2", "application/octet-stream"),
        ("text/plain", b"\x89PNG\r\n\x1a\n", "image/png"),
        ("text/plain", b"%PDF-1.4 text", "application/pdf"),
        ("text/plain; charset=koi8-r", b"\0\1\2", "text/plain"),  # said with thought: believed
        ("text/plain; charset=ISO-8859-1", b"ok", "text/plain"),
        ("application/octet-stream", b"\0\1", "application/octet-stream"),
        ("text/html", b"\0\1\2", "text/html"),
        ("image/png", b"<html>", "image/png"),
    ],
)
def test_bytes_are_asked_only_where_servers_say_a_type_without_thought(header: str, body: bytes, expected: str) -> None:
    assert computed_type(header, body).essence == expected


@pytest.mark.parametrize("header", ["text/plain", "application/octet-stream"])
def test_nosniff_believes_the_header(header: str) -> None:
    assert computed_type(header, b"\0<html>", nosniff=True).essence == header


def test_parameters_of_the_header_are_kept() -> None:
    assert computed_type("text/plain; charset=UTF-8", b"x").charset == "UTF-8"
