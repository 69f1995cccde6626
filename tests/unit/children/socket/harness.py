"""The parent's side of a socket process, over real socketpairs in the test's own process and loop.

Flow: `async with Net(certificates) as net:` → `await net.load(url)` → Loaded(head, body, outcome).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foxden.children.socket.process import SocketProcessChild, serve
from foxden.children.socket.resolver import Query, query_system
from foxden.ipc.actor import Actor, Why
from foxden.ipc.aio import AsyncPipe, call
from foxden.ipc.fields import Payload
from foxden.ipc.memory import RingReader, make_payload
from foxden.ipc.pipe import bind_endpoint, make_endpoints, make_pair
from foxden.ipc.schema import Side
from foxden.model.addresses import AddressSpace
from foxden.protocols.network import (
    Access,
    NetOutcome,
    NetworkSettings,
    PBackgroundData,
    PHttpTransaction,
    PSocketProcess,
    PSocketProcessBridge,
)
from foxden.protocols.process import PChildProcess

LOOPBACK = Access(spaces=(AddressSpace.LOOPBACK,))
PUBLIC = Access()
READER = 7  # child id of the reader that Net makes


@dataclass
class Loaded:
    """What became of one load."""

    start: PHttpTransaction.OnStart | None
    stop: PHttpTransaction.OnStop
    body: bytes
    reader_stop: PBackgroundData.OnStop | None = None

    @property
    def code(self) -> str:
        return self.stop.outcome.code

    @property
    def status(self) -> int:
        assert self.start is not None, self.stop
        return self.start.status

    def header(self, name: str) -> list[str]:
        assert self.start is not None
        return [value for key, value in self.start.headers if key.lower() == name.lower()]


class SocketProcessParent(Actor, protocol=PSocketProcess, side=Side.PARENT):
    def __init__(self) -> None:
        self.bad_peers: list[tuple[int, str]] = []

    def recv_ready(self, message: Any) -> None: ...

    def recv_launch_failed(self, message: Any) -> None: ...

    def recv_report_bad_peer(self, message: PChildProcess.ReportBadPeer) -> None:
        self.bad_peers.append((message.child_id, message.error))


class HttpTransactionParent(Actor, protocol=PHttpTransaction, side=Side.PARENT):
    def __init__(self, channel_id: int) -> None:
        loop = asyncio.get_running_loop()
        self.channel_id = channel_id
        self.started: asyncio.Future[PHttpTransaction.OnStart] = loop.create_future()
        self.stopped: asyncio.Future[PHttpTransaction.OnStop] = loop.create_future()

    def recv_on_start(self, message: PHttpTransaction.OnStart) -> None:
        self.started.set_result(message)
        if message.finished is not None:
            received, timing = message.finished.received_bytes, message.finished.timing
            self.stopped.set_result(PHttpTransaction.OnStop(NetOutcome("NS_OK"), received, timing))
            self.finish()

    def recv_on_stop(self, message: PHttpTransaction.OnStop) -> None:
        self.stopped.set_result(message)


class BackgroundDataChild(Actor, protocol=PBackgroundData, side=Side.CHILD):
    """A reader.  `hold`: reads but acknowledges nothing until `release` is called."""

    def __init__(self, reader: Reader, message: PBackgroundData.Construct) -> None:
        self.ring = RingReader(message.ring)
        self.ring_size = self.ring.size
        self.digest = hashlib.sha256(reader.inline.get(message.channel_id, b""))
        self.count = 0
        self.data: list[bytes] = []
        self._reader = reader
        self._held = 0
        self.ended: asyncio.Future[PBackgroundData.OnStop] = asyncio.get_running_loop().create_future()

    def recv_on_data(self, message: PBackgroundData.OnData) -> None:
        for view in self.ring.read(message.count):
            self.digest.update(view)
            if self._reader.keep:
                self.data.append(bytes(view))
            view.release()
        self.count += message.count
        if self._reader.hold:
            self._held += message.count
        else:
            self.send(PBackgroundData.Consumed(message.count))

    def release(self) -> None:
        self._reader.hold = False
        if self._held:
            self.send(PBackgroundData.Consumed(self._held))

    def recv_on_stop(self, message: PBackgroundData.OnStop) -> None:
        self.ended.set_result(message)

    def actor_destroy(self, why: Why) -> None:
        self.ring.close()
        self.ended.cancel()


class Reader(Actor, protocol=PSocketProcessBridge, side=Side.CHILD):
    """The far end of a bridge."""

    def __init__(self) -> None:
        self.keep = True
        self.hold = False
        self.inline: dict[int, bytes] = {}  # what comes before the ring's bytes, for digests
        self.bodies: dict[int, BackgroundDataChild] = {}
        self.arrived = asyncio.Event()

    def alloc_background_data(self, message: PBackgroundData.Construct) -> BackgroundDataChild:
        made = self.bodies[message.channel_id] = BackgroundDataChild(self, message)
        self.arrived.set()
        return made

    async def body(self, channel_id: int) -> BackgroundDataChild:
        while channel_id not in self.bodies:
            self.arrived.clear()
            await self.arrived.wait()
        return self.bodies[channel_id]


@dataclass
class Net:
    """A running socket process and its parent.  Made by `running`."""

    root: SocketProcessParent
    child: SocketProcessChild
    pipe: AsyncPipe
    served: asyncio.Task[Exception | None]
    readers: dict[int, tuple[Reader, AsyncPipe]] = field(default_factory=dict)
    channels: int = 0

    def add_reader(self, child_id: int = READER) -> Reader:
        ours, theirs = make_endpoints()
        self.root.send(PSocketProcess.InitBridge(child_id, theirs))
        theirs.close()
        reader = Reader()
        pipe = AsyncPipe(bind_endpoint(ours), reader, peer="socket process", on_closed=lambda why, error: None)
        self.readers[child_id] = (reader, pipe)
        return reader

    def begin(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: tuple[tuple[str, str], ...] = (),
        body: bytes | None = None,
        access: Access = LOOPBACK,
        **options: Any,
    ) -> HttpTransactionParent:
        self.channels += 1
        payload = make_payload(Payload, body) if body is not None else None
        message = PHttpTransaction.Construct(
            channel_id=self.channels, method=method, url=url, headers=headers, access=access, body=payload, **options
        )
        return self.root.construct(HttpTransactionParent(self.channels), message)

    async def finish(self, transaction: HttpTransactionParent, *, timeout_s: float = 15) -> Loaded:
        """Follow a transaction to its end, as a parent would: what is not inline is asked for over the bridge."""
        stopped = transaction.stopped
        async with asyncio.timeout(timeout_s):
            await asyncio.wait((transaction.started, stopped), return_when=asyncio.FIRST_COMPLETED)
            if not transaction.started.done():
                return await self._finished(transaction, None, b"")
            start = transaction.started.result()
            if start.finished is not None:
                return await self._finished(transaction, start, start.inline)
            if READER not in self.readers:
                self.add_reader()
            transaction.send(PHttpTransaction.StartDelivery(READER))
            data = await self.readers[READER][0].body(transaction.channel_id)
            reader_stop = await data.ended
            loaded = await self._finished(transaction, start, start.inline + b"".join(data.data))
            loaded.reader_stop = reader_stop
            data.delete(PBackgroundData.Delete())
            return loaded

    async def _finished(
        self, transaction: HttpTransactionParent, start: PHttpTransaction.OnStart | None, body: bytes
    ) -> Loaded:
        stop = await transaction.stopped
        transaction.delete(PHttpTransaction.Delete())
        return Loaded(start, stop, body)

    async def load(self, url: str, *, limit_s: float = 15, **options: Any) -> Loaded:
        return await self.finish(self.begin(url, **options), timeout_s=limit_s)

    async def call(self, message: Any) -> Any:
        return await call(self.root, message, timeout_s=10)


@asynccontextmanager
async def running(certificates: Path, *, query: Query = query_system, **settings: Any) -> AsyncIterator[Net]:
    """A socket process served in this loop."""
    ours, theirs = make_pair()
    child = SocketProcessChild()
    child.query = query
    served = asyncio.create_task(serve(theirs, child))
    root = SocketProcessParent()
    pipe = AsyncPipe(ours, root, peer="socket process", on_closed=lambda why, error: None)
    root.send(PSocketProcess.Init(NetworkSettings(certificates=str(certificates), **settings)))
    net = Net(root, child, pipe, served)
    try:
        yield net
    finally:
        pipe.close()
        for _, bridge in net.readers.values():
            bridge.close()
        error = await served
        if error is not None:
            raise error


async def until(condition: Callable[[], bool], *, timeout_s: float = 5) -> None:
    """Wait for something that nothing announces."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def outcome_of(loaded: Loaded) -> NetOutcome:
    return loaded.stop.outcome


__all__ = ["LOOPBACK", "PUBLIC", "READER", "Loaded", "Net", "Reader", "contextlib", "outcome_of", "running", "until"]
