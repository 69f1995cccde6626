"""Whatever bytes come, a content process makes a page of them or says in one way why it cannot."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import zlib

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foxden.children.content import guard
from foxden.children.content.decode_body import BodyDecoder
from foxden.children.content.document import show
from foxden.children.content.encoding import decode, prescan
from foxden.children.content.encodings_table import LABELS
from foxden.children.content.links import Base
from foxden.children.content.media_type import computed_type, parse_media_type
from foxden.children.content.parse import parse_document
from foxden.errors import LoadError
from foxden.model.page import PageContent

quick = settings(deadline=None, database=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

# Pieces of markup, so that what is random is also markup.
PIECES = (
    "<", ">", "</", "<!--", "-->", "<p>", "</p>", "<div ", "<b>", "</b>", "<a href='", "'", '"', "=", "&", "&amp;",
    "<table>", "<td>", "</table>", "<pre>", "\n", " ", "<ul><li>", "</ul>", "<script>", "</script>", "<svg>", "<title>",
    "</title>", "<template>", "<br>", "\0", "é", "\ud800", "<img alt=x>", "<select>", "<option>", "<plaintext>", "x",
    "<meta charset=", "<base href=", "<![CDATA[", "]]>", "<?xml encoding='", "{", "[", "<frameset>", "<tr>", "</td>",
)  # fmt: skip
markup = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=5)), max_size=60).map("".join)
cuts_of_a_body = st.lists(st.integers(0, 6000), max_size=10)
headers = st.one_of(
    st.none(),
    st.text(max_size=40),
    st.sampled_from(["text/html", "text/plain", "text/xml", "application/json", "application/xhtml+xml"]),
    st.sampled_from(sorted(LABELS)).map("text/html; charset={}".format),
)


def bodies() -> st.SearchStrategy[bytes]:
    return st.one_of(st.binary(max_size=200), markup.map(lambda text: text.encode("utf-8", "surrogatepass")))


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(places)]


@quick
@given(bodies(), headers, st.booleans(), st.text(max_size=20))
def test_any_bytes_are_a_page_within_its_bounds_or_a_load_error(
    body: bytes, header: str | None, nosniff: bool, url: str
) -> None:
    try:
        page = show(body, content_type=header, nosniff=nosniff, url=url)
    except LoadError:
        return
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(page), type=PageContent) == page


@quick
@given(markup)
def test_any_text_is_a_page_as_html(text: str) -> None:
    page = parse_document(text, content_type="text/html", base_url="http://h/")
    assert not page.truncated
    assert page.text == page.text.strip("\n") or "<pre>" in text or "<plaintext>" in text


@quick
@given(markup)
def test_guard_never_adds_anything(text: str) -> None:
    scan = guard._Scan(text.replace("\ud800", ""))
    scan.run()
    remaining = iter(scan.text)
    assert all(character in remaining for character in scan.result())


@quick
@given(st.binary(max_size=300), headers, st.text(max_size=20))
def test_detection_of_the_encoding_never_fails(data: bytes, header: str | None, hint: str) -> None:
    found = decode(data, header, hint)
    found.text.encode()  # no surrogates
    prescan(data)


@quick
@given(st.text(max_size=60), st.binary(max_size=60), st.booleans())
def test_any_header_has_a_type(header: str, body: bytes, nosniff: bool) -> None:
    computed_type(header, body, nosniff=nosniff)
    kind = parse_media_type(header)
    assert kind is None or parse_media_type(str(kind)) == kind


@quick
@given(st.text(max_size=30), st.text(max_size=30))
def test_a_resolved_link_is_absolute_and_resolves_to_itself(base: str, reference: str) -> None:
    Base(base).resolve(reference)
    found = Base("http://h/a/b?c").resolve(reference)
    if found is not None and found.startswith("http:"):
        assert found.isascii() or not reference.isascii()
        assert Base("http://other/").resolve(found) == found


@quick
@given(
    st.binary(max_size=5000), st.lists(st.integers(0, 6000), max_size=10), st.sampled_from(["gzip", "deflate", "raw"])
)
def test_what_was_compressed_comes_back_in_any_pieces(data: bytes, cuts: list[int], coding: str) -> None:
    packer = zlib.compressobj(wbits={"gzip": 31, "deflate": 15, "raw": -15}[coding])
    body = packer.compress(data) + packer.flush()
    decoder = BodyDecoder("gzip" if coding == "gzip" else "deflate", len(data))
    parts = [decoder.feed(piece) for piece in in_pieces(body, cuts)]
    assert b"".join(parts) + decoder.finish() == data


@quick
@given(
    st.binary(max_size=300), cuts_of_a_body, st.lists(st.sampled_from(["gzip", "deflate"]), max_size=3), st.booleans()
)
def test_any_bytes_decode_or_are_a_load_error(data: bytes, cuts: list[int], codings: list[str], begins: bool) -> None:
    body = gzip.compress(b"x")[:12] + data if begins else data
    decoder = BodyDecoder(codings, 1000)
    with contextlib.suppress(LoadError):
        for piece in in_pieces(body, cuts):
            decoder.feed(piece)
        decoder.finish()
