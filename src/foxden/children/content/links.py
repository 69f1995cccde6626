"""The links of a page: references resolved as a browser does, each once, in the order of the page.

Runs in: content child; pure.  Trusts: nothing; whoever follows a link parses it again.
Flow: base URL + href → `Base.resolve` → absolute URL or None; tree → `page_links` → tuple of Link.
Source: WHATWG URL, basic URL parser; WHATWG HTML, "The base element".
"""

from __future__ import annotations

import re
from urllib.parse import quote

from selectolax.lexbor import LexborHTMLParser, LexborNode

from foxden.model.page import MAX_HREF, MAX_LINK_TEXT, MAX_LINKS, Link

_DEFAULT_PORTS = {"http": 80, "https": 443, "ftp": 21, "ws": 80, "wss": 443, "file": 0}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_EDGES = "".join(map(chr, range(0x21)))  # C0 controls and space are stripped from both ends
_NEWLINES = {0x09: None, 0x0A: None, 0x0D: None}  # and these vanish wherever they stand
_FORBIDDEN_IN_HOST = re.compile(r"[\x00-\x20\x7f#/<>?@\\^|%]")
_IPV6 = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]")
_PORT = re.compile(r"[0-9]{0,5}")
_NOT_FOLLOWED = frozenset({"javascript", "vbscript"})
_PATH_SAFE = "/%:@!$&'()*+,;=-._~[]|\\^"
_QUERY_SAFE = _PATH_SAFE + "?`{}"
# How much of the tree inside one link is looked at for its text: links can stand in links in links.
_NODES_PER_LINK = 200
_SPACES = re.compile(r"[\t\n\f\r ]+")


class Base:
    """A URL that references are resolved against.  One that is not hierarchical resolves absolute references only."""

    __slots__ = ("_directory", "_path", "_prefix", "_query", "_scheme")

    def __init__(self, url: str) -> None:
        scheme, colon, rest = url.partition(":")
        self._scheme = scheme.lower() if colon and rest.startswith("//") else ""
        authority, slash, tail = rest[2:].partition("/")
        tail, _, _ = (slash + tail).partition("#")
        path, mark, query = tail.partition("?")
        self._prefix = f"{self._scheme}://{authority}"
        self._path = path or "/"
        self._query = mark + query
        self._directory = self._path[: self._path.rfind("/") + 1]

    def resolve(self, reference: str) -> str | None:
        """The absolute URL that `reference` means here, percent-encoded; None when it means none.  Raises: nothing."""
        text = reference.strip(_EDGES).translate(_NEWLINES)
        found = _SCHEME.match(text)
        if found is None:
            return self._resolve_relative(text) if self._scheme else None
        scheme = found[1].lower()
        rest = text[found.end() :]
        if scheme not in _DEFAULT_PORTS:
            return f"{scheme}:{quote(rest, safe=_QUERY_SAFE + '#')}" if rest else None
        if scheme == self._scheme and not rest.replace("\\", "/").startswith("//"):
            return self._resolve_relative(rest)
        return _absolute(scheme, rest)

    def _resolve_relative(self, text: str) -> str | None:
        body, hash_mark, fragment = text.partition("#")
        tail = _percent(hash_mark + fragment, _QUERY_SAFE + "#")
        path, mark, query = body.partition("?")
        if self._scheme in _DEFAULT_PORTS:
            path = path.replace("\\", "/")
        if path.startswith("//"):
            absolute = _absolute(self._scheme, path + mark + query)
            return absolute + tail if absolute else None
        if not path:
            own = _percent(mark + query, _QUERY_SAFE) if mark else self._query
            return self._prefix + self._path + own + tail
        merged = path if path.startswith("/") else self._directory + path
        return self._prefix + _percent(_without_dots(merged), _PATH_SAFE) + _percent(mark + query, _QUERY_SAFE) + tail


def _absolute(scheme: str, rest: str) -> str | None:
    """A URL of a special scheme, from what follows its colon: any number of slashes, either way they lean."""
    body, hash_mark, fragment = rest.partition("#")
    location, mark, query = body.partition("?")
    location = location.replace("\\", "/")
    if scheme != "file":
        authority, slash, path = location.lstrip("/").partition("/")
    elif location.startswith("//"):  # a third slash is an empty host and the root
        authority, slash, path = location[2:].partition("/")
    else:
        authority, slash, path = "", "/", location.removeprefix("/")
    path = slash + path
    host = _authority(scheme, authority)
    if host is None:
        return None
    return (
        f"{scheme}://{host}{_percent(_without_dots(path or '/'), _PATH_SAFE)}"
        f"{_percent(mark + query, _QUERY_SAFE)}{_percent(hash_mark + fragment, _QUERY_SAFE + '#')}"
    )


def _authority(scheme: str, text: str) -> str | None:
    """`user@HOST:port` in one spelling; None when no host can be meant."""
    user, at, place = text.rpartition("@")
    literal = _IPV6.match(place)
    host = literal[0] if literal else place.partition(":")[0]
    colon, port = place[len(host) : len(host) + 1], place[len(host) + 1 :]
    if (colon and colon != ":") or not _PORT.fullmatch(port) or int(port or 0) > 65535:
        return None
    if not literal and (_FORBIDDEN_IN_HOST.search(host) or "[" in host or "]" in host):
        return None
    if not host and scheme != "file":
        return None
    shown_port = f":{int(port)}" if port and int(port) != _DEFAULT_PORTS[scheme] else ""
    return f"{_percent(user, _PATH_SAFE)}{at}{host.lower()}{shown_port}"


def _percent(text: str, safe: str) -> str:
    return quote(text, safe=safe, errors="replace") if text else ""


def _without_dots(path: str) -> str:
    """`/a/../b/./c` → `/b/c`; never above the root.  `%2e` is a dot, too."""
    if "/." not in path and "%" not in path:
        return path
    kept: list[str] = []
    parts = path.split("/")[1:]
    for part in parts:
        plain = part.lower().replace("%2e", ".") if "%" in part else part
        if plain == "..":
            del kept[-1:]
        elif plain != ".":
            kept.append(part)
            continue
    last = parts[-1].lower().replace("%2e", ".")
    return "/" + "/".join(kept) + ("/" if kept and last in (".", "..") else "")


# --- a page -----------------------------------------------------------------------------------------------------


def page_base(tree: LexborHTMLParser, url: str) -> Base:
    """What the page's references are relative to: its first <base href> where that makes sense, else its URL."""
    own = Base(url)
    node = tree.css_first("base[href]")
    declared = own.resolve(node.attributes.get("href") or "") if node is not None else None
    if declared is None or declared.startswith(("data:", "javascript:")):
        return own
    return Base(declared)


def page_links(tree: LexborHTMLParser, base: Base) -> tuple[tuple[Link, ...], bool]:
    """The links of <a> and <area>, each target once with its first text; and whether some were left out."""
    found: dict[str, Link] = {}
    cut = False
    for node in tree.css("a[href], area[href]"):
        href = base.resolve(node.attributes.get("href") or "")
        if href is None or href in found or href.partition(":")[0] in _NOT_FOLLOWED:
            continue
        if len(found) >= MAX_LINKS:
            return tuple(found.values()), True
        if len(href) > MAX_HREF:  # most often a picture in a data: URL
            cut = True
            continue
        found[href] = Link(href, link_text(node))
    return tuple(found.values()), cut


def link_text(link: LexborNode) -> str:
    """What is to be read on a link, on one line; the texts of its images when there is nothing else."""
    words: list[str] = []
    pictures: list[str] = []
    size = 0
    for count, node in enumerate(link.traverse(include_text=True)):
        if size > MAX_LINK_TEXT * 4 or count > _NODES_PER_LINK:
            break
        if node.is_text_node:
            words.append((node.text_content or "")[: MAX_LINK_TEXT * 4])
            size += len(words[-1])
        elif node.tag in ("img", "area"):
            pictures.append((node.attributes.get("alt") or "")[:MAX_LINK_TEXT])
    text = _SPACES.sub(" ", "".join(words)).strip() or _SPACES.sub(" ", " ".join(pictures)).strip()
    return text[:MAX_LINK_TEXT]
