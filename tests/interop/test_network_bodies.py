"""Bodies over a bridge: whole, in order, bounded in memory, and ended when nobody wants them any more."""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import resource
import socket
import threading
from collections.abc import Iterator

import pytest
from tests.support import users
from tests.support.pki import Pki
from tests.support.servers import Nginx, ScriptedServer, read_head
from tests.unit.children.socket.harness import LOOPBACK, READER, BackgroundDataChild, Net, running, until

from foxden.children.socket import delivery
from foxden.protocols.network import Access, PBackgroundData, PHttpTransaction, PSocketProcess

BIG = 256 << 20
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(scope="module")
def big(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Nginx, str]]:
    users.require("nginx")
    root = tmp_path_factory.mktemp("big")
    block = hashlib.shake_256(b"big").digest((1 << 20) + 7)
    digest, left = hashlib.sha256(), BIG
    with (root / "big").open("wb") as file:
        while left:
            part = block[: min(left, len(block))]
            file.write(part)
            digest.update(part)
            left -= len(part)
    with Nginx(root, tls=pki.valid) as server:
        yield server, digest.hexdigest()
    (root / "big").unlink()


@pytest.mark.parametrize("kind", ["http", "https h1", "https h2"])
def test_256_mib_arrive_unchanged_in_little_memory(big: tuple[Nginx, str], pki: Pki, kind: str) -> None:
    server, digest = big
    base = server.http if kind == "http" else server.https

    async def go() -> tuple[BackgroundDataChild, PBackgroundData.OnStop, PHttpTransaction.OnStop, bytes]:
        async with running(pki.authority_file, http2=kind.endswith("h2")) as net:
            reader = net.add_reader()
            reader.keep = False
            transaction = net.begin(base + "/big")
            start = await transaction.started
            reader.inline[transaction.channel_id] = start.inline
            transaction.send(PHttpTransaction.StartDelivery(READER))
            data = await reader.body(transaction.channel_id)
            return data, await data.ended, await transaction.stopped, start.inline

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    data, reader_stop, stop, inline = asyncio.run(go())
    assert (reader_stop.outcome.code, stop.outcome.code) == ("NS_OK", "NS_OK")
    assert data.count + len(inline) == reader_stop.received_bytes == stop.received_bytes == BIG
    assert data.digest.hexdigest() == digest
    assert data.ring_size <= delivery.RING_MAX
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32_768


def test_nothing_more_is_read_while_no_reader_is_there(big: tuple[Nginx, str], pki: Pki) -> None:
    """An endless server is held by its own send buffer: what this process holds is bounded."""
    sent = 0
    stop = threading.Event()

    def endless(connection: socket.socket) -> None:
        nonlocal sent
        read_head(connection)
        connection.settimeout(0.2)
        connection.sendall(OK + b"\r\n")
        while not stop.is_set():
            try:
                sent += connection.send(bytes(1 << 20))
            except TimeoutError:
                continue

    async def go(url: str) -> int:
        async with running(pki.authority_file) as net:
            transaction = net.begin(url + "/", idle_timeout_s=0.3)
            await transaction.started
            await asyncio.sleep(0.5)
            held = sent
            await asyncio.sleep(0.5)
            assert sent == held
            assert not transaction.stopped.done(), "the time in which we hold it is not the server's silence"
            stop.set()
            return held

    with ScriptedServer(endless) as server:
        assert asyncio.run(go(server.url)) < 24 << 20  # buffers of ours, of libcurl and of two sockets


def test_reader_that_takes_nothing_stops_the_flow_and_may_go_on_later(big: tuple[Nginx, str], pki: Pki) -> None:
    server, _ = big

    async def go() -> None:
        async with running(pki.authority_file) as net:
            reader = net.add_reader()
            reader.keep, reader.hold = False, True
            transaction = net.begin(server.http + "/big")
            start = await transaction.started
            transaction.send(PHttpTransaction.StartDelivery(READER))
            data = await reader.body(transaction.channel_id)
            await asyncio.sleep(0.3)
            assert data.count == pytest.approx(delivery.RING_MAX, abs=delivery.RING_MIN)
            data.release()
            await data.ended
            assert data.count + len(start.inline) == BIG

    asyncio.run(go())


async def _begin_delivery(net: Net, url: str) -> tuple[object, BackgroundDataChild]:
    reader = net.add_reader()
    reader.keep, reader.hold = False, True
    transaction = net.begin(url)
    await transaction.started
    transaction.send(PHttpTransaction.StartDelivery(READER))
    return transaction, await reader.body(transaction.channel_id)


def test_reader_that_wants_no_more_ends_the_transfer(big: tuple[Nginx, str], pki: Pki) -> None:
    async def go() -> None:
        async with running(pki.authority_file) as net:
            transaction, data = await _begin_delivery(net, big[0].http + "/big")
            data.delete(PBackgroundData.Delete())
            stop = await transaction.stopped
            assert stop.outcome.code == "NS_BINDING_ABORTED"
            assert net.child.service is not None
            await until(lambda: net.child.service is not None and net.child.service.engine.connections() == 0)

    asyncio.run(go())


def test_reader_that_dies_ends_its_transfers_and_no_others(big: tuple[Nginx, str], pki: Pki) -> None:
    async def go() -> None:
        async with running(pki.authority_file) as net:
            transaction, _ = await _begin_delivery(net, big[0].http + "/big")
            other = net.begin(big[0].http + "/big")
            await other.started
            net.readers[READER][1].close()
            assert (await transaction.stopped).outcome.code == "NS_BINDING_ABORTED"
            assert not other.stopped.done()
            assert net.root.bad_peers == []

    asyncio.run(go())


def test_parent_that_deletes_the_transaction_ends_it_for_the_reader(big: tuple[Nginx, str], pki: Pki) -> None:
    async def go() -> None:
        async with running(pki.authority_file) as net:
            transaction, data = await _begin_delivery(net, big[0].https + "/big")
            transaction.delete(PHttpTransaction.Delete())
            assert (await data.ended).outcome.code == "NS_BINDING_ABORTED"
            reply = await net.call(PSocketProcess.GetSocketData())
            assert reply.transactions == 0

    asyncio.run(go())


@pytest.mark.parametrize("count", [1 << 26, delivery.RING_MAX + 1])
def test_reader_that_acknowledges_too_much_is_reported_and_cut_off(
    big: tuple[Nginx, str], pki: Pki, count: int
) -> None:
    async def go() -> None:
        async with running(pki.authority_file) as net:
            transaction, data = await _begin_delivery(net, big[0].http + "/big")
            data.send(PBackgroundData.Consumed(count))
            assert (await transaction.stopped).outcome.code == "NS_BINDING_ABORTED"
            await until(lambda: bool(net.root.bad_peers))
            [(child_id, error)] = net.root.bad_peers
            assert child_id == READER
            assert "PBackgroundData.Consumed" in error
            assert "$.count" in error
            # The socket process itself goes on.
            assert (await net.load(big[0].http + "/none")).status == 404

    asyncio.run(go())


def test_reader_cannot_write_to_the_ring(big: tuple[Nginx, str], pki: Pki) -> None:
    async def go() -> None:
        async with running(pki.authority_file) as net:
            made: list[int] = []
            reader = net.add_reader()
            original = reader.alloc_background_data

            def alloc(message: PBackgroundData.Construct) -> BackgroundDataChild:
                made.append(os.dup(message.ring.fileno()))
                return original(message)

            reader.alloc_background_data = alloc  # type: ignore[method-assign]
            transaction = net.begin(big[0].http + "/big")
            await transaction.started
            transaction.send(PHttpTransaction.StartDelivery(READER))
            await reader.body(transaction.channel_id)
            try:
                with pytest.raises(PermissionError):
                    os.write(made[0], b"x")
                with pytest.raises(PermissionError):
                    mmap.mmap(made[0], 4096)
                with pytest.raises(PermissionError):
                    os.ftruncate(made[0], 0)
            finally:
                os.close(made[0])

    asyncio.run(go())


def test_delivery_to_a_child_without_a_bridge_is_refused(big: tuple[Nginx, str], pki: Pki) -> None:
    async def go() -> None:
        async with running(pki.authority_file) as net:
            transaction = net.begin(big[0].http + "/big")
            await transaction.started
            transaction.send(PHttpTransaction.StartDelivery(99))
            assert (await transaction.stopped).outcome.code == "NS_BINDING_ABORTED"

    asyncio.run(go())


def test_body_that_ends_before_its_reader_comes_is_kept_for_it(pki: Pki) -> None:
    body = hashlib.shake_256(b"kept").digest(300_000)

    def handler(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK + b"\r\n" + body)

    async def go(url: str) -> None:
        async with running(pki.authority_file) as net:
            transaction = net.begin(url + "/")
            await transaction.started
            await asyncio.sleep(0.1)
            assert not transaction.stopped.done()
            loaded = await net.finish(transaction)
            assert (loaded.body == body, loaded.code) == (True, "NS_OK")
            assert loaded.reader_stop is not None
            assert loaded.reader_stop.received_bytes == 300_000

    with ScriptedServer(handler) as server:
        asyncio.run(go(server.url))


def test_many_bodies_share_one_bridge(big: tuple[Nginx, str], pki: Pki) -> None:
    sizes = {n: 70_000 + n * 1000 for n in range(30)}

    def handler(connection: socket.socket) -> None:
        while head := read_head(connection):
            size = int(head.split(b" ")[1].strip(b"/"))
            connection.sendall(OK + b"Content-Length: %d\r\n\r\n" % size + bytes([size % 251]) * size)

    async def go(url: str) -> None:
        async with running(pki.authority_file) as net:
            begun = {n: net.begin(f"{url}/{size}") for n, size in sizes.items()}
            loaded = await asyncio.gather(*(net.finish(transaction) for transaction in begun.values()))
            for size, one in zip(sizes.values(), loaded, strict=True):
                assert one.body == bytes([size % 251]) * size
            reply = await net.call(PSocketProcess.GetSocketData())
            assert reply.received_bytes == sum(sizes.values())
            assert 1 <= reply.connections <= 6
            assert reply.transactions == 0

    with ScriptedServer(handler) as server:
        asyncio.run(go(server.url))


def test_narrow_load_beside_a_wide_one_on_http2_breaks_nothing(big: tuple[Nginx, str], pki: Pki) -> None:
    """The pooled connection is refused to the narrow load, while another stream on it goes on."""
    answers = {"now": ("127.0.0.1",)}

    async def go(port: int) -> None:
        async with running(pki.authority_file, query=lambda host: answers["now"], dns_cache_s=0.0) as net:
            reader = net.add_reader()
            reader.keep, reader.hold = False, True
            url = f"https://shared.example:{port}/big"
            wide = net.begin(url, access=LOOPBACK)
            start = await wide.started
            wide.send(PHttpTransaction.StartDelivery(READER))
            data = await reader.body(wide.channel_id)
            answers["now"] = ("127.0.0.2",)
            narrow = await net.load(url, access=Access(addresses=("127.0.0.2",)))
            assert (narrow.start, narrow.code) == (None, "NS_ERROR_CONNECTION_REFUSED")
            data.release()
            assert (await data.ended).outcome.code == "NS_OK"
            assert data.count + len(start.inline) == BIG

    with Nginx(big[0]._root, tls=pki.issue("shared.example")) as server:
        asyncio.run(go(server.https_port))
