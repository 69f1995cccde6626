"""Actors: the two ends of a protocol, kept in a tree under one top-level actor a pipe.

Runs in: every process.  Trusts: its own side; every packet was sent by an adversary.
Flow: packet → header → which actor → may this side send this, now? → decode → verify descriptors → recv_<stem>.
Source: IPDL actor life cycle (ipc/docs/ipdl.rst): constructors, managers, __delete__, ActorDestroy.

Routing does no I/O: packets come in by `receive`, go out by the callable that the pipe gave.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar, Generic, TypeVar

from foxden.errors import BadMessage, ProtocolMisuse
from foxden.ipc.codec import Header, Kind, decode_body, describe, encode, parse_header
from foxden.ipc.descriptors import close_all, verify
from foxden.ipc.schema import Message, Protocol, Reply, Side

# Plain ints, for the path that every packet takes: looking up a member of an enum costs as much as a comparison.
_SEND, _CALL, _REPLY, _CONSTRUCT = (int(kind) for kind in (Kind.SEND, Kind.CALL, Kind.REPLY, Kind.CONSTRUCT))
Send = Callable[[bytes, Sequence[int]], None]
R = TypeVar("R", bound=Reply)


class Why(enum.Enum):
    """Why an actor ended."""

    DELETION = "deleted"
    ANCESTOR_DELETION = "its manager was deleted"
    SHUTDOWN = "this side closed the pipe"
    PEER_GONE = "the other process is gone"
    BAD_MESSAGE = "the other process broke the protocol"


class Deferred(Generic[R]):
    """A reply that a handler will give later, once.  Resolving it after the actor's end does nothing."""

    def __init__(self) -> None:
        self._reply: R | None = None
        self._deliver: Callable[[R], None] | None = None

    def resolve(self, reply: R) -> None:
        if self._reply is not None:
            raise ProtocolMisuse(f"{describe(type(reply))}: resolved twice; a call has one reply")
        self._reply = reply
        if self._deliver is not None:
            self._deliver(reply)

    def on_resolved(self, deliver: Callable[[R], None]) -> None:
        self._deliver = deliver
        if self._reply is not None:
            deliver(self._reply)


class Actor:
    """Base of all actors.  A subclass names its protocol and side and has a `recv_<stem>` for every message
    that the other side may send, and an `alloc_<stem>` for every managed protocol that it may construct."""

    protocol: ClassVar[type[Protocol]]
    side: ClassVar[Side]
    _accepted: ClassVar[dict[int, type[Message]]]
    _sendable: ClassVar[frozenset[type[Message] | None]]

    def __init_subclass__(cls, *, protocol: type[Protocol] | None = None, side: Side | None = None) -> None:
        super().__init_subclass__()
        if protocol is None or side is None:
            return  # shares the declaration of its base
        cls.protocol, cls.side = protocol, side
        cls._accepted = {n: m for n, m in protocol.messages.items() if side.other in m.senders}
        cls._sendable = frozenset(m for m in protocol.messages.values() if side in m.senders) - {protocol.construct}
        for message in cls._accepted.values():
            if message.__name__ not in ("Construct", "Delete") and not hasattr(cls, message.handler):
                raise ProtocolMisuse(f"{cls.__name__}: expected a handler {message.handler}, found none")

    id: int = -1
    manager: Actor | None = None
    tree: ActorTree | None = None
    managed: dict[int, Actor]
    _seen: int = 0

    @property
    def alive(self) -> bool:
        return self.tree is not None

    def send(self, message: Message) -> bool:
        """Send an async message.  False: the actor has ended, and nothing was sent."""
        if self.tree is None:
            return False
        self.tree.send(self, message)
        return True

    def call(self, message: Message, on_reply: Callable[[Any], None], on_lost: Callable[[Why], None]) -> None:
        """Send a message that returns something; exactly one of the two callables is called, later."""
        if self.tree is None:
            on_lost(Why.PEER_GONE)
            return
        self.tree.call(self, message, on_reply, on_lost)

    def construct(self, actor: A, message: Message) -> A:
        """Make `actor` live under this one, and tell the other side with its constructor message."""
        if self.tree is None:
            raise ProtocolMisuse(f"{describe(type(message))}: the manager has ended")
        self.tree.construct(self, actor, message)
        return actor

    def delete(self, message: Message) -> None:
        """Send `Delete` and end this actor and all that it manages."""
        if self.send(message) and self.tree is not None:
            self.tree.destroy(self, Why.DELETION)

    def finish(self) -> None:
        """End this actor on this side, where a message that both sides have seen was declared to be its last."""
        if self.tree is not None:
            self.tree.destroy(self, Why.DELETION)

    def recv_delete(self, message: Any) -> None:
        """The other side ended this actor.  Override to read what its Delete message carries."""

    def actor_destroy(self, why: Why) -> None:
        """Called once when the actor ends, managed actors first.  Override to let go of what it holds."""


A = TypeVar("A", bound=Actor)  # not by its name: that would be compiled in every process


class ActorTree:
    """All actors of one pipe.  Even ids are made by the parent side, odd ones by the child side; 0 is the root."""

    def __init__(self, root: Actor, send: Send, *, peer: str = "") -> None:
        self.root = root
        self.peer = peer  # for error texts: who is at the other end
        self._send = send
        self._actors: dict[int, Actor] = {0: root}
        self._own_id = 0 if root.side is Side.PARENT else -1
        self._peer_id = -1 if root.side is Side.PARENT else 0
        self._serial = 0
        self._pending: dict[int, tuple[Actor, type[Reply], Callable[[Any], None], Callable[[Why], None]]] = {}
        root.id, root.tree, root.managed, root._seen = 0, self, {}, 0

    def __len__(self) -> int:
        return len(self._actors)

    def rebind(self, send: Send) -> ActorTree:
        """Go on living over another pipe object of the same socket."""
        self._send = send
        return self

    # ---- sending

    def send(self, actor: Actor, message: Message) -> None:
        if type(message).Returns is not None:
            raise ProtocolMisuse(f"{describe(type(message))}: returns something: use call")
        self._emit(actor, message, _SEND, 0)

    def call(
        self, actor: Actor, message: Message, on_reply: Callable[[Any], None], on_lost: Callable[[Why], None]
    ) -> int:
        returns = type(message).Returns
        if returns is None:
            raise ProtocolMisuse(f"{describe(type(message))}: returns nothing: use send")
        self._serial = serial = (self._serial + 1) & 0xFFFF_FFFF
        self._pending[serial] = (actor, returns, on_reply, on_lost)
        try:
            self._emit(actor, message, _CALL, serial)
        except BaseException:
            self._pending.pop(serial, None)
            raise
        return serial

    def construct(self, manager: Actor, actor: Actor, message: Message) -> None:
        protocol = actor.protocol
        managed = manager.protocol.managed_protocol(protocol.number) is protocol
        if type(message) is not protocol.construct or not managed:
            raise ProtocolMisuse(f"{describe(type(message))} does not construct a {protocol.__name__} here")
        if self.root.side not in message.senders:
            raise ProtocolMisuse(f"{describe(type(message))}: not to be sent by the {self.root.side.value} side")
        new_id = self._own_id + 2
        self._count_live(manager, protocol, new_id, ProtocolMisuse)
        packet, fds = encode(manager.id, new_id, protocol.number, _CONSTRUCT, message)
        self._own_id = new_id
        self._adopt(actor, manager, new_id, message.bit)  # before sending: that may find the pipe's end
        self._send(packet, fds)

    def _emit(self, actor: Actor, message: Message, kind: int, serial: int) -> None:
        cls = type(message)
        if cls not in actor._sendable:
            raise ProtocolMisuse(f"{describe(cls)}: not to be sent by {type(actor).__name__}")
        _permit(actor, cls, ProtocolMisuse)
        packet, fds = encode(actor.id, serial, cls.number, kind, message)
        self._send(packet, fds)

    # ---- receiving

    def receive(self, packet: memoryview, fds: list[int]) -> None:
        """Route one packet.  Takes `fds` over.  Raises BadMessage: the caller ends the pipe and the peer."""
        try:
            header = parse_header(packet, len(fds))
            if header.kind == _CONSTRUCT:
                self._receive_construct(header, packet, fds)
                return
            actor = self._actors.get(header.actor)
            if actor is None:
                self._drop_or_refuse(header)
            elif header.kind == _REPLY:
                self._receive_reply(actor, header, packet, fds)
            else:
                self._receive_message(actor, header, packet, fds)
        finally:
            if fds:
                close_all(fds)

    def _receive_message(self, actor: Actor, header: Header, packet: memoryview, fds: list[int]) -> None:
        cls = actor._accepted.get(header.message)
        if cls is None:
            raise BadMessage(_unlisted(actor, header.message))
        if (cls.Returns is not None) != (header.kind == _CALL):
            raise BadMessage(f"{describe(cls)}: sent as {Kind(header.kind).name} - at header.kind")
        if cls.__name__ == "Construct":
            raise BadMessage(f"{describe(cls)}: a constructor is sent to the manager - at header.actor")
        _permit(actor, cls, BadMessage)
        message = decode_body(cls, packet, fds)
        if cls.descriptor_fields:
            verify(message)
        answer = getattr(actor, cls.handler)(message)
        if cls.Returns is not None:
            self._answer(actor, header.serial, cls, answer)
        elif cls.__name__ == "Delete":
            self.destroy(actor, Why.DELETION)

    def _answer(self, actor: Actor, serial: int, cls: type[Message], answer: Reply | Deferred[Any]) -> None:
        def deliver(reply: Reply) -> None:
            if actor.tree is not self:
                return  # ended meanwhile: nobody waits
            if type(reply) is not cls.Returns:
                raise ProtocolMisuse(f"{describe(cls)}: expected a reply of its Returns, got {type(reply).__name__}")
            packet, fds = encode(actor.id, serial, cls.number, _REPLY, reply)
            self._send(packet, fds)

        if isinstance(answer, Deferred):
            answer.on_resolved(deliver)
        else:
            deliver(answer)

    def _receive_reply(self, actor: Actor, header: Header, packet: memoryview, fds: list[int]) -> None:
        waiting = self._pending.get(header.serial)
        if waiting is None or waiting[0] is not actor:
            name = actor.protocol.__name__
            raise BadMessage(f"{name}: reply {header.serial} that nobody waits for - at header.serial")
        reply = decode_body(waiting[1], packet, fds)
        verify(reply)
        del self._pending[header.serial]  # not before: after a bad reply the pipe's end tells the caller
        waiting[2](reply)

    def _receive_construct(self, header: Header, packet: memoryview, fds: list[int]) -> None:
        new_id = header.serial
        if new_id <= self._peer_id or new_id & 1 != (self._peer_id & 1):
            raise BadMessage(f"constructor: expected a new id above {self._peer_id}, got {new_id} - at header.serial")
        manager = self._actors.get(header.actor)
        if manager is None:
            self._drop_or_refuse(header)
            self._peer_id = new_id
            return
        protocol = manager.protocol.managed_protocol(header.message)
        if protocol is None or protocol.construct is None:
            raise BadMessage(f"{manager.protocol.__name__}: manages no protocol {header.message} - at header.message")
        if manager.side.other not in protocol.construct.senders:
            raise BadMessage(f"{describe(protocol.construct)}: not to be sent by the {manager.side.other.value} side")
        self._count_live(manager, protocol, new_id, BadMessage)
        message = decode_body(protocol.construct, packet, fds)
        verify(message)
        self._peer_id = new_id
        actor: Actor = getattr(manager, f"alloc_{protocol.stem}")(message)
        if manager.tree is not self:  # the allocator ended its own actor, or the pipe
            return actor.actor_destroy(Why.ANCESTOR_DELETION)
        self._adopt(actor, manager, new_id, message.bit)
        started = getattr(actor, "recv_construct", None)
        if started is not None:
            started(message)
        return None

    def _count_live(
        self, manager: Actor, protocol: type[Protocol], new_id: int, error: type[BadMessage] | type[ProtocolMisuse]
    ) -> None:
        """Each side counts what it made itself: only there do both always agree on what has ended."""
        if len(manager.managed) < protocol.max_live:
            return  # all of them together are not too many
        live = sum(1 for a in manager.managed.values() if a.protocol is protocol and a.id & 1 == new_id & 1)
        if live >= protocol.max_live:
            raise error(f"{protocol.__name__}.Construct: expected at most {protocol.max_live} live actors")

    def _drop_or_refuse(self, header: Header) -> None:
        """Messages to an actor that has just ended may still be on their way; to one that never was, never."""
        made = self._own_id if header.actor & 1 == self._own_id & 1 else self._peer_id
        if header.actor > made:
            raise BadMessage(f"{self.root.protocol.__name__}: no actor {header.actor} ever was - at header.actor")

    # ---- life and death

    def _adopt(self, actor: Actor, manager: Actor, actor_id: int, seen: int) -> None:
        actor.id, actor.manager, actor.tree, actor._seen = actor_id, manager, self, seen
        self._actors[actor_id] = actor
        actor.managed = {}
        manager.managed[actor_id] = actor

    def destroy(self, actor: Actor, why: Why) -> None:
        """End `actor` and everything it manages, leaves first.  A handler that fails does not stop the others."""
        if self._actors.pop(actor.id, None) is None:
            return
        actor.tree = None  # from here on nothing is sent by it or made under it
        if actor.manager is not None:
            actor.manager.managed.pop(actor.id, None)
        if not actor.managed and not self._pending:
            return actor.actor_destroy(why)  # the common end, without the care that many ends need
        inner = why if why in (Why.PEER_GONE, Why.SHUTDOWN, Why.BAD_MESSAGE) else Why.ANCESTOR_DELETION
        with ExitStack() as ends:  # runs its callbacks last first
            ends.callback(actor.actor_destroy, why)
            for serial in [serial for serial, waiting in self._pending.items() if waiting[0] is actor]:
                ends.callback(self._pending.pop(serial)[3], why)
            for managed in reversed(list(actor.managed.values())):
                ends.callback(self.destroy, managed, inner)
        return None

    def close(self, why: Why) -> None:
        """End the whole tree; the pipe is closed or about to be."""
        self.destroy(self.root, why)


def _permit(actor: Actor, cls: type[Message], error: type[BadMessage] | type[ProtocolMisuse]) -> None:
    """Once-ness and order.  Both sides keep the same record, so both judge alike."""
    seen = actor._seen
    if cls.once and seen & cls.bit:
        raise error(f"{describe(cls)}: sent twice; it may be sent once")
    if cls.after is not None and not seen & cls.after_bit:
        raise error(f"{describe(cls)}: sent before {cls.after.__name__}")
    actor._seen = seen | cls.bit


def _unlisted(actor: Actor, number: int) -> str:
    known = actor.protocol.messages.get(number)
    if known is None:
        return f"{actor.protocol.__name__}: expected one of its messages, got number {number} - at header.message"
    return f"{describe(known)}: not to be sent by the {actor.side.other.value} side"
