"""One hop: where it may connect, and where a redirect leads."""

from __future__ import annotations

import pytest

from foxden.errors import LoadError
from foxden.model.addresses import AddressSpace
from foxden.model.hops import Reach, Request, reach_of, redirect_target, redirected
from foxden.model.origins import parse_url

PUBLIC = Reach()
LOOPBACK = Reach(spaces=(AddressSpace.PUBLIC, AddressSpace.LOOPBACK))


def address(text: str) -> Reach:
    return Reach(addresses=(text,))


@pytest.mark.parametrize(
    ("url", "named", "reach"),
    [
        ("http://a.example/", "http://a.example/", PUBLIC),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/", address("127.0.0.1")),
        ("http://127.0.0.1:8000/x", "http://127.0.0.1:8000/", address("127.0.0.1")),
        ("http://10.1.2.3/", "http://10.1.2.3/", address("10.1.2.3")),
        ("http://[::1]/", "http://[::1]/", address("::1")),
        ("http://localhost:8000/", "http://localhost:8000/", LOOPBACK),
        ("http://x.localhost/", "http://x.localhost/", LOOPBACK),
        ("https://127.0.0.1/", "http://127.0.0.1/", address("127.0.0.1")),  # an upgrade of the named server
        # what a redirect or a page may not:
        ("http://127.0.0.1:8000/", "http://a.example/", PUBLIC),
        ("http://127.0.0.1:9000/", "http://127.0.0.1:8000/", PUBLIC),
        ("http://127.0.0.2:8000/", "http://127.0.0.1:8000/", PUBLIC),
        ("http://localhost:8000/", "http://127.0.0.1:8000/", PUBLIC),
        ("http://169.254.169.254/", "http://a.example/", PUBLIC),
        # a name is not an address, even when it was typed: it may resolve to anything
        ("http://intranet.example/", "http://intranet.example/", PUBLIC),
        # there is no such thing as connecting to these
        ("http://0.0.0.0/", "http://0.0.0.0/", Reach()),
        ("http://255.255.255.255/", "http://255.255.255.255/", Reach()),
    ],
)
def test_reach_of_a_hop(url: str, named: str, reach: Reach) -> None:
    assert reach_of(parse_url(url), parse_url(named), ()) == reach


def test_host_of_the_preference_may_be_private_and_loopback_and_never_link_local() -> None:
    reach = reach_of(parse_url("http://intranet.example/"), parse_url("http://a.example/"), ("intranet.example",))
    assert set(reach.spaces) == {AddressSpace.PUBLIC, AddressSpace.PRIVATE, AddressSpace.LOOPBACK}


GET = Request("GET", parse_url("http://a.example/x#f"))


@pytest.mark.parametrize(
    ("status", "location", "target"),
    [
        (200, "/y", None),
        (300, "/y", None),
        (304, "/y", None),
        (302, None, None),
        (302, "/y", "http://a.example/y#f"),
        (301, "https://b.example/", "https://b.example/#f"),
        (307, "y#other", "http://a.example/y#other"),
        (303, "?q", "http://a.example/x?q#f"),
    ],
)
def test_redirect_leads_where_its_location_says(status: int, location: str | None, target: str | None) -> None:
    found = redirect_target(GET, status, location)
    assert (str(found) if found else None) == target


@pytest.mark.parametrize("location", ["file:///etc/passwd", "javascript:x", "http://u:p@b.example/", "http://"])
def test_redirect_to_what_is_no_page_is_refused(location: str) -> None:
    with pytest.raises(LoadError):
        redirect_target(GET, 302, location)


POST = Request(
    "POST",
    parse_url("http://a.example/form"),
    (("Content-Type", "text/plain"), ("X-Mine", "1"), ("Authorization", "Basic x"), ("Cookie", "c=1")),
    b"body",
)


@pytest.mark.parametrize(("status", "method", "body"), [
    (301, "GET", b""), (302, "GET", b""), (303, "GET", b""), (307, "POST", b"body"), (308, "POST", b"body"),
])  # fmt: skip
def test_method_and_body_after_a_redirect(status: int, method: str, body: bytes) -> None:
    made = redirected(POST, status, parse_url("http://a.example/there"))
    assert (made.method, made.body) == (method, body)
    assert ("Content-Type" in dict(made.headers)) == bool(body)
    assert dict(made.headers)["Authorization"] == "Basic x", "the same origin keeps its credentials"


@pytest.mark.parametrize("target", ["https://a.example/", "http://b.example/", "http://a.example:81/"])
def test_credentials_do_not_go_to_another_origin(target: str) -> None:
    made = redirected(POST, 307, parse_url(target))
    assert [name for name, _ in made.headers] == ["Content-Type", "X-Mine"]
