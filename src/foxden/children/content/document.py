"""The whole way from the bytes of a document to what is told of it.

Runs in: content child; pure.  Trusts: nothing of body and headers; the URL is the parent's.
Flow: body → computed_type → decode → parse_document → PageContent, or LoadError when it cannot be shown.
Source: WHATWG HTML, "Loading web pages": the order of these steps.
"""

from __future__ import annotations

from foxden.children.content.encoding import decode
from foxden.children.content.media_type import computed_type
from foxden.children.content.parse import parse_document
from foxden.errors import LoadError
from foxden.model.page import PageContent


def show(
    body: bytes, *, content_type: str | None, nosniff: bool = False, url: str = "", encoding_hint: str = ""
) -> PageContent:
    """The document in `body`, its Content-Encoding already undone.

    Raises LoadError NS_ERROR_WONT_HANDLE_CONTENT for what is no text: an image, an archive, a PDF.
    """
    kind = computed_type(content_type, body, nosniff=nosniff)
    if not kind.displayable:
        raise LoadError(
            f"expected a document with text, got {kind.essence}",
            code="NS_ERROR_WONT_HANDLE_CONTENT",
            url=url,
            hint="foxden fetch -o FILE keeps it as it is",
        )
    decoded = decode(body, kind, encoding_hint)
    return parse_document(decoded.text, content_type=kind, base_url=url, encoding=decoded.encoding)
