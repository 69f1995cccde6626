"""Pipes on the parent's loop: no peer can stop it, fill its memory or its descriptors, or starve another peer."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.loopback import count_fds, packet, recorder
from tests.support.strategies import make_descriptor

from foxden.errors import BadMessage, ChildCrashed, ChildTimeout
from foxden.ipc import aio
from foxden.ipc.actor import Why
from foxden.ipc.aio import AsyncPipe, call
from foxden.ipc.codec import Kind
from foxden.ipc.fields import LargePayload, RegularFile
from foxden.ipc.pipe import make_pair
from foxden.ipc.schema import Side
from foxden.protocols.unittest import PIPDLUnitTest

Top, Compute, Tell = PIPDLUnitTest, PIPDLUnitTest.Compute, PIPDLUnitTest.Tell
WAIT_S = 5.0


class Peer:
    """The parent's pipe, the raw socket of a child that may do anything, and how it ended."""

    def __init__(self) -> None:
        ours, self.sock = make_pair()
        self.sock.setblocking(False)
        self.ended: list[tuple[Why, Exception | None]] = []
        self.root: Any = recorder(Top, Side.PARENT)()
        self.pipe = AsyncPipe(ours, self.root, peer="child 7", on_closed=self._closed)

    def _closed(self, why: Why, error: Exception | None) -> None:
        self.ended.append((why, error))

    def tell(self, text: str = "x") -> None:
        self.sock.send(packet(0, Tell.number, Kind.SEND, [text]))

    async def end(self) -> tuple[Why, Exception | None]:
        await until(lambda: bool(self.ended))
        (only,) = self.ended
        return only


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():
            await asyncio.sleep(0)


@asynccontextmanager
async def peers(count: int = 1) -> AsyncIterator[list[Peer]]:
    made = [Peer() for _ in range(count)]
    try:
        yield made
    finally:
        for peer in made:
            peer.sock.close()
            peer.pipe.close()


def with_peers(count: int = 1) -> Callable[[Callable[..., Coroutine[Any, Any, None]]], Callable[[], None]]:
    """Run a test on a loop of its own, with peers as its arguments."""

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[[], None]:
        def run() -> None:
            async def main() -> None:
                async with peers(count) as made:
                    await test(*made)

            asyncio.run(main())

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


@with_peers()
async def test_messages_arrive_in_order(peer: Peer) -> None:
    for number in range(100):
        peer.tell(str(number))
    await until(lambda: len(peer.root.events) == 100)
    assert [message.text for message in peer.root.events] == [str(number) for number in range(100)]


@with_peers()
async def test_call_returns_the_reply(peer: Peer) -> None:
    waiting = asyncio.ensure_future(call(peer.root, Top.Ping(token=5), timeout_s=WAIT_S))
    await asyncio.sleep(0)
    assert peer.sock.recv(100)
    peer.sock.send(packet(0, Top.Ping.number, Kind.REPLY, [5], serial=1))
    assert await waiting == Top.Ping.Returns(token=5)


@with_peers()
async def test_call_that_is_not_answered_in_time_raises_and_a_late_reply_is_dropped(peer: Peer) -> None:
    with pytest.raises(ChildTimeout, match=r"PChildProcess.Ping: no reply within 0.01 s"):
        await call(peer.root, Top.Ping(token=5), timeout_s=0.01)
    peer.sock.send(packet(0, Top.Ping.number, Kind.REPLY, [5], serial=1))
    peer.tell("still alive")
    await until(lambda: bool(peer.root.events))
    assert not peer.ended


@with_peers()
async def test_call_whose_peer_dies_or_lies_raises(peer: Peer) -> None:
    waiting = asyncio.ensure_future(call(peer.root, Top.Ping(token=5)))
    await asyncio.sleep(0)
    peer.sock.send(packet(0, Top.Ping.number, Kind.REPLY, ["five"], serial=1))
    with pytest.raises(ChildCrashed, match="no reply: the other process broke the protocol"):
        await asyncio.wait_for(waiting, WAIT_S)
    with pytest.raises(ChildCrashed, match="no reply"):
        await call(peer.root, Top.Ping(token=6))


@with_peers()
async def test_end_of_the_peer_is_told_once(peer: Peer) -> None:
    peer.sock.close()
    assert await peer.end() == (Why.PEER_GONE, None)
    peer.pipe.close()
    assert len(peer.ended) == 1
    assert peer.root.events == [("root", Why.PEER_GONE)]


@with_peers()
async def test_last_words_of_a_peer_that_died_unread_are_still_heard(peer: Peer) -> None:
    peer.root.send(Top.Shutdown())
    peer.tell("last words")
    peer.sock.close()
    await peer.end()
    assert peer.root.events == [Tell(text="last words"), ("root", Why.PEER_GONE)]


@with_peers()
async def test_sending_to_a_peer_that_died_does_not_cut_off_its_last_words(peer: Peer) -> None:
    peer.tell("last words")
    peer.sock.close()
    assert peer.root.send(Top.First()), "to nobody: the pipe's end comes with what is read, not with what is sent"
    await peer.end()
    assert peer.root.events == [Tell(text="last words"), ("root", Why.PEER_GONE)]


@with_peers(2)
async def test_bad_message_ends_its_sender_and_nobody_else(bad: Peer, good: Peer) -> None:
    bad.sock.send(packet(0, Tell.number, Kind.SEND, [5]))
    good.tell("fine")
    why, error = await bad.end()
    assert why is Why.BAD_MESSAGE
    assert isinstance(error, BadMessage)
    assert "PIPDLUnitTest.Tell" in str(error)
    await until(lambda: bool(good.root.events))
    assert not good.ended


@with_peers(2)
async def test_error_of_our_own_handler_ends_that_pipe_and_not_the_loop(one: Peer, other: Peer) -> None:
    one.root.replies[Compute] = "no reply at all"
    one.sock.send(packet(0, Compute.number, Kind.CALL, [1], serial=1))
    why, error = await one.end()
    assert why is Why.BAD_MESSAGE
    assert "expected a reply of its Returns" in str(error)
    other.tell()
    await until(lambda: bool(other.root.events))


@with_peers()
async def test_actor_that_fails_at_its_end_does_not_hide_the_end_of_the_pipe(peer: Peer) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

    def fail(why: Why) -> None:
        raise RuntimeError("at my end")

    peer.root.actor_destroy = fail
    peer.sock.close()
    assert await peer.end() == (Why.PEER_GONE, None)
    assert "at my end" in str(told[0]["exception"])


@with_peers()
async def test_peer_that_does_not_read_is_ended_at_the_bound_and_memory_stays_flat(peer: Peer) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = Top.Echo(payload=LargePayload(b"x" * 60_000))
    highest = 0
    for _ in range(3000):  # 180 MB, were they all kept
        if not peer.root.alive:
            break
        peer.root.call(message, lambda reply: None, lambda why: None)
        highest = max(highest, peer.pipe.queued_bytes)
    why, error = await peer.end()
    assert why is Why.BAD_MESSAGE
    assert "child 7: does not read" in str(error)
    assert highest <= aio._QUEUE_MAX + 130_000
    assert peer.pipe.queued_bytes == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 3 * (aio._QUEUE_MAX >> 10)


@with_peers()
async def test_small_messages_count_with_what_they_take_in_memory(peer: Peer) -> None:
    sent = 0
    while peer.pipe.queued_bytes <= aio._QUEUE_MAX and sent < 1_000_000:
        peer.root.call(Top.Ping(token=1), print, lambda why: None)
        sent += 1
    assert sent < 150_000, "a bound on bytes of packets alone would let two million of them wait"
    assert (await peer.end())[0] is Why.BAD_MESSAGE


@with_peers()
async def test_descriptors_queued_for_a_peer_that_does_not_read_are_few_and_closed_at_its_end(peer: Peer) -> None:
    file = make_descriptor(RegularFile)
    before = count_fds()
    highest = 0
    for _ in range(2000):
        peer.root.call(Top.SendFile(file=file), print, lambda why: None)
        highest = max(highest, count_fds())
    assert highest - before <= 260
    assert (await peer.end())[0] is Why.BAD_MESSAGE
    peer.sock.close()
    assert count_fds() == before - 2
    file.close()


@with_peers()
async def test_what_waits_in_the_queue_goes_out_in_order_when_the_peer_reads(peer: Peer) -> None:
    file = make_descriptor(RegularFile)
    for token in range(2000):
        peer.root.call(Top.Ping(token=token), print, lambda why: None)
    peer.root.call(Top.SendFile(file=file), print, lambda why: None)
    file.close()  # the queue has its own
    assert peer.pipe.queued_bytes > 0
    serials: list[int] = []
    got_fds: list[int] = []

    def read() -> None:
        try:
            data, fds, _, _ = socket.recv_fds(peer.sock, 4096, 8)
        except BlockingIOError:
            return
        serials.append(int.from_bytes(data[4:8], "little"))
        got_fds.extend(fds)

    async with asyncio.timeout(WAIT_S):
        while len(serials) < 2001:
            read()
            await asyncio.sleep(0)
    assert serials == list(range(1, 2002))
    assert peer.pipe.queued_bytes == 0
    assert len(got_fds) == 1
    os.close(got_fds[0])


@with_peers(2)
async def test_peer_that_floods_us_does_not_starve_another(flooder: Peer, quiet: Peer) -> None:
    flooder.sock.setblocking(True)
    flooder.sock.settimeout(WAIT_S)
    stop = threading.Event()

    def flood() -> None:
        raw = packet(0, Tell.number, Kind.SEND, ["flood"])
        while not stop.is_set():
            try:
                flooder.sock.send(raw)
            except OSError:
                return

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        await until(lambda: len(flooder.root.events) > 100)
        before = len(flooder.root.events)
        quiet.tell("let me through")
        await until(lambda: bool(quiet.root.events))
        assert len(flooder.root.events) - before <= 10 * aio._BATCH
    finally:
        stop.set()
        flooder.pipe.close()
        thread.join()


@with_peers()
async def test_peer_that_makes_the_socket_blocking_cannot_stop_the_loop(peer: Peer) -> None:
    os.set_blocking(peer.pipe._fd, True)  # whoever holds a copy of our end could
    for _ in range(500):
        peer.root.call(Top.Ping(token=1), print, lambda why: None)
    assert peer.pipe.queued_bytes > 0, "the socket is full, and we did not wait"
    peer.tell()
    await until(lambda: bool(peer.root.events))


@with_peers()
async def test_closing_inside_a_handler_ends_the_reading(peer: Peer) -> None:
    peer.root.recv_tell = lambda message: peer.pipe.close()
    for _ in range(3):
        peer.tell()
    assert await peer.end() == (Why.SHUTDOWN, None)
    assert peer.root.send(Top.First()) is False


def test_loops_on_two_threads_do_not_share_a_buffer() -> None:
    buffers: list[Any] = []

    async def main() -> None:
        async with peers(2) as (one, other):
            assert one.pipe._buffer is other.pipe._buffer
            buffers.append(one.pipe._buffer)

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert buffers[0] is not buffers[1]


def test_descriptors_leak_on_no_error_path() -> None:
    async def main() -> None:
        for raw in (b"short", b"x" * 140_000, b"", packet(0, 999, 0, descriptors=8), packet(0, 1, 3, descriptors=8)):
            async with peers() as (peer,):
                null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
                socket.send_fds(peer.sock, [raw], [null] * 8)
                os.close(null)
                await peer.end()

    asyncio.run(main())
    before = count_fds()
    asyncio.run(main())
    assert count_fds() == before
