"""One TLS handshake at a time with a server not yet known: it tells whether one connection will do for all.

Runs in: socket process; pure.  Trusts: nothing depends on it but the number of connections.
Flow: `may_start` → start, or wait → the first one `opened` or `ended` → those that waited start.
Source: Gecko's "restrict connections until ALPN is known"; libcurl's own CURLOPT_PIPEWAIT waits for the first
answer of an HTTP/1.1 server, so that one slow answer holds up all others: measured, and tested for.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

KNOWN_MAX = 1024  # servers remembered

T = TypeVar("T")


class HandshakeGate(Generic[T]):
    """Who waits for whose handshake, by server."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self._first: dict[str, T] = {}
        self._waiting: dict[str, list[T]] = {}

    def is_known(self, server: str) -> bool:
        return server in self._known

    def may_start(self, server: str, item: T) -> bool:
        """True: start `item` now.  False: it was put on the list of those that wait."""
        if server not in self._first:
            self._first[server] = item
            return True
        self._waiting.setdefault(server, []).append(item)
        return False

    def opened(self, server: str) -> list[T]:
        """A handshake is done: return those that waited for it."""
        self._known[server] = None
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        self._first.pop(server, None)
        return self._waiting.pop(server, [])

    def ended(self, server: str, item: T) -> list[T]:
        """`item` is over, or given up.  If it was the first, return those that waited: one of them is the next."""
        if self._first.get(server) is item:
            del self._first[server]
            return self._waiting.pop(server, [])
        waiting = self._waiting.get(server, [])
        if item in waiting:
            waiting.remove(item)
        return []
