"""The utility process: takes calls from its parent, runs them in its main thread, answers with data.

Runs in: utility.  Trusts: the parent; the functions that it runs are what the box is for.
Flow: PUtility.Init → path, environment, preload, initializer → PTasks.Run → run.perform → Finished or Failed.
Source: protocols/utility.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import sys
import time
from typing import Any

from foxden.children.utility import prewarm as warm
from foxden.children.utility import shared_objects
from foxden.children.utility.named_imports import find_by_name
from foxden.children.utility.run import Calls
from foxden.ipc import awake
from foxden.ipc.actor import Actor
from foxden.ipc.blocking import BlockingPipe
from foxden.ipc.memory import read_payload
from foxden.ipc.pipe import bind_endpoint
from foxden.ipc.schema import Side
from foxden.launch.child_main import ChildActor, ChildContext
from foxden.model.enforcement import Layer, missing_layers
from foxden.protocols.utility import PTasks, PUtility
from foxden.sandbox import linux

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h
_KEPT_MAX = 256 << 20  # bytes
_TEXT_MAX = 8000  # characters: of a LongText

# Beside a home of its own, without which many a library does not load.
_IN_A_BOX = {
    "JOBLIB_MULTIPROCESSING": "0",  # scikit-learn computes in turn what other processes would: there are none here
}

is_serving = False  # True in a worker, from its lock to its end: `sandboxed` asks


class UtilityChild(ChildActor, protocol=PUtility, side=Side.CHILD):
    tasks: BlockingPipe | None = None

    def recv_init(self, message: PUtility.Init) -> PUtility.Init.Returns:
        if missing_layers(self.process.enforcement, tuple(map(Layer, message.accepted))):
            return PUtility.Init.Returns()  # the parent has heard the same: it ends this process, and says why
        _keep_large_blocks()
        sys.path[:] = message.path
        sys.argv[:], sys.orig_argv[:] = [""], [sys.executable]  # as at a prompt: not the words that workers start with
        find_by_name(message.names)
        if self.process.temporary:
            shared_objects.use()
        own = {**_IN_A_BOX, "HOME": self.process.temporary} if self.process.temporary else {}
        os.environ.update({**own, **message.environment})
        if "TZ" in message.environment:  # it reads a file, which is to wait for the broker
            time.tzset()
        if self.process.enforcement.seccomp is None:  # else the broker knows where it stands, or nobody does
            _begin_in(message.folder)
        try:
            for name in message.preload:
                importlib.import_module(name)
            if message.initializer is not None:
                _initialize(read_payload(message.initializer))
        except BaseException as error:
            return PUtility.Init.Returns(problem=_text_of(error)[:_TEXT_MAX], trace=_trace_of(error))
        calls = TasksChild(Calls(message.returns, message.max_result))
        self.tasks = BlockingPipe(bind_endpoint(message.tasks), calls, peer="the parent")
        return PUtility.Init.Returns()


class TasksChild(Actor, protocol=PTasks, side=Side.CHILD):
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def recv_lend(self, message: PTasks.Lend) -> None:
        self._calls.borrow(message.memory)

    def recv_define(self, message: PTasks.Define) -> None:
        self._calls.define(message.function, read_payload(message.work))

    def recv_run(self, message: PTasks.Run) -> None:
        self.send(self._calls.perform(message))

    def recv_run_chunks(self, message: PTasks.RunChunks) -> None:
        for call, work in message.chunks:
            if not self.send(self._calls.perform(PTasks.Run(call, work, each=True, function=message.function))):
                return  # nobody hears


def _begin_in(folder: str) -> None:
    with contextlib.suppress(OSError):  # it may be gone by now
        os.chdir(folder)


def _keep_large_blocks() -> None:
    """Let malloc reuse large blocks: fresh pages cost more than copying an argument into pages that are there."""
    mallopt = getattr(linux.libc, "mallopt", None)
    if mallopt is not None:  # glibc's
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _KEPT_MAX)


def _initialize(work: bytes) -> None:
    import pickle

    function, arguments = pickle.loads(work)  # noqa: S301 - from the parent, in the child
    function(*arguments)


def _text_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()


def _trace_of(error: BaseException) -> str:
    from foxden.ipc import traces

    return traces.text_of(error).encode("utf-8", "backslashreplace").decode()[-_TEXT_MAX:]


def prewarm() -> None:
    warm.prewarm()


def prewarm_late() -> None:
    warm.prewarm_late()


def main(process: ChildContext) -> Any:
    global is_serving  # a fact of the whole process
    is_serving = True
    child = UtilityChild()
    process.start(child)
    while child.tasks is None:
        process.loop.step()
    assert process.pipe is not None  # noqa: S101 - for the type checker
    _serve(process.pipe, child.tasks)


def _serve(parent: BlockingPipe, tasks: BlockingPipe) -> None:
    """Serve both pipes until one ends: the general loop does more than a short call should pay for."""
    poller = select.poll()
    pipes = {pipe.sock.fileno(): pipe for pipe in (parent, tasks)}
    for fd in pipes:
        poller.register(fd, select.POLLIN)
    while not tasks.closed:
        for fd, _ in awake.soon(poller) or poller.poll():
            pipes[fd].step()
