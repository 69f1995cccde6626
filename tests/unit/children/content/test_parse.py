"""Pages: title, text, links and tree of all kinds of documents, and of those made to do harm."""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import msgspec
import pytest
from selectolax.lexbor import LexborHTMLParser

from foxden.children.content import parse
from foxden.children.content.parse import page_title, parse_document, text_of_json, text_of_xml
from foxden.model.page import MAX_TEXT, MAX_TITLE, Link, PageContent

URL = "http://a.example/d/"


def test_page_has_all_its_parts() -> None:
    page = parse_document(
        "<!doctype html><title> A\n page </title><h1>Hi</h1><a href=x>there</a>",
        content_type="text/html; charset=utf-8",
        base_url=URL,
        encoding="UTF-8",
    )
    assert page == PageContent(
        title="A page",
        text="Hi\n\nthere",
        html="<!DOCTYPE html><html><head><title> A\n page </title></head><body><h1>Hi</h1>"
        '<a href="x">there</a></body></html>',
        encoding="UTF-8",
        content_type="text/html;charset=utf-8",
        links=(Link(URL + "x", "there"),),
    )


@pytest.mark.parametrize(
    ("html", "title"),
    [
        ("", ""), ("<title></title>", ""), ("<title>a</title><title>b</title>", "a"), ("<title>a<b>c</title>", "a<b>c"),
        ("<svg><title>s</title></svg><title>t</title>", "t"), ("<svg><title>s</title></svg>", ""),
        ("<title>é\u2003\n&amp; x</title>", "é\u2003 & x"), ("<p><title>late</title>", "late"),
    ],
)  # fmt: skip
def test_title_is_the_first_that_is_no_drawings(html: str, title: str) -> None:
    assert page_title(LexborHTMLParser(html)) == title


def test_plain_text_stays_as_it_is() -> None:
    page = parse_document("a  <b>\n\0c", content_type="text/plain")
    assert (page.title, page.text, page.links) == ("", "a  <b>\n\ufffdc", ())
    assert page.html == "<html><head></head><body><pre>a  &lt;b&gt;\n\ufffdc</pre></body></html>"


def test_type_that_is_no_text_is_shown_as_text_when_asked_for() -> None:
    assert parse_document("x", content_type="image/png").text == "x"


def test_without_a_type_it_is_html() -> None:
    assert parse_document("<p>x").text == "x"


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a><b>x &amp; y</b><c/>\n z</a>", "x & y\nz"),
        ("<a><![CDATA[<b> & ]] ]]>c</a>", "<b> & ]] c"), ("<a><!-- <b>x</b> - -->y</a>", "y"), ("<a x='>'>b</a>", "b"),
        ("<a>1 < 2</a>", "1 < 2"), ("<a", ""), ("<!-- ", ""), ("<![CDATA[x", "x"), ("<?x ", ""), ("<!DOCTYPE x [", ""),
        ("<a x=\">b", "b"), ("", ""), ("<a>&unknown;</a>", "&unknown;"),
    ],
)  # fmt: skip
def test_xml_shows_its_text(xml: str, text: str) -> None:
    assert text_of_xml(xml) == text


@pytest.mark.parametrize("unit", ["<", "<a ", "<!--", "<![CDATA[", "<?", "<!DOCTYPE [", "<a b='", "]]", "&"])
def test_broken_xml_takes_linear_time(unit: str) -> None:
    text_of_xml(unit * ((1 << 20) // len(unit)))


def test_xml_page_shows_its_source_as_tree() -> None:
    page = parse_document("<a>x</a>", content_type="application/xml")
    assert (page.text, "&lt;a&gt;x&lt;/a&gt;" in page.html) == ("x", True)


def test_xhtml_is_a_page_even_with_empty_elements() -> None:
    page = parse_document(
        "<html><head><title>T</title><script src='a>b'/></head><body><p/><a id='x' />y</body></html>",
        content_type="application/xhtml+xml",
    )
    assert (page.title, page.text) == ("T", "y")


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('{"b":1,"a":[1.50,1e400]}', '{\n  "b": 1,\n  "a": [\n    1.50,\n    1e400\n  ]\n}'), ("[]", "[]"),
        ("{broken", "{broken"), ('"é"', '"é"'), ("", ""), ('{"a": "]\\"}"}', '{\n  "a": "]\\"}"\n}'),
        ("[" * 40 + "]" * 40, "[" * 40 + "]" * 40), ("[" * 100_000, "[" * 100_000), ("9" * 10_000, "9" * 10_000),
    ],
    ids=range(9),
)  # fmt: skip
def test_json_is_laid_out_when_it_can_be(source: str, text: str) -> None:
    assert text_of_json(source) == text


def test_large_json_is_left_as_it_is() -> None:
    source = "[" + "1," * (2 << 20) + "1]"
    assert text_of_json(source) is source
    assert parse_document('{"a":1}', content_type="application/json").text == '{\n  "a": 1\n}'


def test_surrogates_from_outside_become_replacement_characters() -> None:
    assert parse_document("<p>a\ud800b").text == "a\ufffdb"


# --- bounds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kind", "cut"),
    [
        (f"<title>{'x' * 5000}</title>", "text/html", ("title",)),
        ("x" * (MAX_TEXT + 1), "text/plain", ("text",)),
        ("x" * (MAX_TEXT + 10), "text/html", ("text",)),
        ("<div>" * 3000, "text/html", ("nesting",)),
        (f"<a href='data:,{'x' * 9000}'>x</a>", "text/html", ("links",)),
        ("x" * ((16 << 20) + 1), "text/plain", ("input", "text")),
    ],
    ids=range(6),
)
def test_what_was_cut_is_said(source: str, kind: str, cut: tuple[str, ...]) -> None:
    page = parse_document(source, content_type=kind)
    assert page.truncated == cut
    assert len(page.title) <= MAX_TITLE
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(page), type=PageContent) == page


def test_tree_is_cut_at_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "MAX_HTML", 20)
    page = parse_document("<p>x")
    assert (page.html, page.truncated) == ("<html><head></head><", ("html",))


@pytest.mark.parametrize("header", ["text/html;a=" + "x" * 400, "text/" + "x" * 400])
def test_type_and_encoding_are_cut_at_their_bounds(header: str) -> None:
    page = parse_document("x", content_type=header, encoding="e" * 100)
    assert len(page.content_type) <= 256
    assert len(page.encoding) == 64


MEBI = 1 << 20
HOSTILE = {
    "divs": "<div>" * (MEBI // 5), "brackets": "<" * MEBI, "nulls": "\0" * MEBI, "entities": "&" * MEBI,
    "attributes": "<p " + " ".join(f"a{number}=1" for number in range(100_000)) + ">x",
    "one attribute": "<p title='" + "x" * (4 * MEBI) + "'>y", "unclosed attribute": "<p title='" + "x" * MEBI,
    "unclosed": "<ul><li><table><tr><td><b><i><a href=x><p>" * 20_000, "comments": "<!--" * (MEBI // 4),
    "formatting": "<div>" + "".join(f"<b i={number}>" for number in range(5000)) + "</div><div>x" * 50_000,
    "foster": "<table>" + "x<b>" * 100_000, "cells": "<table><tr>" + "<td><p>x" * 60_000,
    "roots": "<html a b>" * 50_000,
    "links": "".join(f"<a href=/{number}>x" for number in range(50_000)), "svg": "<svg><title><div>" * 50_000,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_page_is_shown_in_bounded_time(name: str) -> None:
    began = time.process_time()
    page = parse_document(HOSTILE[name], base_url=URL)
    assert time.process_time() - began < 6
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(page), type=PageContent) == page


def test_hostile_page_of_sixteen_megabytes_stays_within_half_a_gigabyte() -> None:
    # VmHWM and not ru_maxrss: the latter remembers the test process that this one was forked from.
    program = (
        "from foxden.children.content.parse import parse_document;"
        "parse_document('<br>' * (4 << 20));"
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')][0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60)))  # fmt: skip
    assert int(done.stdout) < 512 << 10
