"""Dask's tasks in workers: what distributed asks of an executor, and what it wants to hear of it.

Runs in: a Dask worker's process, once distributed asks.  Trusts: distributed, the graph; nothing that a task returns.
Flow: Worker.execute → SandboxExecutor.submit(_run_task_simple, task, data) → task(data), boxed → an answer, made here.
Source: distributed/worker.py `_run_task_simple`, whose answer holds types and exceptions: no data, so it is made here;
`Worker.execute`, which asks no executor for a task that is a coroutine, and `Worker.actor_execute`, which asks its own.
"""

from __future__ import annotations

import functools
import operator
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from dask._task_spec import Task
from distributed import WorkerPlugin
from distributed.core import error_message
from distributed.sizeof import safe_sizeof

from foxden.errors import FoxdenError, RemoteTraceback
from foxden.executor import SandboxExecutor
from foxden.parent.calls import CallFuture

NAME = "foxden"
# What every task is made of, and what `import distributed` reads: modules of tasks often do that.
_NEEDED = {"preload": "dask._task_spec", "read": "/proc/meminfo"}


class Plugin(WorkerPlugin):  # type: ignore[misc]
    """Gives every worker of a cluster an executor: `client.register_plugin(Plugin(timeout=30))`.

    executor: its name, for `dask.annotate(executor=…)`; "default" is for tasks that name none.
    options: those of SandboxExecutor, as data.  max_workers is the worker's number of threads unless it is said.

    With it, no executor of foxden's that a worker has is passed by: a task that is a coroutine runs in the box, too,
    and an actor, which would live in the worker's own process, fails.
    """

    def __init__(self, executor: str = NAME, **options: Any) -> None:
        self.name = f"foxden-{executor}"
        self.executor, self.options = executor, options
        self._replaced: list[tuple[Any, Any]] = []  # workers that have this one, and what they had under its name

    def setup(self, worker: Any) -> None:
        """Called by distributed in each worker.  Raises: what SandboxExecutor raises; the worker then says so."""
        options = {"max_workers": worker.state.nthreads, **self.options}
        for name, needed in _NEEDED.items():
            given = options.get(name, ())
            options[name] = [needed, *([given] if isinstance(given, str) else given)]
        _check(worker)
        executor = SandboxExecutor(**options)
        self._replaced.append((worker, worker.executors.get(self.executor)))
        worker.executors[self.executor] = executor

    def teardown(self, worker: Any) -> None:
        """Called by distributed when the worker closes, or the plugin is taken away."""
        executor = worker.executors.pop(self.executor, None)
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)
        for place, (owner, former) in enumerate(self._replaced):
            if owner is worker:
                if former is not None:
                    worker.executors[self.executor] = former
                del self._replaced[place]
                return

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:
        """Called by distributed whenever a task changes its state: before `Worker.execute` looks at it, too."""
        for worker, _ in self._replaced:
            task = worker.state.tasks.get(key)
            if task is not None and task.run_spec is not None:
                _keep_in_box(worker, task)


# ---- what would pass an executor by


def _check(worker: Any) -> None:
    """Raises FoxdenError where distributed is not as this was made for."""
    # Asked now: of what `transition` raises distributed makes a line of its log, and runs the task all the same.
    asked = ((worker.state, "tasks"), (worker.state, "actors"), (Task, "is_coro"), (WorkerPlugin, "transition"))
    missing = [name for owner, name in asked if not hasattr(owner, name)]
    if missing:
        raise FoxdenError(
            f"distributed does not tell {', '.join(missing)}: coroutines and actors would run without a box",
            hint="install another version of distributed, or a later foxden",
        )


def _keep_in_box(worker: Any, task: Any) -> None:
    """Have a task that is for an executor of foxden's reach it, or fail."""
    name = (task.annotations or {}).get("executor", "default")
    if not isinstance(worker.executors.get(name), SandboxExecutor):
        return
    spec = task.run_spec
    if task.key in worker.state.actors:
        task.run_spec = Task(task.key, functools.partial(_refuse_actor, str(task.key)[:100], name))
    elif spec.is_coro:
        # A function that returns a coroutine is none that distributed would await; a worker of foxden's awaits it.
        task.run_spec = Task(task.key, functools.partial(operator.call, spec.func), *spec.args, **spec.kwargs)


async def _refuse_actor(key: str, executor: str) -> None:
    """Takes the place of what makes an actor.  A coroutine, so that distributed itself runs it, and no box is asked."""
    hint = "use functions that return data; only without that executor, unboxed, does Dask run it as an actor"
    error = FoxdenError(
        f"actor {key}: executor {executor!r} cannot have it: it would run in the worker's own process, without a box",
        hint=hint,
    )
    error.add_note(f"hint: {hint}")  # Dask shows a traceback, and that is all that anybody sees of it
    raise error


# ---- what an executor is asked


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
