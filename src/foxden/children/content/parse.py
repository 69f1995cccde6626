"""A document's text as a page: title, readable text, links and the tree as it was understood.

Runs in: content child; pure.  Trusts: nothing; what is too much is cut, and said in `truncated`.
Flow: text → tame (guard) → lexbor → title, text, links, html → PageContent within its bounds.
Source: WHATWG HTML, "Parsing"; for what is no HTML: how browsers show text, XML and JSON.
"""

from __future__ import annotations

import html
import re

import msgspec
from selectolax.lexbor import LexborHTMLParser, LexborNode

from foxden.children.content.guard import tame
from foxden.children.content.links import page_base, page_links
from foxden.children.content.media_type import HTML, PLAIN, MediaType, parse_media_type
from foxden.children.content.text import readable_text
from foxden.model.page import MAX_HTML, MAX_TEXT, MAX_TITLE, Link, PageContent

_SPACES = re.compile(r"[\t\n\f\r ]+")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_TITLES_LOOKED_AT = 50
MAX_CHARACTERS = 16 << 20  # of a document; the parser and its tree take many times as much
MAX_CONTENT_TYPE = 256
INPUT = "input"
# A JSON text is laid out where that cannot make it huge: indents grow with its depth.
_MAX_JSON, _MAX_JSON_DEPTH = 2 << 20, 32
_JSON_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.S)


def parse_document(
    text: str, *, content_type: MediaType | str | None = None, base_url: str = "", encoding: str = "UTF-8"
) -> PageContent:
    """Everything to be known of a document.  `base_url`: where it came from in the end.  Raises: nothing.

    `content_type`: how to understand it; a type that is no text is taken for plain text.
    """
    kind = parse_media_type(content_type) if isinstance(content_type, str) else content_type
    kind = kind or HTML
    cut = (INPUT,) if len(text) > MAX_CHARACTERS else ()
    text = clean(text[:MAX_CHARACTERS])
    if kind.is_html:
        page = _html_page(_open_empty_elements(text) if kind.is_xml else text, base_url)
    elif kind.is_xml:
        page = _text_page(text_of_xml(text), shown=text)
    elif kind.is_json:
        page = _text_page(text_of_json(text))
    else:
        page = _text_page(text)
    name = str(kind)
    return msgspec.structs.replace(
        page,
        encoding=encoding[:64],
        content_type=name if len(name) <= MAX_CONTENT_TYPE else kind.essence[:MAX_CONTENT_TYPE],
        truncated=cut + page.truncated,
    )


def clean(text: str) -> str:
    """Text that UTF-8 can carry.  A decoder never makes surrogates; whoever else calls may."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text)
    return text


# --- HTML -------------------------------------------------------------------------------------------------------


def _html_page(text: str, url: str) -> PageContent:
    tamed = tame(text)
    tree = LexborHTMLParser(tamed.text)
    shown, shown_cut = readable_text(tree, MAX_TEXT)
    links, links_cut = page_links(tree, page_base(tree, url))
    return _page(
        title=page_title(tree), text=(shown, shown_cut), html=tree.html or "", links=links, links_cut=links_cut,
        cut=tamed.cut,
    )  # fmt: skip


def page_title(tree: LexborHTMLParser) -> str:
    """The text of the first <title> that is not a drawing's."""
    for node in tree.css("title")[:_TITLES_LOOKED_AT]:
        if not _is_inside(node, ("svg",)):
            return _SPACES.sub(" ", node.text()).strip(" ")
    return ""


def _is_inside(node: LexborNode, tags: tuple[str, ...]) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.tag in tags:
            return True
        parent = parent.parent
    return False


_EMPTY_ELEMENT = re.compile(
    r"<((?:script|style|title|textarea|iframe|noscript|xmp|noembed|noframes|div|p|a|span|td|th|li|i|b|em|strong)\b"
    r"(?:[^<>\"']++|\"[^\"]*+\"|'[^']*+')*?)/>"
)


def _open_empty_elements(text: str) -> str:
    """XHTML may write <script/>, which in HTML opens a script that swallows the rest of the page."""
    return _EMPTY_ELEMENT.sub(lambda found: f"<{found[1]}></{re.split(r'[^a-z]', found[1], maxsplit=1)[0]}>", text)


# --- what is not HTML -------------------------------------------------------------------------------------------


def _text_page(text: str, shown: str = "") -> PageContent:
    text = text.replace("\0", "\ufffd")
    shown = (shown or text)[:MAX_TEXT]  # escaped it may be five times as long
    markup = f"<html><head></head><body><pre>{html.escape(shown, quote=False)}</pre></body></html>"
    return _page(title="", text=(text[:MAX_TEXT], len(text) > MAX_TEXT), html=markup)


_XML_MARKUP = re.compile(
    r"<!--(?:[^-]++|-(?!->))*+(?:-->)?|<!\[CDATA\[(?P<cdata>(?:[^\]]++|\](?!\]>))*+)(?:\]\]>)?"
    r"|<\?(?:[^?]++|\?(?!>))*+(?:\?>)?|<!DOCTYPE(?:[^\[>]++|\[[^\]]*+\]?)*+>?"
    r"|<(?P<end>/?)[^\s<>/!?](?:[^<>\"']++|\"[^\"]*+\"|'[^']*+'|[\"'])*+>?"
)


def text_of_xml(text: str) -> str:
    """The text content of an XML document, elements on lines of their own.  Entities of its own are not expanded."""
    parts: list[str] = []
    position = 0
    for match in _XML_MARKUP.finditer(text):
        parts.append(html.unescape(text[position : match.start()]))
        position = match.end()
        if match["cdata"] is not None:
            parts.append(match["cdata"])
        elif match["end"] is not None:
            parts.append("\n")
    parts.append(html.unescape(text[position:]))
    lines = (_SPACES.sub(" ", line).strip(" ") for line in "".join(parts).split("\n"))
    return "\n".join(line for line in lines if line)


def text_of_json(text: str) -> str:
    """Laid out, with every number and key as it was written; as it stands when it is no JSON, or too much of it."""
    if len(text) > _MAX_JSON or _json_depth(text) > _MAX_JSON_DEPTH:
        return text
    try:
        return msgspec.json.format(text, indent=2)
    except (msgspec.DecodeError, RecursionError):
        return text


def _json_depth(text: str) -> int:
    depth = deepest = 0
    for part in _JSON_TOKEN.findall(text):
        if part in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif part in "]}":
            depth -= 1
    return deepest


# --- bounds -----------------------------------------------------------------------------------------------------


def _page(
    *,
    title: str,
    text: tuple[str, bool],
    html: str,
    links: tuple[Link, ...] = (),
    links_cut: bool = False,
    cut: tuple[str, ...] = (),
) -> PageContent:
    """All parts within the bounds at which the parent decodes them."""
    parts = (("title", len(title) > MAX_TITLE), ("text", text[1]), ("html", len(html) > MAX_HTML), ("links", links_cut))
    return PageContent(
        title=title[:MAX_TITLE],
        text=text[0],
        html=html[:MAX_HTML],
        encoding="",
        content_type=PLAIN.essence,
        links=links,
        truncated=cut + tuple(name for name, was_cut in parts if was_cut),
    )
