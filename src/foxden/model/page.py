"""A page as plain data: what a content process tells the parent of a document.

Runs in: content process (makes it), parent (decodes it within these bounds); pure.  Trusts: nothing.
Flow: parse → PageContent → msgpack → PDocument.OnLoaded → parent.
Source: interface.md "Records", Page.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

MAX_TITLE, MAX_TEXT, MAX_HTML = 4096, 8 << 20, 64 << 20
MAX_LINKS, MAX_HREF, MAX_LINK_TEXT = 20_000, 8192, 512


class Link(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    href: Annotated[str, Meta(max_length=MAX_HREF)]  # absolute
    text: Annotated[str, Meta(max_length=MAX_LINK_TEXT)]


class PageContent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    title: Annotated[str, Meta(max_length=MAX_TITLE)]
    text: Annotated[str, Meta(max_length=MAX_TEXT)]
    html: Annotated[str, Meta(max_length=MAX_HTML)]
    encoding: Annotated[str, Meta(max_length=64)]
    content_type: Annotated[str, Meta(max_length=256)]
    links: Annotated[tuple[Link, ...], Meta(max_length=MAX_LINKS)] = ()
    truncated: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=8)] = ()
