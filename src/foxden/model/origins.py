"""URLs in one canonical form, and the site that a page belongs to.

Runs in: parent (decisions), content process (links); pure.  Trusts: nothing of the text.
Flow: text → parse_url → Url → access, process choice, redirects; what is dialled is what was parsed here.
Source: WHATWG URL (special schemes, host parser); RFC 3986 for references.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote, unquote, urljoin, urlsplit

import msgspec

from foxden.errors import LoadError
from foxden.model.addresses import canonical_host, parse_host
from foxden.model.ports import DEFAULT_PORTS

_MAX_LENGTH = 32_768
_STRIPPED = {0x09: None, 0x0A: None, 0x0D: None}  # WHATWG: tab and newlines vanish wherever they stand
_PATH_SAFE = "/%:@!$&'()*+,;=-._~[]|\\^`{}"
_QUERY_SAFE = _PATH_SAFE + "?"


class Url(msgspec.Struct, frozen=True):
    """A URL that was understood.  `host` is lower-case ASCII without brackets; `port` is never 0 for http(s)."""

    scheme: str
    host: str
    port: int
    path: str  # with query, always starting with a slash; for file: the percent-encoded path
    fragment: str = ""
    host_is_address: bool = False

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"

    @property
    def href(self) -> str:
        """The whole URL without its fragment: what is asked for."""
        if self.scheme == "file":
            return f"file://{self.path}"
        return f"{self.scheme}://{self.authority}{self.path}"

    def __str__(self) -> str:
        return self.href + (f"#{self.fragment}" if self.fragment else "")

    @property
    def site(self) -> str:
        """What shares a process: scheme and host.  Without a public suffix list the host is the site, which
        separates more than a browser does and never less."""
        return "file" if self.scheme == "file" else f"{self.scheme}://{self.host}"

    @property
    def is_network(self) -> bool:
        return self.scheme in DEFAULT_PORTS


def _malformed(text: str, why: str) -> LoadError:
    shown = text if len(text) <= 120 else text[:117] + "..."
    return LoadError(f"expected a URL, got {shown!r}: {why}", code="NS_ERROR_MALFORMED_URI", url=shown)


@lru_cache(maxsize=1024)
def parse_url(text: str) -> Url:
    """Raises LoadError: NS_ERROR_MALFORMED_URI, NS_ERROR_UNKNOWN_PROTOCOL."""
    cleaned = text.translate(_STRIPPED).strip("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f\x1b \x7f")
    if len(cleaned) > _MAX_LENGTH:
        raise _malformed(text, f"longer than {_MAX_LENGTH} characters")
    if re.search(r"[\x00-\x1f\x7f]", cleaned):
        raise _malformed(text, "it has control characters")
    scheme = _scheme_of(cleaned)
    if scheme == "file":
        return _parse_file(cleaned, text)
    if scheme in DEFAULT_PORTS:
        return _parse_network(cleaned, scheme, text)
    raise LoadError(
        f"expected http, https or file, got the scheme {scheme!r}" if scheme else f"expected a URL, got {cleaned!r}",
        code="NS_ERROR_UNKNOWN_PROTOCOL" if scheme else "NS_ERROR_MALFORMED_URI",
        url=cleaned[:120],
        hint="" if scheme else f"did you mean https://{cleaned[:80]} ?",
    )


def _scheme_of(text: str) -> str:
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]*):", text)
    # `localhost:8000/x` names a host, not a scheme.
    if found is None or re.match(r"[^/]*:\d+(/|$)", text):
        return ""
    return found[1].lower()


def _parse_network(text: str, scheme: str, given: str) -> Url:
    # A backslash is a slash in special URLs; urlsplit alone would take `http://a\@b/` for host b.
    head, mark, query = text.partition("?")
    head_path, hash_mark, head_fragment = head.partition("#")
    normal = head_path.replace("\\", "/") + hash_mark + head_fragment + mark + query
    try:
        parts = urlsplit(re.sub(r"^([A-Za-z]+):/*", r"\1://", normal))
        port = parts.port
    except ValueError as error:
        raise _malformed(given, str(error)) from None
    if "@" in parts.netloc:
        raise LoadError(
            "expected a URL without a name and password in it",
            code="NS_ERROR_MALFORMED_URI",
            hint="send them as a header: -H 'Authorization: Basic …'",
        )
    if port == 0:
        raise _malformed(given, "port 0")
    path = quote(_drop_dots(parts.path or "/"), safe=_PATH_SAFE)
    query_text = "?" + quote(parts.query, safe=_QUERY_SAFE) if parts.query or "?" in normal.split("#")[0] else ""
    host = _parse_host(parts.hostname, given)
    is_address = parse_host(host) is not None
    return Url(scheme, host, port or DEFAULT_PORTS[scheme], path + query_text, parts.fragment, is_address)


def _parse_host(host: str | None, given: str) -> str:
    if not host:
        raise _malformed(given, "it names no host")
    host = unquote(host)
    try:
        return canonical_host(host if host.isascii() else _to_ascii(host, given))
    except ValueError as error:
        raise _malformed(given, str(error)) from None


def _to_ascii(host: str, given: str) -> str:
    import idna  # only for names that are not ASCII: its tables are large

    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise _malformed(given, str(error)) from None


def _parse_file(text: str, given: str) -> Url:
    rest = text[len("file:") :]
    host = ""
    if rest.startswith("//"):
        host, _, rest = rest[2:].partition("/")
        rest = "/" + rest
    if host.lower() not in ("", "localhost"):
        raise _malformed(given, f"a file on the host {host!r}: expected file:///path")
    path, _, fragment = rest.partition("#")
    path = path.partition("?")[0]
    if not path.startswith("/") or "\x00" in unquote(path):
        raise _malformed(given, "expected an absolute path: file:///path")
    return Url("file", "", 0, quote(_drop_dots(unquote(path)), safe="/:@!$&'()*+,;=-._~"), fragment)


def _drop_dots(path: str) -> str:
    """`/a/../b/./c` → `/b/c`; never above the root."""
    kept: list[str] = []
    parts = path.split("/")
    for place, part in enumerate(parts):
        plain = part.lower().replace("%2e", ".")
        if plain == "..":
            kept = kept[:-1] if len(kept) > 1 else kept
        elif plain != ".":
            kept.append(part)
            continue
        if place == len(parts) - 1:
            kept.append("")
    joined = "/".join(kept)
    return joined if joined.startswith("/") else "/" + joined


def resolve(base: Url, reference: str) -> Url:
    """The URL that `reference` (a Location header, a link) means on a page at `base`.  Raises LoadError."""
    text = reference.translate(_STRIPPED).strip()
    absolute = re.match(r"[A-Za-z][A-Za-z0-9+.-]*:[/\\]{2}", text)  # urljoin would take `http://` for "here"
    return parse_url(text if absolute else urljoin(base.href, text))


def file_path(url: Url) -> str:
    """The path of a file URL."""
    return unquote(url.path)


def url_of_path(path: str) -> Url:
    """The URL of an absolute path."""
    return Url("file", "", 0, quote(path, safe="/:@!$&'()*+,;=-._~"))
