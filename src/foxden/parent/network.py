"""The parent's hold on the network: one socket process, started when first needed and again when it died.

Runs in: parent.  Trusts: nothing that the socket process says beyond what its protocol bounds.
Flow: transaction(request) → ensure the process → PHttpTransaction → futures of head and end.
Source: seed document "Necko: socket process"; mission part B, stability goal.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable
from functools import lru_cache

import msgspec

from foxden.errors import BadMessage, ChildCrashed, ChildTimeout, NetworkError
from foxden.ipc.actor import Actor, Why
from foxden.ipc.aio import AsyncPipe, call
from foxden.ipc.codec import MAX_PACKET
from foxden.ipc.fields import INLINE_MAX, Payload, UrlText
from foxden.ipc.header_fields import Headers
from foxden.ipc.memory import RingReader, make_payload
from foxden.ipc.pipe import bind_endpoint, make_endpoints
from foxden.ipc.schema import Side
from foxden.model.hops import Reach, Request
from foxden.parent.hosts import ChildHost, ChildParent
from foxden.parent.prefs import Prefs
from foxden.parent.processes import ProcessManager
from foxden.protocols.content import PContent
from foxden.protocols.network import (
    Access,
    Method,
    NetOutcome,
    NetworkSettings,
    PBackgroundData,
    PHttpTransaction,
    PSocketProcess,
    PSocketProcessBridge,
)

OWN_CHILD_ID = 0  # the parent as reader of a bridge
_STARTS = 3  # of the socket process for one load: it may have ended again before the load hears that it started
_OTHER_FIELDS = 4096  # bytes of a PHttpTransaction.Construct beside URL, headers and body
_SENDABLE_HINT = "a method is one word; headers are names and one line of text each, 512 at most"
GONE = NetOutcome(code="NS_ERROR_SOCKET_PROCESS_GONE", detail="the socket process ended")


class SocketProcessParent(ChildParent, protocol=PSocketProcess, side=Side.PARENT):
    """The socket process, seen from here.  It has nothing to ask of the parent but what every child has."""


class HttpTransactionParent(Actor, protocol=PHttpTransaction, side=Side.PARENT):
    """One exchange.  `start`: its head, or None when it ended without one; `stop`: how it ended."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.start: asyncio.Future[PHttpTransaction.OnStart | None] = loop.create_future()
        self.stop: asyncio.Future[PHttpTransaction.OnStop | None] = loop.create_future()

    def recv_on_start(self, message: PHttpTransaction.OnStart) -> None:
        if self.stop.done():
            raise BadMessage("PHttpTransaction.OnStart: sent after OnStop, which is the last word - at header.message")
        if not self.start.done():
            self.start.set_result(message)
        if message.finished is not None:
            received, timing = message.finished.received_bytes, message.finished.timing
            self.stop.set_result(PHttpTransaction.OnStop(NetOutcome("NS_OK"), received, timing))
            self.finish()

    def recv_on_stop(self, message: PHttpTransaction.OnStop) -> None:
        if not self.stop.done():
            self.stop.set_result(message)
        if not self.start.done():
            self.start.set_result(None)

    def actor_destroy(self, why: Why) -> None:
        for future in (self.start, self.stop):
            if not future.done():
                future.set_result(None)

    @property
    def outcome(self) -> NetOutcome:
        """How it ended; that the socket process is gone, when it never said."""
        message = self.stop.result() if self.stop.done() else None
        return message.outcome if message is not None else GONE

    def end(self) -> None:
        """Cancel, or let go of, the exchange."""
        self.delete(PHttpTransaction.Delete())


class BodyReading(msgspec.Struct):
    """One body on its way to the parent itself (`fetch`): opaque bytes, handed to a sink."""

    sink: Callable[[memoryview], object]  # has copied what it keeps; a future that it returns: for more, wait for that
    done: asyncio.Future[None]
    room: int  # bytes that may still come: the socket process keeps to it, or is not believed
    full: list[asyncio.Future[object]] = msgspec.field(default_factory=list)  # such futures, of the last pieces

    def take(self, view: memoryview) -> bool:
        """Hand a piece over.  False: no more is wanted; what the caller's sink raised is the caller's to hear."""
        if not self.done.done():
            try:
                self.room -= len(view)
                if self.room < 0:
                    raise BadMessage("PBackgroundData.OnData: more than a body may have")
                answer = self.sink(view)
            except Exception as error:
                self.done.set_exception(error)
            else:
                if isinstance(answer, asyncio.Future):
                    self.full.append(answer)
        return not self.done.done()

    def finish(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class BackgroundDataReader(Actor, protocol=PBackgroundData, side=Side.CHILD):
    def __init__(self, reading: BodyReading | None, message: PBackgroundData.Construct) -> None:
        self._reading = reading  # None: nobody waits any more
        self._ring = RingReader(message.ring)
        self._waits: set[asyncio.Task[None]] = set()  # for a sink that is full

    def recv_on_data(self, message: PBackgroundData.OnData) -> None:
        try:
            views = self._ring.read(message.count)
        except ValueError as error:
            raise BadMessage(f"PBackgroundData.OnData: {error} - at `$.count`") from None
        wanted = self._reading is not None and all(self._reading.take(view) for view in views)
        for view in views:
            with contextlib.suppress(BufferError):  # the sink kept it, against its word: then it stays mapped
                view.release()
        if not wanted or self._reading is None:
            self.delete(PBackgroundData.Delete())
        elif self._reading.full:
            full, self._reading.full = self._reading.full, []
            task = asyncio.get_running_loop().create_task(self._consume_later(full, message.count))
            self._waits.add(task)
            task.add_done_callback(self._waits.discard)
        else:
            self.send(PBackgroundData.Consumed(count=message.count))

    async def _consume_later(self, full: list[asyncio.Future[object]], count: int) -> None:
        await asyncio.wait(full)
        self.send(PBackgroundData.Consumed(count=count))

    def recv_on_stop(self, message: PBackgroundData.OnStop) -> None:
        self.delete(PBackgroundData.Delete())

    def actor_destroy(self, why: Why) -> None:
        for task in self._waits:
            task.cancel()
        with contextlib.suppress(BufferError):  # likewise
            self._ring.close()
        if self._reading is not None:
            self._reading.finish()


class BridgeReader(Actor, protocol=PSocketProcessBridge, side=Side.CHILD):
    """The parent's own end of a bridge."""

    def __init__(self, readings: dict[int, BodyReading]) -> None:
        self._readings = readings

    def alloc_background_data(self, message: PBackgroundData.Construct) -> BackgroundDataReader:
        return BackgroundDataReader(self._readings.get(message.channel_id), message)

    def actor_destroy(self, why: Why) -> None:
        for reading in self._readings.values():
            reading.finish()  # bodies that were promised and never began


class Network:
    """One socket process at a time."""

    def __init__(self, processes: ProcessManager, prefs: Prefs) -> None:
        self._processes, self._prefs = processes, prefs
        self._host: ChildHost | None = None
        self._starting: asyncio.Task[ChildHost] | None = None
        self._own_pipe: AsyncPipe | None = None
        self._bridged: dict[int, ChildHost] = {}  # child id → the socket process its bridge leads to
        self._readings: dict[int, BodyReading] = {}
        self._channel_ids = itertools.count(1)
        self._idle_timeout_s = float(prefs.get_int("network.http.response.timeout"))
        self._max_header_bytes = prefs.get_int("foxden.network.max-header-bytes")
        self._max_body_bytes = prefs.get_int("foxden.network.max-body-bytes")

    def next_channel_id(self) -> int:
        return next(self._channel_ids)

    async def ensure(self) -> ChildHost:
        """The live socket process; starts it when there is none.

        Raises SandboxUnavailable, LaunchFailed; NetworkError when one after the other ends as soon as it has started.
        """
        for _ in range(_STARTS):
            if self._host is not None and self._host.alive:
                return self._host
            if self._starting is None:
                self._starting = asyncio.create_task(self._start())
                self._starting.add_done_callback(self._started)
            host = await asyncio.shield(self._starting)
            if host.alive:
                return host
        raise NetworkError("the socket process ended as soon as it had started", code="NS_ERROR_SOCKET_PROCESS_GONE")

    def _started(self, task: asyncio.Task[ChildHost]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()

    async def _start(self) -> ChildHost:
        certificates = self._prefs.authorities()
        if not os.path.isfile(certificates):
            raise NetworkError(
                f"no file of certificate authorities was found{f' at {certificates}' if certificates else ''}",
                code="SEC_ERROR_UNKNOWN_ISSUER",
                hint="install ca-certificates, or set SSL_CERT_FILE",
            )
        host = await self._processes.launch("socket", SocketProcessParent(), name="network")
        host.root.send(PSocketProcess.Init(settings=self._settings(certificates)))
        self._host = host
        self._bridge_own(host)
        return host

    def _settings(self, certificates: str) -> NetworkSettings:
        prefs = self._prefs
        return NetworkSettings(
            dns_threads=prefs.get_int("network.dns.max_any_priority_threads"),
            dns_cache_s=float(prefs.get_int("network.dns.resolver-thread-extra-idle-time-seconds")),
            connect_timeout_s=float(prefs.get_int("network.http.connection-timeout")),
            max_connections_per_host=prefs.get_int("network.http.max-persistent-connections-per-server"),
            max_connections=prefs.get_int("network.http.max-connections"),
            http2=prefs.get_bool("network.http.http2.enabled"),
            certificates=certificates,
        )

    def _bridge_own(self, host: ChildHost) -> None:
        ours, theirs = make_endpoints()
        host.root.send(PSocketProcess.InitBridge(child_id=OWN_CHILD_ID, endpoint=theirs))
        theirs.close()

        def closed(why: Why, error: Exception | None) -> None:
            if error is not None:
                host.broke_protocol(str(error), f"the socket process broke the protocol: {error}")

        if self._own_pipe is not None:
            self._own_pipe.close()
        self._own_pipe = AsyncPipe(
            bind_endpoint(ours), BridgeReader(self._readings), peer="the socket process's bridge", on_closed=closed
        )

    def bridge_to(self, reader: ChildHost, network: ChildHost) -> None:
        """See to it that `reader` has a bridge to this socket process."""
        if self._bridged.get(reader.child_id) is network:
            return
        ours, theirs = make_endpoints()
        reader.root.send(PContent.InitBridge(endpoint=ours))
        network.root.send(PSocketProcess.InitBridge(child_id=reader.child_id, endpoint=theirs))
        ours.close()
        theirs.close()
        self._bridged[reader.child_id] = network
        reader.peers.add(network.child_id)
        network.peers.add(reader.child_id)
        reader.ended.add_done_callback(lambda _: self._bridged.pop(reader.child_id, None))

    async def transaction(
        self, channel_id: int, request: Request, reach: Reach, timeout_s: float
    ) -> HttpTransactionParent:
        """Begin one exchange.  Raises what `ensure` raises, and NetworkError for what may not be asked for."""
        _check(request)
        host = await self.ensure()
        message = PHttpTransaction.Construct(
            channel_id=channel_id,
            method=request.method,
            url=request.url.href,
            headers=request.headers,
            access=Access(spaces=reach.spaces, addresses=reach.addresses),
            body=make_payload(Payload, request.body) if request.body else None,
            timeout_s=timeout_s,
            idle_timeout_s=self._idle_timeout_s,
            max_header_bytes=self._max_header_bytes,
            max_body_bytes=self._max_body_bytes,
        )
        return host.root.construct(HttpTransactionParent(), message)

    async def resolve(self, name: str, timeout_s: float = 30.0) -> tuple[str, ...]:
        """Addresses of a host name, looked up by the socket process.  Raises NetworkError."""
        host = await self.ensure()
        reply = await call(host.root, PSocketProcess.Resolve(host=name), timeout_s=timeout_s)
        if not reply.outcome.ok:
            raise NetworkError(f"{name}: {reply.outcome.detail}", code=reply.outcome.code)
        addresses: tuple[str, ...] = reply.addresses
        return addresses

    def expect_body(self, channel_id: int, sink: Callable[[memoryview], object]) -> asyncio.Future[None]:
        """Have the body of this channel, which will be delivered to the parent itself, go to `sink`.

        The future is done when the body has ended, well or not: the transaction knows which.
        """
        reading = BodyReading(sink, asyncio.get_running_loop().create_future(), self._max_body_bytes)
        self._readings[channel_id] = reading
        return reading.done

    def forget_body(self, channel_id: int) -> None:
        self._readings.pop(channel_id, None)

    async def end_if_hung(self) -> None:
        """End the socket process when it does not answer a ping: a stopped or spinning one is no use."""
        host = self._host
        if host is None or not host.alive:
            return
        try:
            await host.ping(float(self._prefs.get_int("foxden.hang.timeout")))
        except (ChildTimeout, ChildCrashed):
            host.kill("the socket process did not answer")

    @property
    def host(self) -> ChildHost | None:
        return self._host

    def close(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        if self._own_pipe is not None:
            self._own_pipe.close()


class _Sendable(msgspec.Struct):
    method: Method
    url: UrlText
    headers: Headers


def _check(request: Request) -> None:
    """Say what the caller got wrong, before the socket process must take it for a broken protocol."""
    try:
        wrong, size = _measure(request.method, request.url.href, request.headers)
    except TypeError as error:  # a value that is not even hashable is no text
        wrong, size = f"method and headers: expected text: {error}", 0
    wrong = wrong or _too_large(size, len(request.body))
    if wrong:
        url = request.url.href[:200]
        raise NetworkError(f"{url}: {wrong}", code="NS_ERROR_ILLEGAL_VALUE", url=url, hint=_SENDABLE_HINT)


@lru_cache(maxsize=256)
def _measure(method: str, url: str, headers: tuple[tuple[str, str], ...]) -> tuple[str, int]:
    """Why these cannot be sent (empty when they can), and their bytes.  Kept: a den asks for much with the same few
    headers."""
    asked = {"method": method, "url": url, "headers": headers}
    try:
        msgspec.convert(asked, _Sendable)
        return "", len(msgspec.msgpack.encode(asked))
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        return str(error), 0


def _too_large(head: int, body: int) -> str:
    if body > Payload.limit:
        return f"the body: expected at most {Payload.limit} bytes, got {body}"
    room = MAX_PACKET - _OTHER_FIELDS - (body if body <= INLINE_MAX else 0)
    return f"URL and headers: expected at most {room} bytes, got {head}" if head > room else ""
