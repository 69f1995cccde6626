"""The socket process against servers that lie, stall, flood and break off."""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
import threading
import time

import pytest
from tests.support.pki import Pki
from tests.support.servers import Handler, ScriptedServer, answering, free_port, read_head
from tests.unit.children.socket.harness import Loaded, running

OK = b"HTTP/1.1 200 OK\r\n"


def load(pki: Pki, handler: Handler, **options: object) -> Loaded:
    async def go(url: str) -> Loaded:
        async with running(pki.authority_file, **options.pop("settings", {})) as net:
            return await net.load(url, **options)

    with ScriptedServer(handler) as server:
        return asyncio.run(go(server.url + "/x"))


def answer(pki: Pki, *parts: bytes, **options: object) -> Loaded:
    return load(pki, answering(b"".join(parts)), **options)


# --- bodies that are not what was announced ---------------------------------------------------------------------


def test_body_shorter_than_announced_is_a_partial_transfer(pki: Pki) -> None:
    loaded = answer(pki, OK, b"Content-Length: 100\r\n\r\nhalf")
    assert (loaded.status, loaded.body, loaded.code) == (200, b"half", "NS_ERROR_NET_PARTIAL_TRANSFER")
    assert loaded.start is not None
    assert loaded.start.finished is None
    assert loaded.stop.received_bytes == 4


@pytest.mark.parametrize("head", [OK + b"Content-Length: 100\r\n\r\nhalf", OK + b"\r\nhalf"])
def test_tls_connection_that_ends_without_farewell_is_a_partial_transfer(pki: Pki, head: bytes) -> None:
    async def go(url: str) -> Loaded:
        async with running(pki.authority_file) as net:
            return await net.load(url)

    with ScriptedServer(answering(head), tls=pki.valid) as server:
        loaded = asyncio.run(go(server.url + "/"))
    assert (loaded.body, loaded.code) == (b"half", "NS_ERROR_NET_PARTIAL_TRANSFER"), loaded.stop


def test_chunked_body_that_is_cut_is_a_partial_transfer(pki: Pki) -> None:
    loaded = answer(pki, OK, b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    assert (loaded.body, loaded.code) == (b"hello", "NS_ERROR_NET_PARTIAL_TRANSFER")


def test_chunked_body_and_its_trailers_end_well(pki: Pki) -> None:
    loaded = answer(pki, OK, b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: late\r\n\r\n")
    assert (loaded.body, loaded.code) == (b"hello", "NS_OK")
    assert loaded.header("x-trailer") == []


def test_body_without_a_length_ends_with_the_connection(pki: Pki) -> None:
    assert answer(pki, OK, b"\r\nall of it").body == b"all of it"


def test_endless_body_is_cut_at_the_limit(pki: Pki) -> None:
    def endless(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK + b"\r\n")
        while True:
            connection.sendall(bytes(65_536))

    loaded = load(pki, endless, max_body_bytes=3_000_000)
    assert loaded.code == "NS_ERROR_FILE_TOO_BIG"
    assert loaded.reader_stop is not None
    assert loaded.reader_stop.outcome.code == "NS_ERROR_FILE_TOO_BIG"
    assert len(loaded.body) <= 3_000_000


def test_reset_in_the_body_is_told_apart_from_its_end(pki: Pki) -> None:
    def reset(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK + b"Content-Length: 100\r\n\r\nhalf")
        time.sleep(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    loaded = load(pki, reset)
    assert (loaded.body, loaded.code) == (b"half", "NS_ERROR_NET_RESET")


def test_connection_closed_without_an_answer_is_an_empty_response(pki: Pki) -> None:
    loaded = load(pki, lambda connection: read_head(connection) and None)
    assert (loaded.start, loaded.code) == (None, "NS_ERROR_NET_EMPTY_RESPONSE")


def test_refused_connection_has_its_own_name(pki: Pki) -> None:
    async def go() -> Loaded:
        async with running(pki.authority_file) as net:
            return await net.load(f"http://127.0.0.1:{free_port()}/")

    assert asyncio.run(go()).code == "NS_ERROR_CONNECTION_REFUSED"


# --- heads ------------------------------------------------------------------------------------------------------


def test_100k_headers_end_early_and_cost_little_memory(pki: Pki) -> None:
    sent = 0

    def many(connection: socket.socket) -> None:
        nonlocal sent
        read_head(connection)
        connection.sendall(OK)
        line = b"X-A: b\r\n" * 1000
        for _ in range(100):
            connection.sendall(line)
            sent += 1000

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loaded = load(pki, many)
    assert (loaded.start, loaded.code) == (None, "NS_ERROR_RESPONSE_HEADERS_TOO_LARGE")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16_384


def test_endless_header_line_ends_early(pki: Pki) -> None:
    def endless(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK + b"X-A: ")
        while True:
            connection.sendall(b"a" * 65_536)

    assert load(pki, endless).code == "NS_ERROR_RESPONSE_HEADERS_TOO_LARGE"


def test_headers_larger_than_asked_for_are_refused(pki: Pki) -> None:
    big = OK + b"X-A: " + b"a" * 2000 + b"\r\nContent-Length: 0\r\n\r\n"
    assert answer(pki, big, max_header_bytes=1000).code == "NS_ERROR_RESPONSE_HEADERS_TOO_LARGE"
    assert answer(pki, big, max_header_bytes=4000).code == "NS_OK"


def test_largest_head_that_passes_leaves_room_for_the_body(pki: Pki) -> None:
    lines = b"".join(b"X-%d: %s\r\n" % (n, b"\xe4" * 15_000) for n in range(3))
    body = bytes(60_000)
    loaded = answer(pki, OK, lines, b"Content-Length: 60000\r\n\r\n", body)
    assert (loaded.code, loaded.body) == ("NS_OK", body)
    assert loaded.header("x-0") == ["\xe4" * 15_000]
    more = b"".join(b"X-%d: %s\r\n" % (n, b"\xe4" * 15_000) for n in range(5))
    assert answer(pki, OK, more, b"\r\n").code == "NS_ERROR_RESPONSE_HEADERS_TOO_LARGE"


def test_interim_answers_are_passed_over(pki: Pki) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    loaded = answer(pki, interim, OK, b"X-B: final\r\nContent-Length: 2\r\n\r\nok")
    assert (loaded.status, loaded.body, loaded.header("link"), loaded.header("x-b")) == (200, b"ok", [], ["final"])


def test_endless_interim_answers_end(pki: Pki) -> None:
    def endless(connection: socket.socket) -> None:
        read_head(connection)
        while True:
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100)

    assert load(pki, endless).code == "NS_ERROR_RESPONSE_HEADERS_TOO_LARGE"


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\nbody",
        b"<html>HTTP/0.9</html>",
        b"HTTP/1.1 20\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_what_is_not_http_is_refused(pki: Pki, raw: bytes) -> None:
    loaded = answer(pki, raw)
    assert (loaded.start, loaded.code) == (None, "NS_ERROR_PARSING_HTTP_STATUS_LINE")


@pytest.mark.parametrize(
    "lines",
    [
        b"X-A: a\0b\r\nContent-Length: 0\r\n",
        b"X\0A: b\r\nContent-Length: 0\r\n",
        b"Content-Length: 2\r\nContent-Length: 3\r\n",
        b"Content-Length: 2, 3\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 0x2\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
    ],
)
def test_headers_that_have_two_meanings_are_refused(pki: Pki, lines: bytes) -> None:
    loaded = answer(pki, OK, lines, b"\r\nok")
    assert (loaded.start, loaded.code) == (None, "NS_ERROR_CORRUPTED_CONTENT")


def test_same_length_twice_is_no_contradiction(pki: Pki) -> None:
    assert answer(pki, OK, b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok").body == b"ok"


def test_folded_header_is_joined_and_bytes_are_latin_1(pki: Pki) -> None:
    loaded = answer(pki, OK, b"X-A: one\r\n  two\r\nX-B: caf\xe9\r\nContent-Length: 0\r\n\r\n")
    assert loaded.header("x-a") == ["one two"]
    assert loaded.header("x-b") == ["caf\xe9"]


# --- time -------------------------------------------------------------------------------------------------------


def test_server_that_says_nothing_meets_the_idle_limit(pki: Pki) -> None:
    def silent(connection: socket.socket) -> None:
        read_head(connection)
        connection.recv(1)

    loaded = load(pki, silent, idle_timeout_s=0.2)
    assert loaded.code == "NS_ERROR_NET_TIMEOUT"
    assert "nothing came" in loaded.stop.outcome.detail


def test_server_that_stops_in_the_body_meets_the_idle_limit(pki: Pki) -> None:
    def stops(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK + b"Content-Length: 100\r\n\r\nhalf")
        connection.recv(1)

    loaded = load(pki, stops, idle_timeout_s=0.2)
    assert (loaded.body, loaded.code) == (b"half", "NS_ERROR_NET_TIMEOUT")
    assert loaded.reader_stop is not None
    assert loaded.reader_stop.outcome.code == "NS_ERROR_NET_TIMEOUT"


def test_slow_loris_meets_the_limit_of_the_whole_exchange(pki: Pki) -> None:
    def drip(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK)
        while True:
            connection.sendall(b"X-A: b\r\n")
            time.sleep(0.05)

    began = time.monotonic()
    loaded = load(pki, drip, idle_timeout_s=5.0, timeout_s=0.4)
    assert loaded.code == "NS_ERROR_NET_TIMEOUT"
    assert "not done" in loaded.stop.outcome.detail
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("tls", [False, True])
def test_slow_server_does_not_hold_up_others(pki: Pki, tls: bool) -> None:
    release = threading.Event()

    def slow(connection: socket.socket) -> None:
        if b"/slow" in read_head(connection):
            release.wait(5)
        connection.sendall(OK + b"Content-Length: 2\r\n\r\nok")

    async def go(url: str) -> tuple[Loaded, Loaded]:
        async with running(pki.authority_file) as net:
            waiting = net.begin(url + "/slow")
            quick = await net.load(url + "/quick")
            assert not waiting.started.done()
            release.set()
            return quick, await net.finish(waiting)

    with ScriptedServer(slow, tls=pki.valid if tls else None, protocols=("http/1.1",)) as server:
        quick, late = asyncio.run(go(server.url))
    assert (quick.code, late.code) == ("NS_OK", "NS_OK")


def test_connect_that_nobody_answers_meets_the_connect_limit(pki: Pki) -> None:
    # A listener whose queue is full drops the SYN: the nearest to a black hole that loopback has.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))

        async def go() -> Loaded:
            async with running(pki.authority_file, connect_timeout_s=0.3) as net:
                return await net.load(f"http://127.0.0.1:{port}/")

        loaded = asyncio.run(go())
        for filler in fillers:
            filler.close()
    assert loaded.code == "NS_ERROR_CONNECTION_TIMEOUT"
