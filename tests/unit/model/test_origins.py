"""URLs: one canonical form, and clear refusals of what has none."""

from __future__ import annotations

import pytest

from foxden.errors import LoadError
from foxden.model.origins import file_path, parse_url, resolve, url_of_path

CANONICAL = [
    ("http://Example.ORG", "http://example.org/"),
    ("HTTP://example.org:80/a", "http://example.org/a"),
    ("https://example.org:443", "https://example.org/"),
    ("https://example.org:80/", "https://example.org:80/"),
    ("  http://example.org/  ", "http://example.org/"),
    ("http://exam\nple.org/\ta", "http://example.org/a"),  # newlines and tabs vanish, as in browsers
    ("http:example.org", "http://example.org/"),
    ("http:///example.org/", "http://example.org/"),
    ("http://example.org\\a\\b", "http://example.org/a/b"),
    ("http://example.org/a/../b/./c", "http://example.org/b/c"),
    ("http://example.org/../../x", "http://example.org/x"),
    ("http://example.org/a/%2e%2E/b", "http://example.org/b"),
    ("http://example.org/a b", "http://example.org/a%20b"),
    ("http://example.org/ä?ö", "http://example.org/%C3%A4?%C3%B6"),
    ("http://example.org?", "http://example.org/?"),
    ("http://example.org?q=a b#frag", "http://example.org/?q=a%20b"),
    ("http://bücher.example/", "http://xn--bcher-kva.example/"),
    ("http://0x7f.1/", "http://127.0.0.1/"),
    ("http://2130706433/", "http://127.0.0.1/"),
    ("http://0177.0.0.1/", "http://127.0.0.1/"),
    ("http://[::1]:8080/x", "http://[::1]:8080/x"),
    ("http://[::FFFF:127.0.0.1]/", "http://[::ffff:7f00:1]/"),
    ("http://example.org./", "http://example.org/"),
    ("http://a\\@b.example/", "http://a/@b.example/"),  # a backslash ends the host, whatever comes after
    ("\x00http://example.org/\x1b", "http://example.org/"),
    ("file:///etc/hosts", "file:///etc/hosts"),
    ("file://localhost/etc/hosts", "file:///etc/hosts"),
    ("file:/etc/../etc/hosts", "file:///etc/hosts"),
    ("file:///a b", "file:///a%20b"),
]

REFUSED = [
    ("", "NS_ERROR_MALFORMED_URI"),
    ("example.org/x", "NS_ERROR_MALFORMED_URI"),
    ("localhost:8000/x", "NS_ERROR_MALFORMED_URI"),  # a host, not a scheme
    ("gopher://example.org/", "NS_ERROR_UNKNOWN_PROTOCOL"),
    ("javascript:alert(1)", "NS_ERROR_UNKNOWN_PROTOCOL"),
    ("data:text/html,x", "NS_ERROR_UNKNOWN_PROTOCOL"),
    ("http://", "NS_ERROR_MALFORMED_URI"),
    ("http:///", "NS_ERROR_MALFORMED_URI"),
    ("http://user:pw@example.org/", "NS_ERROR_MALFORMED_URI"),
    ("http://example.org@evil.example/", "NS_ERROR_MALFORMED_URI"),
    ("http://example.org:0/", "NS_ERROR_MALFORMED_URI"),
    ("http://example.org:65536/", "NS_ERROR_MALFORMED_URI"),
    ("http://example.org:8x/", "NS_ERROR_MALFORMED_URI"),
    ("http://exa mple.org/", "NS_ERROR_MALFORMED_URI"),
    ("http://a..b/", "NS_ERROR_MALFORMED_URI"),
    ("http://1.2.3.4.5/", "NS_ERROR_MALFORMED_URI"),
    ("http://256.1.1.1/", "NS_ERROR_MALFORMED_URI"),
    ("http://[::1", "NS_ERROR_MALFORMED_URI"),
    ("http://[fe80::1%25eth0]/", "NS_ERROR_MALFORMED_URI"),
    ("http://example.org/a\x00b", "NS_ERROR_MALFORMED_URI"),
    ("http://ex%00ample.org/", "NS_ERROR_MALFORMED_URI"),
    ("file://server/share", "NS_ERROR_MALFORMED_URI"),
    ("file:relative", "NS_ERROR_MALFORMED_URI"),
    ("file:///a%00b", "NS_ERROR_MALFORMED_URI"),
    ("http://example.org/" + "a" * 40_000, "NS_ERROR_MALFORMED_URI"),
]


@pytest.mark.parametrize(("text", "href"), CANONICAL)
def test_url_has_one_form(text: str, href: str) -> None:
    assert parse_url(text).href == href
    assert parse_url(href).href == href, "the canonical form is its own"


@pytest.mark.parametrize(("text", "code"), REFUSED)
def test_what_has_no_certain_meaning_is_refused(text: str, code: str) -> None:
    with pytest.raises(LoadError) as caught:
        parse_url(text)
    assert caught.value.code == code
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("base", "reference", "href"),
    [
        ("http://a.example/x/y", "z", "http://a.example/x/z"),
        ("http://a.example/x/y", "/z?q", "http://a.example/z?q"),
        ("http://a.example/x/y", "//b.example/z", "http://b.example/z"),
        ("https://a.example/", "http://a.example/", "http://a.example/"),
        ("http://a.example/x", "?q", "http://a.example/x?q"),
        ("http://a.example/x", " \n y ", "http://a.example/y"),
    ],
)
def test_reference_is_resolved_against_its_base(base: str, reference: str, href: str) -> None:
    assert resolve(parse_url(base), reference).href == href


def test_site_is_scheme_and_host_and_all_files_are_one() -> None:
    assert parse_url("http://a.example:8080/x").site == "http://a.example"
    assert parse_url("https://a.example/").site != parse_url("http://a.example/").site
    assert parse_url("https://b.a.example/").site != parse_url("https://a.example/").site
    assert parse_url("file:///x").site == parse_url("file:///y").site == "file"


@pytest.mark.parametrize("path", ["/etc/hosts", "/a b/ä#?%41", "/" + "x" * 300])
def test_path_survives_its_url(path: str) -> None:
    assert file_path(url_of_path(path)) == path
    assert file_path(parse_url(str(url_of_path(path)))) == path


def test_fragment_is_kept_and_never_asked_for() -> None:
    url = parse_url("http://a.example/x#there")
    assert (url.href, str(url)) == ("http://a.example/x", "http://a.example/x#there")
