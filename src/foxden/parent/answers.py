"""What a den answers: a page, a reply.  Dataclasses, as they are for users to compare, copy and take apart.

Runs in: the caller's thread, in the parent.  Trusts: nothing of the texts in them.
Flow: Shown → page_of → Page; an exchange that has ended (Loads.fetch) → Reply.
Source: interface.md "Python".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from foxden.model.page import Link
    from foxden.parent.documents import Shown


@dataclass(frozen=True)
class Page:
    """A page as the content process showed it.  Scripts did not run, and nothing was painted."""

    url: str  # as asked for
    final_url: str
    status: int  # 0 for files
    title: str
    text: str
    html: str
    encoding: str
    content_type: str
    links: tuple[Link, ...]
    received_bytes: int
    redirects: tuple[str, ...]
    timing: Mapping[str, float]
    process: Mapping[str, object]  # {pid, type, remote_type, name} of the content process
    console: tuple[str, ...] = ()  # empty: scripts do not run in this version
    truncated: tuple[str, ...] = ()  # parts that were cut at a bound
    sha256: str = ""

    def to_dict(self) -> dict[str, object]:
        """As `foxden open --json` prints it."""
        links = [{"href": link.href, "text": link.text} for link in self.links]
        shown = {name: value for name, value in vars(self).items() if name not in ("links", "sha256")}
        return {**shown, "links": links, "redirects": list(self.redirects), "timing": dict(self.timing)}


@dataclass(frozen=True)
class Reply:
    """One answered request.  `body` is empty when it went to a sink."""

    url: str
    status: int
    http_version: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    received_bytes: int
    redirects: tuple[str, ...]
    remote: str

    def header(self, name: str) -> str | None:
        """The first header of this name, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def iter_bytes(self, chunk_size: int = 65_536) -> Iterator[bytes]:
        """The body in pieces."""
        for start in range(0, len(self.body), chunk_size):
            yield self.body[start : start + chunk_size]

    def json(self) -> Any:
        """The body as JSON.  Raises ValueError."""
        import json

        return json.loads(self.body)


def page_of(url: str, shown: Shown) -> Page:
    return Page(
        url=url,
        final_url=str(shown.url),
        status=shown.status,
        received_bytes=shown.received_bytes,
        redirects=shown.redirects,
        timing=shown.timing,
        process={"pid": shown.pid, "type": "content", "remote_type": shown.remote_type, "name": shown.name},
        sha256=shown.sha256,
        **msgspec.structs.asdict(shown.content),  # each of its fields is one of a page's
    )
