"""A child under a filter that sends every call the broker knows to a Broker of the test's own process.

Runs in: tests.  Trusts: the real kernel; nothing is simulated.
Flow: run(function, rules…) → fork → filter with listener → function in the child, Broker.step here → what it returned.
Source: src/foxden/broker/server.
"""

from __future__ import annotations

import array
import ctypes
import faulthandler
import json
import os
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from foxden.broker.forms import FORMS
from foxden.broker.records import Act, Ask, Detached
from foxden.broker.server import Broker
from foxden.sandbox import linux, seccomp
from foxden.sandbox.bpf import compile_filter
from foxden.sandbox.filter import verdicts
from foxden.sandbox.paths import Access
from foxden.sandbox.policy import load, resolve
from foxden.sandbox.syscall_numbers import NUMBERS

CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID = 0x1000_0000, 0x0002_0000, 0x2000_0000
DEADLINE_S = 20.0
STANDING = ("chdir", "fchdir", "getcwd")  # the kernel's, but in the tests of broker/standing
KNOWN = ", ".join(f'"{name}"' for name in FORMS if name in NUMBERS[linux.ARCH] and name not in STANDING)
_EXTRA = '"io_uring_setup", "kill"'


def program(notified: str = f"{KNOWN}, {_EXTRA}") -> bytes:
    """A filter that allows everything but these."""
    text = f'[syscalls]\ndefault = "allow"\nnotify.EPERM = [{notified}]\n[[level]]\nfrom = 1\n'
    policy = load("test", lambda name: text if name == "test" else "")
    return compile_filter(verdicts(resolve(policy, level=1, remote_type=None, variables={}), linux.ARCH), listener=True)


PROGRAM = program()


@dataclass
class Result:
    value: Any
    told: list[Act | Ask | Detached] = field(default_factory=list)

    @property
    def acts(self) -> list[Act]:
        return [each for each in self.told if isinstance(each, Act)]

    @property
    def end(self) -> Detached:
        return next(each for each in self.told if isinstance(each, Detached))


def rules_of(words: Mapping[str, str]) -> list[tuple[str, int]]:
    return [(path, int(Access.parse(word))) for path, word in words.items()]


def outcome(act: Callable[[], Any]) -> Any:
    """What an act gave, or the name of its errno."""
    import errno

    try:
        return act()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))


def outcomes(acts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    return {name: outcome(act) for name, act in acts.items()}


def opened(path: str | os.PathLike[str], flags: int, mode: int = 0o777) -> str:
    os.close(os.open(path, flags, mode))
    return "opened"


class Child:
    """A forked process under the filter.  `prepare` runs before the filter is on."""

    def __init__(
        self, function: Callable[[], Any], *, filter: bytes = b"", prepare: Callable[[], None] | None = None,
        stacks: bool = False, pid_namespace: bool = False,
    ) -> None:  # fmt: skip
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pipe = os.pipe() if stacks else (-1, -1)
        self.pid = os.fork()
        if self.pid == 0:
            self.sock.close()
            if pid_namespace:
                _be_first()
            _be_child(theirs, function, filter or PROGRAM, prepare, pipe[1])
        theirs.close()
        self.stacks = pipe[0]
        if stacks:
            os.close(pipe[1])
        data, ancillary, _, _ = self.sock.recvmsg(65_536, socket.CMSG_SPACE(4))
        if not ancillary:
            os.waitpid(self.pid, 0)
            raise RuntimeError(f"the child did not come up: {data.decode()}")
        fds = array.array("i")
        fds.frombytes(ancillary[0][2][:4])
        self.listener = fds[0]

    def go(self) -> None:
        self.sock.send(b"go")

    def end(self) -> Any:
        """What the function returned; reaps."""
        self.sock.settimeout(DEADLINE_S)
        data = b"".join(iter(lambda: self.sock.recv(1 << 20), b""))
        os.waitpid(self.pid, 0)
        self.sock.close()
        if not data:
            return None
        said = json.loads(data)
        if "failed" in said:
            raise AssertionError(said["failed"])
        return said["value"]


def _be_first() -> None:
    """Go on as process 1 of namespaces of its own; the process between waits for it."""
    uid, gid = os.getuid(), os.getgid()
    linux.syscall("unshare", CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID)
    write_ids(uid, gid)
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        os._exit(0)


def _be_child(
    sock: socket.socket, function: Callable[[], Any], filter: bytes, prepare: Callable[[], None] | None, stacks: int
) -> None:
    try:
        try:
            if prepare is not None:
                prepare()
            if stacks >= 0:
                os.set_blocking(stacks, False)
                faulthandler.register(signal.SIGUSR2, file=stacks, all_threads=False, chain=False)
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
            listener = seccomp.load_with_listener(filter, killable=False)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))]
            sock.sendmsg([b"listener"], rights)
            os.close(listener)
            sock.recv(16)
            answer = {"value": function()}
        except BaseException:
            answer = {"failed": traceback.format_exc()}
        words = json.dumps(answer).encode()
        for start in range(0, len(words), 100_000):
            sock.send(words[start : start + 100_000])
    finally:
        os._exit(0)


def serve(broker: Broker, *children: Child, also: Callable[[], None] | None = None) -> None:
    """Serve until none of these is attached any more."""
    deadline = time.monotonic() + DEADLINE_S
    while broker._by_id:
        broker.step(0.05)
        if also is not None:
            also()
        if time.monotonic() > deadline:
            for child in children:
                os.kill(child.pid, signal.SIGKILL)
            raise AssertionError("the child did not end in time")


def run(
    function: Callable[[], Any],
    rules: Mapping[str, str] | None = None,
    *,
    view: str = "host",
    protected: Iterable[tuple[str, Iterable[str]]] = (),
    errnos: Mapping[int, int] | None = None,
    ask: Callable[[Ask], bool] | None = None,
    everything: bool = False,
    show_ancestors: bool = False,
    stacks: bool = False,
    prepare: Callable[[], None] | None = None,
    pid_namespace: bool = False,
    filter: bytes = b"",
    ask_timeout_s: float = 5.0,
) -> Result:
    """Run `function` in a child of these rules; return what it returned, and what was told."""
    told: list[Act | Ask | Detached] = []
    child = Child(function, prepare=prepare, stacks=stacks, pid_namespace=pid_namespace, filter=filter)
    broker = Broker(told.append)
    asks: list[int] = []

    def decide() -> None:
        for each in [each for each in told if isinstance(each, Ask) and each.token not in asks]:
            asks.append(each.token)
            if ask is not None:
                broker.answer(each.token, allow=ask(each))

    try:
        broker.attach(
            1, child.listener, child.stacks, view, rules_of(rules or {}), protected, errnos,
            ask=ask is not None, ask_timeout_s=ask_timeout_s, everything=everything,
            show_ancestors=show_ancestors,
        )  # fmt: skip
        child.go()
        serve(broker, child, also=decide)
        value = child.end()
    finally:
        broker.close()
    return Result(value, told)


def own_mounts() -> None:
    """In the child: a user and a mount namespace of its own, ids kept."""
    uid, gid = os.getuid(), os.getgid()
    linux.syscall("unshare", CLONE_NEWUSER | CLONE_NEWNS)
    write_ids(uid, gid)
    linux.syscall("mount", b"none", b"/", 0, 0x4000 | (1 << 18), 0)


def write_ids(uid: int, gid: int) -> None:
    for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)


libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def raw(name: str, *arguments: int | bytes | ctypes.Array[Any] | None) -> int:
    """A call by number, with these words in its registers.  Raises OSError."""
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    result: int = libc.syscall(ctypes.c_long(NUMBERS[linux.ARCH][name]), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def in_threads(count: int, work: Callable[[], Any]) -> list[Any]:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
