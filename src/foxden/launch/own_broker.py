"""A broker for one program, forked from this very process before it reads anything that is not its own.

Runs in: the `foxden run` command, and the process that it forks.  Trusts: the reader checks all that the broker says.
Flow: fork → its own filter → the listener comes → Broker loop → acts → the command, until the command lets go.
The broker loads its modules after the fork, beside the command, which needs none of them.
Source: launch/direct, for why a command needs no fork server; broker/server is the same that a den's broker runs.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
from msgspec import Meta

from foxden.sandbox.plan import SandboxPlan
from foxden.sandbox.program import ProgramPlan

if TYPE_CHECKING:
    from foxden.broker.records import Act, Ask, Detached

_PACKET_MAX = 1 << 17
_QUEUE_MAX = 4096  # acts that wait to be read; beyond it they are only counted
_LAST_WORDS_S = 2.0
_LOADED = b"L"
_Text = Annotated[str, Meta(max_length=4096)]


class Told(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`broker.records.Act`, as it arrives: bounded."""

    child_id: int
    pid: Annotated[int, Meta(ge=0, le=0x7FFF_FFFF)]
    granted: bool
    operation: Annotated[str, Meta(max_length=64)]
    syscall: Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]
    args: Annotated[tuple[int, ...], Meta(max_length=6)]
    path: _Text = ""
    access: Annotated[int, Meta(ge=0, le=255)] = 0
    errno: Annotated[int, Meta(ge=0, le=4095)] = 0
    stack: Annotated[tuple[_Text, ...], Meta(max_length=64)] = ()
    count: Annotated[int, Meta(ge=1)] = 1  # records.Act.times
    detail: _Text = ""


_UNTOLD = "untold"  # the operation of an Act that says how many more there were
_decoder = msgspec.msgpack.Decoder(Told)


class OwnBroker:
    """The command's hold on it."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self._pid, self._sock = pid, sock
        self.told: list[Told] = []
        self.untold = 0  # acts beyond the rate at which the broker tells of them
        self.failed = False
        self._loaded = False  # until then it has served nobody, and has nothing to tell

    def fileno(self) -> int:
        return self._sock.fileno()

    def attach(self, listener: int) -> None:
        """Hand the program's notifications over.  Takes the descriptor.  Raises OSError when the broker is gone."""
        try:
            socket.send_fds(self._sock, [b"L"], [listener])
        finally:
            os.close(listener)

    def read(self) -> bool:
        """Take in what it says, as far as it is there.  False: it has ended."""
        try:
            packet = self._sock.recv(_PACKET_MAX, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        except OSError:
            packet = b""
        if not packet:
            return False
        if packet == _LOADED:
            self._loaded = True
            return True
        try:
            self._take(_decoder.decode(packet))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.failed = True
            os.kill(self._pid, signal.SIGKILL)  # it reads hostile memory all day: it may have been taken over
            return False
        return True

    def _take(self, told: Told) -> None:
        if told.operation == _UNTOLD:
            self.untold += told.count
        else:
            self.told.append(told)

    def finish(self) -> None:
        """Let it go, hear its last words, reap it."""
        with self._sock:
            try:
                poller = select.poll()
                poller.register(self._sock, select.POLLIN)
                while poller.poll(0) and self.read():
                    pass
                if self._loaded:
                    self._sock.shutdown(socket.SHUT_WR)
                while self._loaded and poller.poll(_LAST_WORDS_S * 1000) and self.read():
                    pass
            except OSError:
                self.failed = True
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def fork_broker(own: SandboxPlan, plan: ProgramPlan, *, everything: bool) -> OwnBroker:
    """Make the broker of a program.  `own`: the broker's sandbox; `everything`: it tells of what is granted, too."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        _be_broker(theirs, own, plan, everything)
    theirs.close()
    return OwnBroker(pid, ours)


def _be_broker(sock: socket.socket, own: SandboxPlan, plan: ProgramPlan, everything: bool) -> NoReturn:
    code = 1
    try:
        os.setsid()  # Ctrl-C is the command's to handle
        from foxden import native
        from foxden.broker import notify, server  # noqa: F401 - loaded before the sandbox is on
        from foxden.sandbox import enforce, linux

        linux.set_process_name("foxden-broker")
        native.load()
        notify.sizes()  # asked once, before the filter that does not let it ask
        enforce.apply(own, namespaces_given=False, own_uid=-1, keep_fds={sock.fileno()}, landlock_abi_limit=0)
        _Loop(sock, plan, everything).run()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


class _Loop:
    def __init__(self, sock: socket.socket, plan: ProgramPlan, everything: bool) -> None:
        self._sock, self._plan, self._everything = sock, plan, everything
        from foxden.broker.server import Broker

        self._broker = Broker(self._put)
        self._queue: deque[bytes] = deque()
        self._dropped = 0
        self._heard = True  # the command has not let go

    def run(self) -> None:
        self._sock.send(_LOADED, socket.MSG_NOSIGNAL)
        broker, fd = self._broker, self._sock.fileno()
        broker.watch(fd, self._from_command)
        writing = False
        while self._heard:
            if bool(self._queue) is not writing:
                writing = not writing
                broker.watch_writing(fd, writing=writing)
            broker.step()
        broker.close()
        while self._queue:
            self._sock.send(self._queue.popleft(), socket.MSG_NOSIGNAL)

    def _from_command(self, event: int) -> None:
        if event & ~select.EPOLLOUT:
            self._heard = self._hear()
        elif self._queue:
            self._sock.send(self._queue.popleft(), socket.MSG_NOSIGNAL)

    def _hear(self) -> bool:
        packet, fds, _, _ = socket.recv_fds(self._sock, 16, 1, socket.MSG_CMSG_CLOEXEC)
        if not packet:
            return False
        protected: Mapping[str, tuple[str, ...]] = dict(self._plan.protected)
        self._broker.attach(
            1, fds[0], view="child", rules=self._plan.rules, protected=protected.items(),
            errnos=self._plan.errnos, everything=self._everything,
        )  # fmt: skip
        return True

    def _put(self, said: Act | Ask | Detached) -> None:
        from foxden.broker.records import Act, Detached

        if isinstance(said, Detached) and said.untold + self._dropped:
            said = Act(said.child_id, 0, False, _UNTOLD, 0, (), times=said.untold + self._dropped)
            self._dropped = 0
        elif not isinstance(said, Act):
            return
        elif len(self._queue) >= _QUEUE_MAX:
            self._dropped += said.times
            return
        self._queue.append(msgspec.msgpack.encode(msgspec.structs.astuple(said)))
