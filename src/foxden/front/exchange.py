"""One exchange, with its body handed to this thread piece by piece: the den's loop never waits for a slow reader.

Runs in: command.  Trusts: the parent's bounds on head and body.
Flow: Loads.fetch on the den's loop → queue → pieces() on the caller's thread, which says when it has taken one.
Source: the ring between it and the socket process as flow control: what waits here has not been consumed there.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Self

import msgspec

if TYPE_CHECKING:
    from foxden.parent.answers import Reply
    from foxden.parent.channel import Response
    from foxden.parent.den import Den

_LOOK_S = 0.1


class Ask(msgspec.Struct, frozen=True):
    """What to send."""

    url: str
    method: str
    headers: dict[str, str]
    data: bytes
    follow: bool
    timeout_s: float


class Head(msgspec.Struct, frozen=True):
    """The head of the final answer."""

    url: str
    status: int
    http_version: str
    headers: tuple[tuple[str, str], ...]

    @property
    def length(self) -> int | None:
        """Bytes to come, if the server says so."""
        text = next((value for name, value in self.headers if name.lower() == "content-length"), "")
        return int(text) if text.isdecimal() and text.isascii() else None

    def text(self) -> str:
        """As `curl -i` prints it."""
        first = f"{self.http_version or 'HTTP/1.1'} {self.status}"
        return "\r\n".join([first, *(f"{name}: {value}" for name, value in self.headers), "", ""])


class Exchange:
    """Use with `with`; leaving early cancels."""

    def __init__(self, den: Den, ask: Ask) -> None:
        # At most what the ring holds is in it.  With each piece, what waits until that is taken.
        self._queue: queue.SimpleQueue[tuple[bytes, asyncio.Future[None]]] = queue.SimpleQueue()
        self._head: Future[Head] = Future()
        work = den._runtime.loading(
            lambda loads: loads.fetch(
                ask.url, method=ask.method, headers=ask.headers, body=ask.data, follow=ask.follow,
                timeout_s=ask.timeout_s, sink=self._take, on_head=self._take_head,
            )
        )  # fmt: skip
        self._done: Future[Reply] = den._submit(work)
        self._done.add_done_callback(self._ended)

    def _take_head(self, response: Response) -> None:
        head = response.head
        self._head.set_result(Head(response.url.href, head.status, head.http_version, head.headers))

    def _take(self, piece: bytes | memoryview) -> asyncio.Future[None]:
        """On the den's loop, which goes on while the reader is slow."""
        taken = asyncio.get_running_loop().create_future()
        self._queue.put((bytes(piece), taken))
        return taken

    def _ended(self, done: Future[Reply]) -> None:
        if self._head.done():
            return
        if done.cancelled():
            self._head.set_exception(CancelledError())
        else:
            self._head.set_exception(done.exception() or RuntimeError("an exchange without a head"))

    def head(self) -> Head:
        """Wait for the head.  Raises what Loads.fetch raises."""
        return self._head.result()

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes.  Raises what Loads.fetch raises."""
        while not self._done.done() or not self._queue.empty():
            try:
                data, taken = self._queue.get(timeout=0.02 if self._done.done() else _LOOK_S)
            except queue.Empty:
                continue
            yield data  # taken when more is asked for
            with contextlib.suppress(RuntimeError):  # the den is closed: nobody waits
                taken.get_loop().call_soon_threadsafe(_say, taken)
        self._done.result()

    def result(self) -> Reply:
        return self._done.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.cancel()


def _say(taken: asyncio.Future[None]) -> None:
    if not taken.done():
        taken.set_result(None)
