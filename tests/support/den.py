"""A den at work, seen from a test: children launched and probed, processes looked at from outside, slow servers.

Runs in: the test process.  Trusts: /proc for what a process is, never what a child says of itself.
Flow: `with Den() as den` → `launch(den, "content", "web")` → `probe(den, child, "tcp-socket")` → `status(child.pid)`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import pytest

from foxden import Den
from foxden.model.process_types import PROCESS_TYPES, RemoteType
from foxden.parent.hosts import ChildHost, End
from foxden.parent.unit_test import UnitTestParent
from foxden.protocols.process import PChildProcess
from foxden.sandbox import linux
from tests.support import leaks, users
from tests.support.servers import Handler, ScriptedServer, read_head

T = TypeVar("T")
DEADLINE_S = 20.0  # for what takes milliseconds on an idle machine
_POLL_S = 0.01
_PR_SET_CHILD_SUBREAPER = 36

# Every kind of child that can be started, as (process type, remote type or "").
KINDS: tuple[tuple[str, str], ...] = tuple(
    (row.name, remote.value if remote else "")
    for row in PROCESS_TYPES
    if row.child
    for remote in (row.remote_types or (None,))
)


def kind_name(kind: tuple[str, str]) -> str:
    return "-".join(filter(None, kind))


# --- on the den's loop ------------------------------------------------------------------------------------------


def inside(den: Den, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the den's loop, and wait for it."""
    return den._run(work)


def on_loop(den: Den, function: Callable[[], T]) -> T:
    """Call a function on the den's loop, where everything of it lives."""

    async def call() -> T:
        return function()

    return inside(den, call())


def launch(den: Den, type_name: str, remote: str = "") -> ChildHost:
    return inside(den, den._runtime.launch(type_name, RemoteType(remote) if remote else None))


def probe(
    den: Den, child: ChildHost, name: str, argument: str = "", *, timeout_s: float = DEADLINE_S
) -> PChildProcess.RunProbe.Returns:
    return inside(den, child.probe(name, argument, timeout_s=timeout_s))


def outcome(den: Den, child: ChildHost, name: str, argument: str = "") -> str:
    """`allowed`, the name of the errno, or `refused` when Python itself said no."""
    return outcome_of(probe(den, child, name, argument))


def outcome_of(answer: PChildProcess.RunProbe.Returns) -> str:
    if answer.succeeded:
        return "allowed"
    return errno.errorcode.get(answer.errno, f"errno {answer.errno}") if answer.errno else "refused"


def end(den: Den, *children: ChildHost) -> None:
    """End children of a shared den and wait until they are reaped."""

    async def kill() -> None:
        for child in children:
            child.kill("the test is over")
        if children:
            await asyncio.wait([child.ended for child in children], timeout=DEADLINE_S)

    inside(den, kill())


def ended(den: Den, child: ChildHost) -> End:
    """How this child ended; waits for it."""

    async def wait() -> End:
        return await asyncio.wait_for(asyncio.shield(child.ended), DEADLINE_S)

    return inside(den, wait())


@contextlib.contextmanager
def child_of(den: Den, type_name: str, remote: str = "") -> Iterator[ChildHost]:
    child = launch(den, type_name, remote)
    try:
        yield child
    finally:
        end(den, child)


@contextlib.contextmanager
def unit_test_child(den: Den) -> Iterator[tuple[ChildHost, UnitTestParent]]:
    """An ipdlunittest child with its root actor, which can be told to misbehave."""
    with child_of(den, "ipdlunittest") as child:
        root = child.root
        assert isinstance(root, UnitTestParent)
        yield child, root


# --- processes, seen from outside -------------------------------------------------------------------------------


def pids(den: Den, process_type: str, name: str | None = None) -> list[int]:
    return [r.pid for r in den.processes() if r.process_type == process_type and (name is None or r.name == name)]


def network_pid(den: Den) -> int:
    """The socket process's."""
    (pid,) = pids(den, "socket")
    return pid


def status(pid: int) -> dict[str, str]:
    """`/proc/<pid>/status` as a mapping."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        rows = (line.partition(":") for line in file)
        return {key: value.strip() for key, _, value in rows}


def namespaces(pid: int | str) -> dict[str, str]:
    """Kind of namespace → its identity.  Children of an ordinary user can be looked at by that user's root only."""
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in os.listdir(f"/proc/{pid}/ns")}


def has_ended(pid: int) -> bool:
    return not leaks.is_running(pid)


def is_stopped(pid: int) -> bool:
    return status(pid)["State"].startswith("T")


def stop(pid: int) -> None:
    """SIGSTOP, and wait until it stands still."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid), f"process {pid} to stop")


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(_POLL_S)


@contextlib.contextmanager
def adopting_orphans() -> Iterator[Callable[[], list[int]]]:
    """While it lasts, who loses his parent becomes this process's child, so that nobody can get away unseen.

    Gives a function that lists those that still run; at the end all that were adopted are ended and reaped.
    """
    linux.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    before = leaks.children()
    try:
        yield lambda: [pid for pid in leaks.children() - before if leaks.is_running(pid)]
    finally:
        linux.prctl(_PR_SET_CHILD_SUBREAPER, 0)
        for pid in leaks.children() - before:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


# --- threads and processes of the test --------------------------------------------------------------------------


class Background:
    """A call in a thread of its own; what it returned or raised is had with `result`."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._value: object = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def join(self, timeout_s: float = DEADLINE_S) -> None:
        self._thread.join(timeout_s)
        assert not self.running, f"it hangs: nothing came within {timeout_s:g} s"

    def error(self, timeout_s: float = DEADLINE_S) -> BaseException | None:
        self.join(timeout_s)
        return self._error

    def result(self, timeout_s: float = DEADLINE_S) -> Any:
        self.join(timeout_s)
        if self._error is not None:
            raise self._error
        return self._value


def start_script(
    text: str, *arguments: str, env: dict[str, str] | None = None, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[str]:
    """A Python of its own that runs `text`; a den in it is nobody's but its own."""
    code = f"import os, sys, time, signal, threading\nfrom foxden import Den\n{textwrap.dedent(text)}"
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=users.CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        pass_fds=pass_fds, start_new_session=True,
        env={**os.environ, "PYTHONPATH": f"{users.CHECKOUT / 'src'}:{users.CHECKOUT}", **(env or {})},
    )  # fmt: skip


def run_script(
    text: str,
    *arguments: str,
    env: dict[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    timeout_s: float = 60,
) -> str:
    """Run `text` to its end; its output.  What went wrong in it is in the error."""
    with start_script(text, *arguments, env=env, pass_fds=pass_fds) as process:
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"it hangs; until then: {out}{err}") from None
    assert process.returncode == 0, f"ended with {process.returncode}: {out}{err}"
    return out


# --- servers ----------------------------------------------------------------------------------------------------


def response(body: bytes, content_type: str = "text/html", status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def title_page(title: str) -> bytes:
    return response(f"<!doctype html><title>{title}</title><p>{title} text".encode())


def redirect_to(location: str, status: str = "302 Found") -> bytes:
    return response(b"", "text/html", status, f"Location: {location}")


Routes = dict[str, bytes]


def routes(table: Routes) -> Handler:
    """A handler that answers each path of the table, on a connection that stays open; others get 404."""

    def handler(connection: socket.socket) -> None:
        while head := read_head(connection):
            path = head.split(b" ", 2)[1].decode(errors="replace")
            connection.sendall(table.get(path) or response(b"no", status="404 Not Found"))

    return handler


class Gate:
    """A server that gets requests and keeps its answers back until it is opened."""

    def __init__(self, before: bytes = b"", after: bytes = b"") -> None:
        self._before, self._after = before, after
        self._open = threading.Event()
        self._arrived = threading.Semaphore(0)
        self.requests: list[bytes] = []

    def __call__(self, connection: socket.socket) -> None:
        while head := read_head(connection):
            self.requests.append(head)
            connection.sendall(self._before)
            self._arrived.release()
            self._open.wait(DEADLINE_S)
            connection.sendall(self._after)

    def wait_for_request(self) -> None:
        assert self._arrived.acquire(timeout=DEADLINE_S), "no request came"

    def open(self) -> None:
        self._open.set()


@contextlib.contextmanager
def gated(before: bytes = b"", after: bytes = b"") -> Iterator[tuple[ScriptedServer, Gate]]:
    """`before` is sent at once, `after` when the gate is opened; it is opened at the end in any case."""
    gate = Gate(before, after)
    with ScriptedServer(gate) as server:
        try:
            yield server, gate
        finally:
            gate.open()


# --- dens -------------------------------------------------------------------------------------------------------


def make_den(environment: dict[str, str] | None = None, **options: Any) -> Den:
    """A den with an environment of its own: what is set here is seen by it, for life, and by nobody else."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        den = Den(**options)
        den._runtime.prefs._environment = dict(os.environ)
    return den


_shared: list[None] = []  # one for each that is open


def end_shared_executors() -> None:
    """The workers of `@sandboxed` and `untrusted`, which live as long as the program, end with the test instead."""
    from foxden import executor

    for pool in executor._shared.values():
        pool.shutdown()
    executor._shared.clear()
    for den, _ in executor._untrusted.values():
        den.close()
    executor._untrusted.clear()


@contextlib.contextmanager
def shared_den(environment: dict[str, str] | None = None, **options: Any) -> Iterator[Den]:
    """A den for many tests, whose `leaks_ok` is made good here: when it is closed, nothing of it is left.

    Of dens that are open beside each other the last to close looks: each may start a server at any time.
    """
    before = leaks.snapshot()
    _shared.append(None)
    try:
        with make_den(environment, **options) as den:
            yield den
    finally:
        _shared.pop()
    if _shared:
        return
    leaked = leaks.leaked_since(before)
    assert not leaked.children, leaked.describe()
    assert not [target for _, target in leaked.descriptors if "socket:" in target or "pidfd" in target], (
        leaked.describe()
    )


def switched_off() -> dict[str, str]:
    """The environment that turns off the sandbox of every type that has a switch."""
    return {row.disable_env: "1" for row in PROCESS_TYPES if row.disable_env}
