"""Links: references resolved as a browser resolves them, and the links of a page in order."""

from __future__ import annotations

import time

import pytest
from selectolax.lexbor import LexborHTMLParser

from foxden.children.content.links import Base, link_text, page_base, page_links
from foxden.model.page import MAX_HREF, MAX_LINK_TEXT, MAX_LINKS, Link

BASE = "http://a.example/d/e/f.html?q#z"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("x", "http://a.example/d/e/x"), ("../x", "http://a.example/d/x"), ("/x", "http://a.example/x"),
        ("./", "http://a.example/d/e/"), ("..", "http://a.example/d/"), ("../../../..", "http://a.example/"),
        ("", "http://a.example/d/e/f.html?q"), ("#f", "http://a.example/d/e/f.html?q#f"),
        ("?y", "http://a.example/d/e/f.html?y"), ("?", "http://a.example/d/e/f.html?"),
        ("x?y#z", "http://a.example/d/e/x?y#z"), ("x#a?b", "http://a.example/d/e/x#a?b"),
        ("//h/x", "http://h/x"), ("//h:99999/", None), ("///h/x", "http://h/x"), ("\\\\h\\p", "http://h/p"),
        ("http:x", "http://a.example/d/e/x"), ("http:/x", "http://a.example/x"), ("http:///h", "http://h/"),
        ("https:/h", "https://h/"), ("HTTP://H:80/", "http://h/"), ("https://h:443/", "https://h/"),
        ("https://h:0443", "https://h/"), ("https://h:8443", "https://h:8443/"), ("http://h:", "http://h/"),
        ("http://h?x", "http://h/?x"), ("http://h#x", "http://h/#x"), ("//h#x", "http://h/#x"),
        ("http://u:p@h/", "http://u:p@h/"), ("http://[::1]:8/", "http://[::1]:8/"), ("http://[::1]x/", None),
        ("http://[zz]/", None), ("http://h:x/", None), ("http://h:99999/", None), ("http://", None),
        ("http://a b/", None), ("http://a%20b/", None), ("http://:80/", None),
        ("  x\n ", "http://a.example/d/e/x"), ("a\tb", "http://a.example/d/e/ab"),
        ("a b", "http://a.example/d/e/a%20b"), ("é?é#é", "http://a.example/d/e/%C3%A9?%C3%A9#%C3%A9"),
        ("a%2", "http://a.example/d/e/a%2"), ("\ud800", "http://a.example/d/e/%3F"),
        ("/a/./b/../c", "http://a.example/a/c"), ("/a/%2E%2e/b", "http://a.example/b"), ("/a//..", "http://a.example/a/"),
        ("/a/.", "http://a.example/a/"), ("/%41/b", "http://a.example/%41/b"),
        ("mailto:a@b?c=d#e", "mailto:a@b?c=d#e"), ("mailto:", None), ("data:,a b", "data:,a%20b"), ("x:y", "x:y"),
        ("ftp://h/a", "ftp://h/a"), ("file:///a/../b", "file:///b"), ("file:/a", "file:///a"), ("file:a", "file:///a"),
        ("file://host/a", "file://host/a"), ("file://", "file:///"), ("1:x", "http://a.example/d/e/1:x"),
    ],
)  # fmt: skip
def test_reference_is_resolved_as_browsers_do(reference: str, expected: str | None) -> None:
    assert Base(BASE).resolve(reference) == expected


@pytest.mark.parametrize(
    ("base", "reference", "expected"),
    [
        ("file:///a/b.html", "c", "file:///a/c"), ("file:///a/b.html", "file:c", "file:///a/c"),
        ("file:///a/b.html", "//h/c", "file://h/c"), ("file:///a/b.html", "/c", "file:///c"),
        ("about:blank", "c", None), ("about:blank", "#c", None), ("about:blank", "http://h/", "http://h/"),
        ("foo://h/a/b", "c\\d", "foo://h/a/c\\d"), ("", "c", None), ("http://h", "c", "http://h/c"), ("http://h?q", "", "http://h/?q"),
    ],
)  # fmt: skip
def test_base_decides_what_is_relative_to_it(base: str, reference: str, expected: str | None) -> None:
    if base == "http://h?q":  # the parent always gives a path
        base = "http://h/?q"
    assert Base(base).resolve(reference) == expected


def links_of(html: str, url: str = BASE) -> list[tuple[str, str]]:
    tree = LexborHTMLParser(html)
    return [(link.href, link.text) for link in page_links(tree, page_base(tree, url))[0]]


def test_links_come_once_each_in_the_order_of_the_page() -> None:
    html = "<a href=b>B</a><a href=a>A</a><a name=x>no</a><map><area href=c alt=C></map><a href=b>again</a>"
    prefix = "http://a.example/d/e/"
    assert links_of(html) == [(prefix + "b", "B"), (prefix + "a", "A"), (prefix + "c", "C")]


@pytest.mark.parametrize("href", ["javascript:alert(1)", " JavaScript:x", "java\nscript:x", "vbscript:x", "http://a b"])
def test_link_that_leads_nowhere_is_left_out(href: str) -> None:
    assert links_of(f'<a href="{href}">x</a>') == []


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("<base href='/other/'>", "http://a.example/other/x"),
        ("<base target=_top><base href='//h/y/z'><base href='/no/'>", "http://h/y/x"),
        ("<base href='data:text/html,x'>", "http://a.example/d/e/x"),
        ("<base href='javascript:1'>", "http://a.example/d/e/x"),
        ("<base href='http://['>", "http://a.example/d/e/x"),
    ],
)
def test_base_element_moves_relative_links(head: str, expected: str) -> None:
    assert links_of(f"{head}<a href=x>x</a>") == [(expected, "x")]


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        ("  two\n <b>words</b> ", "two words"), ("<img alt='a  picture'>", "a picture"), ("x<img alt=y>", "x"),
        ("<!-- c -->", ""), ("<img>", ""), ("y" * 1000, "y" * MAX_LINK_TEXT),
        ("<b></b>" * 300 + "late", ""),  # not looked for without end
    ],
)  # fmt: skip
def test_text_of_a_link_is_one_short_line(inside: str, text: str) -> None:
    node = LexborHTMLParser(f"<a href=x>{inside}</a>").css_first("a")
    assert link_text(node) == text


def test_huge_link_is_left_out_and_the_rest_kept() -> None:
    tree = LexborHTMLParser(f"<a href='data:,{'x' * MAX_HREF}'>1</a><a href=http://h/>2</a>")
    assert page_links(tree, Base("")) == ((Link("http://h/", "2"),), True)


def test_links_stop_at_their_number_in_little_time() -> None:
    tree = LexborHTMLParser("".join(f"<a href=/{number}>x</a>" for number in range(MAX_LINKS + 10)))
    began = time.process_time()
    links, cut = page_links(tree, Base(BASE))
    assert (len(links), cut) == (MAX_LINKS, True)
    assert time.process_time() - began < 3
