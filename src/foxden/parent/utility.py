"""The parent's end of one utility process: made ready on the den's loop, called over an endpoint of its own.

Runs in: parent; `Starter` on the den's loop, `Worker` on whatever thread holds its turn.  Trusts: nothing of a worker.
Flow: Starter.start → child launched, PUtility.Init → Worker → Worker.run(call) … Worker.receive → what came of it.
Source: protocols/utility.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from foxden.errors import BadMessage, ChildCrashed, ChildTimeout, RemoteError, RemoteTraceback
from foxden.ipc.actor import Actor, ActorTree, Why
from foxden.ipc.aio import asked, reply_of
from foxden.ipc.fields import Endpoint, LargePayload, Listener, StackPipe
from foxden.ipc.memory import LentWriter, make_payload, map_frozen, read_payload
from foxden.ipc.pipe import NOW, PacketBuffer, make_pair, send_packet
from foxden.ipc.schema import Side
from foxden.ipc.value_decode import decode_value
from foxden.ipc.values import ALIGNMENT
from foxden.model.process_types import BY_NAME
from foxden.parent.arguments import Packed
from foxden.parent.broker import Brokers
from foxden.parent.calls import Call
from foxden.parent.function_view import FunctionGrants, begins_in, function_policy
from foxden.parent.hosts import ChildHost, ChildParent
from foxden.parent.import_folders import why_missing
from foxden.parent.plans import Plans
from foxden.parent.processes import ProcessManager
from foxden.parent.source_lines import SentCode
from foxden.protocols.utility import PTasks, PUtility
from foxden.sandbox.build import build_plan
from foxden.workers_broken import WorkersBroken

_ROW = BY_NAME["utility"]
# Numbers of functions.  Those by value share one: what one brings may change the globals of another.
_BY_VALUE, _NAMED_MAX = 1, 15
_LEAST_LENT = 1 << 20  # bytes: below it a larger memory costs nothing that shows


class UtilityParent(ChildParent, protocol=PUtility, side=Side.PARENT):
    """Root actor.  Calls do not pass here: see Worker."""


class Settings(msgspec.Struct, frozen=True):
    """What all workers of one pool have in common."""

    grants: FunctionGrants
    path: tuple[str, ...]
    folders: tuple[str, ...]  # that they may read of it
    begins_in: str = "/"  # a folder of the caller's
    kept_back: tuple[str, ...] = ()  # secrets in those
    names: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)  # of the others: what in each is shown
    preload: tuple[str, ...] = ()
    sent: SentCode = msgspec.field(default_factory=SentCode)  # filled by who pickles functions
    types: Mapping[str, type] = msgspec.field(default_factory=dict)  # that results may hold, by name
    max_result: int = 0
    initializer: bytes = b""  # pickle of (function, arguments)
    ready_s: float = 60.0  # that imports which were asked for and the initializer may take
    output: Callable[[str], object] | None = None  # has each line that they write
    name: str = ""

    @property
    def memory(self) -> int:
        """Bytes, as far as the caller has said; 0: no limit of the caller's."""
        return (self.grants.memory or 0) if self.grants.level else 0

    def first_work(self) -> str:
        """What a worker does before it is ready."""
        named = [f"preload={list(self.preload)}" if self.preload else "", "the initializer" if self.initializer else ""]
        return " and ".join(filter(None, named)) or "its start"


class Starter:
    """Starts the workers of one pool.  On the den's loop."""

    def __init__(self, processes: ProcessManager, plans: Plans, brokers: Brokers, settings: Settings) -> None:
        """Raises PolicyError."""
        self._processes, self._plans, self._brokers, self._settings = processes, plans, brokers, settings
        self._policy = function_policy(
            plans.resolved(_ROW, None), settings.grants, settings.folders, settings.kept_back
        )
        self._errnos = plans.errnos(_ROW, None)  # now, while nobody waits for it
        self._plan = plans.finish(build_plan(self._policy, arch=platform.machine(), listener=True))

    @property
    def asks_broker(self) -> bool:
        """Do its workers, where the kernel allows it?"""
        return self._plan.notify

    def _serve(self, host: ChildHost, listener: Listener, stacks: StackPipe | None) -> None:
        """Have a worker's files opened by the rules of the type and the grants of this pool."""
        own = self._processes.temporary_of(host)
        rules = self._plans.rules_of(self._policy, own)
        folder = begins_in(self._policy, self._settings.begins_in)
        self._brokers.attach(
            host, listener, stacks, rules=rules, protected=self._settings.grants.protected,
            errnos=self._errnos, show_ancestors=True,  # sqlite and resolve() ask for each on the way
            folder=folder if os.path.isdir(folder) else "/",  # it may be gone by now
            temporary=own,
            shared_memory=own,  # locks of multiprocessing: thread pools have them
        )  # fmt: skip

    async def start(self, waiting: Sequence[Packed]) -> Worker:
        """`waiting`: calls that it may begin with.  By what they are its start is made short.

        Raises: SandboxUnavailable, LaunchFailed, ChildCrashed, ChildTimeout; WorkersBroken from the initializer."""
        settings = self._settings
        imports = self._imports_soon(waiting)
        if self.asks_broker and imports:
            self._brokers.start()  # asked by the first call, it would be waited for as long as the worker
        ours, theirs = make_pair()
        message = self._init(Endpoint(theirs.detach()))
        replies: list[asyncio.Future[Any]] = []
        try:
            host = await self._processes.launch(
                _ROW.name, UtilityParent(), plan=self._plan, name=settings.name, on_listener=self._serve,
                then=lambda host: replies.append(self._ask(host, message)), sees_libraries=True,
                wants_late=any(call.goes_by_value for call in waiting) or b"cloudpickle" in settings.initializer,
                imports=imports,
            )  # fmt: skip
            await self._initialised(host, message, replies.pop())
        except BaseException:
            ours.close()
            raise
        finally:
            message.tasks.close()
            for unheard in replies:
                if not unheard.cancel():
                    unheard.exception()  # heard: the launch has said what happened
        return Worker(host, ours, settings)

    def _imports_soon(self, waiting: Sequence[Packed]) -> bool:
        prepared = bool(self._settings.preload or self._settings.initializer)
        return prepared or not waiting or not all(call.imports_nothing for call in waiting)

    def _ask(self, host: ChildHost, message: PUtility.Init) -> asyncio.Future[Any]:
        if self._settings.output is not None:
            host.show_output(self._settings.output)
        return asked(host.root, message)

    def _init(self, tasks: Endpoint) -> PUtility.Init:
        settings = self._settings
        return PUtility.Init(
            tasks=tasks,
            path=settings.path,
            names=dict(settings.names),
            environment=dict(settings.grants.environment),
            preload=settings.preload,
            returns=tuple(settings.types),
            max_result=settings.max_result,
            initializer=make_payload(LargePayload, settings.initializer) if settings.initializer else None,
            accepted=tuple(layer.value for layer in self._processes.accepted),
            folder=begins_in(self._policy, settings.begins_in),
        )

    async def _initialised(self, host: ChildHost, message: PUtility.Init, answer: asyncio.Future[Any]) -> None:
        try:
            reply = await reply_of(answer, message, timeout_s=self._settings.ready_s)
        except ChildCrashed:
            await host.ended
            raise host.crash("getting ready") from None
        except ChildTimeout:
            host.kill("could not be made ready")
            settings = self._settings
            raise ChildTimeout(
                f"{host}: {settings.first_work()} took longer than {settings.ready_s:g} s",
                hint="timeout=… of its executor, where it is more, holds for that, too",
            ) from None
        except BaseException:
            host.kill("could not be made ready")
            raise
        if reply.problem:
            host.kill("could not be made ready")
            hint = "memory=… gives it more" if reply.problem.startswith("MemoryError") else "see its traceback"
            error = WorkersBroken(f"a worker could not be made ready: {reply.problem}", hint=hint)
            raise error from RemoteTraceback(self._settings.sent.with_source(reply.trace))


class TasksParent(Actor, protocol=PTasks, side=Side.PARENT):
    """What a worker answers.  `answer` is what the last packet brought: (value, error)."""

    def __init__(
        self,
        types: Mapping[str, type],
        max_result: int,
        names: Mapping[str, tuple[str, ...]] | None = None,
        sent: SentCode | None = None,
    ) -> None:
        self._types, self._max_result, self._names = types, max_result, names or {}
        self._sent = sent or SentCode()
        self.expected: deque[int] = deque()  # numbers of the calls that were sent, the one being run first
        self.kept = False
        self.answer: tuple[Any, BaseException | None] | None = None

    def recv_returned(self, message: PTasks.Returned) -> None:
        self._take(message, "Returned")
        self._decode(message.value, None, "Returned")

    def recv_finished(self, message: PTasks.Finished) -> None:
        self._take(message, "Finished")
        try:
            data = read_payload(message.value)
            shared = map_frozen(message.buffers) if message.buffers is not None else None
        except (OSError, MemoryError) as error:  # no descriptor, no memory: of this process
            self.answer = (None, error)
        else:
            self._decode(data, shared, "Finished")

    def _decode(self, data: bytes, shared: memoryview | None, name: str) -> None:
        size = len(data) + (shared.nbytes if shared is not None else 0)
        if size > self._max_result + ALIGNMENT:
            raise BadMessage(f"PTasks.{name}: expected at most {self._max_result} bytes, got {size} - at `$.value`")
        try:
            self.answer = (decode_value(data, shared, self._types), None)
        except BadMessage as error:
            raise BadMessage(f"PTasks.{name}: {error} - at `$.value`") from None
        except Exception as error:  # what this process cannot hold
            self.answer = (None, error.with_traceback(None))  # its frames hold all that was read

    def recv_failed(self, message: PTasks.Failed) -> None:
        self._take(message, "Failed")
        self.answer = (None, self._error(message.error, "Failed"))

    def recv_refused(self, message: PTasks.Refused) -> None:
        self._take(message, "Refused")
        error = self._error(message.error, "Refused")
        error.add_note("the worker could not load the function or its arguments")
        self.answer = (None, error)

    def _error(self, payload: Any, name: str) -> BaseException:
        try:
            error = decode_value(read_payload(payload), None, self._types)
        except BadMessage as bad:
            raise BadMessage(f"PTasks.{name}: {bad} - at `$.error`") from None
        except Exception as lost:  # an exception that holds what this process cannot
            return lost.with_traceback(None)
        if not isinstance(error, Exception):
            raise BadMessage(f"PTasks.{name}: expected an exception, got {type(error).__name__} - at `$.error`")
        if isinstance(error.__cause__, RemoteTraceback):
            error.__cause__ = RemoteTraceback(self._sent.with_source(error.__cause__.text))
        if isinstance(error, RemoteError):
            error.remote_traceback = self._sent.with_source(error.remote_traceback)
        why = why_missing(str(error), self._names) if type(error) is ModuleNotFoundError else ""
        if why:
            error.add_note(why)
        return error

    def actor_destroy(self, why: Why) -> None:
        self.answer = None  # it may hold shared memory

    def _take(self, message: Any, name: str) -> None:
        if not self.expected or message.call != self.expected[0] or self.answer is not None:
            expected = f"call {self.expected[0]}" if self.expected else "no answer: nothing was asked"
            raise BadMessage(f"PTasks.{name}: expected {expected}, got {message.call} - at `$.call`")
        self.kept = message.kept


class Worker:
    """One ready worker.  Only the thread that holds `turn` reads its socket."""

    def __init__(self, host: ChildHost, sock: socket.socket, settings: Settings) -> None:
        self.host = host
        self.turn = threading.Lock()
        self.done = 0  # calls
        self.is_answering = False  # an answer of it is being read
        self.has_lost = False  # … and could not be
        self.sending = threading.Lock()  # held by who sends it something
        self.since = 0.0  # when the call it is at began, by the monotonic clock
        self.took = 0.0  # seconds, its last call
        self.quick_at = ""  # the function that its last chunk was of, if that took next to no time
        self.dead = False
        self.fd = sock.fileno()
        self._sock = sock
        self.armed = False  # the pool's thread listens to it …
        self.was_armed = False  # … or did, before somebody began to read who will stop again
        self.poll = select.poll()
        self.poll.register(sock.fileno(), select.POLLIN)
        sock.setblocking(True)
        self._actor = TasksParent(settings.types, settings.max_result, settings.names, settings.sent)
        self._tree = ActorTree(self._actor, self._send, peer=str(host))
        self._buffer = PacketBuffer()
        self._lent: LentWriter | None = None
        self._defined = b""  # the function by value that it has; empty: none, or with globals that may be others by now
        self._named: dict[bytes, int] = {}  # and those by name, with their numbers
        self._memory = settings.memory

    def _send(self, packet: bytes, fds: Any) -> None:
        send_packet(self._sock, packet, fds, NOW)

    def run(self, calls: Sequence[Call]) -> None:
        """Send a call, or chunks of one map.  Raises OSError when the worker is gone, or does not read."""
        actor, (call, *others) = self._actor, calls
        packed, number = call.packed, call.number
        actor.expected.append(number)
        function = self._define(packed) if packed.definition else 0
        by_value = packed.is_by_value
        if others:
            actor.expected.extend([call.number for call in others])
            by_value = any(call.packed.is_by_value for call in calls)
            chunks = tuple([(call.number, call.packed.work) for call in calls])
            actor.send(PTasks.RunChunks(chunks=chunks, function=function))
        else:
            parts = self._write(packed) if packed.buffers else ()
            actor.send(PTasks.Run(number, packed.work, parts, each=bool(call.chunk_of), function=function))
        if by_value:
            self._defined = b""

    def _define(self, packed: Packed) -> int:
        """Let the worker have the function that goes apart; returns the number that it has there."""
        definition = packed.definition
        if packed.is_named:
            number = self._named.get(definition, 0)
            if number:
                return number
            if len(self._named) == _NAMED_MAX:
                self._named.clear()
            number = self._named[definition] = _BY_VALUE + 1 + len(self._named)
        elif definition == self._defined:
            return _BY_VALUE
        else:
            number, self._defined = _BY_VALUE, definition
        self._actor.send(PTasks.Define(function=number, work=make_payload(LargePayload, definition)))
        return number

    def _write(self, packed: Packed) -> tuple[tuple[int, int, bool], ...]:
        lent = self._lend(packed.size)
        parts, place = [], 0
        for view, writable in packed.buffers:
            lent.write(place, view)
            parts.append((place, view.nbytes, writable))
            place += -(-view.nbytes // ALIGNMENT) * ALIGNMENT
        return tuple(parts)

    def _lend(self, size: int) -> LentWriter:
        """Memory for so many bytes: what was lent before, unless it is too small or the function kept some of it."""
        lent = self._lent
        if lent is not None and lent.size >= size and not self._actor.kept:
            return lent
        if lent is not None:
            lent.close()
        larger = max(_LEAST_LENT, 1 << (size - 1).bit_length())  # the next arguments may need a little more
        self._lent = lent = LentWriter(size if self._memory and larger > self._memory // 2 else larger)
        self._actor.kept = False
        self._actor.send(PTasks.Lend(memory=lent.memory))
        return lent

    def receive(self, flags: int = NOW) -> tuple[Any, BaseException | None] | None:
        """What came of the call, if it is there; `flags` 0: wait.  Raises BadMessage; EOFError at the end.

        Whatever else is raised is of this process, and the answer is lost.
        """
        try:
            packet, fds = self._buffer.receive(self._sock, flags)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            raise EOFError from None
        if not packet:
            raise EOFError
        self.is_answering = True
        try:
            self._tree.receive(packet, fds)
            answer = self._actor.answer
            if answer is not None:
                self._actor.expected.popleft()
                self._actor.answer = None
                self.done += 1
            return answer
        except BaseException:
            self.has_lost = True
            raise
        finally:
            self.is_answering = False

    def hang_up(self) -> None:
        """Say nothing more and hear nothing more; whoever waits for it wakes up."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of everything.  With `turn` held, or when nobody else can know of it any more."""
        self._sock.close()
        self._tree.close(Why.SHUTDOWN)
        if self._lent is not None:
            self._lent.close()
            self._lent = None
