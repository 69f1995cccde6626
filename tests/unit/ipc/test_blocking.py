"""Pipes that block: sync messages keep the order of the rest, and a peer that dies or lies ends only its own pipe."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.support.loopback import count_fds, packet, recorder

from foxden.errors import BadMessage, ChildCrashed, ProtocolMisuse
from foxden.ipc.actor import Why
from foxden.ipc.blocking import BlockingLoop, BlockingPipe
from foxden.ipc.codec import Kind
from foxden.ipc.pipe import make_pair
from foxden.ipc.schema import Side
from foxden.protocols.unittest import PIPDLUnitTest, PTestActor, PTestBridge

Top, Compute, Tell = PIPDLUnitTest, PIPDLUnitTest.Compute, PIPDLUnitTest.Tell


class Ended(list[tuple[Why, Exception | None]]):
    """What `on_closed` was told."""

    def __call__(self, pipe: BlockingPipe, why: Why, error: Exception | None) -> None:
        assert pipe.closed
        self.append((why, error))


@contextmanager
def child_pipe() -> Iterator[tuple[BlockingPipe, socket.socket, Ended]]:
    """A child's pipe, and the raw socket of a parent that may do anything."""
    ours, theirs = make_pair()
    ended = Ended()
    pipe = BlockingPipe(ours, recorder(Top, Side.CHILD)(), peer="the parent", on_closed=ended)
    try:
        yield pipe, theirs, ended
    finally:
        theirs.close()
        pipe.close()


@contextmanager
def meanwhile(act: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    yield
    thread.join()


def events(pipe: BlockingPipe) -> list[Any]:
    return pipe.tree.root.events  # type: ignore[attr-defined, no-any-return]


def ping(token: int) -> bytes:
    return packet(0, Top.Ping.number, Kind.CALL, [token], serial=token)


def repeat(text: str) -> bytes:
    return packet(0, Top.Repeat.number, Kind.SEND, [text, 1])


def test_sync_message_waits_for_its_reply_and_keeps_what_arrives_meanwhile_in_order() -> None:
    with child_pipe() as (pipe, parent, _):

        def answer() -> None:
            assert parent.recv(100)
            for text in ("one", "two"):
                parent.send(repeat(text))
            parent.send(packet(0, Compute.number, Kind.REPLY, [42], serial=1))
            parent.send(repeat("three"))

        with meanwhile(answer):
            assert pipe.call_sync(pipe.tree.root, Compute(value=6)) == Compute.Returns(value=42)
        assert events(pipe) == [], "nothing is handled inside of a handler that waits"
        assert pipe.has_kept
        for _ in range(3):
            pipe.step()
        assert [message.text for message in events(pipe)] == ["one", "two", "three"]
        assert not pipe.has_kept


def test_kept_messages_are_handled_by_the_loop_without_new_traffic() -> None:
    with child_pipe() as (pipe, _, _), child_pipe() as (other, other_parent, _):
        loop = BlockingLoop()
        loop.add(pipe)
        loop.add(other)
        for raw in (repeat("kept"), packet(0, Compute.number, Kind.REPLY, [1], serial=1)):
            other_parent.send(raw)
        other.call_sync(other.tree.root, Compute(value=1))
        loop.step()
        assert [message.text for message in events(other)] == ["kept"]


def test_peer_that_dies_during_a_sync_message_raises_and_ends_the_pipe() -> None:
    with child_pipe() as (pipe, parent, ended):

        def die() -> None:
            parent.recv(100)
            parent.close()

        with meanwhile(die), pytest.raises(ChildCrashed, match=r"Compute: no reply: the other process is gone"):
            pipe.call_sync(pipe.tree.root, Compute(value=1))
        assert [why for why, _ in ended] == [Why.PEER_GONE]
        assert pipe.closed


@pytest.mark.parametrize(
    "lie",
    [
        packet(0, Compute.number, Kind.REPLY, ["x"], serial=1),
        packet(0, Compute.number, Kind.REPLY, [1], serial=1, descriptors=3),
        b"short",
    ],
)
def test_bad_reply_ends_the_wait_and_the_pipe(lie: bytes) -> None:
    with child_pipe() as (pipe, parent, ended):
        parent.send(lie)
        with pytest.raises(ChildCrashed, match="the other process broke the protocol"):
            pipe.call_sync(pipe.tree.root, Compute(value=1))
        ((why, error),) = ended
        assert why is Why.BAD_MESSAGE
        assert isinstance(error, BadMessage)


def test_sync_message_on_a_pipe_that_has_ended_raises_at_once() -> None:
    with child_pipe() as (pipe, _, _):
        pipe.close()
        with pytest.raises(ChildCrashed, match="no reply"):
            pipe.call_sync(pipe.tree.root, Compute(value=1))


def test_sync_message_of_an_actor_that_has_ended_raises_at_once() -> None:
    with child_pipe() as (pipe, _, _):
        stranger = recorder(Top, Side.CHILD)()
        with pytest.raises(ChildCrashed, match="no reply"):
            pipe.call_sync(stranger, Compute(value=1))


def test_only_what_is_declared_sync_may_block() -> None:
    with child_pipe() as (pipe, _, _), pytest.raises(ProtocolMisuse, match="not declared sync"):
        pipe.call_sync(pipe.tree.root, Tell(text=""))


def test_end_of_the_pipe_is_told_once_after_all_actors_ended() -> None:
    with child_pipe() as (pipe, parent, ended):
        parent.close()
        pipe.step()
        pipe.step()
        pipe.close()
        assert ended == [(Why.PEER_GONE, None)]
        assert events(pipe) == [("root", Why.PEER_GONE)]


def test_last_words_of_a_peer_that_died_unread_are_still_heard() -> None:
    with child_pipe() as (pipe, parent, ended):
        pipe.tree.root.send(Tell(text="never read: the peer's end is a reset"))
        parent.send(repeat("last words"))
        parent.close()
        while not ended:
            pipe.step()
        assert [message.text for message in events(pipe)[:-1]] == ["last words"]
        assert ended == [(Why.PEER_GONE, None)]


def test_sending_to_a_peer_that_died_does_not_cut_off_its_last_words() -> None:
    with child_pipe() as (pipe, parent, ended):
        parent.send(repeat("last words"))
        parent.close()
        assert pipe.tree.root.send(Tell(text="to nobody"))
        while not ended:
            pipe.step()
        assert [message.text for message in events(pipe)[:-1]] == ["last words"]


def test_bad_packet_ends_the_pipe_with_its_error_and_leaks_nothing() -> None:
    before = count_fds()
    with child_pipe() as (pipe, parent, ended):
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        socket.send_fds(parent, [packet(0, Top.First.number, Kind.SEND, [], descriptors=2)], [null] * 2)
        os.close(null)
        pipe.step()
        ((why, error),) = ended
        assert why is Why.BAD_MESSAGE
        assert "PIPDLUnitTest.First: expected 0 descriptors" in str(error)
    assert count_fds() == before


def test_packet_too_large_ends_the_pipe() -> None:
    with child_pipe() as (pipe, parent, ended):
        parent.send(b"x" * 140_000)
        pipe.step()
        assert ended[0][0] is Why.BAD_MESSAGE


def test_descriptors_of_kept_packets_are_closed_with_the_pipe() -> None:
    before = count_fds()
    with child_pipe() as (pipe, parent, _):
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        send_file = packet(0, Top.SendFile.number, Kind.CALL, [0, None], serial=5, descriptors=1)
        socket.send_fds(parent, [send_file], [null])
        os.close(null)
        parent.close()
        with pytest.raises(ChildCrashed):
            pipe.call_sync(pipe.tree.root, Compute(value=1))
    assert count_fds() == before


def test_actor_that_fails_at_its_end_does_not_hide_the_end_of_the_pipe() -> None:
    with child_pipe() as (pipe, parent, ended):

        def fail(why: Why) -> None:
            raise RuntimeError("at my end")

        pipe.tree.root.actor_destroy = fail  # type: ignore[method-assign]
        parent.close()
        with pytest.raises(RuntimeError, match="at my end"):
            pipe.step()
        assert ended == [(Why.PEER_GONE, None)]


# ---- the loop


def test_loop_serves_every_pipe_and_ends_with_the_first() -> None:
    with child_pipe() as (main, parent, _), child_pipe() as (side, other, side_ended):
        main.tree.root.replies[Top.Ping] = Top.Ping.Returns(token=1)  # type: ignore[attr-defined]
        side.tree.root.replies[Top.Ping] = Top.Ping.Returns(token=2)  # type: ignore[attr-defined]
        loop = BlockingLoop()
        loop.add(main)
        loop.add(side)
        for sock in (parent, other):
            sock.send(ping(1))
        loop.step()
        assert parent.recv(100)
        assert other.recv(100)
        other.close()
        loop.step()
        assert side_ended == [(Why.PEER_GONE, None)]
        assert not main.closed
        parent.close()
        loop.run()
        assert main.closed


def test_bad_peer_ends_its_own_pipe_only() -> None:
    with child_pipe() as (main, parent, ended), child_pipe() as (side, bad, bad_ended):
        loop = BlockingLoop()
        loop.add(main)
        loop.add(side)
        bad.send(b"rubbish")
        loop.step()
        assert [why for why, _ in bad_ended] == [Why.BAD_MESSAGE]
        assert not ended
        parent.send(repeat("still served"))
        loop.step()
        assert [message.text for message in events(main)] == ["still served"]


def test_number_of_a_closed_pipe_may_be_used_by_the_next_one() -> None:
    with child_pipe() as (main, _, _):
        loop = BlockingLoop()
        loop.add(main)
        for _round in range(3):
            ours, theirs = make_pair()
            answering = recorder(PTestBridge, Side.CHILD)()
            answering.replies[PTestBridge.Ping] = PTestBridge.Ping.Returns(token=9)
            pipe = BlockingPipe(ours, answering, peer="another")
            loop.add(pipe)
            theirs.send(packet(0, PTestBridge.Ping.number, Kind.CALL, [9], serial=1))
            loop.step()
            assert theirs.recv(100)
            theirs.close()
            loop.step()
            assert pipe.closed
        assert not main.closed


def test_handler_error_of_a_child_is_the_childs_end() -> None:
    with child_pipe() as (pipe, parent, _):
        del pipe.tree.root.events  # type: ignore[attr-defined]
        parent.send(repeat("x"))
        with pytest.raises(AttributeError):
            pipe.step()
        pipe.tree.root.events = []  # type: ignore[attr-defined]


def test_managed_actors_live_on_blocking_pipes_too() -> None:
    with child_pipe() as (pipe, parent, _):
        parent.send(packet(0, PTestActor.number, Kind.CONSTRUCT, ["a"], serial=2))
        parent.send(packet(2, PTestActor.Say.number, Kind.SEND, ["hello"]))
        pipe.step()
        pipe.step()
        assert events(pipe) == [PTestActor.Construct(label="a"), PTestActor.Say(text="hello")]
