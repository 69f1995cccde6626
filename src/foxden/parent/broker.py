"""The parent's hold on the broker: gives it children, rules and answers; hears what it refused.

Runs in: parent, on the den's loop.  Trusts: the broker's framing is checked as any child's; its words are told on.
Flow: child ready with a listener → attach → first call of a child → broker launched → Attach → OnAct, OnAsk.
Source: Gecko's RemoteSandboxBroker; docs/concepts/broker.md.

    brokers.attach(host_or_child_id, listener, stacks, view=, rules=, protected=, errnos=, ask=, everything=)
    await brokers.set_rules(child_id, rules, protected)  # these and no others, from when it returns
    await brokers.grant(child_id, "/path", "rw")         # and await brokers.revoke(child_id, "/path")
    brokers.detach(child_id)                             # answer it no more
    await brokers.have_told()                            # what was refused before has come
    brokers.on_act.append(function)                      # function(child_id, PBroker.OnAct), for each that is told
    brokers.ask = function                               # function(AskRecord) -> bool, on a thread of its own

No broker is started before a child asks for something: the listener itself says when that is.  A child whose broker
is gone is ended, for nobody would judge its calls any more; the next call of another child starts a new broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

from foxden.errors import ChildCrashed, ChildTimeout, FoxdenError
from foxden.ipc.aio import call
from foxden.ipc.fields import Listener, StackPipe
from foxden.ipc.schema import Side
from foxden.parent.hosts import ChildHost, ChildParent
from foxden.parent.prefs import Prefs
from foxden.parent.processes import ProcessManager
from foxden.protocols.broker import PBroker, Protected, Rule
from foxden.sandbox.paths import AbsPath, Access, FileRule, PathRules

_TELL_S = 1.0  # for the broker to say that it has told all
_ASKED_MAX = 64  # what is asked beyond that is refused: a broker that was taken over must not fill us with threads


class AskRecord(msgspec.Struct, frozen=True):
    """What a child wants to do and no rule grants.  `path` is the child's word, made canonical."""

    child_id: int
    pid: int
    process_type: str
    remote_type: str | None
    operation: str
    path: str
    access: str  # as policies write it: r, w, rw, rwc …


class BrokerParent(ChildParent, protocol=PBroker, side=Side.PARENT):
    """The parent's end of the broker process."""

    def __init__(self, brokers: Brokers) -> None:
        self._brokers = brokers

    def recv_on_act(self, message: PBroker.OnAct) -> None:
        self._brokers.told(message)

    def recv_on_ask(self, message: PBroker.OnAsk) -> None:
        self._brokers.asked(self, message)

    def recv_on_detached(self, message: PBroker.OnDetached) -> None:
        self._brokers.detached(message)


class _Attached(msgspec.Struct):
    """One child.  Holds the descriptors until the broker has them."""

    child_id: int
    host: ChildHost | None
    listener: Listener
    stacks: StackPipe | None
    view: Literal["host", "child"]
    rules: dict[str, Access]
    protected: tuple[Protected, ...]
    errnos: dict[int, int]
    ask: bool
    everything: bool
    show_ancestors: bool
    folder: str
    temporary: str
    shared_memory: str
    granted: dict[str, Access] = msgspec.field(default_factory=dict)  # while running, by path

    def wire_rules(self) -> tuple[Rule, ...]:
        by_path = dict(self.rules)
        for path, access in self.granted.items():  # newer than the policy: it also wins over its deny of the same path
            below = by_path.get(path, Access.NONE)
            by_path[path] = access if below & Access.DENY else below | access
        return tuple(Rule(str(path), int(access)) for path, access in by_path.items())

    def let_go(self) -> None:
        self.listener.close()
        if self.stacks is not None:
            self.stacks.close()


class Brokers:
    """The broker of one den, and what it serves."""

    def __init__(self, processes: ProcessManager, prefs: Prefs) -> None:
        self._processes, self._prefs = processes, prefs
        self._attached: dict[int, _Attached] = {}
        self._watched: dict[int, int] = {}  # child → its listener, while no broker has it
        self._host: ChildHost | None = None
        self._starting: asyncio.Task[None] | None = None
        self._closing = False
        self._handed: set[int] = set()  # children that a broker has or had
        self.on_act: list[Callable[[int, PBroker.OnAct], None]] = []
        self.on_detached: list[Callable[[PBroker.OnDetached], None]] = []
        self.ask: Callable[[AskRecord], bool] | None = None
        self._asked = 0  # questions that wait for an answer, each on a thread

    # ---- children

    def attach(
        self,
        child: ChildHost | int,
        listener: Listener,
        stacks: StackPipe | None = None,
        *,
        view: Literal["host", "child"] = "host",
        rules: Iterable[FileRule] = (),
        protected: Iterable[tuple[str, Iterable[str]]] = (),
        errnos: Mapping[int, int] | None = None,
        ask: bool | None = None,
        everything: bool = False,
        show_ancestors: bool = False,
        folder: str = "",
        temporary: str = "",
        shared_memory: str = "",
    ) -> None:
        """Have this child's calls answered.  Takes over both descriptors.  `ask` None: if the den asks at all."""
        host = child if isinstance(child, ChildHost) else self._processes.host(child)
        child_id = child.child_id if isinstance(child, ChildHost) else child
        attached = _Attached(
            child_id, host, listener, stacks, view,
            dict(PathRules.of(rules).by_path), _protected(protected), dict(errnos or {}),
            self.ask is not None if ask is None else ask, everything, show_ancestors, folder,
            temporary, shared_memory,
        )  # fmt: skip
        self._attached[child_id] = attached
        if host is not None:
            host.ended.add_done_callback(lambda _: self._forget(child_id))
        if self._host is not None:
            self._send(attached)
        else:
            self._watched[child_id] = listener.fileno()
            asyncio.get_running_loop().add_reader(listener.fileno(), self._first_call, child_id)

    def serves(self, child_id: int) -> bool:
        """Was this child's listener handed to a broker?  Only then will there be an OnDetached."""
        return child_id in self._handed

    async def set_rules(
        self, child_id: int, rules: Iterable[FileRule], protected: Iterable[tuple[str, Iterable[str]]] = ()
    ) -> None:
        """These and no others from now on; what was granted while running is gone, too."""
        attached = self._have(child_id)
        attached.rules, attached.granted = dict(PathRules.of(rules).by_path), {}
        attached.protected = _protected(protected)
        await self._send_rules(attached)

    async def grant(self, child_id: int, path: str, word: str) -> None:
        """Add a rule.  Raises FoxdenError: no such child, no absolute path, no such access."""
        attached = self._have(child_id)
        if any("\ud800" <= letter <= "\udfff" for letter in path):  # rules travel as text
            raise FoxdenError(f"grant: expected a path that is UTF-8, got {path!r}", hint="grant the folder above it")
        try:
            checked, access = AbsPath.parse(path), Access.parse(word)
        except ValueError as error:
            raise FoxdenError(f"grant: {error}", hint="den.grant(child, '/an/absolute/path', 'r')") from None
        attached.granted[checked] = attached.granted.get(checked, Access.NONE) | access
        await self._send_rules(attached)

    async def revoke(self, child_id: int, path: str) -> None:
        """Take back what `grant` gave; what is open stays open.  Raises FoxdenError: nothing was granted there."""
        attached = self._have(child_id)
        if attached.granted.pop(path, None) is None:
            given = ", ".join(attached.granted) or "none"
            raise FoxdenError(f"revoke: expected a path that was granted, got {path!r}", hint=f"granted: {given}")
        await self._send_rules(attached)

    def detach(self, child_id: int) -> None:
        """Answer it no more: the kernel says ENOSYS to all that it asks."""
        if child_id in self._attached:
            self._forget(child_id)
            if self._host is not None:
                self._host.root.send(PBroker.Detach(child_id=child_id))

    def _have(self, child_id: int) -> _Attached:
        attached = self._attached.get(child_id)
        if attached is None:
            raise FoxdenError(f"child {child_id}: expected one that a broker serves", hint="it may have ended")
        return attached

    def _forget(self, child_id: int) -> None:
        self._unwatch(child_id)
        attached = self._attached.pop(child_id, None)
        if attached is not None:
            attached.let_go()

    def _unwatch(self, child_id: int) -> None:
        fd = self._watched.pop(child_id, -1)
        if fd >= 0:
            asyncio.get_running_loop().remove_reader(fd)

    # ---- the process

    def _first_call(self, child_id: int) -> None:
        """A child asks for something, or has ended."""
        attached = self._attached[child_id]
        poll = select.poll()
        poll.register(attached.listener.fileno(), select.POLLIN)
        if not any(events & select.POLLIN for _, events in poll.poll(0)):
            return self._forget(child_id)
        self._unwatch(child_id)
        self.start()
        return None

    def start(self) -> None:
        """Begin to launch the broker, unless there is one."""
        if self._host is None and self._starting is None and not self._closing:
            self._starting = asyncio.get_running_loop().create_task(self._start())

    async def _start(self) -> None:
        try:
            host = await self._processes.launch("broker", BrokerParent(self), sees_libraries=True)
        except FoxdenError as error:
            self._starting = None
            self._end_all(f"its broker could not be started: {error}")
            return
        self._starting = None
        self._host = host
        host.ended.add_done_callback(lambda ended: self._broker_ended(host))
        for attached in list(self._attached.values()):
            self._unwatch(attached.child_id)
            self._send(attached)

    def _send(self, attached: _Attached) -> None:
        if self._host is None:
            return
        try:
            self._processes.make_temporary(attached.child_id)
        except OSError as error:
            self._forget(attached.child_id)
            if attached.host is not None:
                attached.host.kill(f"there is no directory for its temporary files: {error}")
            return
        self._host.root.send(
            PBroker.Attach(
                child_id=attached.child_id, listener=attached.listener, stacks=attached.stacks, view=attached.view,
                rules=attached.wire_rules(), protected=attached.protected, errnos=attached.errnos,
                ask=attached.ask, everything=attached.everything, show_ancestors=attached.show_ancestors,
                folder=attached.folder, temporary=attached.temporary, shared_memory=attached.shared_memory,
                ask_timeout_s=self._prefs.get_int("foxden.broker.ask-timeout") + 1,
            )
        )  # fmt: skip
        attached.let_go()
        self._handed.add(attached.child_id)

    async def _send_rules(self, attached: _Attached) -> None:
        """From when this returns they hold.  A broker that is gone took its children with it."""
        if self._host is not None:
            message = PBroker.SetRules(
                child_id=attached.child_id, rules=attached.wire_rules(), protected=attached.protected
            )
            with contextlib.suppress(ChildCrashed):
                await call(self._host.root, message)

    async def have_told(self) -> None:
        """From when this returns, what was refused so far has been told, unless the broker does not answer."""
        if self._host is not None:
            with contextlib.suppress(ChildCrashed, ChildTimeout):
                await call(self._host.root, PBroker.Tell(), timeout_s=_TELL_S)

    def _broker_ended(self, host: ChildHost) -> None:
        if self._host is host:
            self._host = None
            self._end_all(f"the broker that answers its calls is gone ({host.ended.result().text()})")

    def _end_all(self, reason: str) -> None:
        """Fail closed: whose calls nobody judges is ended."""
        for attached in list(self._attached.values()):
            self._forget(attached.child_id)
            if attached.host is not None:
                attached.host.kill(reason)

    def close(self) -> None:
        """Before the children are ended."""
        self._closing = True
        if self._starting is not None:
            self._starting.cancel()
        self._host = None
        for child_id in list(self._attached):
            self._forget(child_id)

    # ---- what it says

    def told(self, act: PBroker.OnAct) -> None:
        if act.child_id in self._handed:
            for listen in self.on_act:
                listen(act.child_id, act)

    def detached(self, message: PBroker.OnDetached) -> None:
        self._handed.discard(message.child_id)
        for listen in self.on_detached:
            listen(message)

    def asked(self, root: BrokerParent, message: PBroker.OnAsk) -> None:
        """Ask whoever made the den, on a thread: it may take its time, and wait for a human."""
        attached, ask = self._attached.get(message.child_id), self.ask
        if attached is None or ask is None or self._asked >= _ASKED_MAX:
            root.send(PBroker.Answer(token=message.token, allow=False))
            return
        record = AskRecord(
            child_id=message.child_id,
            pid=message.pid,
            process_type=attached.host.row.name if attached.host else "",
            remote_type=attached.host.remote_type.value if attached.host and attached.host.remote_type else None,
            operation=message.operation,
            path=message.path,
            access=Access(message.access).word(),
        )
        loop = asyncio.get_running_loop()

        def answer(allow: bool) -> None:
            self._asked -= 1
            root.send(PBroker.Answer(token=message.token, allow=allow))

        self._asked += 1
        # A thread of its own, which ends with the interpreter if it must: an answer may never come.  The broker
        # says no when the time is over.
        threading.Thread(target=_ask, args=(ask, record, loop, answer), name="foxden-ask", daemon=True).start()


def _ask(
    ask: Callable[[AskRecord], bool], record: AskRecord, loop: asyncio.AbstractEventLoop, answer: Callable[[bool], None]
) -> None:
    allow = False
    try:
        allow = ask(record) is True
    finally:  # what the caller's function raises is shown by the thread, as of any thread; the answer is no
        if not loop.is_closed():
            loop.call_soon_threadsafe(answer, allow)


def _protected(trees: Iterable[tuple[str, Iterable[str]]]) -> tuple[Protected, ...]:
    return tuple(Protected(tree, tuple(names)) for tree, names in trees)
