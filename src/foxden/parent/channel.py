"""One load on the network, hop by hop: the parent decides each hop, the socket process makes it.

Runs in: parent.  Trusts: nothing that a server sends; heads are bounded by the protocol.
Flow: Request → reach of this hop → PHttpTransaction → head → redirect? → … → Response, body still to be delivered.
Source: shapes.md section 4 "Every load is one sentence"; Fetch "HTTP-network-or-cache fetch".
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from foxden.errors import LoadError, NetworkError
from foxden.model.hops import IDEMPOTENT, Reach, Request, reach_of, redirect_target, redirected
from foxden.model.network_errors import BY_CODE
from foxden.model.origins import Url
from foxden.parent.network import HttpTransactionParent, Network
from foxden.parent.prefs import Prefs
from foxden.protocols.network import NetOutcome, PHttpTransaction


class Response(msgspec.Struct):
    """A final head.  The rest of the body comes when someone says where to deliver it; `transaction.end()` lets go."""

    channel_id: int
    url: Url
    head: PHttpTransaction.OnStart
    transaction: HttpTransactionParent
    redirects: tuple[str, ...]

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        return next((value for key, value in self.head.headers if key.lower() == name), None)

    @property
    def joined_encodings(self) -> str:
        return ", ".join(value for key, value in self.head.headers if key.lower() == "content-encoding")


class HttpChannel:
    """Makes loads.  One object serves a den; it holds no state of a load."""

    def __init__(self, network: Network, prefs: Prefs, refused: Callable[[NetOutcome, Url], None]) -> None:
        """`refused` hears of every exchange that failed; the runtime keeps a record of those that were refused."""
        self._network, self._prefs, self._refused = network, prefs, refused

    async def open(self, request: Request, *, timeout_s: float, follow: bool = True) -> Response:
        """Return the final response head.  Raises NetworkError, LoadError, and what starting a child raises."""
        named = request.url
        passed: list[str] = []
        private_hosts = self._prefs.get_list("foxden.network.private-hosts")
        limit = self._prefs.get_int("network.http.redirection-limit")
        while True:
            reach = reach_of(request.url, named, private_hosts)
            channel_id = self._network.next_channel_id()
            transaction, head = await self._exchange(channel_id, request, reach, timeout_s)
            response = Response(channel_id, request.url, head, transaction, tuple(passed))
            try:
                target = redirect_target(request, head.status, response.header("location")) if follow else None
                if target is None:
                    return response
                if len(passed) >= limit:
                    raise _loop(request.url, limit)
            except ValueError as error:  # urllib's, of a Location that is no URL at all
                transaction.end()
                raise _bad_location(request.url, str(error)) from None
            except BaseException:
                transaction.end()
                raise
            transaction.end()
            passed.append(request.url.href)
            request = redirected(request, head.status, target)

    async def _exchange(
        self, channel_id: int, request: Request, reach: Reach, timeout_s: float
    ) -> tuple[HttpTransactionParent, PHttpTransaction.OnStart]:
        """One hop.  An idempotent request that lost its socket process before any head came is sent once more."""
        for attempt in (1, 2):
            transaction = await self._network.transaction(channel_id, request, reach, timeout_s)
            head = await _head_of(transaction)
            if head is not None:
                return transaction, head
            outcome = transaction.outcome
            transaction.end()
            if outcome.code != "NS_ERROR_SOCKET_PROCESS_GONE" or request.method not in IDEMPOTENT or attempt == 2:
                self._refused(outcome, request.url)
                raise network_error(outcome, request.url)
        raise AssertionError("two attempts were made")


async def _head_of(transaction: HttpTransactionParent) -> PHttpTransaction.OnStart | None:
    try:
        return await transaction.start
    except BaseException:
        transaction.end()  # our caller gave up: so does the exchange
        raise


def _bad_location(url: Url, why: str) -> LoadError:
    return LoadError(f"a redirect from {url.href} leads nowhere: {why}", code="NS_ERROR_MALFORMED_URI", url=url.href)


def _loop(url: Url, limit: int) -> NetworkError:
    return NetworkError(
        f"{url.href}: more than {limit} redirects",
        code="NS_ERROR_REDIRECT_LOOP",
        url=url.href,
        hint="raise network.http.redirection-limit if the site means it",
    )


def network_error(outcome: NetOutcome, url: Url) -> NetworkError:
    """The error that users see for an outcome that is not NS_OK."""
    row = BY_CODE.get(outcome.code)
    meaning = f"{outcome.code}: {row.meaning}" if row else outcome.code
    detail = f" ({outcome.detail})" if outcome.detail else ""
    return NetworkError(f"{url.href}: {meaning}{detail}", code=outcome.code, url=url.href, hint=row.hint if row else "")
