"""Interim glue for integration; replaced by the parse module."""
from __future__ import annotations
from selectolax.lexbor import LexborHTMLParser
from foxden.children.content import encoding, media_type
from foxden.model.page import Link, PageContent
from urllib.parse import urljoin

def show(body: bytes, *, content_type: str | None, nosniff: bool, url: str) -> PageContent:
    kind = media_type.computed_type(content_type, body, nosniff=nosniff)
    d = encoding.decode(body, kind)
    text, name = d[0], d[1]
    if not kind.is_html:
        return PageContent(title="", text=text[: 8 << 20], html="", encoding=name, content_type=kind.essence)
    tree = LexborHTMLParser(text)
    title = tree.css_first("title")
    links = tuple(Link(href=urljoin(url, a.attributes.get("href") or "")[:8192], text=a.text(deep=True).strip()[:512]) for a in tree.css("a[href]")[:20000])
    return PageContent(title=" ".join(title.text().split())[:4096] if title else "", text=(tree.body.text(separator="\n", strip=True) if tree.body else "")[: 8 << 20], html=(tree.html or "")[: 64 << 20], encoding=name, content_type=kind.essence, links=links)
