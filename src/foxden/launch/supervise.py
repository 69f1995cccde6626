"""Seeing one program through: its words, its output, its limits, the user's signals, until it has ended.

Runs in: the `foxden run` command; the caller's thread of `Den.run`.  Trusts: nothing that the program writes or does.
Flow: control words, output, terminal, clock → one poll loop → Outcome.
Source: interface.md "run exit codes"; timeout(1) for 124, sh(1) for 126, 127 and 128+n.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from foxden.errors import BadMessage
from foxden.launch import control
from foxden.launch.control import Kind

if TYPE_CHECKING:
    from foxden.launch.terminal import Relay
    from foxden.sandbox.grants import Grants

TIMED_OUT, FOXDEN_FAILED, NOT_EXECUTABLE, NOT_FOUND = 124, 125, 126, 127
_CHUNK = 1 << 16
_WATCH_S = 0.1
_WATCH_SHARE = 50  # watching takes at most one part in so many of the time
_MEMORY, TASKS, _FILE_SIZE = 4 << 30, 1024, 4 << 30  # as in plugin.toml
_LAST_SHOWN_MS = 20  # what a program wrote just before it stopped
_LAST_OUTPUT_S = 0.2  # what is still in the pipes when all who could write have ended
_READABLE = select.POLLIN | select.POLLHUP | select.POLLERR


class Limits(msgspec.Struct, frozen=True):
    """What this side keeps, beside what the kernel keeps for each process.  None: not limited."""

    timeout_s: float | None = None
    memory: int | None = None  # bytes, of the whole tree
    cpu_time_s: float | None = None  # of the whole tree
    output: int | None = None  # bytes that are captured of each stream
    tasks: int | None = None  # of the whole tree, where the kernel does not count them
    file_size: int | None = None  # kept by the kernel; here for what is told of it


def limits_of(grants: Grants, *, counted: bool = False) -> Limits:
    """The caller's limits, and those that hold without being asked for.  `counted`: the kernel counts memory and tasks
    of the whole tree."""
    return Limits(
        timeout_s=grants.timeout_s,
        memory=None if counted else memory_of(grants),
        cpu_time_s=grants.cpu_time_s,
        output=grants.output,
        tasks=None if counted or os.getuid() else grants.processes or TASKS,  # RLIMIT_NPROC does not count root's
        file_size=grants.file_size or _FILE_SIZE,
    )


def memory_of(grants: Grants) -> int:
    """What the whole tree may use: unless said otherwise, the machine stays usable."""
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return grants.memory or max(_MEMORY, physical * 3 // 4)


class Outcome(msgspec.Struct, frozen=True):
    """How it ended."""

    code: int  # as the exit code of a shell's command
    signal: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    truncated: bool = False  # output went beyond its limit, and the rest was dropped
    limit: str = ""  # which limit ended it: timeout, memory, cpu-time, processes, file-size
    errno: int = 0  # why it could not be executed
    duration_s: float = 0.0


_CODES = {"timeout": TIMED_OUT, "cpu-time": 128 + signal.SIGXCPU, "file-size": 128 + signal.SIGXFSZ}


class Capture:
    """One stream that is read to its end, and kept as far as its limit."""

    def __init__(self, fd: int, limit: int | None) -> None:
        os.set_blocking(fd, False)
        self.fd, self.data, self.truncated, self.open = fd, bytearray(), False, True
        self._limit = limit

    def read(self) -> None:
        try:
            chunk = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            self.open = False
        room = len(chunk) if self._limit is None else max(0, self._limit - len(self.data))
        self.data += chunk[:room]
        self.truncated = self.truncated or len(chunk) > room


class Feed:
    """What the program reads from its standard input, written as it takes it."""

    def __init__(self, fd: int, data: bytes) -> None:
        os.set_blocking(fd, False)
        self.fd, self._left, self.open = fd, memoryview(data), True

    def write(self) -> None:
        try:
            self._left = self._left[os.write(self.fd, self._left[:_CHUNK]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._left = self._left[:0]  # it does not want more
        if not self._left:
            self.close()

    def close(self) -> None:
        if self.open:
            self.open = False
            os.close(self.fd)


class Supervisor:
    """One program, from GO to its end.  `kill` ends its whole tree."""

    def __init__(
        self,
        sock: socket.socket,
        pid: int,
        kill: Callable[[], None],
        limits: Limits,
        *,
        captures: tuple[Capture, ...] = (),
        feed: Feed | None = None,
        relay: Relay | None = None,
        others: dict[int, Callable[[], None]] | None = None,
        on_exceeded: Callable[[str, int], None] = lambda limit, value: None,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        self._sock, self._pid, self._kill, self._limits = sock, pid, kill, limits
        self._captures, self._feed, self._relay = captures, feed, relay
        self._others = dict(others or {})  # descriptors of the caller's that are served meanwhile
        self._on_exceeded, self._cancelled = on_exceeded, cancelled
        self._end: control.Word | None = None
        self._gone = False
        self._exceeded = ""
        self._stops_with_it = False  # the user asked for it to stop, as a part of a job
        self._began = time.monotonic()
        self._watch_at = self._began + _WATCH_S

    def run(self) -> Outcome:
        """See it through.  What interrupts this ends the program."""
        try:
            while not self._gone:
                self._turn()
            self._read_the_rest()
        except BaseException:
            self._kill()
            raise
        finally:
            if self._relay is not None:
                self._relay.end()
                self._relay.close()
            if self._feed is not None:
                self._feed.close()
        return self._outcome()

    def send_signal(self, number: int) -> None:
        """Pass a signal on to the program's process group."""
        self._stops_with_it = self._stops_with_it or number == signal.SIGTSTP
        self._say(Kind.SIGNAL, number)

    def _say(self, kind: Kind, value: int) -> None:
        try:
            control.send(self._sock, kind, value)
        except OSError:
            self._gone = True

    def forget(self, fd: int) -> None:
        """Serve this descriptor of the caller's no longer."""
        self._others.pop(fd, None)

    # ---- one turn

    def _turn(self) -> None:
        poller = select.poll()
        actions: dict[int, Callable[[], None]] = {self._sock.fileno(): self._hear, **self._others}
        for capture in self._captures:
            if capture.open:
                actions[capture.fd] = capture.read
        relay = self._relay
        if relay is not None:
            actions[relay.outer] = self._show
            if relay.wants_keys:
                actions[relay.keyboard] = relay.take_keys
        for fd in actions:
            poller.register(fd, select.POLLIN)
        if relay is not None and relay.has_keys:
            poller.register(relay.outer, select.POLLIN | select.POLLOUT)
        feed = self._feed
        if feed is not None and feed.open:
            poller.register(feed.fd, select.POLLOUT)
            actions[feed.fd] = feed.write
        for fd, events in poller.poll(self._wait_ms()):
            if relay is not None and fd == relay.outer and events & select.POLLOUT:
                relay.give_keys()
            if events & _READABLE or (feed is not None and fd == feed.fd):
                actions[fd]()
        self._keep_limits()

    def _wait_ms(self) -> int:
        now = time.monotonic()
        moments = [self._watch_at] if self._watches else []
        if self._limits.timeout_s is not None:
            moments.append(self._began + self._limits.timeout_s)
        return max(0, round((min(moments) - now) * 1000) + 1) if moments else -1

    @property
    def _watches(self) -> bool:
        limits = self._limits
        watched = (limits.memory, limits.cpu_time_s, limits.tasks, self._cancelled)
        return any(each is not None for each in watched)

    def _hear(self) -> None:
        try:
            word = control.receive(self._sock)
        except BadMessage:
            word = None
        if word is None:
            self._gone = True
        elif word.kind is Kind.STOPPED:
            self._stopped(word.value)
        elif word.kind in (Kind.EXITED, Kind.SIGNALLED, Kind.NOT_EXECUTED):
            self._end = word
            self._gone = True

    def _stopped(self, number: int) -> None:
        """It stopped: for want of the keyboard, or because the user stopped it.  One that stops itself is let be."""
        relay = self._relay
        wants_keyboard = relay is not None and number in (signal.SIGTTIN, signal.SIGTTOU)
        if wants_keyboard and relay is not None and relay.begin():
            return self._say(Kind.FRONT, 0)
        if not (wants_keyboard or self._stops_with_it or (relay is not None and relay.has_keyboard)):
            return None
        self._stops_with_it = False
        had_keyboard = wants_keyboard or (relay is not None and relay.has_keyboard)
        if relay is not None:
            self._show_all(_LAST_SHOWN_MS)
            relay.end()
        os.kill(0, signal.SIGSTOP)  # us and the job that we are a part of, until the user's shell continues it
        if relay is not None and had_keyboard and relay.begin():
            return self._say(Kind.FRONT, 0)
        return self._say(Kind.SIGNAL, signal.SIGCONT)

    def _show(self) -> None:
        if self._relay is not None and not self._relay.show() and self._end is None:
            time.sleep(0.001)  # nobody has it open at this moment; the program's end is told on the control socket

    def _show_all(self, grace_ms: int = 0) -> None:
        """What the program wrote before it stopped or ended; the kernel brings it to this side a little later."""
        while self._relay is not None and _has_input(self._relay.outer, grace_ms) and self._relay.show():
            pass

    def _read_the_rest(self) -> None:
        """All who could write have ended, or are about to: the pipes end, or there is nothing more in them."""
        self._kill()
        until = time.monotonic() + _LAST_OUTPUT_S
        while any(capture.open for capture in self._captures) and time.monotonic() < until:
            poller = select.poll()
            for capture in self._captures:
                if capture.open:
                    poller.register(capture.fd, select.POLLIN)
            for fd, _ in poller.poll(20):
                next(capture for capture in self._captures if capture.fd == fd).read()
        self._show_all()

    # ---- limits

    def _keep_limits(self) -> None:
        now = time.monotonic()
        limits = self._limits
        if limits.timeout_s is not None and now - self._began >= limits.timeout_s:
            return self._exceed("timeout", round(limits.timeout_s))
        if self._watches and now >= self._watch_at:
            self._watch()
            took = time.monotonic() - now
            self._watch_at = now + max(_WATCH_S, took * _WATCH_SHARE)
        return None

    def _watch(self) -> None:
        from foxden.observe.usage import shared_out, usage_of

        if self._cancelled is not None and self._cancelled():
            return self._exceed("cancelled", 0)
        limits, used = self._limits, usage_of(self._pid)
        if limits.memory is not None and used.memory > limits.memory:
            memory = shared_out(self._pid)
            if memory > limits.memory:
                return self._exceed("memory", memory)
        if limits.tasks is not None and used.tasks > limits.tasks:
            return self._exceed("processes", used.tasks)
        if limits.cpu_time_s is not None and used.cpu_time_s > limits.cpu_time_s:
            return self._exceed("cpu-time", round(used.cpu_time_s))
        return None

    def _exceed(self, limit: str, value: int) -> None:
        self._exceeded = limit
        self._on_exceeded(limit, value)
        self._kill()
        self._gone = True

    # ---- the end

    def _outcome(self) -> Outcome:
        self._exceeded_in_kernel()
        code, number = self._code()
        captured = [bytes(capture.data) for capture in self._captures]
        return Outcome(
            code=code,
            signal=number,
            stdout=captured[0] if captured else b"",
            stderr=captured[1] if len(captured) > 1 else b"",
            truncated=any(capture.truncated for capture in self._captures),
            limit=self._exceeded,
            errno=self._end.value if self._end is not None and self._end.kind is Kind.NOT_EXECUTED else 0,
            duration_s=time.monotonic() - self._began,
        )

    def _exceeded_in_kernel(self) -> None:
        if self._exceeded or self._end is None or self._end.kind is not Kind.SIGNALLED:
            return
        kept = {signal.SIGXFSZ: ("file-size", self._limits.file_size), signal.SIGXCPU: ("cpu-time", None)}
        limit, value = kept.get(signal.Signals(self._end.value), ("", None)) if self._end.value < 32 else ("", None)
        if limit:
            self._exceeded = limit
            self._on_exceeded(limit, value or round(self._limits.cpu_time_s or 0))

    def _code(self) -> tuple[int, int | None]:
        if self._exceeded:
            code = _CODES.get(self._exceeded, 128 + signal.SIGKILL)
            return code, None if code == TIMED_OUT else code - 128
        if self._end is None:
            return 128 + signal.SIGKILL, signal.SIGKILL  # its init was killed, from outside or for want of memory
        if self._end.kind is Kind.SIGNALLED:
            return 128 + self._end.value, self._end.value
        if self._end.kind is Kind.NOT_EXECUTED:
            missing = self._end.value in (errno.ENOENT, errno.ENOTDIR)
            return NOT_FOUND if missing else NOT_EXECUTABLE, None
        return self._end.value, None


def _has_input(fd: int, grace_ms: int = 0) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return any(events & select.POLLIN for _, events in poller.poll(grace_ms))
