"""The whole way from bytes to a page."""

from __future__ import annotations

import pytest

from foxden.children.content.document import show
from foxden.errors import LoadError


def test_bytes_become_a_page() -> None:
    page = show("<title>é</title><a href=/x>л</a>".encode("koi8-r", "ignore") + b"<meta charset=koi8-r>",
                content_type="text/html", nosniff=False, url="http://h/a")  # fmt: skip
    assert (page.encoding, page.content_type, page.links[0].href) == ("KOI8-R", "text/html", "http://h/x")
    assert page.links[0].text == "л"


def test_body_without_a_type_is_looked_at() -> None:
    assert show(b"<!doctype html><p>x", content_type=None).content_type == "text/html"
    assert show(b"<!doctype html><p>x", content_type=None, nosniff=True).text == "<!doctype html><p>x"


def test_hint_is_for_documents_that_say_nothing() -> None:
    assert show(b"\xc1", content_type="text/html", encoding_hint="koi8-r").text == "а"


@pytest.mark.parametrize("header", ["image/png", "application/pdf", "video/mp4", None])
def test_what_is_no_text_is_refused_with_its_type(header: str | None) -> None:
    with pytest.raises(LoadError, match="got ") as raised:
        show(b"\x89PNG\r\n\x1a\n", content_type=header, url="http://h/a")
    assert (raised.value.code, raised.value.url) == ("NS_ERROR_WONT_HANDLE_CONTENT", "http://h/a")
    assert raised.value.hint
