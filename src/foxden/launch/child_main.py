"""The first thing a forked child does: take its plan, put the sandbox on, say so, and only then work.

Runs in: every child.  Trusts: the parent; nothing else has spoken yet.
Flow: Launch → enforce.apply → Ready(enforcement) → main(process) of the child module.
Source: architecture.md "Layers of one child"; core-feasibility section 10, child sequence.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal makes enums of its numbers, and of what it is given
import _socket
import faulthandler
import os
import sys
from typing import Any, NoReturn

from foxden import native
from foxden.ipc.actor import Actor, Why
from foxden.ipc.blocking import BlockingLoop, BlockingPipe
from foxden.ipc.codec import Kind, decode_body, encode
from foxden.ipc.fields import Listener, StackPipe
from foxden.ipc.pipe import bind
from foxden.launch import temporary_folder
from foxden.model.enforcement import Enforcement, LayerStatus, Status
from foxden.protocols.process import PChildProcess
from foxden.sandbox import enforce, linux
from foxden.sandbox.plan import Bind, LandlockPlan, LandlockRule, Limit, SandboxPlan
from foxden.sandbox.sequence import Sequence

EXIT_BAD_MESSAGE = 71  # the parent broke the protocol: EX_OSERR's neighbour, distinct from a crash
EXIT_FAILED = 70  # a handler of the child failed; its traceback is in the log


class ChildActor(Actor):
    """Root actor of every child: the handlers that all types share.  Types add their own, and a protocol."""

    process: ChildContext

    def recv_launch(self, message: PChildProcess.Launch) -> None:
        self.process.launch(self, message)

    def recv_prepare(self, message: PChildProcess.Prepare) -> None:
        self.process.prepare(message)

    def recv_ping(self, message: PChildProcess.Ping) -> PChildProcess.Ping.Returns:
        return PChildProcess.Ping.Returns(token=message.token)

    def recv_run_probe(self, message: PChildProcess.RunProbe) -> PChildProcess.RunProbe.Returns:
        from foxden.launch import probes

        return probes.run(message)

    def recv_shutdown(self, message: PChildProcess.Shutdown) -> None:
        self.process.exit(0)


KEPT: list[int] = []  # descriptors of the fork server's that its child keeps


class ChildContext:
    """What a child module's `main` is handed."""

    def __init__(self, sock: _socket.socket, own_uid: int) -> None:
        self.sock = sock
        self.own_uid = own_uid
        self.loop = BlockingLoop()
        self.pipe: BlockingPipe | None = None
        self.child_id = 0
        self._begun: enforce.Begun | None = None
        self.enforcement = Enforcement()
        self.process_type = ""
        self.remote_type = ""
        self.temporary = ""  # its own folder of temporary files; empty: it has none

    def start(self, root: ChildActor) -> None:
        """Give the parent's pipe its root actor and wait until the sandbox is on."""
        root.process = self
        self.pipe = BlockingPipe(self.sock, root, peer="the parent", on_closed=self._closed)
        self.loop.add(self.pipe)
        while not self.child_id:
            self.pipe.step()

    def prepare(self, message: PChildProcess.Prepare) -> None:
        """A child that cannot is of no use; whoever wants one forks another, and hears why that fails."""
        try:
            self._begun = enforce.begin(message.plan, message.landlock_abi_limit)
        except (OSError, enforce.EnforceError) as error:
            sys.stderr.write(f"prepare: {error}\n")
            self.exit(EXIT_FAILED)

    def launch(self, root: ChildActor, message: PChildProcess.Launch) -> None:
        linux.set_process_name(f"fx-{message.remote_type or message.process_type}")
        if message.temporary:
            self.temporary = message.temporary
            temporary_folder.use(message.temporary)
        stacks = _open_stack_pipe() if message.plan.stacks else None
        try:
            applied = enforce.apply(
                message.plan,
                namespaces_given=message.namespaces_given,
                own_uid=self.own_uid,
                keep_fds={self.sock.fileno(), *(stacks or ()), *KEPT},
                landlock_abi_limit=message.landlock_abi_limit,
                begun=self._begun,
                answer_traps=lambda: stacks is not None and _answer_traps(stacks[1]),
                sequence=Sequence(message.steps, message.steps_text),
            )
        except enforce.EnforceError as error:
            root.send(PChildProcess.LaunchFailed(step=error.step, errno=error.errno, reason=error.reason[:1024]))
            self.exit(EXIT_FAILED)
        self.child_id, self.enforcement = message.child_id, applied.enforcement
        self.process_type, self.remote_type = message.process_type, message.remote_type
        listener = Listener(applied.listener) if applied.listener >= 0 else None
        reader = StackPipe(stacks[0]) if stacks else None
        root.send(PChildProcess.Ready(enforcement=applied.enforcement, listener=listener, stacks=reader))

    def _closed(self, pipe: BlockingPipe, why: Why, error: Exception | None) -> None:
        if error is not None:
            sys.stderr.write(f"{error}\n")
        self.exit(EXIT_BAD_MESSAGE if why is Why.BAD_MESSAGE else 0)

    def exit(self, code: int) -> NoReturn:
        """End at once: a child has nothing to save, and threads of libraries must not hold it."""
        sys.stderr.flush()
        os._exit(code)


def run(module: str, endpoint: int, log: int, *, own_uid: int) -> NoReturn:
    """Be a child of this module.  Never returns."""
    code = EXIT_FAILED
    try:
        _reset_signals()
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what is not written yet is lost at the end
        sock = bind(endpoint)
        main: Any = sys.modules[module].main  # the fork server warmed it
        main(ChildContext(sock, own_uid))
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        os._exit(code)


STACK_SIGNAL = int(_signal.SIGUSR2)


def _open_stack_pipe() -> tuple[int, int]:
    """Write this process's Python stack into a pipe whenever STACK_SIGNAL comes.  In C, so that it works anywhere."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # a child whose pipe is full loses a stack, not its time
    faulthandler.register(STACK_SIGNAL, file=writer, all_threads=False, chain=False)
    return reader, writer


_CALLS, _NO_PATH = 512, 255  # CALLS of src/native/sigsys.c


_path_registers = b""  # of each call; empty: nothing is prepared for traps


def _prepare_for_traps() -> None:
    """Where a filter is on us already a listener may be, too: then what will be refused is told by SIGSYS."""
    global _path_registers
    if linux.prctl(linux.PR_GET_SECCOMP) == 0 or native.load() is None:
        return
    from foxden.broker.forms import forms_of

    registers = bytearray([_NO_PATH] * _CALLS)
    for number, (_, form) in forms_of(linux.ARCH).items():
        if form.path >= 0 and number < _CALLS:
            registers[number] = form.path
    _path_registers = bytes(registers)


def _answer_traps(writer: int) -> bool:
    """What the filter refuses comes as SIGSYS from now on, and is told into this pipe (parent/refusals)."""
    extension = native.load()
    if extension is None or not _path_registers:
        return False
    extension.trap(writer, _path_registers)
    return True


_NOT_OURS = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGPIPE)


def _reset_signals() -> None:
    for number in _NOT_OURS:
        _signal.signal(number, _signal.SIG_DFL)


def prewarm() -> None:
    """Do once, before any fork, what would be built anew in every child: decoders, the first use of each C function."""
    native.load()
    _prepare_for_traps()
    enforce.prewarm()
    _rehearse()


def prewarm_late() -> None:
    """Load what a child imports late, which a child that has no files cannot."""
    import socket  # noqa: F401
    import tempfile  # noqa: F401
    import traceback

    from foxden.launch import probes

    try:
        raise RuntimeError("warm")
    except RuntimeError as error:
        traceback.format_exception(error)
    probes.prewarm()


def _rehearse() -> None:
    """Read a launch and write the answer to it, as every child will."""
    plan = SandboxPlan(
        policy="rehearsal",
        level=1,
        binds=(Bind("/source", "/target"),),
        landlock=LandlockPlan(1, 1, 1, (LandlockRule("/", 1),)),
        limits=(Limit("core", 0),),
    )
    launch = PChildProcess.Launch(
        child_id=0, process_type="rehearsal", remote_type="", plan=plan, namespaces_given=False
    )
    status = LayerStatus(Status.FULL)
    ready = PChildProcess.Ready(enforcement=Enforcement(namespaces=status, seccomp=status))
    encode(0, 0, ready.number, Kind.SEND, ready)
    packet, _ = encode(0, 0, launch.number, Kind.SEND, launch)
    decode_body(PChildProcess.Launch, memoryview(packet), [])
