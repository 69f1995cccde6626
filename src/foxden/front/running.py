"""`foxden run` at work: one program, from its options to the exit code.

Runs in: command; this process becomes the parent of the program and of its broker, and then locks itself.
Trusts: the user's command line; nothing of the program.
Flow: RunOptions → ProgramPlan → broker, program → GO → Supervisor → what was refused → exit code.
Source: interface.md "run exit codes".  Nothing heavy is imported before the program runs.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import msgspec

from foxden.errors import LaunchFailed, SandboxUnavailable
from foxden.front.run_options import RunOptions
from foxden.front.run_settings import base_for
from foxden.launch import control, direct, own_broker, program_view
from foxden.launch.program import Call
from foxden.model.enforcement import Enforcement, Layer, LayerStatus, Status, missing_layers
from foxden.sandbox import limits
from foxden.sandbox.plan import SandboxPlan
from foxden.sandbox.program import ProgramPlan
from foxden.sandbox.program_base import load_base

if TYPE_CHECKING:
    from foxden.launch.supervise import Outcome, Supervisor
    from foxden.launch.terminal import Relay
    from foxden.sandbox import cgroup

_REFUSED_NAMESPACES = (1, 22, 28, 38)  # EPERM, EINVAL, ENOSPC, ENOSYS
_CAPTURED_MAX = 64 << 20  # of each stream with --json
_PASSED_ON = (
    signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP,
)  # fmt: skip
_WITHOUT_NAMESPACES = (Layer.NAMESPACES, Layer.ROOT)
_COUNTED = LayerStatus(Status.FULL, "memory and tasks of the whole tree are counted by a control group of its own")


class Run:
    """One `foxden run`."""

    def __init__(self, options: RunOptions) -> None:
        self.options = options
        self.enforcement: Enforcement | None = None
        self.exceeded: tuple[str, int] | None = None
        self.untold = 0  # refused acts that were only counted
        self.plan: ProgramPlan | None = None
        self._capturing = options.as_json
        self._pipes: list[tuple[int, int]] = []
        self._supervisor: Supervisor | None = None
        self._group: cgroup.Group | None = None

    def execute(self) -> tuple[Outcome, list[own_broker.Told]]:
        """Raises FoxdenError when it could not be run at all."""
        options, arch = self.options, os.uname().machine
        _have_standard_streams()
        base = base_for("plugin-explain" if options.explain else "plugin", options.level, options.prefs, options.grants)
        plan = program_view.view_for(
            base, options.grants, options.arguments, cwd=options.cwd, designate=options.designate
        )
        self.plan = plan
        streams = self._streams()
        sandbox = _with_terminal(plan.sandbox, streams)
        broker = own_broker.fork_broker(load_base("broker", arch).plan, plan, everything=options.explain)
        try:
            call = self._call(plan, streams)
            ready = self._start(sandbox, call)
            outcome = self._see_through(ready, broker, in_front=call.in_front)
        finally:
            broker.finish()
            exceeded = self._let_go_of_group()
            for pair in self._pipes:
                for fd in pair:
                    _close(fd)
        self.untold = broker.untold
        from foxden.launch.supervise import memory_of

        if exceeded == "memory" and not outcome.limit and outcome.signal == signal.SIGKILL:
            self._exceeds("memory", memory_of(options.grants))
            outcome = msgspec.structs.replace(outcome, limit="memory")
        return outcome, broker.told

    # ---- before the program runs

    def _streams(self) -> tuple[int, int, int]:
        if not self._capturing:
            first, second, third = (-1 if os.isatty(fd) else fd for fd in (0, 1, 2))
            return first, second, third
        self._pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
        standard_input = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) if os.isatty(0) else 0
        return standard_input, self._pipes[0][1], self._pipes[1][1]

    def _call(self, plan: ProgramPlan, streams: tuple[int, int, int]) -> Call:
        options = self.options
        in_front = True
        if -1 in streams:
            from foxden.launch.terminal import begins_in_front

            in_front = begins_in_front()
        environment = program_view.environment_for(options.grants, program_view.caller().home, os.environ)
        arguments = [os.fsencode(argument) for argument in options.arguments]
        cwd = os.fsencode(program_view.standing_in(options.cwd))
        ignored = tuple(number for number in _PASSED_ON if signal.getsignal(number) is signal.SIG_IGN)
        return Call(arguments, environment, cwd, streams, in_front=in_front, ignored=ignored)

    def _start(self, sandbox: SandboxPlan, call: Call) -> direct.Ready:
        """The program's init with its sandbox on, judged."""
        accepted = _layers(self.options.allow_partial)
        abi = limits.landlock_abi_limit(os.environ)
        try:
            ready = direct.start(sandbox, call, namespaces_given=True, landlock_abi_limit=abi, meanwhile=_load_the_rest)
        except OSError as error:
            if error.errno not in _REFUSED_NAMESPACES:
                raise LaunchFailed(f"no process for the program: {error.strerror}") from None
            if not accepted.issuperset(_WITHOUT_NAMESPACES):
                lost = [layer for layer in _WITHOUT_NAMESPACES if layer not in accepted]
                raise _unavailable(lost, str(error)) from None
            ready = direct.start(sandbox, call, namespaces_given=False, landlock_abi_limit=abi)
        self.enforcement = self._counted(ready)
        lacking = missing_layers(self.enforcement, accepted)
        if lacking:
            direct.end(ready)
            raise _unavailable(list(lacking), "; ".join(f"{layer.value}: {lacking[layer]}" for layer in lacking))
        return ready

    def _counted(self, ready: direct.Ready) -> Enforcement:
        """Put it into a control group of its own, where one is to be had: the kernel counts better than we do."""
        from foxden.launch.supervise import TASKS, memory_of
        from foxden.sandbox import cgroup

        grants = self.options.grants
        place = cgroup.find()
        if place:
            try:
                group = cgroup.Group.make(place, memory=memory_of(grants), tasks=(grants.processes or TASKS) + 1)
                self._group = group
                group.join(ready.pid)
                return msgspec.structs.replace(ready.enforcement, limits=_COUNTED)
            except OSError:
                self._let_go_of_group()  # what a manager delegates may still be closed to us: watching goes on
        return ready.enforcement

    def _let_go_of_group(self) -> str:
        """Which limit the kernel had to keep there, if any."""
        group, self._group = self._group, None
        if group is None:
            return ""
        exceeded = group.exceeded()
        group.end()
        return exceeded

    # ---- while it runs

    def _see_through(self, ready: direct.Ready, broker: own_broker.OwnBroker, *, in_front: bool) -> Outcome:
        from foxden.launch.supervise import Capture, Supervisor, limits_of
        from foxden.sandbox import parent_lock

        relay: Relay | None = None
        if ready.terminal >= 0:
            from foxden.launch.terminal import Relay

            relay = Relay(ready.terminal)
            if in_front:
                relay.begin()
        captures = tuple(Capture(reader, self.options.grants.output or _CAPTURED_MAX) for reader, _ in self._pipes)
        for place, (reader, writer) in enumerate(self._pipes):
            os.close(writer)
            self._pipes[place] = (reader, -1)
        wake, awake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        supervisor = Supervisor(
            ready.sock, ready.pid, lambda: _kill(ready.pidfd),
            limits_of(self.options.grants, counted=self._group is not None),
            captures=captures, relay=relay,
            others={wake: lambda: self._pass_on(wake, relay), broker.fileno(): lambda: self._hear(broker, ready)},
            on_exceeded=self._exceeds,
        )  # fmt: skip
        self._supervisor = supervisor
        saved = _catch_signals(awake)
        try:
            if ready.listener >= 0:
                broker.attach(ready.listener)
            parent_lock.lock(load_base("parent", os.uname().machine).plan)
            control.send(ready.sock, control.Kind.GO, 0)
            return supervisor.run()
        finally:
            _restore_signals(saved)
            direct.end(ready)
            for fd in (wake, awake):
                os.close(fd)

    def _exceeds(self, limit: str, value: int) -> None:
        self.exceeded = (limit, value)

    def _hear(self, broker: own_broker.OwnBroker, ready: direct.Ready) -> None:
        """A broker that is gone answers nobody: the program ends too."""
        if not broker.read() and self._supervisor is not None:
            _kill(ready.pidfd)
            self._supervisor.forget(broker.fileno())

    def _pass_on(self, wake: int, relay: Relay | None) -> None:
        for number in os.read(wake, 64):
            if number == signal.SIGWINCH:
                if relay is not None:
                    relay.copy_size()
            elif number == signal.SIGCONT and relay is not None and relay.has_keyboard:
                relay.again()
            elif self._supervisor is not None:
                self._supervisor.send_signal(number)


def _load_the_rest() -> None:
    """What only this side needs, while the other puts its sandbox on."""
    from foxden.launch import supervise  # noqa: F401
    from foxden.sandbox import cgroup, parent_lock  # noqa: F401


def _have_standard_streams() -> None:
    """Where the caller closed one, /dev/null stands in its place: no other file may get its number."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        if fd > 2:
            os.close(fd)
            return
        os.set_inheritable(fd, True)


def _with_terminal(sandbox: SandboxPlan, streams: tuple[int, int, int]) -> SandboxPlan:
    return msgspec.structs.replace(sandbox, terminal=-1 in streams)


def _layers(names: tuple[str, ...]) -> frozenset[Layer]:
    return frozenset(Layer(name) for name in names)


def _unavailable(lacking: list[Layer], why: str) -> SandboxUnavailable:
    names = tuple(layer.value for layer in lacking)
    return SandboxUnavailable(
        f"the sandbox is not whole: {why}",
        layers=names,
        hint=f"`foxden support` says what to change; --allow-partial {','.join(names)} accepts the loss",
    )


def _kill(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended


def _catch_signals(awake: int) -> dict[int, object]:
    """Every signal that a program may want becomes a byte in a pipe."""
    saved: dict[int, object] = {}
    for number in (*_PASSED_ON, signal.SIGWINCH, signal.SIGCONT):
        if signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup, or a job that a script put into the background: the program ignores it as well
        saved[number] = signal.signal(number, lambda number, frame: None)
    signal.set_wakeup_fd(awake, warn_on_full_buffer=False)
    return saved


def _restore_signals(saved: dict[int, object]) -> None:
    signal.set_wakeup_fd(-1)
    for number, handler in saved.items():
        signal.signal(number, handler)  # type: ignore[arg-type]


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)
