"""What the parent decides about one hop of a load: where it may connect, and where a redirect leads.

Runs in: parent; pure.  Trusts: the caller's URL names what it names; nothing that a server sends.
Flow: (url, named, preferences) → access;  (method, status, Location) → next hop, or the end, or a refusal.
Source: Fetch "HTTP-redirect fetch"; net facts on private addresses; threat list E 103, 104.
"""

from __future__ import annotations

import msgspec

from foxden.errors import LoadError
from foxden.model.addresses import AddressSpace, space_of
from foxden.model.origins import Url, parse_url, resolve

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LOCAL_SPACES = (AddressSpace.PUBLIC, AddressSpace.LOOPBACK, AddressSpace.PRIVATE)
IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_WITH_BODY_HEADERS = frozenset({"content-type", "content-length", "content-encoding", "content-language"})


class Reach(msgspec.Struct, frozen=True):
    """Address spaces and single addresses that one hop may connect to."""

    spaces: tuple[AddressSpace, ...] = (AddressSpace.PUBLIC,)
    addresses: tuple[str, ...] = ()


def reach_of(url: Url, named: Url, private_hosts: tuple[str, ...]) -> Reach:
    """Where a hop to `url` may connect, of a load for which the caller typed `named`.

    A literal address or localhost is reachable when the caller typed it, host and port; a name that merely
    resolves to a private address is not, unless `foxden.network.private-hosts` lists it.
    """
    if url.host in private_hosts:
        return Reach(spaces=_LOCAL_SPACES)
    if not _same_server(url, named):
        return Reach()
    if url.host_is_address:
        # Typed as an address: that one, if there is such a thing as connecting to it.
        usable = space_of(url.host) is not AddressSpace.NEVER
        return Reach(addresses=(url.host,) if usable else ())
    if url.host == "localhost" or url.host.endswith(".localhost"):
        return Reach(spaces=(AddressSpace.PUBLIC, AddressSpace.LOOPBACK))
    return Reach()


def _same_server(url: Url, named: Url) -> bool:
    """The server that the caller typed, or the same host's https on the usual port (an upgrade)."""
    if url.host != named.host:
        return False
    upgraded = (named.scheme, named.port, url.scheme, url.port) == ("http", 80, "https", 443)
    return url.port == named.port or upgraded


class Request(msgspec.Struct, frozen=True):
    """One request, as the parent means to send it."""

    method: str
    url: Url
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def redirect_target(request: Request, status: int, location: str | None) -> Url | None:
    """Where the answer sends us; None when it is no redirect.  Raises LoadError when it may not."""
    if status not in _REDIRECTS or location is None:
        return None
    target = resolve(request.url, location)
    if not target.is_network:
        raise LoadError(
            f"a redirect from {request.url.href} to a {target.scheme} URL is refused",
            code="NS_ERROR_DOM_BAD_URI",
            url=str(target),
        )
    return target if target.fragment else parse_url(target.href + _fragment(request.url))


def _fragment(url: Url) -> str:
    return f"#{url.fragment}" if url.fragment else ""


def redirected(request: Request, status: int, target: Url) -> Request:
    """The request of the next hop: method and body as Fetch says, no credentials to another origin."""
    method, body, headers = request.method, request.body, request.headers
    if (status == 303 and method not in ("GET", "HEAD")) or (status in (301, 302) and method == "POST"):
        method, body = "GET", b""
        headers = tuple((n, v) for n, v in headers if n.lower() not in _WITH_BODY_HEADERS)
    origin = (request.url.scheme, request.url.host, request.url.port)
    if origin != (target.scheme, target.host, target.port):
        headers = tuple((n, v) for n, v in headers if n.lower() not in ("authorization", "cookie", "host"))
    return Request(method, target, headers, body)
