"""Programs of one den: each in a plugin process of its own, from its request to its end.

Runs in: parent; `begin` and `finish` on the den's loop, `run_program` on the caller's thread, which it blocks.
Trusts: its caller's grants.  Nothing of the program.
Flow: Request → ProgramPlan → launch (from those kept forked) → PPlugin.Start → Supervisor → Done.
Source: interface.md "Python"; subprocess.run, for what a caller expects.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from foxden.errors import FoxdenError, LoadError
from foxden.ipc.fields import Listener, Payload, StackPipe, Stream
from foxden.ipc.memory import make_payload
from foxden.ipc.pipe import make_endpoints
from foxden.ipc.schema import Side
from foxden.launch import program_view
from foxden.launch.supervise import Capture, Feed, Outcome, Supervisor, limits_of
from foxden.model.enforcement import Enforcement
from foxden.model.records import Act, Violation
from foxden.parent.broker import Brokers
from foxden.parent.denials import Denials
from foxden.parent.hosts import ChildHost, ChildParent
from foxden.parent.plans import program_without_grants
from foxden.parent.prefs import Prefs
from foxden.parent.processes import ProcessManager
from foxden.parent.program_settings import base_with
from foxden.protocols.broker import PBroker
from foxden.protocols.plugin import PPlugin
from foxden.sandbox.grants import Grants
from foxden.sandbox.paths import AbsPath, Access, FileRule
from foxden.sandbox.plan import SandboxPlan
from foxden.sandbox.program import ProgramBase, ProgramPlan, beginning_of

OUTPUT_MAX = 64 << 20  # bytes of each stream that are kept, unless the caller says otherwise
_KEPT = 2  # forked, in namespaces of their own, waiting for a program
_REFILL_S = 0.002
_LAST_WORDS_S = 2.0  # what the broker has still to tell of a program that has ended


class Request(msgspec.Struct, frozen=True):
    """What a caller wants to run."""

    arguments: tuple[str, ...]
    grants: Grants
    cwd: str
    stdin: bytes | None = None  # None: nothing to read
    designate: bool = True
    explain: bool = False
    environment: Mapping[str, str] = {}  # the caller's own, of which little is passed on


class Done(msgspec.Struct, frozen=True):
    """A program that has ended.  `returncode`: as a shell gives it, see interface.md."""

    args: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes
    violations: tuple[Violation, ...]
    enforcement: Enforcement
    signal: int | None = None  # that ended it
    limit: str = ""  # that ended it: timeout, memory, cpu-time
    truncated: bool = False  # more was written than is kept
    duration_s: float = 0.0
    acts: tuple[Act, ...] = ()  # with explain=True: everything that it asked for, granted or not

    @property
    def timed_out(self) -> bool:
        return self.limit == "timeout"

    def check_returncode(self) -> None:
        """Raises FoxdenError when the program did not end with 0."""
        if self.returncode:
            raise FoxdenError(f"{self.args[0]}: ended with {self.returncode}", hint="; ".join(_hints(self.violations)))


def _hints(violations: tuple[Violation, ...]) -> list[str]:
    return list(dict.fromkeys(violation.hint for violation in violations if violation.hint))[:5]


class ProgramParent(ChildParent, protocol=PPlugin, side=Side.PARENT):
    """The parent's end of one program."""


class Begun(msgspec.Struct, frozen=True):
    """A program that runs, or is about to.  The holder closes what is in it."""

    host: ChildHost
    control: socket.socket
    pidfd: int
    stdin: int  # -1: it has none
    stdout: int
    stderr: int

    def let_go(self) -> None:
        """There is no such program."""
        self.control.close()
        for fd in (self.pidfd, self.stdin, self.stdout, self.stderr):
            if fd >= 0:
                os.close(fd)


class Programs:
    """What runs programs, on the den's loop."""

    def __init__(self, processes: ProcessManager, brokers: Brokers, denials: Denials, prefs: Prefs) -> None:
        self._processes, self._brokers, self._denials, self._prefs = processes, brokers, denials, prefs
        self._bases: dict[str, ProgramBase] = {}
        self._bare: SandboxPlan | None = None
        self._detached: dict[int, asyncio.Event] = {}
        self._acts: dict[int, list[Act]] = {}
        brokers.on_detached.append(self._heard_detached)

    async def begin(self, request: Request) -> Begun:
        """Start it.  Raises PolicyError, SandboxUnavailable, LaunchFailed."""
        base = self._base("plugin-explain" if request.explain else "plugin", request.grants)
        plan = program_view.view_for(
            base, request.grants, request.arguments, cwd=request.cwd, designate=request.designate
        )
        self._brokers.start()
        begun: list[Begun] = []
        try:
            await self._processes.launch(
                "plugin", ProgramParent(), name=os.path.basename(request.arguments[0])[:64], plan=plan.sandbox,
                on_listener=lambda host, listener, stacks: self._serve(host, listener, stacks, plan, request.explain),
                then=lambda host: begun.append(self._start(host, request)),
            )  # fmt: skip
            return begun.pop()
        finally:
            for other in begun:
                other.let_go()

    def bare_plan(self) -> SandboxPlan:
        """What every program gets, before anything is granted to it."""
        if self._bare is None:
            self._bare = program_view.view_for(self._base("plugin", Grants()), Grants(), (), cwd="/").sandbox
        return self._bare

    def _base(self, name: str, grants: Grants) -> ProgramBase:
        if grants.syscalls:  # nobody asks for the same ones again and again: not kept
            from foxden.sandbox.grants_text import parsed_calls

            return base_with(name, self._prefs, parsed_calls(grants))
        if name not in self._bases:
            self._bases[name] = base_with(name, self._prefs)
        return self._bases[name]

    def keep_ready(self) -> None:
        """Have the next program find its process begun already."""
        plan = beginning_of(self.bare_plan())
        if plan.namespaces:  # else there is nothing to begin
            self._processes.keep_begun("plugin", ProgramParent, plan, _KEPT)

    def _serve(
        self, host: ChildHost, listener: Listener, stacks: StackPipe | None, plan: ProgramPlan, explain: bool
    ) -> None:
        self._detached[host.child_id] = asyncio.Event()
        self._denials.explain_by(host, plan.rules, explain=explain)
        if explain:
            acts = self._acts[host.child_id] = []
            self._denials.tell_acts(host, acts.append)
        rules = [FileRule(AbsPath(path), Access(access)) for path, access in plan.rules]
        self._brokers.attach(
            host, listener, stacks, view="child", rules=rules, protected=plan.protected, errnos=plan.errnos,
            everything=explain,
        )  # fmt: skip

    def serve_alone(self, host: ChildHost, listener: Listener, stacks: StackPipe | None) -> None:
        """Have a plugin process answered that will never have a program."""
        self._serve(host, listener, stacks, program_without_grants(), explain=False)

    def _heard_detached(self, message: PBroker.OnDetached) -> None:
        event = self._detached.get(message.child_id)
        if event is not None:
            event.set()

    def _start(self, host: ChildHost, request: Request) -> Begun:
        """What is opened here and not given away is closed by the end of this, however that comes."""
        ours, theirs = make_endpoints()
        stdin, feed = _pipe() if request.stdin is not None else (_nothing(), Stream())
        (stdout_read, stdout), (stderr_read, stderr) = _pipe(), _pipe()
        home = program_view.caller().home
        environment = program_view.environment_for(request.grants, home, request.environment)
        host.root.send(
            PPlugin.Start(
                control=theirs,
                arguments=_joined([os.fsencode(argument) for argument in request.arguments]),
                environment=_joined([name + b"=" + value for name, value in environment.items()]),
                cwd=os.fsencode(program_view.standing_in(request.cwd)),
                stdin=stdin, stdout=stdout, stderr=stderr,
                accepted=tuple(layer.value for layer in self._processes.accepted),
            )
        )  # fmt: skip
        pidfd = host.dup_pidfd()
        return Begun(
            host, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, ours.detach()), pidfd,
            feed.detach() if feed.held else -1, stdout_read.detach(), stderr_read.detach(),
        )  # fmt: skip

    async def finish(self, host: ChildHost) -> tuple[tuple[Violation, ...], tuple[Act, ...]]:
        """After its end: what was refused to it, and with `explain` all it asked for."""
        host.kill("its program has ended")  # the kernel ends the rest of its tree, and the loop reaps it, meanwhile
        event = self._detached.get(host.child_id)
        if event is not None and self._brokers.serves(host.child_id):
            try:
                await asyncio.wait_for(event.wait(), _LAST_WORDS_S)
            except TimeoutError:
                self._denials.untold(host, 1)
        self._detached.pop(host.child_id, None)
        asyncio.get_running_loop().call_later(_REFILL_S, self.keep_ready)  # when its caller has the answer
        acts = tuple(self._acts.pop(host.child_id, ()))
        return tuple(self._denials.violations.records(child_id=host.child_id)), acts

    def exceeded(self, host: ChildHost, limit: str, value: int) -> None:
        """A limit that this side keeps has ended it."""
        words = {"memory": f"at {value} bytes", "timeout": "after its time"}.get(limit, f"at {value}")
        self._denials.limit(host, limit, rule=f"ended {words}", hint=f"{limit.replace('-', '_')}= gives it more")


def _nothing() -> Stream:
    return Stream(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))


def _pipe() -> tuple[Stream, Stream]:
    """(the end to read from, the end to write to)."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    return Stream(reader), Stream(writer)


def _joined(items: list[bytes]) -> Payload:
    return make_payload(Payload, b"".join(item + b"\0" for item in items))


def run_program(
    programs: Programs,
    request: Request,
    on_loop: Callable[[Coroutine[Any, Any, Any]], Any],
    cancelled: threading.Event | None = None,
) -> Done:
    """See one program through on this thread.  `on_loop` runs a coroutine on the den's loop, and waits for it.

    `cancelled`: looked at while it runs; once it is set the program is ended.
    """
    begun: Begun = on_loop(programs.begin(request))
    grants = request.grants
    host = begun.host
    captures = tuple(Capture(fd, grants.output or OUTPUT_MAX) for fd in (begun.stdout, begun.stderr))
    exceeded: list[tuple[str, int]] = []
    supervisor = Supervisor(
        begun.control, host.pid, lambda: _kill(begun.pidfd),
        limits_of(grants),
        captures=captures,
        feed=Feed(begun.stdin, request.stdin) if request.stdin is not None else None,
        on_exceeded=lambda limit, value: exceeded.append((limit, value)),
        cancelled=cancelled.is_set if cancelled is not None else None,
    )  # fmt: skip
    try:
        outcome = supervisor.run()
    finally:
        begun.control.close()
        for fd in (begun.pidfd, begun.stdout, begun.stderr):
            os.close(fd)
        violations, acts = on_loop(_finish(programs, host, exceeded))
    return _done(request, outcome, host, violations, acts)


async def _finish(
    programs: Programs, host: ChildHost, exceeded: list[tuple[str, int]]
) -> tuple[tuple[Violation, ...], tuple[Act, ...]]:
    for limit, value in exceeded:
        programs.exceeded(host, limit, value)
    return await programs.finish(host)


def _done(
    request: Request, outcome: Outcome, host: ChildHost, violations: tuple[Violation, ...], acts: tuple[Act, ...]
) -> Done:
    if outcome.errno:
        name = os.strerror(outcome.errno)
        raise LoadError(
            f"{request.arguments[0]}: could not be executed: {name}",
            code="NS_ERROR_FILE_NOT_FOUND" if outcome.code == 127 else "NS_ERROR_FILE_ACCESS_DENIED",
            hint="programs of the system are there; others need read=[…] of what they consist of",
        )
    return Done(
        args=request.arguments, returncode=outcome.code, stdout=outcome.stdout, stderr=outcome.stderr,
        violations=violations, enforcement=host.enforcement or Enforcement(), signal=outcome.signal,
        limit=outcome.limit, truncated=outcome.truncated, duration_s=outcome.duration_s, acts=acts,
    )  # fmt: skip


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended
