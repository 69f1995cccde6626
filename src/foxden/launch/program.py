"""The init of a program: pid 1 of its namespaces, as confined as the program itself.

Runs in: a child that has put its sandbox on.  Trusts: who started it; never the program.
Flow: execute the program → reap whatever is orphaned → pass signals on → say how it ended → end, and all with it.
Source: pid_namespaces(7): when pid 1 ends, the kernel ends all others; posix_spawn(3); setsid(2), tcsetpgrp(3).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
from collections.abc import Sequence
from typing import NoReturn

import msgspec

from foxden.errors import BadMessage
from foxden.launch import control
from foxden.launch.control import Kind

EXIT_NOT_STARTED = 125
NO_INTERPRETER = errno.ELIBACC  # what the kernel calls ENOENT, as if the program itself were missing
_DEFAULTS = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGTTOU]
_SHELL = b"/bin/sh"


class Call(msgspec.Struct, frozen=True):
    """What to execute.  Everything is bytes, as the kernel takes it."""

    arguments: Sequence[bytes]
    environment: dict[bytes, bytes]  # all of it
    cwd: bytes
    streams: tuple[int, int, int]  # descriptors for 0, 1, 2; -1: the terminal
    terminal: int = -1  # the child's end of the terminal; -1: it has none
    ignored: Sequence[int] = ()  # signals that whoever starts it ignores: it does so, too
    in_front: bool = True  # it has the keyboard of its terminal from the first moment on


def prepare(call: Call) -> None:
    """Put the standard streams in their places.  Nothing of the caller's is left open beside them."""
    # Above 2 first, so that no target is the source of another.
    high = [os.dup(call.terminal if fd < 0 else fd) if fd < 3 else fd for fd in call.streams]
    for target, fd in enumerate(high):
        os.dup2(fd, target, inheritable=True)
    for fd in {fd for fd in high if fd > 2} - {call.terminal}:
        os.close(fd)


def serve(sock: socket.socket, call: Call) -> NoReturn:
    """Run the program to its end.  `sock`: to whoever started it; its end is the program's end.  Never returns."""
    code = EXIT_NOT_STARTED
    try:
        # Whoever started it is gone, or spoke nonsense: there is nobody to tell.
        with contextlib.suppress(OSError, BadMessage):
            code = _Init(sock, call).run()
    finally:
        os._exit(code)


class _Init:
    def __init__(self, sock: socket.socket, call: Call) -> None:
        self._sock, self._call = sock, call
        self._program = 0
        self._wake, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # it hands the terminal to the program from the background

    def run(self) -> int:
        try:
            os.chdir(self._call.cwd)
            self._program = _execute(self._call)
        except OSError as error:
            control.send(self._sock, Kind.NOT_EXECUTED, error.errno or errno.EIO)
            return EXIT_NOT_STARTED
        control.send(self._sock, Kind.STARTED, self._program)
        if self._call.terminal < 0:
            os.closerange(0, 3)  # so that whoever reads the program's output hears its end when the program has ended
        poller = select.poll()
        poller.register(self._sock.fileno(), select.POLLIN)
        poller.register(self._wake, select.POLLIN)
        while True:
            for fd, _ in poller.poll():
                if fd == self._wake:
                    _drain(self._wake)
                    code = self._reap()
                    if code is not None:
                        return code
                elif not self._hear():
                    return EXIT_NOT_STARTED

    def _hear(self) -> bool:
        """One word of whoever started this.  False: there is nobody any more."""
        word = control.receive(self._sock)
        if word is None or word.kind not in (Kind.SIGNAL, Kind.FRONT):
            return False
        number = signal.SIGCONT if word.kind is Kind.FRONT else word.value
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it is just ending, and is about to be reaped
            if self._call.terminal >= 0 and number == signal.SIGCONT:
                group = os.getpgid(self._program) if word.kind is Kind.FRONT else os.getpgrp()
                os.tcsetpgrp(self._call.terminal, group)
            os.killpg(self._program, number)
        return True

    def _reap(self) -> int | None:
        """Collect everyone who ended.  Returns the program's exit code once it is among them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            if pid != self._program:
                continue
            if os.WIFSTOPPED(status):
                control.send(self._sock, Kind.STOPPED, os.WSTOPSIG(status))
                continue
            if os.WIFSIGNALED(status):
                control.send(self._sock, Kind.SIGNALLED, os.WTERMSIG(status))
                return 128 + os.WTERMSIG(status)
            control.send(self._sock, Kind.EXITED, os.WEXITSTATUS(status))
            return os.WEXITSTATUS(status)


def _drain(fd: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass


def _execute(call: Call) -> int:
    """Start the program; returns its pid.  Raises OSError of the last place that was tried, as execvp does."""
    last: OSError = FileNotFoundError(errno.ENOENT, "no such program")
    for path in _places(call):
        try:
            return _start(path, call)
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.access(path, os.F_OK):
                raise OSError(NO_INTERPRETER, "its interpreter is not here") from error
        except PermissionError as error:
            last = error  # a later folder may have one that may be executed
    raise last


def _places(call: Call) -> list[bytes]:
    name = call.arguments[0]
    if b"/" in name:
        return [name]
    folders = call.environment.get(b"PATH", b"/usr/local/bin:/usr/bin:/bin").split(b":")
    return [os.path.join(folder or b".", name) for folder in folders]


def _start(path: bytes, call: Call) -> int:
    try:
        return _spawn(path, call.arguments, call)
    except OSError as error:
        if error.errno != errno.ENOEXEC or _is_binary(path):
            raise
    return _spawn(_SHELL, [_SHELL, path, *call.arguments[1:]], call)  # a script without a first line, as shells do


def _is_binary(path: bytes) -> bool:
    """As shells decide: text has no NUL in its first line."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"\0" in os.read(fd, 256).partition(b"\n")[0]
    finally:
        os.close(fd)


def _spawn(path: bytes, arguments: Sequence[bytes], call: Call) -> int:
    if call.terminal >= 0 and call.in_front:
        return _spawn_in_foreground(path, arguments, call)
    return os.posix_spawn(
        path, list(arguments), call.environment, setpgroup=0, setsigmask=[], setsigdef=_defaults(call)
    )


def _defaults(call: Call) -> list[int]:
    return [number for number in _DEFAULTS if number not in call.ignored]


def _spawn_in_foreground(path: bytes, arguments: Sequence[bytes], call: Call) -> int:
    """In a process group of its own that has the terminal before the first instruction of the program."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _become(path, arguments, call, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as failed:
        code = failed.read(4)
    if code:
        os.waitpid(pid, 0)
        number = int.from_bytes(code, "little")
        raise OSError(number, os.strerror(number))
    return pid


def _become(path: bytes, arguments: Sequence[bytes], call: Call, failed: int) -> NoReturn:
    try:
        signal.set_wakeup_fd(-1)
        os.setpgid(0, 0)
        os.tcsetpgrp(call.terminal, os.getpid())
        for number in _defaults(call):
            signal.signal(number, signal.SIG_DFL)
        os.execve(path, list(arguments), call.environment)  # noqa: S606 - the program that was asked for
    except OSError as error:
        os.write(failed, (error.errno or errno.EIO).to_bytes(4, "little"))
    finally:
        os._exit(EXIT_NOT_STARTED)


def warm() -> None:
    """Use once what the init will use where nothing can be loaded any more."""
    os.strerror(errno.ENOENT)
    select.poll()
