"""The broker as a process of its own: PBroker on one side, the loop over all listeners on the other.

Runs in: the broker process.  Trusts: the parent; no child.
Flow: Attach → Broker.attach → … → sink → queue → OnAct, OnAsk, OnDetached whenever the parent reads.
Source: protocols/broker; architecture.md "The broker is a process of its own".

A parent that does not read must never delay a child's open: what it is to be told waits in a queue with a bound.
"""

from __future__ import annotations

import os
import select
from collections import deque

import msgspec

from foxden import native
from foxden.broker import notify
from foxden.broker.own_folders import OwnFolders
from foxden.broker.records import Act, Ask, Detached
from foxden.broker.server import Broker
from foxden.ipc.schema import Side
from foxden.launch import child_main
from foxden.launch.child_main import ChildActor, ChildContext
from foxden.protocols.broker import PBroker, ProtectedTrees, Rules

_QUEUE_MAX = 4096  # messages; beyond it acts are only counted
_PATH_MAX, _DETAIL_MAX = 4096, 1024


class BrokerChild(ChildActor, protocol=PBroker, side=Side.CHILD):
    """Root actor: takes the parent's words, and brings it the broker's when it reads."""

    def __init__(self) -> None:
        self.broker: Broker | None = None
        self._queue: deque[Act | Ask | Detached] = deque()
        self._dropped: dict[int, int] = {}  # child → acts that found no room
        self._room = select.poll()  # in the parent's pipe

    def recv_attach(self, message: PBroker.Attach) -> None:
        stacks = message.stacks.detach() if message.stacks is not None else -1
        self._have().attach(
            message.child_id, message.listener.detach(), stacks, message.view, _pairs(message.rules),
            _trees(message.protected), message.errnos, ask=message.ask,
            ask_timeout_s=message.ask_timeout_s, everything=message.everything,
            show_ancestors=message.show_ancestors, folder=message.folder, temporary=message.temporary,
            shared_memory=message.shared_memory,
        )  # fmt: skip

    def recv_set_rules(self, message: PBroker.SetRules) -> PBroker.SetRules.Returns:
        served = self._have().set_rules(message.child_id, _pairs(message.rules), _trees(message.protected))
        return PBroker.SetRules.Returns(served=served)

    def recv_detach(self, message: PBroker.Detach) -> None:
        self._have().detach(message.child_id)

    def recv_answer(self, message: PBroker.Answer) -> None:
        self._have().answer(message.token, allow=message.allow)

    def recv_tell(self, message: PBroker.Tell) -> PBroker.Tell.Returns:
        self._have().tell()
        self._send_queued(most=len(self._queue))
        return PBroker.Tell.Returns()

    def _have(self) -> Broker:
        if self.broker is None:
            self.broker = Broker(self._put)
            self.broker.folders = OwnFolders(child_main.KEPT)
        return self.broker

    def _put(self, said: Act | Ask | Detached) -> None:
        if isinstance(said, Act) and len(self._queue) >= _QUEUE_MAX:
            self._dropped[said.child_id] = self._dropped.get(said.child_id, 0) + said.times
        else:
            self._queue.append(said)

    # ---- the loop

    def run(self) -> None:
        """Serve until the parent closes its pipe, which ends this process."""
        broker, pipe = self._have(), self.process.pipe
        if pipe is None:
            raise RuntimeError("the child has not started: it has no pipe")
        parent = pipe.sock.fileno()
        writing = False

        def from_parent(event: int) -> None:
            if event & ~select.EPOLLOUT:
                pipe.step()

        broker.watch(parent, from_parent)
        self._room.register(parent, select.POLLOUT)
        while True:
            self._send_queued(most=1)
            if bool(self._queue) is not writing:
                writing = not writing
                broker.watch_writing(parent, writing=writing)
            broker.step()

    def _send_queued(self, most: int) -> None:
        """As much as there is room for."""
        while most and self._queue and self._room.poll(0):  # for the largest message, when the socket says there is any
            self.send(self._message(self._queue.popleft()))
            most -= 1

    def _message(self, said: Act | Ask | Detached) -> PBroker.OnAct | PBroker.OnAsk | PBroker.OnDetached:
        match said:
            case Act():
                fields = msgspec.structs.asdict(said)
                fields |= {"path": said.path[:_PATH_MAX], "detail": said.detail[:_DETAIL_MAX]}
                fields["count"] = fields.pop("times")
                return PBroker.OnAct(**fields)
            case Ask():
                return PBroker.OnAsk(**msgspec.structs.asdict(said))
            case Detached():
                dropped = self._dropped.pop(said.child_id, 0)
                return PBroker.OnDetached(**{**msgspec.structs.asdict(said), "untold": said.untold + dropped})


def _pairs(rules: Rules) -> list[tuple[str, int]]:
    return [(rule.path, rule.access) for rule in rules]


def _trees(protected: ProtectedTrees) -> list[tuple[str, tuple[str, ...]]]:
    return [(each.tree, each.names) for each in protected]


def prewarm() -> None:
    """Ask once what the filter will not let us ask, and look up what is needed late."""
    native.load()
    notify.sizes()
    os.fsdecode(b"")


def main(process: ChildContext) -> None:
    root = BrokerChild()
    process.start(root)
    root.run()
