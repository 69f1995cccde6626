"""Actors face to face: how they are made, what they may say when, in which order they end, and who is to blame."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.loopback import Link, Recorder, count_fds, packet, recorder
from tests.support.strategies import make_descriptor

from foxden.errors import BadMessage, ProtocolMisuse
from foxden.ipc.actor import Actor, Deferred, Why
from foxden.ipc.codec import Kind
from foxden.ipc.fields import RegularFile
from foxden.ipc.memory import make_memory
from foxden.ipc.schema import Side
from foxden.protocols.unittest import PIPDLUnitTest, PTestActor, PTestBridge, PTestLeaf

SEND, CALL, REPLY, CONSTRUCT = Kind
Top, Middle, Leaf = PIPDLUnitTest, PTestActor, PTestLeaf
Compute, First, Second, Tell = Top.Compute, Top.First, Top.Second, Top.Tell


@pytest.fixture
def link() -> Iterator[Link]:
    made = Link(recorder(Top, Side.PARENT)(), recorder(Top, Side.CHILD)())
    yield made
    made.close()


def events(tree: Any) -> list[Any]:
    found: list[Any] = tree.root.events
    return found


def construct(manager: Any, protocol: Any, label: str = "a") -> Recorder:
    made = recorder(protocol, manager.side)(manager.events, label)
    return manager.construct(made, protocol.Construct(label=label))  # type: ignore[no-any-return]


def to_parent(link: Link, *words: Any, fds: list[int] | None = None, **more: Any) -> None:
    fds = fds or []
    link.parent.receive(memoryview(packet(*words, descriptors=len(fds), **more)), fds)


def to_child(link: Link, *words: Any, **more: Any) -> None:
    link.child.receive(memoryview(packet(*words, **more)), [])


# ---- messages


def test_message_arrives_as_it_was_sent(link: Link) -> None:
    assert link.child.root.send(Tell(text="hello"))
    link.pump()
    assert events(link.parent) == [Tell(text="hello")]


def test_unlisted_number_is_refused_by_protocol_name(link: Link) -> None:
    with pytest.raises(BadMessage, match=r"PIPDLUnitTest: expected one of its messages, got number 9999"):
        to_parent(link, 0, 9999, SEND)
    with pytest.raises(BadMessage, match="got number 0"):
        to_parent(link, 0, 0, SEND)


def test_message_in_the_wrong_direction_is_refused(link: Link) -> None:
    with pytest.raises(BadMessage, match=r"PIPDLUnitTest.First: not to be sent by the child side"):
        to_parent(link, 0, First.number, SEND)
    with pytest.raises(BadMessage, match=r"PIPDLUnitTest.Tell: not to be sent by the parent side"):
        to_child(link, 0, Tell.number, SEND, ["x"])


@pytest.mark.parametrize("message", [First(), Middle.Construct(label=""), PTestBridge.Ping(token=1)])
def test_our_own_side_cannot_send_what_is_not_its_to_send(link: Link, message: Any) -> None:
    with pytest.raises(ProtocolMisuse):
        link.child.root.send(message)
    assert not link.to_parent


def test_call_sent_as_plain_message_and_the_other_way_round_are_refused(link: Link) -> None:
    with pytest.raises(BadMessage, match=r"PIPDLUnitTest.Compute: sent as SEND - at header.kind"):
        to_parent(link, 0, Compute.number, SEND, [1])
    with pytest.raises(BadMessage, match=r"PIPDLUnitTest.Tell: sent as CALL - at header.kind"):
        to_parent(link, 0, Tell.number, CALL, ["x"])


def test_our_own_side_cannot_mix_up_send_and_call(link: Link) -> None:
    with pytest.raises(ProtocolMisuse, match="use call"):
        link.child.root.send(Compute(value=1))
    with pytest.raises(ProtocolMisuse, match="use send"):
        link.child.root.call(Tell(text=""), print, print)


def test_once_message_sent_twice_is_refused(link: Link) -> None:
    to_child(link, 0, First.number, SEND)
    with pytest.raises(BadMessage, match=r"PIPDLUnitTest.First: sent twice; it may be sent once"):
        to_child(link, 0, First.number, SEND)


def test_our_own_side_cannot_send_a_once_message_twice(link: Link) -> None:
    link.parent.root.send(First())
    with pytest.raises(ProtocolMisuse, match="sent twice"):
        link.parent.root.send(First())


def test_message_before_the_one_it_comes_after_is_refused(link: Link) -> None:
    with pytest.raises(BadMessage, match=r"PIPDLUnitTest.Second: sent before First"):
        to_child(link, 0, Second.number, SEND)
    with pytest.raises(ProtocolMisuse, match="Second: sent before First"):
        link.parent.root.send(Second())


def test_message_after_the_one_it_comes_after_is_accepted_again_and_again(link: Link) -> None:
    link.parent.root.send(First())
    link.parent.root.send(Second())
    link.parent.root.send(Second())
    link.pump()
    assert events(link.child) == [First(), Second(), Second()]


def test_once_is_counted_for_each_actor_by_itself(link: Link) -> None:
    assert Middle.Construct.bit
    one, two = construct(link.parent.root, Middle, "one"), construct(link.parent.root, Middle, "two")
    link.pump()
    assert (one.id, two.id) == (2, 4)
    assert len(link.child) == 3


def test_bad_body_names_its_field_and_leaks_nothing(link: Link) -> None:
    before = count_fds()
    fds = [os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC) for _ in range(2)]
    with pytest.raises(BadMessage, match=r"PIPDLUnitTest.Tell: Expected `str`, got `int` - at `\$.text`"):
        to_parent(link, 0, Tell.number, SEND, [5], fds=fds)
    assert count_fds() == before


def test_class_without_a_handler_for_each_message_cannot_be_written() -> None:
    with pytest.raises(ProtocolMisuse, match="Deaf: expected a handler recv_ping, found none"):

        class Deaf(Actor, protocol=PTestBridge, side=Side.CHILD):
            pass


# ---- calls


def test_call_is_answered_by_what_the_handler_returns(link: Link) -> None:
    link.parent.root.replies[Compute] = Compute.Returns(value=42)  # type: ignore[attr-defined]
    answers: list[Any] = []
    link.child.root.call(Compute(value=6), answers.append, answers.append)
    link.pump()
    assert answers == [Compute.Returns(value=42)]


def test_deferred_reply_comes_when_it_is_resolved(link: Link) -> None:
    later: Deferred[Any] = Deferred()
    link.parent.root.replies[Compute] = later  # type: ignore[attr-defined]
    answers: list[Any] = []
    link.child.root.call(Compute(value=6), answers.append, answers.append)
    link.pump()
    assert answers == []
    later.resolve(Compute.Returns(value=1))
    link.pump()
    assert answers == [Compute.Returns(value=1)]
    with pytest.raises(ProtocolMisuse, match="resolved twice"):
        later.resolve(Compute.Returns(value=2))


def test_deferred_resolved_before_it_is_returned_and_after_the_end() -> None:
    early: Deferred[Any] = Deferred()
    early.resolve(Compute.Returns(value=1))
    delivered: list[Any] = []
    early.on_resolved(delivered.append)
    assert delivered == [Compute.Returns(value=1)]

    link = Link(recorder(Top, Side.PARENT)(), recorder(Top, Side.CHILD)())
    late: Deferred[Any] = Deferred()
    link.parent.root.replies[Compute] = late  # type: ignore[attr-defined]
    link.child.root.call(Compute(value=6), delivered.append, delivered.append)
    link.pump()
    link.close()
    late.resolve(Compute.Returns(value=2))
    assert not link.to_child
    assert delivered[1:] == [Why.SHUTDOWN]


@pytest.mark.parametrize("wrong", [None, Tell(text=""), Top.Ping.Returns(token=1)])
def test_handler_that_returns_the_wrong_reply_is_our_own_mistake(link: Link, wrong: Any) -> None:
    link.parent.root.replies[Compute] = wrong  # type: ignore[attr-defined]
    link.child.root.call(Compute(value=6), print, print)
    with pytest.raises(ProtocolMisuse, match=r"PIPDLUnitTest.Compute: expected a reply of its Returns"):
        link.pump()


def test_reply_that_nobody_waits_for_is_refused(link: Link) -> None:
    with pytest.raises(BadMessage, match=r"PIPDLUnitTest: reply 77 that nobody waits for - at header.serial"):
        to_child(link, 0, Compute.number, REPLY, [1], serial=77)


def test_reply_sent_twice_is_refused(link: Link) -> None:
    link.child.root.call(Compute(value=6), lambda reply: None, print)
    to_child(link, 0, Compute.number, REPLY, [1], serial=1)
    with pytest.raises(BadMessage, match="reply 1 that nobody waits for"):
        to_child(link, 0, Compute.number, REPLY, [1], serial=1)


def test_reply_from_another_actor_is_refused(link: Link) -> None:
    construct(link.child.root, Middle)
    lost: list[Any] = []
    link.child.root.call(Compute(value=6), print, lost.append)
    with pytest.raises(BadMessage, match="PTestActor: reply 1 that nobody waits for"):
        to_child(link, 1, Compute.number, REPLY, [1], serial=1)


def test_bad_reply_still_tells_the_caller_that_it_is_lost(link: Link) -> None:
    lost: list[Any] = []
    link.child.root.call(Compute(value=6), print, lost.append)
    with pytest.raises(BadMessage, match=r"PIPDLUnitTest.Compute.Returns: Expected `int`, got `str`"):
        to_child(link, 0, Compute.number, REPLY, ["x"], serial=1)
    link.child.close(Why.BAD_MESSAGE)  # what every pipe does then
    assert lost == [Why.BAD_MESSAGE]


def test_reply_with_a_descriptor_of_the_wrong_kind_is_refused(link: Link) -> None:
    before = count_fds()
    lost: list[Any] = []
    link.parent.root.call(Top.GetMemory(size=1), print, lost.append)
    fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    with pytest.raises(BadMessage, match=r"GetMemory.Returns: expected a memfd .* - at `\$.memory`"):
        to_parent(link, 0, Top.GetMemory.number, REPLY, [0], serial=1, fds=[fd])
    assert count_fds() == before
    link.parent.close(Why.BAD_MESSAGE)
    assert lost == [Why.BAD_MESSAGE]


def test_call_of_an_actor_that_has_ended_is_lost_and_sends_nothing(link: Link) -> None:
    link.child.close(Why.SHUTDOWN)
    lost: list[Any] = []
    link.child.root.call(Compute(value=1), print, lost.append)
    assert lost == [Why.PEER_GONE]
    assert link.child.root.send(Tell(text="")) is False
    assert not link.to_parent


# ---- constructors


def test_both_sides_construct_with_ids_of_their_own(link: Link) -> None:
    ours, theirs = construct(link.parent.root, Middle, "p"), construct(link.child.root, Middle, "c")
    link.pump()  # the two constructors cross
    assert (ours.id, theirs.id) == (2, 1)
    assert events(link.child) == [Middle.Construct(label="p")]
    assert events(link.parent) == [Middle.Construct(label="c")]
    ours.send(Middle.Say(text="down"))
    theirs.send(Middle.Say(text="up"))
    link.pump()
    assert Middle.Say(text="down") in events(link.child)
    assert Middle.Say(text="up") in events(link.parent)


@pytest.mark.parametrize(
    ("new_id", "why"), [(2, "parity of ours"), (0, "the root"), (0xFFFF_FFFE, "parity of ours, far away")]
)
def test_constructor_with_an_id_of_our_parity_is_refused(link: Link, new_id: int, why: str) -> None:
    with pytest.raises(BadMessage, match=r"constructor: expected a new id .* - at header.serial"):
        to_parent(link, 0, Middle.number, CONSTRUCT, ["x"], serial=new_id)


def test_constructor_with_an_id_used_before_or_jumping_back_is_refused(link: Link) -> None:
    to_parent(link, 0, Middle.number, CONSTRUCT, ["x"], serial=5)
    for again in (5, 3, 1):
        with pytest.raises(BadMessage, match=f"expected a new id above 5, got {again}"):
            to_parent(link, 0, Middle.number, CONSTRUCT, ["x"], serial=again)


def test_id_of_an_actor_that_has_ended_is_not_used_again(link: Link) -> None:
    to_parent(link, 0, Middle.number, CONSTRUCT, ["x"], serial=1)
    to_parent(link, 1, Middle.Delete.number, SEND, [])
    with pytest.raises(BadMessage, match="expected a new id above 1"):
        to_parent(link, 0, Middle.number, CONSTRUCT, ["x"], serial=1)


def test_constructor_of_what_the_manager_does_not_manage_is_refused(link: Link) -> None:
    with pytest.raises(BadMessage, match=r"PIPDLUnitTest: manages no protocol 32 - at header.message"):
        to_parent(link, 0, Leaf.number, CONSTRUCT, ["x"], serial=1)
    with pytest.raises(ProtocolMisuse, match=r"PTestLeaf.Construct does not construct"):
        construct(link.parent.root, Leaf)


def test_constructor_in_the_wrong_direction_is_refused() -> None:
    from foxden.protocols.content import PContent, PDocument

    link = Link(recorder(PContent, Side.PARENT)(), recorder(PContent, Side.CHILD)())
    with pytest.raises(BadMessage, match=r"PDocument.Construct: not to be sent by the child side"):
        to_parent(link, 0, PDocument.number, CONSTRUCT, [1, "u"], serial=1)
    made = recorder(PDocument, Side.CHILD)()
    with pytest.raises(ProtocolMisuse, match="not to be sent by the child side"):
        link.child.root.construct(made, PDocument.Construct(document_id=1, url="u"))
    link.close()


def test_constructor_sent_to_the_actor_itself_is_refused(link: Link) -> None:
    to_parent(link, 0, Middle.number, CONSTRUCT, ["x"], serial=1)
    with pytest.raises(BadMessage, match=r"PTestActor.Construct: a constructor is sent to the manager"):
        to_parent(link, 1, Middle.Construct.number, SEND, ["x"])


def test_constructor_with_a_bad_body_makes_no_actor(link: Link) -> None:
    with pytest.raises(BadMessage, match=r"PTestActor.Construct: .* - at `\$.label`"):
        to_parent(link, 0, Middle.number, CONSTRUCT, ["x" * 129], serial=1)
    assert len(link.parent) == 1


def test_constructor_that_cannot_be_sent_makes_no_actor_and_takes_no_id() -> None:
    from foxden.protocols.content import PContent, PDocument

    link = Link(recorder(PContent, Side.PARENT)(), recorder(PContent, Side.CHILD)())
    made = recorder(PDocument, Side.PARENT)
    with pytest.raises(ProtocolMisuse, match="expected a packet of at most"):
        link.parent.root.construct(made(), PDocument.Construct(document_id=1, url="u" * 200_000))
    good = link.parent.root.construct(made(), PDocument.Construct(document_id=1, url="u"))
    assert good.id == 2
    link.pump()
    assert len(link.child) == len(link.parent) == 2
    link.close()


def test_more_live_actors_than_declared_are_refused(link: Link) -> None:
    construct(link.child.root, Middle)
    manager = link.child.root.managed[1]
    for _ in range(Leaf.max_live):
        construct(manager, Leaf)
    link.pump()
    with pytest.raises(BadMessage, match=r"PTestLeaf.Construct: expected at most 10 live actors"):
        to_parent(link, 1, Leaf.number, CONSTRUCT, ["x"], serial=101)
    with pytest.raises(ProtocolMisuse, match=r"PTestLeaf.Construct: expected at most 10 live actors"):
        construct(manager, Leaf)


def test_ended_actors_make_room_for_new_ones(link: Link) -> None:
    construct(link.child.root, Middle)
    for _ in range(3 * Leaf.max_live):
        construct(link.child.root.managed[1], Leaf).delete(Leaf.Delete())
    link.pump()
    assert len(link.parent) == len(link.child) == 2


def test_the_limit_holds_for_what_each_side_made_so_that_crossing_constructors_are_no_fault(link: Link) -> None:
    construct(link.parent.root, Middle)
    link.pump()
    ours, theirs = link.parent.root.managed[2], link.child.root.managed[2]
    for _ in range(Leaf.max_live):
        construct(ours, Leaf)
        construct(theirs, Leaf)
    link.pump()
    assert len(link.parent) == len(link.child) == 2 + 2 * Leaf.max_live


def test_constructor_under_a_manager_that_has_ended_is_dropped_and_so_is_what_is_sent_to_it(link: Link) -> None:
    parents = construct(link.parent.root, Middle)
    link.pump()
    child_side = link.child.root.managed[2]
    parents.delete(Middle.Delete(reason="crosses"))
    leaf = construct(child_side, Leaf)
    leaf.delete(Leaf.Delete())
    link.pump()
    assert len(link.parent) == len(link.child) == 1
    construct(link.child.root, Middle, "next")  # the id of the dropped one is not given again
    link.pump()
    assert len(link.parent) == 2


def test_constructor_under_a_manager_that_never_was_is_refused(link: Link) -> None:
    with pytest.raises(BadMessage, match=r"no actor 9 ever was - at header.actor"):
        to_parent(link, 9, Leaf.number, CONSTRUCT, ["x"], serial=1)


def test_construct_under_an_ended_manager_is_our_own_mistake(link: Link) -> None:
    link.parent.close(Why.SHUTDOWN)
    with pytest.raises(ProtocolMisuse, match="the manager has ended"):
        construct(link.parent.root, Middle)


# ---- ends


def test_delete_ends_the_actor_on_both_sides_and_carries_its_words(link: Link) -> None:
    one = construct(link.parent.root, Middle)
    one.delete(Middle.Delete(reason="enough"))
    assert not one.alive
    link.pump()
    assert len(link.parent) == len(link.child) == 1
    assert events(link.child)[1:] == [Middle.Delete(reason="enough"), ("a", Why.DELETION)]
    assert events(link.parent) == [("a", Why.DELETION)]


def test_both_sides_may_delete_at_the_same_moment(link: Link) -> None:
    one = construct(link.parent.root, Middle)
    link.pump()
    other = link.child.root.managed[2]
    one.delete(Middle.Delete())
    other.delete(Middle.Delete())
    link.pump()
    assert len(link.parent) == len(link.child) == 1


def test_message_that_crosses_a_delete_is_dropped_with_its_descriptors(link: Link) -> None:
    one = construct(link.parent.root, Middle)
    link.pump()
    link.child.root.managed[2].send(Middle.Say(text="too late"))
    one.delete(Middle.Delete())
    before = count_fds()
    link.pump()
    fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    to_parent(link, 2, Middle.Say.number, SEND, ["x"], fds=[fd])
    assert count_fds() == before
    assert Middle.Say(text="too late") not in events(link.parent)


@pytest.mark.parametrize("actor", [1, 2, 3, 1000, 0xFFFF_FFFF])
@pytest.mark.parametrize("kind", [SEND, CALL, REPLY])
def test_message_to_an_actor_that_never_was_is_refused(link: Link, actor: int, kind: int) -> None:
    with pytest.raises(BadMessage, match=f"PIPDLUnitTest: no actor {actor} ever was - at header.actor"):
        to_parent(link, actor, 1, kind, [])


def grow_three_generations(link: Link) -> None:
    middle = construct(link.parent.root, Middle, "middle")
    construct(middle, Leaf, "leaf 1")
    construct(middle, Leaf, "leaf 2")
    link.pump()


def test_subtree_ends_leaves_first_and_each_is_told_why(link: Link) -> None:
    grow_three_generations(link)
    link.parent.root.managed[2].delete(Middle.Delete())
    link.pump()
    ends = [("leaf 1", Why.ANCESTOR_DELETION), ("leaf 2", Why.ANCESTOR_DELETION), ("middle", Why.DELETION)]
    assert events(link.parent)[-3:] == ends
    assert events(link.child)[-3:] == ends


@pytest.mark.parametrize("why", [Why.PEER_GONE, Why.SHUTDOWN, Why.BAD_MESSAGE])
def test_end_of_the_pipe_is_told_to_all_in_order(link: Link, why: Why) -> None:
    grow_three_generations(link)
    lost: list[Any] = []
    link.parent.root.call(Top.Ping(token=1), print, lost.append)
    link.parent.close(why)
    link.parent.close(Why.DELETION)
    assert events(link.parent) == [("leaf 1", why), ("leaf 2", why), ("middle", why), ("root", why)]
    assert lost == [why]


def test_actor_that_fails_at_its_end_does_not_keep_the_others_from_theirs(link: Link) -> None:
    grow_three_generations(link)
    leaf = link.parent.root.managed[2].managed[4]

    def fail(why: Why) -> None:
        raise RuntimeError("at my end")

    leaf.actor_destroy = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="at my end"):
        link.parent.close(Why.PEER_GONE)
    names = [name for name, _ in events(link.parent)]
    assert names == ["leaf 2", "middle", "root"]
    assert len(link.parent) == 0


def test_dying_actor_can_neither_send_nor_construct(link: Link) -> None:
    grow_three_generations(link)
    middle = link.parent.root.managed[2]
    refused: list[str] = []

    def try_to_live_on(why: Why) -> None:
        try:
            construct(middle, Leaf, "zombie")
        except ProtocolMisuse as error:
            refused.append(str(error))

    middle.managed[4].actor_destroy = try_to_live_on  # type: ignore[method-assign]
    middle.delete(Middle.Delete())
    assert len(refused) == 1
    assert len(link.parent) == 1


def test_handler_that_deletes_its_own_actor_is_not_answered_for() -> None:
    class Suicidal(recorder(Middle, Side.CHILD)):  # type: ignore[misc]
        def recv_say(self, message: Any) -> None:
            self.delete(Middle.Delete())

    class Top_(recorder(Top, Side.CHILD)):  # type: ignore[misc]
        def alloc_test_actor(self, message: Any) -> Actor:
            return Suicidal(self.events, "s")

    link = Link(recorder(Top, Side.PARENT)(), Top_())
    one = construct(link.parent.root, Middle)
    one.send(Middle.Say(text="die"))
    link.pump()
    assert len(link.parent) == len(link.child) == 1
    assert not one.alive
    link.close()


def test_allocator_that_ends_the_tree_leaves_no_actor_behind() -> None:
    class Ends(recorder(Top, Side.CHILD)):  # type: ignore[misc]
        def alloc_test_actor(self, message: Any) -> Actor:
            self.tree.close(Why.SHUTDOWN)
            return recorder(Middle, Side.CHILD)(self.events, "unborn")

    link = Link(recorder(Top, Side.PARENT)(), Ends())
    construct(link.parent.root, Middle)
    link.pump()
    assert len(link.child) == 0
    assert events(link.child) == [("root", Why.SHUTDOWN), ("unborn", Why.ANCESTOR_DELETION)]
    link.close()


def test_descriptors_of_a_message_are_the_handlers_to_keep(link: Link) -> None:
    before = count_fds()
    link.child.root.replies[Top.SendFile] = Top.SendFile.Returns(size=0, body_size=0)  # type: ignore[attr-defined]
    message = Top.SendFile(file=make_descriptor(RegularFile))
    link.parent.root.call(message, lambda reply: None, lambda why: None)
    link.pump()
    (got,) = events(link.child)
    os.fstat(got.file.fileno())
    got.file.close()
    message.file.close()
    assert count_fds() == before


def test_wrong_header_closes_what_came_with_it(link: Link) -> None:
    before = count_fds()
    for words in ((0, 9999, SEND), (99, 1, SEND), (0, 31, CONSTRUCT), (0, 1, REPLY), (0, 1, 9)):
        memory = make_memory(b"x")
        with pytest.raises(BadMessage):
            to_parent(link, *words, fds=[memory.detach()])
    assert count_fds() == before
