"""Where the socket process connects to: spaces, named addresses, bad ports, rebinding, connections used again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from tests.support.pki import Pki
from tests.support.servers import ScriptedServer, answering, free_port
from tests.unit.children.socket.harness import LOOPBACK, PUBLIC, Loaded, running

from foxden.model.addresses import AddressSpace
from foxden.protocols.network import Access

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
DENIED = "NS_ERROR_LOCAL_NETWORK_ACCESS_DENIED"


def load(pki: Pki, url: str, access: Access, query: Callable[[str], tuple[str, ...]] | None = None) -> Loaded:
    async def go() -> Loaded:
        async with running(pki.authority_file, query=query or (lambda host: ())) as net:
            return await net.load(url, access=access)

    return asyncio.run(go())


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "app.localhost", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.0.0.1.",
     "[::ffff:127.0.0.1]", "LOCALHOST", "%6cocalhost", "%31%32%37.0.0.1"],
)  # fmt: skip
def test_loopback_is_refused_in_every_spelling_and_reached_when_granted(pki: Pki, host: str) -> None:
    with ScriptedServer(answering(OK)) as server:
        refused = load(pki, f"http://{host}:{server.port}/", PUBLIC)
        assert server.connections == 0
        granted = load(pki, f"http://{host}:{server.port}/", LOOPBACK)
    assert (refused.start, refused.code) == (None, DENIED)
    assert granted.code == "NS_OK", granted.stop


def test_named_address_is_reached_whatever_its_space(pki: Pki) -> None:
    with ScriptedServer(answering(OK)) as server:
        named = load(pki, f"http://localhost:{server.port}/", Access(addresses=("127.0.0.1",)))
        other = load(pki, f"http://localhost:{server.port}/", Access(addresses=("127.0.0.2",)))
    assert (named.code, other.code) == ("NS_OK", DENIED)


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "192.168.1.1", "169.254.169.254", "fd00:ec2::254", "64:ff9b::7f00:1", "2002:7f00:1::", "0.0.0.0",
     "::", "100.64.0.1", "fe80::1%lo", "224.0.0.1"],
)  # fmt: skip
def test_allowed_name_that_leads_inside_is_refused(pki: Pki, address: str) -> None:
    assert load(pki, "http://evil.example:8080/", PUBLIC, lambda host: (address,)).code == DENIED


def test_only_the_allowed_addresses_of_a_name_are_dialled(pki: Pki) -> None:
    """127.0.0.1 is refused and listens; 127.0.0.2 is named, and does not."""
    with ScriptedServer(answering(OK)) as server:
        access = Access(addresses=("127.0.0.2",))
        loaded = load(pki, f"http://two.example:{server.port}/", access, lambda host: ("127.0.0.1", "127.0.0.2"))
        assert server.connections == 0
    assert loaded.code == "NS_ERROR_CONNECTION_REFUSED"


def test_name_that_is_rebound_is_dialled_where_it_was_judged(pki: Pki) -> None:
    """The resolver's second answer is a forbidden address.  Without a cache each load is judged on its own answer."""
    answers = iter([("127.0.0.2",), ("127.0.0.1",), ("127.0.0.2",)])
    access = Access(addresses=("127.0.0.2",))

    async def go(port: int) -> list[Loaded]:
        async with running(pki.authority_file, query=lambda host: next(answers), dns_cache_s=0.0) as net:
            return [await net.load(f"http://rebind.example:{port}/", access=access) for _ in range(3)]

    with ScriptedServer(answering(OK)) as server:
        first, second, third = asyncio.run(go(server.port))
        assert server.connections == 0
    assert first.code == third.code == "NS_ERROR_CONNECTION_REFUSED"
    assert second.code == DENIED


def test_connection_of_a_wider_grant_is_not_used_by_a_narrower_one(pki: Pki) -> None:
    """A wide load leaves a connection to 127.0.0.1 in the pool.  For the narrow one the name is 127.0.0.2."""
    answers = {"now": ("127.0.0.1",)}
    narrow = Access(addresses=("127.0.0.2",))

    async def go(port: int) -> list[Loaded]:
        async with running(pki.authority_file, query=lambda host: answers["now"], dns_cache_s=0.0) as net:
            wide = [await net.load(f"http://shared.example:{port}/{n}", access=LOOPBACK) for n in (1, 2)]
            answers["now"] = ("127.0.0.2",)
            return [*wide, await net.load(f"http://shared.example:{port}/3", access=narrow)]

    seen: list[bytes] = []

    def handler(connection: object) -> None:
        while head := connection.recv(65536):  # type: ignore[attr-defined]
            seen.append(head.split(b" ")[1])
            connection.sendall(OK)  # type: ignore[attr-defined]

    with ScriptedServer(handler) as server:
        wide, again, refused = asyncio.run(go(server.port))
        assert server.connections == 1, "the second load shows that the pool is used"
    assert (wide.code, again.code) == ("NS_OK", "NS_OK")
    assert refused.code == "NS_ERROR_CONNECTION_REFUSED"  # dialled 127.0.0.2, where nobody listens
    assert seen == [b"/1", b"/2"]


def test_narrow_load_gets_a_connection_of_its_own_beside_a_pooled_one(pki: Pki) -> None:
    answers = {"now": ("127.0.0.1",)}

    async def go(port: int) -> tuple[Loaded, Loaded]:
        async with running(pki.authority_file, query=lambda host: answers["now"], dns_cache_s=0.0) as net:
            wide = await net.load(f"http://shared.example:{port}/", access=LOOPBACK)
            answers["now"] = ("127.0.0.2",)
            return wide, await net.load(f"http://shared.example:{port}/", access=Access(addresses=("127.0.0.2",)))

    with ScriptedServer(answering(OK, OK)) as first, _second_listener(first.port) as second:
        wide, narrow = asyncio.run(go(first.port))
        assert (first.connections, second.connections) == (1, 1)
    assert (wide.code, narrow.code) == ("NS_OK", "NS_OK")
    assert narrow.start is not None
    assert narrow.start.remote == "127.0.0.2"


def _second_listener(port: int) -> ScriptedServer:
    """A server on the same port of 127.0.0.2."""

    class Second(ScriptedServer):
        def __enter__(self) -> Second:
            self._listener.bind(("127.0.0.2", port))
            self._listener.listen(64)
            self.port = port
            self._start_thread("accept", self._accept)
            return self

    return Second(answering(OK))


def test_loads_with_different_grants_at_the_same_moment_do_not_mix(pki: Pki) -> None:
    """libcurl holds one answer per name and port; each load must still go only where it may."""
    answers = ("127.0.0.1", "127.0.0.2")

    async def go(port: int) -> list[Loaded]:
        async with running(pki.authority_file, query=lambda host: answers, max_connections_per_host=2) as net:
            accesses = [LOOPBACK if n % 2 else Access(addresses=("127.0.0.2",)) for n in range(40)]
            begun = [net.begin(f"http://mixed.example:{port}/{n}", access=access) for n, access in enumerate(accesses)]
            return list(await asyncio.gather(*(net.finish(transaction) for transaction in begun)))

    with ScriptedServer(answering(OK, OK, OK)) as first, _second_listener(first.port):
        loaded = asyncio.run(go(first.port))
    assert [one.code for one in loaded] == ["NS_OK"] * 40
    narrow = {one.start.remote for one in loaded[::2] if one.start}
    assert narrow == {"127.0.0.2"}


def test_unknown_host_has_its_own_name(pki: Pki) -> None:
    assert load(pki, "http://nowhere.example/", PUBLIC).code == "NS_ERROR_UNKNOWN_HOST"


def test_second_address_is_tried_when_the_first_refuses(pki: Pki) -> None:
    with ScriptedServer(answering(OK)) as server:
        answer = ("127.0.0.3", "::1", "127.0.0.1")
        loaded = load(pki, f"http://three.example:{server.port}/", LOOPBACK, lambda host: answer)
    assert loaded.code == "NS_OK"
    assert loaded.start is not None
    assert loaded.start.remote == "127.0.0.1"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://127.0.0.1:22/", "NS_ERROR_PORT_ACCESS_NOT_ALLOWED"),
        ("http://127.0.0.1:6667/", "NS_ERROR_PORT_ACCESS_NOT_ALLOWED"),
        ("http://127.0.0.1:0/", "NS_ERROR_PORT_ACCESS_NOT_ALLOWED"),
        ("http://127.0.0.1:65536/", "NS_ERROR_PORT_ACCESS_NOT_ALLOWED"),
        ("ftp://127.0.0.1/", "NS_ERROR_UNKNOWN_PROTOCOL"),
        ("file:///etc/passwd", "NS_ERROR_UNKNOWN_PROTOCOL"),
        ("gopher://127.0.0.1:70/", "NS_ERROR_UNKNOWN_PROTOCOL"),
        ("http://user:secret@127.0.0.1/", "NS_ERROR_MALFORMED_URI"),
        ("http://ok.test:443@127.0.0.1/", "NS_ERROR_MALFORMED_URI"),
        ("http://127.0.0.1\\@ok.test/", "NS_ERROR_MALFORMED_URI"),
        ("http:///path", "NS_ERROR_MALFORMED_URI"),
        ("http://[fe80::1%25lo]/", "NS_ERROR_MALFORMED_URI"),
        ("nonsense", "NS_ERROR_MALFORMED_URI"),
    ],
)
def test_url_that_must_not_be_loaded_is_refused_before_any_look_up(pki: Pki, url: str, code: str) -> None:
    def query(host: str) -> tuple[str, ...]:
        raise AssertionError(host)

    loaded = load(pki, url, LOOPBACK, query)
    assert (loaded.start, loaded.code) == (None, code)


@pytest.mark.parametrize(
    ("headers", "method"),
    [
        ((("Host", "other.example"),), "GET"),
        ((("Host", "a"), ("Host", "b")), "GET"),
        ((("Content-Length", "5"),), "GET"),
        ((("Transfer-Encoding", "chunked"),), "POST"),
        ((("Connection", "upgrade"),), "GET"),
        ((), "CONNECT"),
        ((), "TRACE"),
    ],
)
def test_request_that_would_change_its_framing_is_refused(
    pki: Pki, headers: tuple[tuple[str, str], ...], method: str
) -> None:
    async def go() -> Loaded:
        async with running(pki.authority_file) as net:
            return await net.load(f"http://127.0.0.1:{free_port()}/", headers=headers, method=method)

    assert asyncio.run(go()).code == "NS_ERROR_ILLEGAL_VALUE"


def test_private_space_is_not_loopback(pki: Pki) -> None:
    with ScriptedServer(answering(OK)) as server:
        access = Access(spaces=(AddressSpace.PUBLIC, AddressSpace.PRIVATE, AddressSpace.LINK_LOCAL))
        assert load(pki, f"http://localhost:{server.port}/", access).code == DENIED
        assert server.connections == 0
