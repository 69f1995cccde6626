"""Hostile text for a terminal: nothing that a terminal obeys gets through, and text stays text."""

from __future__ import annotations

import io
import json
import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foxden.front.terminal import (
    is_terminal,
    json_text,
    one_line,
    paint,
    shown,
    tell,
    wants_colour,
)

OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


@given(st.text())
def test_no_control_gets_through(text: str) -> None:
    for made in (shown(text, on_terminal=True), shown(text, on_terminal=False), one_line(text)):
        assert OBEYED.search(made) is None
    assert BIDI.search(shown(text, on_terminal=True)) is None
    assert BIDI.search(one_line(text)) is None


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"])))
def test_text_without_controls_is_left_alone_in_a_pipe(text: str) -> None:
    assert shown(text, on_terminal=False) == text


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1


@given(st.recursive(st.text() | st.integers() | st.none(), lambda inner: st.dictionaries(st.text(), inner)))
def test_json_is_exact_and_harmless(value: object) -> None:
    text = json_text(value)
    assert json.loads(text) == value
    assert OBEYED.search(text) is None
    assert BIDI.search(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\tc", "a\nb\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b31m", "\\x9b31m"),
        ("\x7f\x00", "\\x7f\\x00"),
        ("gpj\u202eexe", "gpj\\u202eexe"),
        ("grüße \u05e9\u05dc\u05d5\u05dd 日本", "grüße \u05e9\u05dc\u05d5\u05dd 日本"),
    ],
)
def test_controls_are_shown(text: str, expected: str) -> None:
    assert shown(text, on_terminal=True) == expected


def test_every_bidirectional_control_of_unicode_is_known() -> None:
    classes = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    found = [chr(code) for code in range(0x110000) if unicodedata.bidirectional(chr(code)) in classes]
    assert [char for char in found if not BIDI.match(char) or one_line(char) == char] == []


def test_colour_needs_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colour(Terminal())


def test_closed_or_missing_stream_is_no_terminal() -> None:
    stream = io.StringIO()
    stream.close()
    assert not is_terminal(stream)
    assert not is_terminal(None)


def test_paint_without_colour_is_the_text() -> None:
    assert paint("x", "red", colour=False) == "x"
    assert paint("x", "red", colour=True) == "\x1b[31mx\x1b[0m"


def test_telling_nobody_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    tell("anything")
    monkeypatch.setattr(sys, "stderr", None)
    tell("anything")
