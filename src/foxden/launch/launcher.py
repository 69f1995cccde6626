"""The parent's hold on the starter and the fork servers: ask for a process, get its pipe and pidfd.

Runs in: the parent, on its loop.  Trusts: the starter and fork servers, which run no untrusted input.
Flow: Launcher.fork(type) → fork server of the family (started when first needed) → Forked.
Source: architecture.md "Fork servers"; core-feasibility section 9.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from foxden.errors import LaunchFailed, SandboxUnavailable
from foxden.ipc.actor import Actor, Why
from foxden.ipc.aio import AsyncPipe
from foxden.ipc.fields import Endpoint, Stream
from foxden.ipc.pipe import make_pair
from foxden.ipc.schema import Message, Side
from foxden.launch import early, interpreter, orphans
from foxden.launch.childlog import ChildLog, make_log
from foxden.model.enforcement import GONE_WITH_NAMESPACES, accepting
from foxden.model.process_types import Family
from foxden.protocols.forkserver import PForkServer, PStarter
from foxden.sandbox.plan import SandboxPlan

_LAST_ANSWERS_S = 2.0  # for what was asked when the den closes
_ORPHANS_END_WITHIN_S = 1.0  # their pipe is closed, so they end as soon as they look
_ORPHAN_STEP_S = 0.2
_START_TIMEOUT_S = 20.0  # a fork server imports its libraries first; on a busy machine this takes a while


class ServerGone(LaunchFailed):
    """The starter or a fork server ended before it answered.  Another one is started when asked again."""


class NamespacesRefused(SandboxUnavailable):
    """The kernel gave no namespaces at all.  `errno`: what it said."""

    def __init__(self, process_type: str, errno: int) -> None:
        super().__init__(
            f"{process_type}: expected new namespaces, the kernel refused them: {os.strerror(errno)}",
            layers=("namespaces",),
            hint=f"`foxden support` says what to change; {accepting(GONE_WITH_NAMESPACES)} accepts it",
        )
        self.errno = errno


class StarterParent(Actor, protocol=PStarter, side=Side.PARENT):
    """The parent's end of the starter."""


class ForkServerParent(Actor, protocol=PForkServer, side=Side.PARENT):
    """The parent's end of a fork server."""


class Server(msgspec.Struct):
    """One live process that makes others: the starter, or a fork server."""

    name: str
    actor: Actor
    pipe: AsyncPipe
    pid: int
    pidfd: int
    log: ChildLog
    plan: SandboxPlan | None = None
    initialised: bool = False
    started_at: float = msgspec.field(default_factory=time.monotonic)

    def initialise(self) -> None:
        """Give a fork server its filter, before its first fork."""
        if self.plan is not None and not self.initialised:
            self.initialised = True
            self.actor.send(PForkServer.Init(plan=self.plan))

    def end(self) -> None:
        """Close the pipe, kill and reap.  A second call does nothing."""
        self.pipe.close()
        if self.pidfd >= 0:
            end_process(self.pidfd)
            self.pidfd = -1
        self.log.close()


class Forked(msgspec.Struct, frozen=True):
    """A child just forked.  The holder closes `log` and `pidfd`, and reaps."""

    pid: int
    pidfd: int
    log: socket.socket
    kept_ids: str = ""  # why it has not the uid that was asked for; empty: it has


class Launcher:
    """Starts fork servers when needed, children when asked; where the parent will lock itself, the starter at once.

    `can_spawn` turns False when the parent has locked itself: from then on only what was made before can fork, and it
    is the starter that makes fork servers.  A parent that stays as it is makes them itself, and has no starter.
    """

    def __init__(self, server_plan: Callable[[Family], SandboxPlan], *, emulate: str = "", locks: bool = False) -> None:
        """`server_plan`: what the fork server of a family puts on itself.  `locks`: this parent will lock itself."""
        self._plan_of = server_plan
        self._locks = locks
        ids = early.subordinate_ids()
        self._words = interpreter.BootWords("starter", "", emulate, interpreter.library_path(), ids=ids)
        self._starter: Server | None = None
        self._servers: dict[Family, Server] = {}
        self._starting: dict[Family, asyncio.Task[Server]] = {}
        self._asked: set[asyncio.Future[Any]] = set()  # answers that are still to come: each brings a process
        self._handed_out: set[int] = set()  # pids of children that someone holds, or held
        self._orphans_until = 0.0  # on the loop's clock: how long there may be children that nobody knows
        self.can_spawn = True

    def start(self, warm: Collection[Family]) -> None:
        """Make the fork servers of the families that are to be warm; then what could not be made after the lock.

        Returns at once.  The starter and a network that need not be warm load nothing before their first message.
        """
        for family in warm:
            self._spawn_family(family)
        if self._locks:
            self._starter = self._spawn("starter", self._words.when_asked(), StarterParent())
            if Family.NETWORK not in warm:
                self._spawn_network(eager=False)

    def _spawn_family(self, family: Family) -> Server:
        if family is Family.NETWORK:
            return self._spawn_network()
        server = self._spawn(family.value, self._words.for_family(family.value), ForkServerParent())
        try:
            plan = self._plan_of(family)  # it loads meanwhile
        except BaseException:
            server.end()
            raise
        return self._register(family, server, plan)

    def _spawn_network(self, *, eager: bool = True) -> Server:
        # Made by the parent itself: what comes from the starter can be locked before it forks; this one must be
        # able to fork the only process that opens internet sockets.
        words = self._words.for_family(Family.NETWORK.value)
        server = self._spawn(Family.NETWORK.value, words if eager else words.when_asked(), ForkServerParent())
        return self._register(Family.NETWORK, server, SandboxPlan(policy="forkserver", level=0))

    def _spawn(self, name: str, words: interpreter.BootWords, actor: Actor) -> Server:
        if not self.can_spawn:
            raise LaunchFailed(
                f"the {name} process is gone, and this parent is locked: it can start no program",
                hint="close this den and make a new one",
            )
        try:
            begun = early.take(name) or early.make(words)
        except OSError as error:
            raise LaunchFailed(f"cannot start {sys.executable!r}: {error}") from error
        return self._hold(name, actor, begun.sock, begun.log, begun.pid, os.pidfd_open(begun.pid))

    def _hold(
        self, name: str, actor: Actor, sock: socket.socket, log: socket.socket, pid: int, pidfd: int
    ) -> Server:
        def closed(why: Why, error: Exception | None) -> None:
            self._forget(server)

        pipe = AsyncPipe(sock, actor, peer=f"the {name} process", on_closed=closed)
        server = Server(name, actor, pipe, pid, pidfd, ChildLog(log, f"forkserver {name}"))
        return server

    def _forget(self, server: Server) -> None:
        if self._starter is server:
            self._starter = None
        for family in [f for f, s in self._servers.items() if s is server]:
            del self._servers[family]
        server.end()

    def _register(self, family: Family, server: Server, plan: SandboxPlan) -> Server:
        server.plan = plan
        self._servers[family] = server
        return server

    async def _server(self, family: Family) -> Server:
        if family in self._servers:
            return self._servers[family]
        if self.can_spawn or family is Family.NETWORK:
            return self._spawn_family(family)
        return await asyncio.shield(self._starting.get(family) or self._begin(family))

    def _begin(self, family: Family) -> asyncio.Task[Server]:
        task = asyncio.create_task(self._start_family(family))
        self._starting[family] = task
        task.add_done_callback(lambda done: self._begun(family, done))
        return task

    def _begun(self, family: Family, task: asyncio.Task[Server]) -> None:
        self._starting.pop(family, None)
        if not task.cancelled():
            task.exception()  # whoever waits raises it; asyncio need not complain if nobody does

    async def _start_family(self, family: Family) -> Server:
        """Have the starter make it."""
        if self._starter is None:
            self._starter = self._spawn("starter", self._words, StarterParent())
        ours, theirs = make_pair()
        log_ours, log_theirs = make_log()
        message = PStarter.StartFamily(
            family=family.value, endpoint=Endpoint(theirs.detach()), log=Stream(log_theirs.detach())
        )
        try:
            reply = await self._ask(self._starter, message)
            if reply.pidfd is None:
                raise LaunchFailed(f"the starter could not fork: {os.strerror(reply.errno)}")
        except BaseException:
            ours.close()
            log_ours.close()
            raise
        server = self._hold(family.value, ForkServerParent(), ours, log_ours, reply.pid, reply.pidfd.detach())
        return self._register(family, server, self._plan_of(family))

    def prepare(self, family: Family) -> None:
        """Begin to start this family's fork server, to have it warm when it is needed."""
        if family in self._servers or family in self._starting or family is Family.NETWORK:
            return
        if not self.can_spawn:
            self._begin(family)
            return
        with contextlib.suppress(LaunchFailed):  # it fails again, and is told, where it is needed
            self._spawn_family(family)

    async def fork(
        self,
        family: Family,
        process_type: str,
        endpoint: Endpoint,
        *,
        flags: int,
        uid: int,
        sees_libraries: bool = False,
        wants_late: bool = False,
        imports: bool = False,
    ) -> Forked:
        """Fork a child that speaks on `endpoint`, which is closed here.  What its parent has sent already waits there.

        Raises SandboxUnavailable (layers=("namespaces",)) when the kernel refuses the flags, LaunchFailed for
        anything else.
        """
        log_ours, log_theirs = make_log()
        log = Stream(log_theirs.detach())
        try:
            server = await self._server(family)
            server.initialise()
            message = PForkServer.Fork(
                process_type=process_type, flags=flags, endpoint=endpoint, log=log, uid=uid,
                sees_libraries=sees_libraries, wants_late=wants_late, imports=imports,
            )  # fmt: skip
            reply = await self._ask(server, message)
            if reply.pidfd is None:
                raise _refused(process_type, flags, reply.errno)
        except BaseException:
            log_ours.close()
            raise
        finally:
            endpoint.close()
            log.close()
        self._handed_out.add(reply.pid)
        return Forked(reply.pid, reply.pidfd.detach(), log_ours, reply.kept_ids)

    def processes(self) -> list[Server]:
        """Live servers, the starter first."""
        return [s for s in (self._starter, *self._servers.values()) if s is not None]

    async def close(self) -> None:
        for task in list(self._starting.values()):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task
        if self._asked:
            await asyncio.wait(self._asked, timeout=_LAST_ANSWERS_S)
            await asyncio.sleep(0)  # so that what they brought is ended
        for server in self.processes():
            server.end()
        while asyncio.get_running_loop().time() < self._orphans_until:
            await asyncio.sleep(_ORPHAN_STEP_S)  # the timer of _reap_orphans does the rest

    def _look_for_orphans(self) -> None:
        """A process was asked for, and who should have made it is gone: it may have been made all the same."""
        self._orphans_until = asyncio.get_running_loop().time() + _ORPHANS_END_WITHIN_S
        self._reap_orphans()

    def _reap_orphans(self) -> None:
        loop = asyncio.get_running_loop()
        orphans.reap(self._handed_out | {server.pid for server in self.processes()})
        if loop.time() < self._orphans_until:
            loop.call_later(_ORPHAN_STEP_S, self._reap_orphans)

    async def _ask(self, server: Server, message: Message) -> Any:
        """Ask the starter or a fork server for a process.  What comes when nobody waits any more is ended at once.

        Raises ServerGone, with its last words, when it ends instead of answering; LaunchFailed when it hangs.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def lost(why: Why) -> None:
            self._look_for_orphans()
            answer.set_exception(ServerGone(f"the {server.name} process ended: {server.log.tail() or why.value}"))

        self._asked.add(answer)
        answer.add_done_callback(self._asked.discard)
        server.actor.call(message, answer.set_result, lost)
        try:
            return await asyncio.wait_for(asyncio.shield(answer), _START_TIMEOUT_S)
        except TimeoutError:
            answer.add_done_callback(_end_unwanted)
            self._forget(server)
            raise LaunchFailed(f"the {server.name} process did not answer, and was ended") from None
        except asyncio.CancelledError:
            answer.add_done_callback(_end_unwanted)
            raise


def _end_unwanted(answer: asyncio.Future[Any]) -> None:
    if answer.exception() is None and answer.result().pidfd is not None:
        end_process(answer.result().pidfd.detach())


def _refused(process_type: str, flags: int, errno: int) -> Exception:
    if flags and errno in (1, 22, 28, 38):  # EPERM, EINVAL, ENOSPC, ENOSYS: what kernels say to namespaces
        return NamespacesRefused(process_type, errno)
    return LaunchFailed(f"{process_type}: the fork failed: {os.strerror(errno)}")


def end_process(pidfd: int) -> None:
    """SIGKILL, reap and close.  Returns at once for a process that has already ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):  # reaped by someone who waits for all children of this process
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)

