"""What libcurl is told for a request, and which requests are never sent."""

from __future__ import annotations

import pytest

from foxden.children.socket.request import Request, RequestRefused, build_request, parse_target
from foxden.protocols.network import Access, PHttpTransaction


def build(url: str = "http://a.example/", method: str = "GET", body: bytes | None = None, **headers: str) -> Request:
    given = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    message = PHttpTransaction.Construct(channel_id=1, method=method, url=url, headers=given, access=Access())
    return build_request(message, body)


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("http://a.example", "http://a.example", "/"),
        ("HTTP://A.Example:80/x", "http://a.example", "/x"),
        ("https://a.example:443/x?y#z", "https://a.example", "/x?y"),
        ("https://a.example:8443?q", "https://a.example:8443", "/?q"),
        ("http://127.1:8080/../a/./%2e", "http://127.0.0.1:8080", "/../a/./%2e"),
        ("http://[::1]:8080/", "http://[::1]:8080", "/"),
        ("http://[::1]/", "http://[::1]", "/"),
        ("http://a.example:/", "http://a.example", "/"),
        ("http://a.example./", "http://a.example", "/"),
    ],
)
def test_url_has_one_reading(url: str, origin: str, path: str) -> None:
    target = parse_target(url)
    assert (target.origin, target.path) == (origin, path)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("a.example/", "NS_ERROR_MALFORMED_URI"),
        ("http:/a.example/", "NS_ERROR_MALFORMED_URI"),
        ("http://a.example:x/", "NS_ERROR_MALFORMED_URI"),
        ("http://a.example:123456/", "NS_ERROR_MALFORMED_URI"),
        ("http://a@b/", "NS_ERROR_MALFORMED_URI"),
        ("http://a:b@c/", "NS_ERROR_MALFORMED_URI"),
        ("http://a.example/a b", "NS_ERROR_MALFORMED_URI"),
        ("http://a.example/\r\nX: y", "NS_ERROR_MALFORMED_URI"),
        ("http://a.example/\u00e9", "NS_ERROR_MALFORMED_URI"),
        ("http://a.example\\b/", "NS_ERROR_MALFORMED_URI"),
        ("http://[::1/", "NS_ERROR_MALFORMED_URI"),
        ("http://::1/", "NS_ERROR_MALFORMED_URI"),
        ("http://1.2.3.4.5/", "NS_ERROR_MALFORMED_URI"),
        ("javascript://a.example/", "NS_ERROR_UNKNOWN_PROTOCOL"),
        ("ws://a.example/", "NS_ERROR_UNKNOWN_PROTOCOL"),
        ("https://a.example:25/", "NS_ERROR_PORT_ACCESS_NOT_ALLOWED"),
    ],
)
def test_url_with_another_reading_or_place_is_refused(url: str, code: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        parse_target(url)
    assert caught.value.code == code


def test_headers_become_libcurls_lines_and_its_own_are_suppressed() -> None:
    lines = build(Accept="a", X_Empty=" ", X_Latin="\xe9").headers
    assert lines == [b"Accept: a", b"X-Empty;", b"X-Latin: \xe9", b"Expect:", b"User-Agent:"]


def test_host_and_length_may_be_said_only_as_they_are() -> None:
    assert build("http://a.example:81/", Host="A.example:81").headers == build("http://a.example:81/").headers
    assert build(method="POST", body=b"xy", Content_Length="2").body == b"xy"


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", {"Host": "b.example"}),
        ("GET", {"Content-Length": "1"}),
        ("POST", {"Transfer-Encoding": "chunked"}),
        ("GET", {"Connection": "close"}),
        ("GET", {"Upgrade": "h2c"}),
        ("GET", {"Proxy-Authorization": "x"}),
        ("GET", {"X-A": "\u20ac"}),
        ("CONNECT", {}),
        ("TRACK", {}),
    ],
)
def test_request_with_a_framing_of_its_own_is_refused(method: str, headers: dict[str, str]) -> None:
    with pytest.raises(RequestRefused) as caught:
        build(method=method, **{name.replace("-", "_"): value for name, value in headers.items()})
    assert caught.value.code == "NS_ERROR_ILLEGAL_VALUE"


def test_head_has_no_body_and_post_always_has_one() -> None:
    with pytest.raises(RequestRefused):
        build(method="HEAD", body=b"x")
    assert build(method="POST").body == b""
    assert build(method="DELETE").body is None
