"""What a finished fetch gives its caller."""

from __future__ import annotations

import pytest

from foxden import Reply


def reply(body: bytes) -> Reply:
    headers = (("Content-Type", "application/json"), ("X-Twice", "first"), ("x-twice", "second"))
    return Reply(
        url="http://a.example/", status=200, http_version="1.1", headers=headers, body=body, received_bytes=len(body),
        redirects=(), remote="192.0.2.1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "pieces"), [(1, [b"a", b"b", b"c"]), (2, [b"ab", b"c"]), (3, [b"abc"]), (9, [b"abc"])]
)
def test_body_comes_in_pieces_of_the_size_asked_for(size: int, pieces: list[bytes]) -> None:
    assert list(reply(b"abc").iter_bytes(size)) == pieces


def test_empty_body_has_no_pieces() -> None:
    assert list(reply(b"").iter_bytes()) == []


def test_header_is_found_in_any_case_and_the_first_one_counts() -> None:
    assert reply(b"").header("content-TYPE") == "application/json"
    assert reply(b"").header("X-Twice") == "first"
    assert reply(b"").header("X-None") is None


def test_body_as_json_and_a_body_that_is_none() -> None:
    assert reply(b'{"a": [1, 2]}').json() == {"a": [1, 2]}
    with pytest.raises(ValueError, match="Expecting value"):
        reply(b"<html>").json()
