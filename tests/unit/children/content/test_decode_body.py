"""Content codings: whole, in pieces, in each other, broken, cut short, and made to be enormous."""

from __future__ import annotations

import gzip
import time
import tracemalloc
import zlib

import pytest

from foxden.children.content.decode_body import BodyDecoder, parse_codings
from foxden.errors import LoadError

TEXT = b"the quick brown fox " * 5000
LIMIT = 1 << 20
BROKEN = b"\x00\x01\x00\xfe\xffA" + b"\xff" * 10  # one byte in a stored block, then a block of no known kind


def raw(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def five_times(data: bytes) -> bytes:
    for _ in range(5):
        data = gzip.compress(data)
    return data


def undo(codings: str, body: bytes, *, limit: int = LIMIT, step: int = 0) -> bytes:
    decoder = BodyDecoder(codings, limit)
    step = step or max(1, len(body))
    parts = [decoder.feed(body[start : start + step]) for start in range(0, len(body), step)]
    return b"".join(parts) + decoder.finish()


def code_of(codings: str, body: bytes, *, limit: int = LIMIT) -> str:
    with pytest.raises(LoadError) as raised:
        undo(codings, body, limit=limit)
    return raised.value.code


@pytest.mark.parametrize(
    ("header", "codings"),
    [
        ("", ()), ("identity", ()), ("gzip", ("gzip",)), (" X-GZIP ,, Deflate ", ("gzip", "deflate")),
        ("identity, gzip, identity", ("gzip",)),
    ],
)  # fmt: skip
def test_header_becomes_canonical_names(header: str, codings: tuple[str, ...]) -> None:
    assert parse_codings(header) == codings


@pytest.mark.parametrize("header", ["br", "zstd", "compress", "gzip;q=1", "gzip, br", ", ".join(["gzip"] * 6)])
def test_coding_that_was_not_offered_is_refused(header: str) -> None:
    with pytest.raises(LoadError) as raised:
        BodyDecoder(header, LIMIT)
    assert raised.value.code == "NS_ERROR_INVALID_CONTENT_ENCODING"


@pytest.mark.parametrize("step", [0, 1, 7, 4096])
@pytest.mark.parametrize(
    ("codings", "body"),
    [
        ("", TEXT), ("gzip", gzip.compress(TEXT)), ("deflate", zlib.compress(TEXT)), ("deflate", raw(TEXT)),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
        (", ".join(["gzip"] * 5), five_times(TEXT)),
        ("gzip", gzip.compress(TEXT[:1000]) + gzip.compress(b"") + gzip.compress(TEXT[1000:])),
        ("gzip", gzip.compress(TEXT) + b"\0" * 100), ("gzip", gzip.compress(TEXT) + b"\x1f\x8b"),
        ("gzip", gzip.compress(TEXT) + b"garbage"), ("deflate", zlib.compress(TEXT) + b"garbage"),
    ],
    ids=range(11),
)  # fmt: skip
def test_body_comes_back_however_it_is_cut(codings: str, body: bytes, step: int) -> None:
    assert undo(codings, body, step=step) == TEXT


def test_codings_may_be_given_as_names() -> None:
    decoder = BodyDecoder(("deflate", "gzip"), LIMIT)
    assert decoder.feed(gzip.compress(zlib.compress(TEXT))) == TEXT


@pytest.mark.parametrize("coding", ["gzip", "deflate", ""])
def test_empty_body_is_empty_whatever_its_coding(coding: str) -> None:
    assert undo(coding, b"") == b""


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(TEXT)[:-1]), ("gzip", gzip.compress(TEXT)[:5]), ("gzip", gzip.compress(TEXT)[:100]),
        ("gzip", gzip.compress(TEXT) + gzip.compress(TEXT)[:50]),
        ("deflate", zlib.compress(TEXT)[:-1]), ("deflate", b"\x78"), ("deflate", raw(TEXT)[:-3]),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT)[:-1])),
    ],
    ids=range(8),
)  # fmt: skip
def test_stream_that_ends_early_is_a_partial_transfer(coding: str, body: bytes) -> None:
    assert code_of(coding, body) == "NS_ERROR_NET_PARTIAL_TRANSFER"


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", b"no gzip at all"), ("gzip", gzip.compress(TEXT)[:10] + BROKEN),
        ("gzip", gzip.compress(TEXT)[:-8] + b"wrong CRC and size"), ("deflate", b"\xff\xff\xff\xff"),
        ("deflate", b"\x78\x9c" + BROKEN),
        ("gzip", gzip.compress(TEXT) + gzip.compress(TEXT)[:10] + BROKEN),  # a second member
        ("gzip", gzip.compress(TEXT) + b"\x1f\x8b\x08\xff garbage"),
    ],
    ids=range(7),
)  # fmt: skip
def test_stream_that_is_broken_is_an_invalid_encoding(coding: str, body: bytes) -> None:
    assert code_of(coding, body) == "NS_ERROR_INVALID_CONTENT_ENCODING"


@pytest.mark.parametrize("coding", ["gzip", "deflate", ""])
def test_body_may_be_exactly_as_large_as_the_limit(coding: str) -> None:
    body = {"gzip": gzip.compress(TEXT), "deflate": zlib.compress(TEXT), "": TEXT}[coding]
    assert undo(coding, body, limit=len(TEXT)) == TEXT
    assert code_of(coding, body, limit=len(TEXT) - 1) == "NS_ERROR_FILE_TOO_BIG"


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_bomb_costs_little_more_than_the_limit(layers: int) -> None:
    body = b"\0" * (64 << 20)
    for _ in range(layers):
        body = gzip.compress(body, 6)
    tracemalloc.start()
    began = time.process_time()
    try:
        assert code_of(", ".join(["gzip"] * layers), body) == "NS_ERROR_FILE_TOO_BIG"
        assert tracemalloc.get_traced_memory()[1] < 4 * LIMIT
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 2


def test_inner_layer_is_limited_even_when_nothing_comes_out_of_it() -> None:
    empty = gzip.compress(b"") * (LIMIT // 20 + 1)
    assert code_of("gzip, gzip", gzip.compress(empty)) == "NS_ERROR_FILE_TOO_BIG"


def test_a_hundred_thousand_empty_members_take_no_quadratic_time() -> None:
    began = time.process_time()
    assert undo("gzip", gzip.compress(b"") * 100_000) == b""
    assert time.process_time() - began < 5
