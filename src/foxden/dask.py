"""Dask's tasks in workers: what distributed asks of an executor, and what it wants to hear of it.

Runs in: a Dask worker's process, once distributed asks.  Trusts: distributed, the graph; nothing that a task returns.
Flow: Worker.execute → SandboxExecutor.submit(_run_task_simple, task, data) → task(data), boxed → an answer, made here.
Source: distributed/worker.py `_run_task_simple`, whose answer holds types and exceptions: no data, so it is made here.
"""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from distributed import WorkerPlugin
from distributed.core import error_message
from distributed.sizeof import safe_sizeof

from foxden.errors import RemoteTraceback
from foxden.executor import SandboxExecutor
from foxden.parent.calls import CallFuture

NAME = "foxden"
# What every task is made of, and what `import distributed` reads: modules of tasks often do that.
_NEEDED = {"preload": "dask._task_spec", "read": "/proc/meminfo"}


class Plugin(WorkerPlugin):  # type: ignore[misc]
    """Gives every worker of a cluster an executor: `client.register_plugin(Plugin(timeout=30))`.

    Tasks that are coroutines, and actors, never reach an executor: distributed runs them itself, without a box.
    executor: its name, for `dask.annotate(executor=…)`; options: those of SandboxExecutor, as data.
    max_workers is the worker's number of threads unless it is said.
    """

    def __init__(self, executor: str = NAME, **options: Any) -> None:
        self.name = f"foxden-{executor}"
        self.executor, self.options = executor, options

    def setup(self, worker: Any) -> None:
        """Called by distributed in each worker.  Raises: what SandboxExecutor raises; the worker then says so."""
        options = {"max_workers": worker.state.nthreads, **self.options}
        for name, needed in _NEEDED.items():
            given = options.get(name, ())
            options[name] = [needed, *([given] if isinstance(given, str) else given)]
        worker.executors[self.executor] = SandboxExecutor(**options)

    def teardown(self, worker: Any) -> None:
        """Called by distributed when the worker closes, or the plugin is taken away."""
        executor = worker.executors.pop(self.executor, None)
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)


def submit(send: Callable[..., CallFuture], function: Any, args: tuple[Any, ...]) -> Future[Any] | None:
    """Run what distributed wraps with `function`; None: it is no task, and needs nothing of this.

    Raises: what `send` raises.
    """
    if function.__name__ != "_run_task_simple":
        return None
    task, data, delay = args
    asked_at = time.time()
    inner = send(operator.call, (task, data), {}, name=_name_of(task))
    outer: Future[Any] = Future()
    outer.set_running_or_notify_cancel()
    inner.add_done_callback(lambda done: outer.set_result(_answer(inner, inner.given_at or asked_at, delay)))
    return outer


def _name_of(task: Any) -> str:
    return f"task {str(task.key)[:100]}"


def _answer(done: CallFuture, started_at: float, delay: float) -> dict[str, Any]:
    """What `_run_task_simple` would have returned."""
    error = done.exception(0) if not done.cancelled() else RuntimeError("the worker's executor was shut down")
    times = {"start": started_at + delay, "stop": time.time() + delay, "thread": threading.get_ident()}
    if error is not None:
        return {**_failure(error), "op": "task-erred", "actual_exception": error, **times}
    value = done.result(0)
    kind = type(value) if value is not None else None
    return {"op": "task-finished", "status": "OK", "result": value, "nbytes": safe_sizeof(value), "type": kind, **times}


def _failure(error: BaseException) -> dict[str, Any]:
    try:
        raise error  # distributed takes the traceback of what is being handled
    except BaseException as raised:
        told = dict(error_message(raised))
    cause = error.__cause__
    return {**told, "traceback_text": cause.text} if isinstance(cause, RemoteTraceback) else told
