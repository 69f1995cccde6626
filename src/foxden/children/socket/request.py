"""What libcurl is told for one request: values in, options out.

Runs in: socket process; pure.  Trusts: the parent's words in their types; still reads every URL in one way only.
Flow: PHttpTransaction.Construct → `build_request` → Request → engine.prepare → libcurl.
Source: RFC 9110 (methods, Host), RFC 9112 (framing); WHATWG Fetch "forbidden method", "forbidden request-header".
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from foxden.model.addresses import canonical_host, parse_host
from foxden.model.ports import DEFAULT_PORTS, is_bad_port
from foxden.protocols.network import PHttpTransaction


class RequestRefused(Exception):
    """This process does not send such a request.  `code`: a name of model/network_errors."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Target(msgspec.Struct, frozen=True):
    """Where a URL leads."""

    scheme: str
    host: str  # canonical: an address without brackets, or a name in lower case
    port: int
    is_address: bool
    path: str  # path and query as they were given; no fragment

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """What stands in Host: the port only if it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class Request(msgspec.Struct, frozen=True):
    target: Target
    method: str
    headers: list[bytes]  # lines in libcurl's notation: `Name: value`, `Name;` for an empty value, `Name:` for none
    body: bytes | None


_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^\[\]:]*)(?::([0-9]{0,5}))?\Z")
_NOT_IN_URL = re.compile(r"[^\x21-\x7e]|\\")  # spaces, controls, and the backslash that some read as a slash

_FORBIDDEN_METHODS = frozenset({"CONNECT", "TRACE", "TRACK"})
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
# They frame the message or belong to the connection, which this process alone knows.
_CONNECTION_HEADERS = frozenset(
    {"connection", "expect", "http2-settings", "keep-alive", "proxy-authorization", "proxy-connection", "te",
     "trailer", "transfer-encoding", "upgrade"}
)  # fmt: skip


@lru_cache(maxsize=1024)
def parse_target(url: str) -> Target:
    """Return where `url` leads.  Raises RequestRefused: another scheme, a bad port, or more than one reading."""
    found = _URL.match(url)
    if found is None or _NOT_IN_URL.search(url):
        raise RequestRefused("NS_ERROR_MALFORMED_URI", "expected scheme://host/path in ASCII, without spaces")
    scheme, authority, rest = found[1].lower(), found[2], found[3]
    if scheme not in DEFAULT_PORTS:
        raise RequestRefused("NS_ERROR_UNKNOWN_PROTOCOL", f"expected http or https, got {scheme[:32]}")
    host, port = _parse_authority(authority, DEFAULT_PORTS[scheme])
    if is_bad_port(port):
        raise RequestRefused("NS_ERROR_PORT_ACCESS_NOT_ALLOWED", f"port {port}")
    return Target(scheme, host, port, parse_host(host) is not None, rest if rest.startswith("/") else f"/{rest}")


def _parse_authority(authority: str, default_port: int) -> tuple[str, int]:
    if "@" in authority:
        raise RequestRefused("NS_ERROR_MALFORMED_URI", "expected no user name or password in the URL")
    found = _AUTHORITY.match(authority)
    if found is None:
        raise RequestRefused("NS_ERROR_MALFORMED_URI", "expected host or host:port")
    try:
        host = canonical_host(found[1])
    except ValueError as error:
        raise RequestRefused("NS_ERROR_MALFORMED_URI", str(error)) from None
    return host, int(found[2]) if found[2] else default_port


def build_request(message: PHttpTransaction.Construct, body: bytes | None) -> Request:
    """Return what is to be sent.  Raises RequestRefused."""
    target = parse_target(message.url)
    method = message.method
    if method in _FORBIDDEN_METHODS:
        raise RequestRefused("NS_ERROR_ILLEGAL_VALUE", f"method {method}")
    if body is None and method in _METHODS_WITH_BODY:
        body = b""
    if body is not None and method == "HEAD":
        raise RequestRefused("NS_ERROR_ILLEGAL_VALUE", "HEAD with a body")
    return Request(target, method, _header_lines(message.headers, target, len(body or b"")), body)


def _header_lines(headers: tuple[tuple[str, str], ...], target: Target, body_size: int) -> list[bytes]:
    lines, names = [], set()
    for name, value in headers:
        lower = name.lower()
        names.add(lower)
        if lower in _CONNECTION_HEADERS:
            raise RequestRefused("NS_ERROR_ILLEGAL_VALUE", f"header {name}: the socket process makes it")
        if lower == "host" or lower == "content-length":
            _check_own_header(lower, value, target, body_size)
            continue  # libcurl writes it
        value = value.strip(" \t")
        try:
            lines.append((f"{name}: {value}" if value else f"{name};").encode("latin-1"))
        except UnicodeEncodeError:
            raise RequestRefused("NS_ERROR_ILLEGAL_VALUE", f"header {name}: expected Latin-1") from None
    lines.append(b"Expect:")
    if "accept" not in names:
        lines.append(b"Accept:")
    if "user-agent" not in names:
        lines.append(b"User-Agent:")
    return lines


def _check_own_header(name: str, value: str, target: Target, body_size: int) -> None:
    """A header that follows from the rest may be given, and then must say the same."""
    expected = target.authority if name == "host" else str(body_size)
    if value.strip(" \t").lower() != expected:
        raise RequestRefused("NS_ERROR_ILLEGAL_VALUE", f"header {name}: expected {expected}, as the rest says")
