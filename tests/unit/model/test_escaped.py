"""Hostile text in a line: nothing that a terminal obeys, nothing that ends the line, nothing that hides."""

from __future__ import annotations

import json
import unicodedata

import pytest

from foxden.model.escaped import json_line, one_line, quoted_name

HOSTILE = [
    "\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "a\nb", "a\rb", "a\r\nb", "a\x85b", "a\x0bb", "\u2028", "\u2029",
    "\u202etxt", "\u2066x\u2069", "\u200f", "\x00", "\x7f", "\u200b", "\ufeff", "\udcff", "\ud800", "\udfff",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_quoted_name_shows_everything_that_is_not_seen(text: str) -> None:
    shown = quoted_name(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) == 1
    shown.encode()


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_one_line_is_one_line_without_controls(text: str) -> None:
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert not [c for c in shown if unicodedata.category(c) == "Cc" or unicodedata.bidirectional(c) in ("RLO", "LRI")]
    shown.encode()


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_json_line_is_plain_ascii_and_exact(text: str) -> None:
    line = json_line({"path": text})
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {"path": text}


def test_plain_text_stays_as_it_is() -> None:
    assert quoted_name("/home/jürgen/a b.txt") == one_line("/home/jürgen/a b.txt") == "/home/jürgen/a b.txt"


def test_newlines_and_bytes_are_shown_as_their_codes() -> None:
    assert quoted_name("a\nb") == "a\\nb"
    assert quoted_name("\udcff") == "\\xff"
