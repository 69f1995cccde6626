"""A child that was taken over speaks to the parent: it alone ends, by name; the den and its other children go on."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support import den as dens
from tests.support.loopback import count_fds, packet
from tests.support.servers import ScriptedServer

from foxden import BadMessage, ChildCrashed, Den
from foxden.ipc.codec import MAX_PACKET, Kind
from foxden.ipc.fields import Payload
from foxden.ipc.memory import make_payload
from foxden.launch.childlog import ChildLog, make_log
from foxden.parent.hosts import ChildHost
from foxden.parent.network import BodyReading
from foxden.protocols.content import PDocumentChannel
from foxden.protocols.process import PChildProcess
from foxden.protocols.unittest import PIPDLUnitTest, PTestActor, PTestLeaf

pytestmark = pytest.mark.leaks_ok("the den is shared; shared_den looks for leaks when it closes it")

SEND, CALL, REPLY, CONSTRUCT = (int(kind) for kind in (Kind.SEND, Kind.CALL, Kind.REPLY, Kind.CONSTRUCT))
Tell, Compute, Echo = PIPDLUnitTest.Tell, PIPDLUnitTest.Compute, PIPDLUnitTest.Echo
Ready, LaunchFailed, Report = PChildProcess.Ready, PChildProcess.LaunchFailed, PChildProcess.ReportBadPeer

# What it sends, with how many descriptors, and what the error must name.
ATTACKS: dict[str, tuple[bytes, int, tuple[str, ...]]] = {
    "random bytes": (b"\xff" * 50, 0, ("header",)),
    "one byte": (b"\0", 0, ("header",)),
    "a packet too large": (bytes(MAX_PACKET + 1), 0, (f"at most {MAX_PACKET} bytes",)),
    "253 descriptors": (packet(0, Tell.number, SEND, ["x"]), 253, ("descriptors",)),
    "9 descriptors": (packet(0, Tell.number, SEND, ["x"], descriptors=9), 9, ("descriptors",)),
    "descriptors that no field takes": (packet(0, Tell.number, SEND, ["x"], descriptors=2), 2, ("Tell", "descriptor")),
    "descriptors that the header hides": (packet(0, Tell.number, SEND, ["x"]), 2, ("descriptor",)),
    "a field of another type": (packet(0, Tell.number, SEND, [7]), 0, ("PIPDLUnitTest.Tell", "text")),
    "a field too long": (packet(0, Tell.number, SEND, ["x" * 2000]), 0, ("PIPDLUnitTest.Tell", "text")),
    "a body that is no msgpack": (packet(0, Tell.number, SEND, b"\xc1\xc1"), 0, ("PIPDLUnitTest.Tell",)),
    "a body cut short": (packet(0, Tell.number, SEND, b"\xdd\xff\xff\xff\xff"), 0, ("PIPDLUnitTest.Tell",)),
    "text that is no UTF-8": (packet(0, Tell.number, SEND, b"\x91\xa2\xff\xff"), 0, ("PIPDLUnitTest.Tell",)),
    "no such message": (packet(0, 9999, SEND), 0, ("PIPDLUnitTest", "9999")),
    "the parent's own message": (packet(0, Echo.number, CALL, [b"x"], serial=1), 0, ("Echo", "not to be sent")),
    "a launch of its own": (packet(0, PChildProcess.Launch.number, SEND), 0, ("Launch", "not to be sent")),
    "ready once more": (packet(0, Ready.number, SEND, [{}]), 0, ("PChildProcess.Ready", "twice")),
    "a call that is a send": (packet(0, Compute.number, SEND, [1]), 0, ("Compute",)),
    "an answer that nobody asked for": (packet(0, Echo.number, REPLY, [b"x"], serial=77), 0, ("77",)),
    "an actor that never was": (packet(76, PTestActor.Say.number, SEND, ["x"]), 0, ("no actor 76",)),
    "a new actor with the parent's number": (packet(0, PTestActor.number, CONSTRUCT, ["x"], serial=2), 0, ("id",)),
    "an actor of another manager": (packet(0, PTestLeaf.number, CONSTRUCT, ["x"], serial=1), 0, ("manages no",)),
    "an actor of another role": (
        packet(0, PDocumentChannel.number, CONSTRUCT, [1, "http://a/"], serial=1), 0, ("manages no", "10"),
    ),
    "a report on a child it does not know": (packet(0, Report.number, SEND, [1, "bad"]), 0, ("ReportBadPeer",)),
}  # fmt: skip


@pytest.fixture(scope="module")
def pages() -> Iterator[ScriptedServer]:
    with ScriptedServer(dens.routes({"/": dens.title_page("root")})) as server:
        yield server


def send_raw(den: Den, child: ChildHost, raw: bytes, descriptors: int = 0) -> None:
    message = PIPDLUnitTest.SendRaw(packet=make_payload(Payload, raw), descriptors=descriptors)
    dens.on_loop(den, lambda: child.root.send(message))


@pytest.mark.parametrize("attack", ATTACKS)
def test_child_that_breaks_the_protocol_ends_alone(den: Den, pages: ScriptedServer, attack: str) -> None:
    raw, descriptors, words = ATTACKS[attack]
    den.open(f"{pages.url}/")
    others = {record.pid for record in den.processes()}
    with dens.unit_test_child(den) as (child, root), dens.unit_test_child(den) as (bystander, _):
        send_raw(den, child, packet(0, Tell.number, SEND, ["honest"]))
        dens.wait_until(lambda: root.told == 1, "the control: an honest packet by the same way is taken")
        before = count_fds()
        send_raw(den, child, raw, descriptors)
        end = dens.ended(den, child)
        assert "broke the protocol" in end.reason
        for word in words:
            assert word in end.reason
        assert str(child.pid) in end.reason
        assert root.told == 1, "nothing of it was acted on"
        with pytest.raises(ChildCrashed, match="broke the protocol"):
            dens.probe(den, child, "identity")
        dens.wait_until(lambda: count_fds() <= before, "the descriptors that it sent to be closed")
        dens.inside(den, bystander.ping(10))
        assert den.open(f"{pages.url}/").title == "root"
        assert others <= {record.pid for record in den.processes()}


def test_no_child_can_have_another_ended(den: Den, pages: ScriptedServer) -> None:
    """Only who was given an endpoint to a process may complain about it: else one could end the whole network."""
    den.fetch(f"{pages.url}/")
    network = den._runtime.network.host
    assert network is not None
    with dens.unit_test_child(den) as (child, _):
        send_raw(den, child, packet(0, Report.number, SEND, [network.child_id, "it is bad, believe me"]))
        assert "ReportBadPeer" in dens.ended(den, child).reason
    assert network.alive
    assert den.fetch(f"{pages.url}/").status == 200


def test_flood_of_messages_does_not_keep_the_parent_from_others(den: Den, pages: ScriptedServer) -> None:
    with dens.unit_test_child(den) as (child, root):
        flood = PIPDLUnitTest.Repeat(text="x" * 1000, times=200_000)
        dens.on_loop(den, lambda: root.send(flood))
        dens.wait_until(lambda: root.told > 100, "the flood to begin")
        for _ in range(20):
            assert den.fetch(f"{pages.url}/").status == 200
        assert den.open(f"{pages.url}/").title == "root"
        assert child.alive


def test_flood_of_output_is_kept_short_and_shown_without_its_escapes(den: Den, pages: ScriptedServer) -> None:
    ours, theirs = make_log()
    log = dens.on_loop(den, lambda: ChildLog(ours, "a flood"))
    stop = threading.Event()
    sent = 0

    def flood() -> None:
        nonlocal sent
        while not stop.is_set():
            theirs.sendall(b"\x1b]0;owned\x07\x1b[2J\xff" * 3000 + b"\n")
            sent += 1

    writer = dens.Background(flood)
    for _ in range(20):
        assert den.fetch(f"{pages.url}/").status == 200
        time.sleep(0.01)
    stop.set()
    writer.join()
    assert sent > 20
    theirs.send(b"\nthe end\x1b[2J")
    text = dens.on_loop(den, log.text)
    assert len(log._tail) <= 8192
    assert text.endswith("the end\\x1b[2J")
    assert text.replace("\n", "").isprintable()
    dens.on_loop(den, log.close)
    theirs.close()


def test_child_that_does_not_read_is_ended_before_it_fills_the_parents_memory(den: Den, pages: ScriptedServer) -> None:
    with dens.unit_test_child(den) as (child, root):
        dens.stop(child.pid)

        def talk() -> None:
            for _ in range(100):
                root.send(PIPDLUnitTest.Repeat(text="x" * 1000, times=0))

        for _ in range(400):
            dens.on_loop(den, talk)
            if not child.alive:
                break
        assert "does not read" in dens.ended(den, child).reason
    assert den.fetch(f"{pages.url}/").status == 200


def test_socket_process_that_was_taken_over_cannot_fill_the_parents_memory(den: Den) -> None:
    """It bounds bodies itself; the parent does not take its word for it."""
    taken: list[bytes] = []

    async def read() -> None:
        reading = BodyReading(lambda view: taken.append(bytes(view)), asyncio.get_running_loop().create_future(), 10)
        assert reading.take(memoryview(b"12345678"))
        assert not reading.take(memoryview(b"12345678")), "no more is wanted"
        with pytest.raises(BadMessage, match="more than a body may have"):
            await reading.done

    dens.inside(den, read())
    assert taken == [b"12345678"]


def test_a_child_says_once_of_another_that_it_is_bad() -> None:
    """Each report costs the parent a look: without an end they would cost it a processor."""
    said: list[int] = []
    host: Any = SimpleNamespace(peers={0, 4}, _on_bad_peer=lambda child_id, error: said.append(child_id))
    for child_id in (4, 0):
        ChildHost.report_bad_peer(host, child_id, "bad")
        with pytest.raises(BadMessage, match="no endpoint"):
            ChildHost.report_bad_peer(host, child_id, "bad")
    assert said == [4, 0]
