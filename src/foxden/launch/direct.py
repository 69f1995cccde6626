"""Starting one program from this very process, as the `foxden run` command does: no fork server is waited for.

Runs in: the command.  Trusts: nothing of the child but its sandbox's report, which is judged.
Flow: ProgramPlan → clone into namespaces → enforce in the child → READY → judged → GO → launch/program.serve.
Source: the figure "foxden run, cold"; what a fork server gives a library, a command that is ours has by itself: its
memory holds no secret but its environment, and the child that holds a copy is closed to its programs.
"""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
from collections.abc import Callable
from typing import NoReturn

import msgspec

from foxden.errors import LaunchFailed
from foxden.launch import control, early, emulate, program
from foxden.launch.program import Call
from foxden.model.enforcement import Enforcement
from foxden.sandbox import enforce, linux, namespaces
from foxden.sandbox.plan import SandboxPlan

_REPORT_MAX = 65_536
_READY, _FAILED = b"R", b"F"
_DESCRIPTORS = 2


class Ready(msgspec.Struct, frozen=True):
    """A child whose sandbox is on, and that waits for GO.  The holder closes the descriptors and reaps."""

    pid: int
    pidfd: int
    sock: socket.socket
    enforcement: Enforcement
    listener: int  # -1: nobody is asked
    terminal: int  # -1: it has none


class _Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enforcement: Enforcement
    listener: bool
    terminal: bool


_decoder = msgspec.msgpack.Decoder(_Report)


def start(
    plan: SandboxPlan,
    call: Call,
    *,
    namespaces_given: bool,
    landlock_abi_limit: int,
    meanwhile: Callable[[], None] = lambda: None,
) -> Ready:
    """Raises OSError when the kernel refuses the namespaces, LaunchFailed when a step of the sandbox fails.

    `meanwhile`: done here while the child puts its sandbox on.
    """
    namespaces.remember_ids()
    emulate.apply(early.emulated_kernel())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid, pidfd = linux.fork_into(plan.namespaces if namespaces_given else 0, own_child=True)
    if pid == 0:
        _be_child(plan, call, theirs, namespaces_given, landlock_abi_limit)
    theirs.close()
    try:
        meanwhile()
        return _wait_ready(pid, pidfd, ours)
    except BaseException:
        ours.close()
        os.waitpid(pid, 0)
        os.close(pidfd)
        raise


def _wait_ready(pid: int, pidfd: int, sock: socket.socket) -> Ready:
    packet, fds, _, _ = socket.recv_fds(sock, _REPORT_MAX, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if packet[:1] == _FAILED:
        raise LaunchFailed(f"the sandbox could not be put on: {packet[1:].decode('utf-8', 'replace')}", pid=pid)
    if packet[:1] != _READY:
        raise LaunchFailed("the process ended before its sandbox was on", pid=pid)
    try:
        report = _decoder.decode(packet[1:])
    except msgspec.DecodeError as error:
        raise LaunchFailed(f"its report is not understood: {error}", pid=pid) from None
    if len(fds) != report.listener + report.terminal:
        raise LaunchFailed("its report comes with the wrong descriptors", pid=pid)
    listener = fds.pop(0) if report.listener else -1
    terminal = fds.pop(0) if report.terminal else -1
    return Ready(pid, pidfd, sock, report.enforcement, listener, terminal)


def end(ready: Ready) -> None:
    """End the program and all that it started; a second call does nothing."""
    if ready.sock.fileno() < 0:
        return
    ready.sock.close()
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(ready.pidfd, signal.SIGKILL)
    os.waitpid(ready.pid, 0)
    os.close(ready.pidfd)
    if ready.terminal >= 0:
        os.close(ready.terminal)


def _be_child(plan: SandboxPlan, call: Call, sock: socket.socket, given: bool, abi: int) -> NoReturn:
    try:
        emulate.in_child(plan.namespaces if given else 0)
        keep = {sock.fileno(), *(fd for fd in call.streams if fd >= 0)}
        applied = enforce.apply(
            plan, namespaces_given=given, own_uid=-1, keep_fds=keep, landlock_abi_limit=abi
        )
        outer, inner = applied.terminal
        fds = [fd for fd in (applied.listener, outer) if fd >= 0]
        report = _Report(applied.enforcement, applied.listener >= 0, outer >= 0)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sock.sendmsg([_READY + msgspec.msgpack.encode(report)], rights)
        for fd in fds:
            os.close(fd)
        word = control.receive(sock)
        if word is None or word.kind is not control.Kind.GO:
            os._exit(program.EXIT_NOT_STARTED)
        call = msgspec.structs.replace(call, terminal=inner)
        program.prepare(call)
        program.serve(sock, call)
    except enforce.EnforceError as error:
        sock.send(_FAILED + f"{error.step}: {error.reason}".encode()[:1024])
    except BaseException as error:  # whatever it is, it is told, and this copy of the parent ends
        sock.send(_FAILED + f"{type(error).__name__}: {error}".encode()[:1024])
    finally:
        os._exit(program.EXIT_NOT_STARTED)
