"""What kind of document a body is: its Content-Type, parsed, and what its first bytes say when that says nothing.

Runs in: content child; pure.  Trusts: nothing; no header and no body makes this fail.
Flow: Content-Type header + first 1445 bytes + nosniff → `computed_type` → how the body is shown, if at all.
Source: WHATWG MIME Sniffing, "Parsing a MIME type" and "Determining the computed MIME type".
"""

from __future__ import annotations

import re

import msgspec

SNIFF_BYTES = 1445  # the resource header of the standard

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*+)("?)', re.S)
_VALUE_CHARACTERS = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_WHITESPACE = "\t\n\r "

_XML_TYPES = frozenset({"text/xml", "application/xml"})
_JSON_TYPES = frozenset({"application/json", "text/json"})
_TEXT_TYPES = frozenset(
    {
        "application/ecmascript", "application/javascript", "application/x-javascript", "application/x-ndjson",
        "application/sql", "application/toml", "application/yaml", "application/x-yaml", "application/x-sh",
    }
)  # fmt: skip
_UNKNOWN = frozenset({"unknown/unknown", "application/unknown", "*/*"})
# Apache once sent these for every file it did not know: only with exactly these the bytes are asked again.
_APACHE_DEFAULTS = frozenset(
    {"text/plain", "text/plain; charset=ISO-8859-1", "text/plain; charset=iso-8859-1", "text/plain; charset=UTF-8"}
)


class MediaType(msgspec.Struct, frozen=True):
    """A parsed media type.  `type`, `subtype` and parameter names are lower-case."""

    type: str
    subtype: str
    parameters: tuple[tuple[str, str], ...] = ()

    @property
    def essence(self) -> str:
        return f"{self.type}/{self.subtype}"

    @property
    def charset(self) -> str:
        """The charset parameter, or empty."""
        return dict(self.parameters).get("charset", "")

    @property
    def is_html(self) -> bool:
        return self.essence in ("text/html", "application/xhtml+xml")

    @property
    def is_xml(self) -> bool:
        return self.essence in _XML_TYPES or self.subtype.endswith("+xml")

    @property
    def is_json(self) -> bool:
        return self.essence in _JSON_TYPES or self.subtype.endswith("+json")

    @property
    def is_text(self) -> bool:
        """To be shown as it stands."""
        plain = self.type == "text" or self.essence in _TEXT_TYPES
        return plain and not (self.is_html or self.is_xml or self.is_json)

    @property
    def displayable(self) -> bool:
        return self.is_html or self.is_xml or self.is_json or self.is_text

    def __str__(self) -> str:
        return self.essence + "".join(f";{name}={_quoted(value)}" for name, value in self.parameters)


HTML, XML = MediaType("text", "html"), MediaType("text", "xml")
PLAIN, BINARY = MediaType("text", "plain"), MediaType("application", "octet-stream")


def _quoted(value: str) -> str:
    if value and _TOKEN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


# --- the header -------------------------------------------------------------------------------------------------


def parse_media_type(header: str) -> MediaType | None:
    """Parse one media type; None when there is none in `header`.  Parameters that are garbage are left out."""
    essence, _, rest = header.strip(_WHITESPACE).partition(";")
    kind, slash, subtype = essence.partition("/")
    subtype = subtype.rstrip(_WHITESPACE)
    if not (slash and _TOKEN.fullmatch(kind) and _TOKEN.fullmatch(subtype)):
        return None
    return MediaType(kind.lower(), subtype.lower(), tuple(_parse_parameters(rest).items()))


def _parse_parameters(text: str) -> dict[str, str]:
    """The first value of each name, as the standard reads them: quotes may enclose semicolons."""
    found: dict[str, str] = {}
    position = 0
    while position < len(text):
        name_end = min((p for p in (text.find(";", position), text.find("=", position)) if p >= 0), default=len(text))
        name = text[position:name_end].lstrip(_WHITESPACE).lower()
        if text[name_end : name_end + 1] != "=":
            position = name_end + 1
            continue
        value, position, quoted = _parse_value(text, name_end + 1)
        usable = _TOKEN.fullmatch(name) and _VALUE_CHARACTERS.fullmatch(value)
        if usable and (value or quoted):
            found.setdefault(name, value)
    return found


def _parse_value(text: str, position: int) -> tuple[str, int, bool]:
    """(value, where the next parameter begins, whether it was quoted)."""
    quoted = _QUOTED.match(text, position)
    start = quoted.end() if quoted else position
    end = text.find(";", start)
    end = len(text) if end < 0 else end
    if quoted:  # what stands between the closing quote and the next semicolon is garbage
        return re.sub(r"\\(.)", r"\1", quoted[1], flags=re.S), end + 1, True
    return text[position:end].rstrip(_WHITESPACE), end + 1, False


# --- the bytes --------------------------------------------------------------------------------------------------

_BINARY_BYTES = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_TEXT_BOMS = (b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf")
_LEADING = b"\t\n\x0c\r "
_HTML_START = re.compile(
    rb"<(?:(?:!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B|BODY|BR|P)[ >]|!--)", re.I
)
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"%PDF-", "application/pdf"),
    (b"%!PS-Adobe-", "application/postscript"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"BM", "image/bmp"),
    (b"\0\0\1\0", "image/x-icon"),
    (b"\0\0\2\0", "image/x-icon"),
    (b"OggS\0", "application/ogg"),
    (b"MThd\0\0\0\6", "audio/midi"),
    (b"ID3", "audio/mpeg"),
    (b"\x1aE\xdf\xa3", "video/webm"),
    (b"\x1f\x8b\x08", "application/x-gzip"),
    (b"PK\3\4", "application/zip"),
    (b"Rar!\x1a\x07\0", "application/x-rar-compressed"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
    (b"OTTO", "font/otf"),
    (b"\0asm", "application/wasm"),
)
_RIFF = {b"WEBPVP": "image/webp", b"AVI ": "video/avi", b"WAVE": "audio/wave"}
_FORM = {b"AIFF": "audio/aiff"}


def computed_type(header: str | None, body: bytes, *, nosniff: bool = False) -> MediaType:
    """The type to treat `body` as.  A header that says something is believed; the bytes never make it a page.

    Only a body without a (sensible) Content-Type can become HTML by its bytes, and not with `nosniff`.
    `application/octet-stream` that is text is shown as text, where a browser would offer it for download.
    """
    supplied = parse_media_type(header) if header is not None else None
    head = body[:SNIFF_BYTES]
    if supplied is None or supplied.essence in _UNKNOWN:
        return _identify_unknown(head, scriptable=not nosniff)
    if nosniff:
        return supplied
    if header is not None and header.strip(_WHITESPACE) in _APACHE_DEFAULTS:
        return _text_or_binary(head, supplied)
    if supplied.essence == BINARY.essence:
        return _text_or_binary(head, PLAIN)
    return supplied


def _text_or_binary(head: bytes, text: MediaType) -> MediaType:
    """`text`, unless there are bytes that no text has.  Never a type that scripts or markup run in."""
    if head.startswith(_TEXT_BOMS) or not _BINARY_BYTES.search(head):
        # Some formats begin with text alone: a PDF's first lines often are.
        return _by_magic(head) or text if head.startswith((b"%PDF-", b"%!PS-Adobe-")) else text
    return _by_magic(head) or BINARY


def _identify_unknown(head: bytes, *, scriptable: bool) -> MediaType:
    if scriptable:
        start = head.lstrip(_LEADING)
        if _HTML_START.match(start):
            return HTML
        if start.startswith(b"<?xml"):
            return XML
    if head.startswith(_TEXT_BOMS):
        return PLAIN
    return _by_magic(head) or (BINARY if _BINARY_BYTES.search(head) else PLAIN)


def _by_magic(head: bytes) -> MediaType | None:
    """The format whose first bytes these are."""
    found = next((essence for magic, essence in _MAGIC if head.startswith(magic)), "")
    if not found and head.startswith((b"RIFF", b"FORM")):
        known = _RIFF if head.startswith(b"RIFF") else _FORM
        found = next((essence for magic, essence in known.items() if head.startswith(magic, 8)), "")
    if not found and head[4:8] == b"ftyp":
        found = "video/mp4"
    kind, _, subtype = found.partition("/")
    return MediaType(kind, subtype) if found else None
