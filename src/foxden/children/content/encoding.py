"""Which character encoding a document is in, and its bytes as text.

Runs in: content child; pure.  Trusts: nothing; every sequence of bytes has a text.
Flow: bytes + Content-Type → BOM, header, <meta>, XML declaration, validity as UTF-8, or the fallback → text.
Source: WHATWG Encoding; WHATWG HTML, "Determining the character encoding" and its prescan.
"""

from __future__ import annotations

import codecs
import re

import msgspec

from foxden.children.content.encodings_table import (
    CODECS,
    DIFFERENCES,
    JAPANESE_DIFFERENCES,
    SINGLE_BYTE,
    encoding_for,
)
from foxden.children.content.media_type import MediaType, parse_media_type

PRESCAN_BYTES = 1024
FALLBACK = "windows-1252"
_UNDEFINED = "\ufffe"  # how a charmap table says "no such character"; becomes U+FFFD


class Decoded(msgspec.Struct, frozen=True):
    """A document's text.  `reason`: what decided its encoding, for people."""

    text: str
    encoding: str
    reason: str


class Choice(msgspec.Struct, frozen=True):
    encoding: str
    reason: str
    bom_size: int = 0


_BOMS = ((codecs.BOM_UTF8, "UTF-8"), (codecs.BOM_UTF16_LE, "UTF-16LE"), (codecs.BOM_UTF16_BE, "UTF-16BE"))


def decode(data: bytes, content_type: str | MediaType | None = None, hint: str = "") -> Decoded:
    """The document as text.  `hint`: a label to fall back to instead of windows-1252.  Raises: nothing."""
    media_type = parse_media_type(content_type) if isinstance(content_type, str) else content_type
    choice = choose_encoding(data, media_type, hint)
    return Decoded(decode_as(data[choice.bom_size :], choice.encoding), choice.encoding, choice.reason)


def choose_encoding(data: bytes, media_type: MediaType | None, hint: str = "") -> Choice:
    """The first that says anything: BOM, header, the document's own words, its bytes, the fallback."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return Choice(encoding, "byte order mark", len(bom))
    if media_type is not None:
        if media_type.is_json:  # JSON is UTF-8 whatever is said: RFC 8259 section 8.1
            return Choice("UTF-8", "JSON is UTF-8")
        if named := encoding_for(media_type.charset):
            return Choice(named, "Content-Type")
        if media_type.is_xml:
            written = xml_encoding(data)
            return Choice(written or "UTF-8", "XML declaration" if written else "XML is UTF-8")
    if (media_type is None or media_type.is_html) and (declared := prescan(data)):
        return Choice(declared, "declared in the document")
    return _undeclared(data, hint)


def _undeclared(data: bytes, hint: str) -> Choice:
    """Nobody said.  Browsers look whether files are UTF-8; text in another encoding is next to never valid UTF-8."""
    if not data.isascii() and _is_utf8(data):
        return Choice("UTF-8", "the bytes are valid UTF-8")
    if encoding := encoding_for(hint):
        return Choice(encoding, "hint")
    return Choice(FALLBACK, "nothing was declared")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        # A body that was cut in the middle of a character is still UTF-8.
        return error.reason == "unexpected end of data" and error.start > 0
    return True


# --- bytes to text ----------------------------------------------------------------------------------------------


def decode_as(data: bytes, encoding: str) -> str:
    """`data` in an encoding of the standard; what is malformed becomes U+FFFD.  Never a surrogate in the result."""
    if encoding in SINGLE_BYTE or encoding == "x-user-defined":
        return codecs.charmap_decode(data, "replace", _single_byte_table(encoding))[0]
    if encoding == "replacement":
        return "\ufffd" if data else ""
    text = data.decode(CODECS[encoding], "replace")
    if encoding in ("EUC-JP", "ISO-2022-JP"):
        for python, standard in JAPANESE_DIFFERENCES:
            text = text.replace(python, standard)
    return text


_tables: dict[str, str] = {}


def _single_byte_table(encoding: str) -> str:
    """256 characters: Python's table, corrected.  Made once: prewarm() asks for all of them."""
    if encoding not in _tables:
        _tables[encoding] = _make_table(encoding)
    return _tables[encoding]


def _make_table(encoding: str) -> str:
    if encoding == "x-user-defined":
        return "".join(chr(byte if byte < 0x80 else 0xF700 + byte) for byte in range(256))
    table = list(bytes(range(256)).decode(CODECS[encoding], "replace"))
    for byte, character in enumerate(table):
        if character == "\ufffd":
            # The standard maps unassigned bytes among the C1 controls to those, and only those.
            table[byte] = chr(byte) if 0x80 <= byte < 0xA0 else _UNDEFINED
    for byte, character in DIFFERENCES.get(encoding, {}).items():
        table[byte] = character
    return "".join(table)


# --- what a document says of itself -----------------------------------------------------------------------------

_META = re.compile(rb"<meta[\t\n\x0c\r /]", re.I)
_TAG_NAME = re.compile(rb"</?[a-z][^\t\n\x0c\r >]*+", re.I)
_ATTRIBUTE = re.compile(
    rb"[\t\n\x0c\r /]*+"  # slashes separate, too
    rb"([^\t\n\x0c\r />][^\t\n\x0c\r />=]*+)"  # a name may begin with '='
    rb"(?:[\t\n\x0c\r ]*+=[\t\n\x0c\r ]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\t\n\x0c\r >]*+)))?+"
)
_XML_ENCODING = re.compile(
    rb"<\?xml(?=[\t\n\r ])[^>]*?[\t\n\r ]encoding[\x00-\x20]*+=[\x00-\x20]*+([\"'])([^\"'>]*+)\1"
)
_CHARSET = re.compile(
    r"charset[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\t\n\f\r ;\"'][^\t\n\f\r ;]*+))", re.I
)


def prescan(data: bytes) -> str | None:
    """The encoding that the first 1024 bytes of an HTML document declare, or None."""
    head = data[:PRESCAN_BYTES]
    return _utf16_by_zeros(head) or _scan_tags(head) or xml_encoding(head)


def _utf16_by_zeros(head: bytes) -> str | None:
    """An XML declaration in UTF-16 shows its encoding without a byte order mark."""
    if head.startswith(b"<\0?\0x\0"):
        return "UTF-16LE"
    return "UTF-16BE" if head.startswith(b"\0<\0?\0x") else None


def _scan_tags(head: bytes) -> str | None:
    position = head.find(b"<")
    while position >= 0:
        if head.startswith(b"<!--", position):
            # "<!-->" is a whole comment: the two dashes may be both its start and its end.
            end = head.find(b"-->", position + 2)
            position = end + 2 if end >= 0 else len(head)
        elif _META.match(head, position):
            attributes, position = _read_attributes(head, position + 5)
            if found := _meta_encoding(attributes):
                return found
        elif name := _TAG_NAME.match(head, position):
            _, position = _read_attributes(head, name.end())
        elif head[position + 1 : position + 2] in (b"!", b"/", b"?"):
            end = head.find(b">", position)
            position = end if end >= 0 else len(head)
        else:
            position += 1
        position = head.find(b"<", position)
    return None


def _read_attributes(head: bytes, position: int) -> tuple[dict[str, str], int]:
    """Attributes from `position` on, the first of each name; and where they end."""
    found: dict[str, str] = {}
    while match := _ATTRIBUTE.match(head, position):
        name, double, single, bare = match.groups()
        if bare and bare[:1] in b"\"'":
            return {}, len(head)  # a quoted value that does not end in what is scanned: nothing after it counts
        position = match.end()
        value = double or single or bare or b""
        found.setdefault(name.lower().decode("latin-1"), value.lower().decode("latin-1"))
    return found, position


def _meta_encoding(attributes: dict[str, str]) -> str | None:
    """What one <meta> declares.  A UTF-16 that can be read as ASCII is not UTF-16."""
    if "charset" in attributes:
        encoding = encoding_for(attributes["charset"])
    elif attributes.get("http-equiv") == "content-type":
        encoding = charset_of_content(attributes.get("content", ""))
    else:
        return None
    return _ascii_compatible(encoding)


def _ascii_compatible(encoding: str | None) -> str | None:
    if encoding in ("UTF-16LE", "UTF-16BE"):
        return "UTF-8"
    return FALLBACK if encoding == "x-user-defined" else encoding


def charset_of_content(content: str) -> str | None:
    """The encoding in a <meta content="text/html; charset=…">."""
    match = _CHARSET.search(content)
    return encoding_for(match[1] or match[2] or match[3] or "") if match else None


def xml_encoding(data: bytes) -> str | None:
    """The encoding in `<?xml … encoding="…"?>`."""
    head = data[:PRESCAN_BYTES]
    match = _XML_ENCODING.match(head)
    return _ascii_compatible(encoding_for(match[2].decode("latin-1"))) if match else _utf16_by_zeros(head)
