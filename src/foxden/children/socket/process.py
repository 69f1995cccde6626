"""The socket process: the only process that opens network sockets.

Runs in: socket process; its root actor, its bridges, and the loop.  Trusts: the parent; never a server or a reader.
Flow: parent → PSocketProcess → transactions → engine;  bodies → bridges → whoever reads them.
Source: Gecko's SocketProcessChild; seed document "Socket process".
"""

from __future__ import annotations

import _socket
import asyncio
import gc
import os
from collections.abc import Callable

from foxden.children.socket.delivery import SocketProcessBridgeParent
from foxden.children.socket.engine import Engine
from foxden.children.socket.prewarm import prewarm
from foxden.children.socket.resolver import Answer, Query, Resolver, query_system
from foxden.children.socket.transaction import HttpTransactionChild
from foxden.errors import ProtocolMisuse
from foxden.ipc.actor import Actor, Deferred, Why
from foxden.ipc.aio import AsyncPipe
from foxden.ipc.pipe import bind_endpoint
from foxden.ipc.schema import Side
from foxden.launch.child_main import ChildActor, ChildContext
from foxden.model.addresses import canonical_host, parse_host
from foxden.protocols.network import NetOutcome, NetworkSettings, PHttpTransaction, PSocketProcess
from foxden.protocols.process import PChildProcess

__all__ = ["SocketProcessChild", "SocketProcessHandlers", "main", "prewarm", "serve"]

_TICK_S = 0.1  # how exactly time-outs are kept; nothing ticks while nothing is loaded


class Service:
    """What the transactions of this process share."""

    def __init__(self, settings: NetworkSettings, report: Callable[[int, str], None], query: Query) -> None:
        if not os.access(settings.certificates, os.R_OK):
            raise ProtocolMisuse(
                f"NetworkSettings.certificates: expected a file of authorities, got {settings.certificates!r}"
            )
        self.loop = asyncio.get_running_loop()
        self.engine = Engine(settings)
        self.resolver = Resolver(threads=settings.dns_threads, cache_s=settings.dns_cache_s, query=query)
        self.received_bytes = 0
        self._report = report
        self._bridges: dict[int, AsyncPipe] = {}
        self._watched: set[HttpTransactionChild] = set()
        self._tick: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._watched)

    # ---- transactions

    def watch(self, transaction: HttpTransactionChild) -> None:
        self._watched.add(transaction)
        if self._tick is None:
            self._tick = self.loop.call_later(_TICK_S, self._check_times)

    def unwatch(self, transaction: HttpTransactionChild) -> None:
        self._watched.discard(transaction)

    def _check_times(self) -> None:
        now = self.loop.time()
        for transaction in list(self._watched):
            transaction.check_time(now)
        self._tick = self.loop.call_later(_TICK_S, self._check_times) if self._watched else None

    # ---- bridges

    def add_bridge(self, child_id: int, sock: _socket.socket) -> None:
        """Take a bridge to a reader.  A second one to the same child takes the place of the first."""
        old = self._bridges.pop(child_id, None)
        if old is not None:
            old.close()

        def closed(why: Why, error: Exception | None) -> None:
            if self._bridges.get(child_id) is pipe:
                del self._bridges[child_id]
            if why is Why.BAD_MESSAGE:
                self._report(child_id, str(error))

        pipe = AsyncPipe(sock, SocketProcessBridgeParent(), peer=f"reader of child {child_id}", on_closed=closed)
        self._bridges[child_id] = pipe

    def bridge(self, child_id: int) -> Actor | None:
        pipe = self._bridges.get(child_id)
        return pipe.tree.root if pipe is not None else None

    def close(self) -> None:
        """End everything.  A look-up that is stuck in the system's resolver stays in its thread."""
        for pipe in list(self._bridges.values()):
            pipe.close()
        self._bridges.clear()
        if self._tick is not None:
            self._tick.cancel()
        self.resolver.close()
        self.engine.close()


class SocketProcessHandlers(Actor):
    """PSocketProcess's own messages; what all children share comes from ChildActor."""

    query: Query = staticmethod(query_system)
    service: Service | None = None

    def recv_init(self, message: PSocketProcess.Init) -> None:
        self.service = Service(message.settings, self._report_bad_peer, self.query)

    def recv_init_bridge(self, message: PSocketProcess.InitBridge) -> None:
        self._require().add_bridge(message.child_id, bind_endpoint(message.endpoint))

    def recv_resolve(self, message: PSocketProcess.Resolve) -> Deferred[PSocketProcess.Resolve.Returns]:
        reply: Deferred[PSocketProcess.Resolve.Returns] = Deferred()

        def answered(answer: Answer) -> None:
            code = "NS_OK" if answer else "NS_ERROR_UNKNOWN_HOST"
            reply.resolve(PSocketProcess.Resolve.Returns(outcome=NetOutcome(code), addresses=answer[:64]))

        try:
            host, literal = canonical_host(message.host), parse_host(message.host)
        except ValueError as error:
            refused = NetOutcome("NS_ERROR_MALFORMED_URI", str(error)[:1024])
            reply.resolve(PSocketProcess.Resolve.Returns(outcome=refused))
            return reply
        if literal is not None:
            answered((literal,))
        else:
            self._require().resolver.lookup(host, answered)
        return reply

    def recv_get_socket_data(self, message: PSocketProcess.GetSocketData) -> PSocketProcess.GetSocketData.Returns:
        service = self._require()
        return PSocketProcess.GetSocketData.Returns(
            transactions=len(service), connections=service.engine.connections(), received_bytes=service.received_bytes
        )

    def alloc_http_transaction(self, message: PHttpTransaction.Construct) -> HttpTransactionChild:
        return HttpTransactionChild(self._require(), message)

    def actor_destroy(self, why: Why) -> None:
        if self.service is not None:
            self.service.close()
            self.service = None

    def _require(self) -> Service:
        if self.service is None:
            raise ProtocolMisuse("PSocketProcess: expected Init first")
        return self.service

    def _report_bad_peer(self, child_id: int, error: str) -> None:
        self.send(PChildProcess.ReportBadPeer(child_id=child_id, error=error[:1024]))


class SocketProcessChild(SocketProcessHandlers, ChildActor, protocol=PSocketProcess, side=Side.CHILD):
    """The root actor."""


async def serve(sock: _socket.socket, root: SocketProcessHandlers) -> Exception | None:
    """Serve the parent on `sock` until it closes its end, then close everything.

    Returns what the parent did wrong, or what failed here; None after an ordinary end.
    """
    ended: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def closed(why: Why, error: Exception | None) -> None:
        if not ended.done():
            ended.set_result(error)

    pipe = AsyncPipe(sock, root, peer="the parent", on_closed=closed)
    try:
        return await ended
    finally:
        pipe.close()


def main(process: ChildContext) -> None:
    """Be the socket process.  Returns when the parent is gone."""
    root = SocketProcessChild()
    process.start(root)
    gc.freeze()  # what the fork server imported is for ever: no collection need look at it
    error = asyncio.run(serve(process.sock, root))
    if error is not None:
        raise error
