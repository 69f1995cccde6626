"""Everything a content process will ever load, loaded while there still is a file system.

Runs in: content child's fork server, before the sandbox.  Trusts: nothing; only built-in samples pass through.
Flow: `prewarm()` → codecs imported, tables made, the parser and both decompressors run once.
Source: architecture.md "The content process": no file can be opened after the sandbox is on.
"""

from __future__ import annotations

import zlib

from foxden.children.content.decode_body import BodyDecoder
from foxden.children.content.document import show
from foxden.children.content.encoding import decode_as
from foxden.children.content.encodings_table import CODECS
from foxden.errors import LoadError

_HTML = (
    b"<!doctype html><meta charset=utf-8><title>t</title><base href=/b/><h1>\xc3\xa9&amp;</h1><ul><li><a href=x>l</a>"
    b"</ul><ol start=2><li>o</ol><table><tr><td>1<td>2</table><pre>\np</pre><img alt=i><q>q</q><br><blockquote>b"
)
_SAMPLES: tuple[tuple[bytes, str | None], ...] = (
    (_HTML, None),
    (b"<div a=1></b>" + b" " * (64 << 10), "text/html; charset=iso-8859-1"),  # large enough for the guard to scan it
    (b"<?xml version='1.0' encoding='utf-8'?><a>\xc3\xa9&eacute;</a>", "application/xml"),
    (b"<script/><p>x</p>", "application/xhtml+xml"),
    (b'{"a": [1, "\xc3\xa9"]}', "application/json"),
    (b'{"a": ', "application/json"),
    (b"plain \xff", "text/plain"),
    (b"\x89PNG\r\n\x1a\n", "application/octet-stream"),
)


def prewarm() -> None:
    """Run every path once that could import something late.  Safe to call again."""
    for encoding in CODECS:
        decode_as(b"a\xff\x80\x1b", encoding)
    for body, content_type in _SAMPLES:
        try:
            show(body, content_type=content_type, url="http://x.example/")
        except LoadError:
            continue  # the picture: that path too has run
    for coding, wbits in (("gzip", 31), ("deflate", 15)):
        packer = zlib.compressobj(wbits=wbits)
        decoder = BodyDecoder(coding, 1 << 10)
        decoder.feed(packer.compress(b"x") + packer.flush())
        decoder.finish()
