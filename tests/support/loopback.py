"""Two actor trees face to face without a socket, actors that write down what they get, and packets made by hand.

Runs in: the test process.  Trusts: nothing needs to.
Flow: Link(parent root, child root) → sends queue up, descriptors duplicated as the kernel would → `pump` delivers.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Sequence
from typing import Any

import msgspec

from foxden.ipc.actor import Actor, ActorTree, Why
from foxden.ipc.descriptors import close_all
from foxden.ipc.schema import Message, Protocol, Side


class Link:
    """Two trees and what is on its way between them.  Nothing moves but by `pump`, so a test can make things cross."""

    def __init__(self, parent: Actor, child: Actor) -> None:
        self.to_child: deque[tuple[bytes, list[int]]] = deque()
        self.to_parent: deque[tuple[bytes, list[int]]] = deque()
        self.parent = ActorTree(parent, _sender(self.to_child), peer="the child")
        self.child = ActorTree(child, _sender(self.to_parent), peer="the parent")

    def deliver_to_child(self) -> None:
        packet, fds = self.to_child.popleft()
        self.child.receive(memoryview(packet), fds)

    def deliver_to_parent(self) -> None:
        packet, fds = self.to_parent.popleft()
        self.parent.receive(memoryview(packet), fds)

    def pump(self) -> None:
        """Deliver until nothing is on its way, in turn."""
        while self.to_child or self.to_parent:
            if self.to_child:
                self.deliver_to_child()
            if self.to_parent:
                self.deliver_to_parent()

    def close(self) -> None:
        for _, fds in [*self.to_child, *self.to_parent]:
            close_all(fds)
        self.parent.close(Why.SHUTDOWN)
        self.child.close(Why.SHUTDOWN)


def _sender(queue: deque[tuple[bytes, list[int]]]) -> Any:
    def send(packet: bytes, fds: Sequence[int]) -> None:
        queue.append((packet, [os.dup(fd) for fd in fds]))

    return send


class Recorder(Actor):
    """Base of actors that write down what happens to them and to all that they manage, in one list."""

    def __init__(self, events: list[Any] | None = None, name: str = "root") -> None:
        self.replies: dict[type[Message], Any] = {}  # what a call of each message is answered with
        self.events: list[Any] = [] if events is None else events
        self.name = name

    def actor_destroy(self, why: Why) -> None:
        self.events.append((self.name, why))

    def recv_delete(self, message: Any) -> None:
        self.events.append(message)


_recorders: dict[tuple[type[Protocol], Side], type[Recorder]] = {}


def recorder(protocol: type[Protocol], side: Side) -> type[Recorder]:
    """A class of actors that keep every message, and answer a call with the reply put into `replies`."""
    if (protocol, side) not in _recorders:
        body: dict[str, Any] = {}
        for message in protocol.messages.values():
            if side.other in message.senders and message.__name__ not in ("Construct", "Delete"):
                body[message.handler] = _keep(message)
        for owner in protocol.__mro__:
            for managed in vars(owner).get("managed", {}).values():
                body[f"alloc_{managed.stem}"] = _allocate(managed, side)
        name = f"{protocol.__name__[1:]}{side.value.title()}Recorder"
        _recorders[protocol, side] = type(name, (Recorder,), body, protocol=protocol, side=side)
    return _recorders[protocol, side]


def _keep(message: type[Message]) -> Any:
    def handle(self: Any, body: Message) -> Any:
        self.events.append(body)
        return self.replies.get(message)

    return handle


def _allocate(protocol: type[Protocol], side: Side) -> Any:
    def allocate(self: Recorder, message: Message) -> Recorder:
        self.events.append(message)
        return recorder(protocol, side)(self.events, getattr(message, "label", protocol.__name__))

    return allocate


def packet(actor: int, number: int, kind: int, body: Any = (), *, serial: int = 0, descriptors: int = 0) -> bytes:
    """A packet as a hostile peer would make it: any header, any body."""
    raw = body if isinstance(body, bytes) else msgspec.msgpack.encode(body)
    return struct.pack("<IIHBB", actor, serial, number, kind, descriptors) + raw


def count_fds() -> int:
    """Open descriptors of this process; the one that lists them is not counted."""
    return len(os.listdir("/proc/self/fd")) - 1
