"""Pages and exchanges of one den: what is asked for, checked, and asked of the network and of content processes.

Runs in: parent, on the den's loop.  Trusts: its caller.
Flow: open(text) → Url → Documents.open → Shown; fetch(text) → HttpChannel.open → the body, to a sink or returned.
Source: interface.md "Python".
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, TypeVar

from foxden.errors import FoxdenError, LoadError, NetworkError
from foxden.launch.launcher import Launcher
from foxden.model.hops import Request
from foxden.model.origins import Url, parse_url, url_of_path
from foxden.model.process_types import BY_NAME, RemoteType, family_of
from foxden.model.sinks import LoadSink
from foxden.parent.channel import HttpChannel, Response, network_error
from foxden.parent.denials import Denials
from foxden.parent.documents import Documents, Shown
from foxden.parent.network import OWN_CHILD_ID, Network
from foxden.parent.plans import Plans
from foxden.parent.prefs import Prefs
from foxden.parent.processes import ProcessManager
from foxden.protocols.network import PHttpTransaction

if TYPE_CHECKING:
    from foxden.parent.answers import Reply

T = TypeVar("T")
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) foxden/0.1"
_GRACE_S = 2.0  # beyond a deadline, for the process that should have said so itself


class Loads:
    """What loads, on the den's loop."""

    def __init__(
        self, processes: ProcessManager, launcher: Launcher, plans: Plans, prefs: Prefs, denials: Denials
    ) -> None:
        self._launcher, self._prefs = launcher, prefs
        self.network = Network(processes, prefs)
        self._channel = HttpChannel(
            self.network, prefs, lambda outcome, url: denials.network(self.network.host, outcome, url)
        )
        self.documents = Documents(processes, self.network, self._channel, plans, prefs)

    def url_of(self, text: str) -> Url:
        """What the caller means: a URL, or the path of a file that exists."""
        text = _checked_text(text)
        if text.startswith(("/", "./", "../")) or ("://" not in text and os.path.exists(text)):
            return url_of_path(os.path.abspath(text))
        return parse_url(text)

    async def open(
        self,
        text: str,
        *,
        timeout_s: float,
        sink: LoadSink = LoadSink.DOCUMENT,
        headers: Mapping[str, str] | None = None,
    ) -> Shown:
        """Load and show one document.  Raises: see Documents.open."""
        url, timeout_s = self.url_of(text), _checked_seconds(timeout_s)
        if url.is_network:
            self._launcher.prepare(family_of(BY_NAME["content"], RemoteType.WEB))
        deadline = asyncio.get_running_loop().time() + timeout_s
        sent = self._headers({"Accept-Encoding": "gzip, deflate", **(headers or {})})
        return await self._within(self.documents.open(url, sink, sent, deadline), timeout_s, url)

    async def fetch(
        self,
        text: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        follow: bool = True,
        timeout_s: float,
        sink: Callable[[bytes | memoryview], object] | None = None,
        on_head: Callable[[Response], object] | None = None,
    ) -> Reply:
        """One exchange (redirects followed if asked); the body to `sink`, or returned.  `on_head` comes before it.

        Raises: NetworkError, LoadError, and what starting the socket process raises.
        """
        url, timeout_s = parse_url(_checked_text(text)), _checked_seconds(timeout_s)
        if not isinstance(body, bytes):
            raise FoxdenError(f"data: expected bytes, got {type(body).__name__}", hint="text has .encode()")
        if not url.is_network:
            raise NetworkError(
                f"{url.href}: expected http or https to fetch", code="NS_ERROR_UNKNOWN_PROTOCOL", url=url.href,
                hint="`foxden open` reads files",
            )  # fmt: skip
        request = Request(method, url, self._headers(headers or {}), body)
        return await self._within(self._fetch(request, follow, timeout_s, sink, on_head), timeout_s, url)

    async def _fetch(
        self,
        request: Request,
        follow: bool,
        timeout_s: float,
        sink: Callable[[bytes | memoryview], object] | None,
        on_head: Callable[[Response], object] | None,
    ) -> Reply:
        from foxden.parent.answers import Reply

        response = await self._channel.open(request, timeout_s=timeout_s, follow=follow)
        parts: list[bytes] = []
        take = sink or (lambda view: parts.append(bytes(view)))
        try:
            head = response.head
            if on_head is not None:
                on_head(response)
            if head.inline:
                take(head.inline)
            if head.finished is None:
                done = self.network.expect_body(response.channel_id, take)
                response.transaction.send(PHttpTransaction.StartDelivery(child_id=OWN_CHILD_ID))
                await done
            stop = await response.transaction.stop
            if stop is None or not stop.outcome.ok:
                raise network_error(response.transaction.outcome, response.url)
        finally:
            self.network.forget_body(response.channel_id)
            response.transaction.end()
        return Reply(
            url=response.url.href, status=head.status, http_version=head.http_version, headers=head.headers,
            body=b"".join(parts), received_bytes=stop.received_bytes, redirects=response.redirects,
            remote=head.remote,
        )  # fmt: skip

    def _headers(self, given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        agent = self._prefs.get_str("general.useragent.override") or USER_AGENT
        names = {name.lower() for name in given}
        base = [("User-Agent", agent)] if "user-agent" not in names else []
        base += [("Accept", "*/*")] if "accept" not in names else []
        return (*base, *given.items())

    async def _within(self, work: Coroutine[object, object, T], timeout_s: float, url: Url) -> T:
        """Wait for work that keeps its own deadline; when even that fails, find and end who hangs."""
        try:
            async with asyncio.timeout(timeout_s + _GRACE_S):
                return await work
        except TimeoutError:
            await self.network.end_if_hung()
            raise NetworkError(
                f"{url.href}: no answer within {timeout_s:g} s",
                code="NS_ERROR_NET_TIMEOUT",
                url=url.href,
                hint="--timeout gives it longer",
            ) from None


def _checked_text(text: object) -> str:
    """A caller's URL or path.  Raises FoxdenError, LoadError."""
    if not isinstance(text, str) or not text:
        got = f"{type(text).__name__}" if text else "nothing"
        raise FoxdenError(f"expected a URL or a path as text, got {got}", hint="foxden open https://example.org/")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise LoadError(
            f"expected a URL or a path, got {ascii(text)[:120]}: it is not UTF-8",
            code="NS_ERROR_MALFORMED_URI",
            hint="percent-encode a URL; give a file a name that is UTF-8",
        ) from None
    return text


def _checked_seconds(timeout_s: float) -> float:
    """A caller's time limit; beyond a day it makes no difference.  Raises FoxdenError."""
    if not timeout_s > 0:  # this way round for nan
        raise FoxdenError(f"timeout: expected more than 0 seconds, got {timeout_s}")
    return min(timeout_s, 86_400.0)
