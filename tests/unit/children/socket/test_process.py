"""The socket process as a whole: prewarming, look-ups for the parent, order of messages, and its end."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading

import pytest
from tests.support import leaks
from tests.support.pki import Pki
from tests.support.servers import ScriptedServer, read_head
from tests.unit.children.socket.harness import READER, Loaded, running, until

from foxden.children.socket.process import prewarm
from foxden.errors import ProtocolMisuse
from foxden.ipc.pipe import make_endpoints
from foxden.protocols.network import PHttpTransaction, PSocketProcess


def test_prewarming_leaves_no_thread_and_no_descriptor() -> None:
    before = leaks.snapshot()
    prewarm()
    assert not leaks.leaked_since(before, grace_s=0)


_AFTER_PREWARM = """
import asyncio, sys
from pathlib import Path
from tests.unit.children.socket.harness import LOOPBACK, PUBLIC, READER, running
from foxden.children.socket.process import prewarm

async def go(ca, port):
    async with running(Path(ca)) as net:
        for url in (f"https://localhost:{port}/", "http://127.0.0.1:9/", "http://b.invalid:80:/", "https://127.1:2/"):
            for access in (LOOPBACK, PUBLIC):
                print((await net.load(url, access=access)).code)
        print((await net.load(f"https://127.0.0.1:{port}/", method="POST", body=bytes(100_000))).code)

prewarm()
before = set(sys.modules)
asyncio.run(go(*sys.argv[1:]))
print(sorted(set(sys.modules) - before))
"""


def test_nothing_is_imported_after_prewarming(pki: Pki) -> None:
    """The child may have no files to import from."""

    def handler(connection: socket.socket) -> None:
        head, _, body = read_head(connection).partition(b"\r\n\r\n")
        left = 100_000 - len(body) if head.startswith(b"POST") else 0
        while left > 0:  # an answer to half a request is followed by a reset
            left -= len(connection.recv(65_536))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000))

    with ScriptedServer(handler, tls=pki.valid) as server:
        command = [sys.executable, "-c", _AFTER_PREWARM, str(pki.authority_file), str(server.port)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        output = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert output.stdout.splitlines()[-1:] == ["[]"], output.stderr
    assert output.stdout.count("NS_OK") == 2, output.stdout


def test_parent_may_look_a_name_up(pki: Pki) -> None:
    def query(host: str) -> tuple[str, ...]:
        return ("192.0.2.7", "2001:db8::7") if host == "a.example" else ()

    async def go() -> None:
        async with running(pki.authority_file, query=query) as net:
            found = await net.call(PSocketProcess.Resolve("A.example."))
            assert (found.outcome.code, found.addresses) == ("NS_OK", ("192.0.2.7", "2001:db8::7"))
            assert (await net.call(PSocketProcess.Resolve("0x7f.1"))).addresses == ("127.0.0.1",)
            assert (await net.call(PSocketProcess.Resolve("b.example"))).outcome.code == "NS_ERROR_UNKNOWN_HOST"
            assert (await net.call(PSocketProcess.Resolve("a b"))).outcome.code == "NS_ERROR_MALFORMED_URI"

    asyncio.run(go())


def test_nothing_works_before_init(pki: Pki) -> None:
    async def go() -> None:
        async with running(pki.authority_file) as net:
            await until(lambda: net.child.service is not None)
            service, net.child.service = net.child.service, None
            assert service is not None
            service.close()
            net.root.send(PSocketProcess.InitBridge(READER, make_endpoints()[0]))
            await net.served

    with pytest.raises(ProtocolMisuse, match="Init first"):
        asyncio.run(go())


def test_end_of_the_parent_ends_a_stuck_look_up_without_waiting(pki: Pki) -> None:
    go_on = threading.Event()

    def stuck(host: str) -> tuple[str, ...]:
        go_on.wait(10)
        return ()

    async def go() -> Loaded | None:
        async with running(pki.authority_file, query=stuck) as net:
            transaction = net.begin("http://stuck.example/", timeout_s=0.2)
            stop = await asyncio.wait_for(transaction.stopped, 5)
            assert stop.outcome.code == "NS_ERROR_NET_TIMEOUT"
            net.begin("http://stuck.example/")
        return None

    asyncio.run(asyncio.wait_for(go(), 5))
    go_on.set()


def test_deleted_transaction_gives_its_look_up_up(pki: Pki) -> None:
    answers = threading.Event()

    def slow(host: str) -> tuple[str, ...]:
        answers.wait(5)
        return ("127.0.0.1",)

    async def go() -> None:
        async with running(pki.authority_file, query=slow) as net:
            transaction = net.begin("http://slow.example:8080/")
            await until(lambda: net.child.service is not None and len(net.child.service) == 1)
            transaction.delete(PHttpTransaction.Delete())
            await until(lambda: net.child.service is not None and len(net.child.service) == 0)
            answers.set()
            await asyncio.sleep(0.05)
            assert (await net.call(PSocketProcess.GetSocketData())).connections == 0

    asyncio.run(go())


def test_second_bridge_to_a_child_takes_the_place_of_the_first(pki: Pki) -> None:
    async def go() -> None:
        async with running(pki.authority_file) as net:
            net.add_reader()
            first = net.readers[READER][1]
            net.add_reader()
            await until(lambda: first.closed)
            assert not net.readers[READER][1].closed

    asyncio.run(go())
