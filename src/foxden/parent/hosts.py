"""The parent's handle of one child: its pipe, its pidfd, what it may be asked, and how it ends.

Runs in: parent.  Trusts: nothing the child says; its end is read from the kernel, not from the child.
Flow: UNLAUNCHED → launch → LAUNCHING → Ready → READY → shutdown or death → DEAD.
Source: Gecko's GeckoChildProcessHost phases; waitid(2) P_PIDFD.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import re
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from foxden.errors import BadMessage, ChildCrashed, LaunchFailed
from foxden.ipc.actor import Actor, Why
from foxden.ipc.aio import AsyncPipe, call
from foxden.ipc.fields import Endpoint, Listener, StackPipe
from foxden.ipc.pipe import make_pair
from foxden.launch.childlog import ChildLog
from foxden.launch.launcher import Forked
from foxden.model.enforcement import Enforcement, Layer, LayerStatus
from foxden.model.process_types import ProcessType, RemoteType
from foxden.protocols.process import PChildProcess

if TYPE_CHECKING:
    from foxden.parent.denials import Denials

# (who, what): each child's life and death in words; set by the command when `--log process` asks for it.
listener: Callable[[str, str], None] | None = None


def _tell(who: ChildHost, what: str) -> None:
    if listener is not None:
        listener(str(who), what)


# How Python, the kernel's words, C++ and OpenBLAS say it.
_OUT_OF_MEMORY = re.compile(r"MemoryError|Cannot allocate memory|bad_alloc|[Mm]emory allocation .*failed|out of memory")
_LAST_LINES = 20  # of what a child wrote, that an error shows
_AFTER_A_CRASH = "the next one starts afresh; a traceback, of the command with --debug, shows what it wrote last"
_MORE_MEMORY = "memory=… gives it more, if that is so"
_MORE_OUTPUT = "the next one starts afresh; output=sys.stderr of an executor shows all that its workers write"
_SHUTDOWN_S = 2.0  # to finish in, when asked to; a stopped or hostile child is ended then


class State(enum.Enum):
    UNLAUNCHED = "unlaunched"
    LAUNCHING = "launching"
    READY = "ready"
    CLOSING = "closing"
    DEAD = "dead"


class End(msgspec.Struct, frozen=True):
    """How a child ended.  `reason`: why we ended it, empty when it ended by itself."""

    signal: int | None = None
    exit_code: int | None = None
    reason: str = ""
    log: str = ""

    def text(self) -> str:
        if self.reason:
            return self.reason
        if self.signal is not None:
            return f"ended by {signal.Signals(self.signal).name}"
        if self.exit_code is not None:
            return f"exited with {self.exit_code}"
        return "gone"

    def seems_out_of_memory(self) -> bool:
        """By the child's own last words, so only a guess."""
        last = self.log.splitlines()[-1:]
        return not self.reason and bool(last) and _OUT_OF_MEMORY.search(last[0]) is not None


# (child, where its filter's notifications come, where its stacks come); takes over both descriptors
OnListener = Callable[["ChildHost", Listener, StackPipe | None], None]


class ChildParent(Actor):
    """Root actor on the parent's side of every child.  Types add their own handlers, and a protocol."""

    host: ChildHost

    def recv_ready(self, message: PChildProcess.Ready) -> None:
        self.host.became_ready(message)

    def recv_launch_failed(self, message: PChildProcess.LaunchFailed) -> None:
        name = os.strerror(message.errno)
        self.host.failed(LaunchFailed(f"{self.host}: {message.step} failed: {message.reason} ({name})"))

    def recv_report_bad_peer(self, message: PChildProcess.ReportBadPeer) -> None:
        self.host.report_bad_peer(message.child_id, message.error)


class ChildHost:
    """One child, from before its fork until it is reaped."""

    def __init__(
        self,
        child_id: int,
        row: ProcessType,
        remote_type: RemoteType | None,
        root: ChildParent,
        *,
        level: int,
        name: str = "",
        on_bad_peer: Callable[[int, str], None] = lambda child_id, error: None,
    ) -> None:
        self.child_id, self.row, self.remote_type, self.level, self.name = child_id, row, remote_type, level, name
        self.root = root
        root.host = self
        self.state = State.UNLAUNCHED
        self.enforcement: Enforcement | None = None
        self.lost: dict[Layer, LayerStatus] = {}  # what the fork itself did not get, and why: the child cannot know
        self.pid = 0
        self.denials: Denials | None = None  # who keeps a record of what it did wrong
        self.kept_ids = ""  # why it has the caller's ids; empty: it has a uid and gid of its own
        self.peers = {0}  # children that it was ever given an endpoint to, the parent (0) among them
        self.started_at = time.monotonic()
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._ready: asyncio.Future[Enforcement] = loop.create_future()
        self.ended: asyncio.Future[End] = loop.create_future()
        self._reason = ""
        self._pidfd = -1
        self._pipe: AsyncPipe | None = None
        self._log: ChildLog | None = None
        self._on_bad_peer = on_bad_peer
        self.on_listener: OnListener = lambda host, listener, stacks: None

    def __str__(self) -> str:
        kind = self.row.name + (f" {self.remote_type.value}" if self.remote_type else "")
        return f"{kind} child {self.pid}" + (f" ({self.name})" if self.name else "")

    @property
    def alive(self) -> bool:
        return self.state in (State.LAUNCHING, State.READY)

    def begin(self, launch: PChildProcess.Launch | None) -> Endpoint:
        """Say what the child will be, before there is one; return the end that it must be forked with.

        None: it is not known yet; the child waits for its Launch.
        """
        if self._pipe is not None:
            self._pipe.close()  # of an attempt that was refused
        ours, theirs = make_pair()
        self.state = State.LAUNCHING
        self._pipe = AsyncPipe(ours, self.root, peer=str(self), on_closed=self._pipe_closed)
        if launch is not None:
            self.root.send(launch)
        return Endpoint(theirs.detach())

    def dup_pidfd(self) -> int:
        """A descriptor of the process for someone who may outlive this handle.  Raises LaunchFailed: it has ended."""
        if self._pidfd < 0:
            raise self.crash("starting")
        return os.dup(self._pidfd)

    def attach(self, forked: Forked) -> None:
        """Take over the child that was forked."""
        self.pid, self._pidfd = forked.pid, forked.pidfd
        self._log = ChildLog(forked.log, str(self))
        self._loop.add_reader(self._pidfd, self._reap)
        if self.state is State.CLOSING:  # ended by us while it was being forked
            self.kill(self._reason)

    def show_output(self, line: Callable[[str], object]) -> None:
        """Call this with each line that it writes from now on, escaped, on the den's loop."""
        if self._log is not None:
            self._log.on_line = line

    def abandon(self) -> None:
        """There will be no child: the fork was refused, or nobody waits for it any more."""
        self.state = State.DEAD
        if self._pipe is not None:
            self._pipe.close()
        if not self.ended.done():
            self.ended.set_result(End(reason="was never started"))

    async def wait_ready(self, timeout_s: float) -> Enforcement:
        """Raises LaunchFailed."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._ready), timeout_s)
        except TimeoutError:
            self.kill("not ready in time")
            raise LaunchFailed(f"{self}: not ready within {timeout_s} s", pid=self.pid) from None

    def became_ready(self, message: PChildProcess.Ready) -> None:
        if self.state is State.LAUNCHING:
            self.state = State.READY
            enforcement = message.enforcement.replaced(self.lost)
            self.enforcement = enforcement
            _tell(self, f"is ready: level {self.level}, {enforcement.summary()}")
            if message.listener is not None:
                self.on_listener(self, message.listener, message.stacks)
            elif message.stacks is not None and self.denials is not None:
                from foxden.parent.refusals import Refusals

                Refusals(message.stacks.detach(), self, self.denials)
            self._ready.set_result(enforcement)

    def failed(self, error: LaunchFailed) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
        self.kill(str(error))

    def report_bad_peer(self, child_id: int, error: str) -> None:
        if child_id not in self.peers:  # or any child could have any other ended
            raise BadMessage(f"PChildProcess.ReportBadPeer: it has no endpoint to child {child_id} - at $.child_id")
        self.peers.discard(child_id)  # said once; it ends, and there is nothing more to say of it
        self._on_bad_peer(child_id, error)

    async def ping(self, timeout_s: float) -> None:
        """Raises ChildTimeout when the child does not answer in time; the caller ends it."""
        await call(self.root, PChildProcess.Ping(token=time.monotonic_ns()), timeout_s=timeout_s)

    async def probe(self, name: str, argument: str = "", *, timeout_s: float = 10.0) -> PChildProcess.RunProbe.Returns:
        """Let the child try one act of launch/probes."""
        message = PChildProcess.RunProbe(probe=name, argument=argument)
        try:
            reply: PChildProcess.RunProbe.Returns = await call(self.root, message, timeout_s=timeout_s)
        except ChildCrashed:
            await asyncio.wait([self.ended], timeout=2)  # the kernel says how, a moment after the pipe closed
            raise self.crash(f"trying {name}") from None
        return reply

    def kill(self, reason: str) -> None:
        """End it now.  `reason` is what errors will say."""
        if self.state is State.DEAD:
            return
        self._reason = self._reason or reason
        self.state = State.CLOSING
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):  # already a zombie: the reaper is about to hear of it
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        if self._pipe is not None:
            self._pipe.close()

    def broke_protocol(self, how: str, reason: str) -> None:
        """End it for a message that it must not send, and keep a record of that."""
        if self.denials is not None and self.state is not State.DEAD:
            self.denials.broke_protocol(self, how)
        self.kill(reason)

    def close(self) -> None:
        """Ask it to finish; the reaper hears when it has."""
        if self.state is State.READY and self._pipe is not None:
            self.state = State.CLOSING
            self._reason = "closed"
            self.root.send(PChildProcess.Shutdown())
            self._loop.call_later(_SHUTDOWN_S, self.kill, "did not shut down")

    def _pipe_closed(self, why: Why, error: Exception | None) -> None:
        if why is Why.BAD_MESSAGE:
            if isinstance(error, BadMessage):
                self.broke_protocol(str(error), f"{self} broke the protocol: {error}")
            else:
                self.kill(f"{self} made a handler of the parent fail: {error}")
        elif why is Why.PEER_GONE and self.alive:
            # It is ending, or closed its pipe without ending: either way there is no speaking with it any more.
            self.state = State.CLOSING
            self._loop.call_later(0.5, self.kill, "closed its pipe")

    def _reap(self) -> None:
        try:
            status = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            status = None  # someone else in this process waits for all children, and took it
        else:
            if status is None:
                return
        by_signal = status is not None and status.si_code in (os.CLD_KILLED, os.CLD_DUMPED)
        exited = status is not None and status.si_code == os.CLD_EXITED
        self._finish(
            End(
                signal=status.si_status if status is not None and by_signal else None,
                exit_code=status.si_status if status is not None and exited else None,
                reason=self._reason,
                log=self._log.text() if self._log else "",
            )
        )

    def _finish(self, end: End) -> None:
        self.state = State.DEAD
        _tell(self, f"is gone: {end.text()}")
        if self.denials is not None:
            self.denials.ended(self, end)
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        if not self._ready.done():
            last = end.log.splitlines()[-1:] or [""]
            self._ready.set_exception(LaunchFailed(f"{self}: {end.text()} before it was ready. {last[0]}".strip()))
            self._ready.exception()  # a child that nobody waits for may fail in peace
        # First the word of how it ended, then the actors: what they tell their callers can name the cause.
        if not self.ended.done():
            self.ended.set_result(end)
        if self._pipe is not None:
            self._pipe.close(Why.PEER_GONE)
        if self._log is not None:
            self._log.close()

    def crash(self, doing: str) -> ChildCrashed:
        """The error for someone whose work this child did not finish."""
        end = self.ended.result() if self.ended.done() else End(reason=self._reason)
        guess = "; it seems to have run out of memory" if end.seems_out_of_memory() else ""
        error = ChildCrashed(
            f"{self} {end.text()} while {doing}{guess}",
            pid=self.pid,
            process_type=self.row.name,
            signal=end.signal,
            exit_code=end.exit_code,
        )
        if end.log:
            error.add_note("\n".join(["what it wrote last:", *end.log.splitlines()[-_LAST_LINES:]]))
        if not end.reason:
            error.hint = _AFTER_A_CRASH if self.row.name != "utility" else _MORE_MEMORY if guess else _MORE_OUTPUT
        return error
