"""What a brokered open costs, how late it comes when the parent computes, and what a refusal costs."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bench.figures import Figure, median
from bench.parts import make_runtime, without_native
from foxden import native
from foxden.ipc.fields import Listener, StackPipe
from foxden.launch.child_main import STACK_SIGNAL
from foxden.parent.runtime import Runtime
from foxden.sandbox import capabilities, linux, seccomp
from foxden.sandbox.bpf import compile_filter
from foxden.sandbox.filter import verdicts
from foxden.sandbox.paths import AbsPath, Access, FileRule
from foxden.sandbox.policy import load, resolve

_OPENS = 3000
_ROUNDS = 30  # of them, native and brokered in turns: a machine is a second quick and the next slow
_REFUSALS = 150  # of different paths, fewer than are told at once: each is told with its stack
_POLICY = '[syscalls]\ndefault = "allow"\nnotify.EACCES = ["open", "openat"]\n[[level]]\nfrom = 1\n'
_SET_PTRACER, _ANYONE = 0x59616D61, -1  # where Yama asks for it: the broker is no ancestor of this child


def _times(act: Callable[[int], None], count: int) -> list[float]:
    taken = []
    for number in range(count):
        start = time.perf_counter()
        with contextlib.suppress(PermissionError):
            act(number)
        taken.append(time.perf_counter() - start)
    return taken


def _is_refused(act: Callable[[int], None]) -> bool:
    try:
        act(0)
    except PermissionError:
        return True
    return False


def _open(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


def _child(path: str, sock: socket.socket, program: bytes) -> None:
    """Serve `(what, count)` until the socket closes.  Never returns."""
    reader, writer = os.pipe()
    faulthandler.register(STACK_SIGNAL, file=writer, all_threads=False, chain=False)
    capabilities.drop_all()  # a process with more of them than the broker has cannot be read by it
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    with contextlib.suppress(OSError):
        linux.prctl(_SET_PTRACER, _ANYONE)
    listener = seccomp.load_with_listener(program, killable=False)
    socket.send_fds(sock, [b"here"], [listener, reader])
    os.close(listener)
    acts: dict[str, Callable[[int], None]] = {
        "granted": lambda number: _open(path),
        "refused": lambda number: _open(f"{path}-{number}"),
        "again": lambda number: _open(f"{path}-0"),
    }
    if [_is_refused(act) for act in acts.values()] != [False, True, True]:
        os._exit(1)  # what is measured is not what its name says
    while words := sock.recv(4096):
        what, count = json.loads(words)
        sock.sendall(json.dumps(_times(acts[what], count)).encode())
    os._exit(0)


@contextlib.contextmanager
def _started(runtime: Runtime, path: Path) -> Iterator[socket.socket]:
    """A process that the broker of this runtime serves."""
    resolved = resolve(load("bench", lambda name: _POLICY if name == "bench" else ""), level=1, remote_type=None,
                       variables={})  # fmt: skip
    program = compile_filter(verdicts(resolved, linux.ARCH), listener=True)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    pid = os.fork()
    if pid == 0:
        ours.close()
        _child(str(path), theirs, program)
    theirs.close()
    _, (listener, stacks), _, _ = socket.recv_fds(ours, 16, 2)
    rule = FileRule(AbsPath(str(path)), Access.READ)
    runtime.brokers.attach(0x7FFF_0000, Listener(listener), StackPipe(stacks), rules=[rule])
    try:
        yield ours
    finally:
        ours.close()
        os.waitpid(pid, 0)


async def _timed(sock: socket.socket, what: str, count: int) -> list[float]:
    """Seconds of each try, as the child measured them."""
    sock.sendall(json.dumps([what, count]).encode())
    answer = await asyncio.to_thread(sock.recv, 1 << 20)
    taken: list[float] = json.loads(answer)
    return taken


async def _measure(runtime: Runtime, path: Path, bounds: Bounds) -> list[Figure]:
    with _started(runtime, path) as child:
        await _timed(child, "granted", 200)  # the broker is started by the first
        turns = []
        for _ in range(_ROUNDS):
            native_one = median(_times(lambda number: _open(str(path)), _OPENS // _ROUNDS))
            turns.append((median(await _timed(child, "granted", _OPENS // _ROUNDS)), native_one))
        refused = await _timed(child, "refused", _REFUSALS)
        again = await _timed(child, "again", _OPENS)
        stop = threading.Event()

        def compute() -> None:
            while not stop.is_set():
                sum(range(1000))

        thread = threading.Thread(target=compute)
        thread.start()
        try:
            busy = await _timed(child, "granted", _OPENS)
        finally:
            stop.set()
            thread.join()
    late = sorted(busy)[int(len(busy) * 0.99)]
    quiet, by_itself = (median([turn[place] for turn in turns]) for place in (0, 1))
    ratio = median([brokered / native_one for brokered, native_one in turns])
    against = f"native {by_itself * 1e6:.1f} µs, brokered {quiet * 1e6:.1f} µs"
    way = bounds.way
    return [
        Figure(f"brokered open and close / native{way}", ratio, "x", bounds.ratio, against=against),
        Figure(f"brokered open while the parent computes, p99{way}", late * 1e3, "ms", bounds.late_ms),
        Figure(f"refused open, told with its stack{way}", median(refused) * 1e6, "µs", 250.0),
        Figure(f"refused open, only counted{way}", median(again) * 1e6, "µs", 100.0),
    ]


class Bounds(NamedTuple):
    way: str
    ratio: float
    late_ms: float


_WITH, _WITHOUT = Bounds("", 7.0, 0.5), Bounds(", without the extension", 12.0, 2.0)


async def measure() -> list[Figure]:
    """Both ways, where there are two."""
    figures = []
    if native.load() is not None:
        figures += await _measure_one_way(_WITH)
    with without_native():
        figures += await _measure_one_way(_WITHOUT)
    return figures


async def _measure_one_way(bounds: Bounds) -> list[Figure]:
    runtime = make_runtime()
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder).resolve() / "file"
            path.write_text("x" * 100)
            return await _measure(runtime, path, bounds)
    finally:
        await runtime.close()
