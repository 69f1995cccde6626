"""Dask's tasks in workers: what distributed asks of an executor, and what it wants to hear of it.

Runs in: a Dask worker's process, once distributed asks.  Trusts: distributed, the graph; nothing that a task returns.
Flow: Worker.execute → SandboxExecutor.submit(_run_task_simple, task, data) → task(data), boxed → an answer, made here.
Source: distributed/worker.py `_run_task_simple`, whose answer holds types and exceptions: no data, so it is made here;
`Worker.execute`, which asks no executor for a task that is a coroutine, and `Worker.actor_execute`, which asks its own.
"""

from __future__ import annotations

import functools
import inspect
import logging
import operator
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from typing import Any

from dask._task_spec import Task
from distributed import WorkerPlugin
from distributed import worker as dask_worker
from distributed.core import error_message
from distributed.sizeof import safe_sizeof

from foxden.errors import FoxdenError, RemoteTraceback
from foxden.executor import SandboxExecutor
from foxden.parent.calls import CallFuture

NAME = "foxden"
_DEFAULT = "default"  # distributed's executor for tasks that name none
# What every task is made of, and what `import distributed` reads: modules of tasks often do that.
_NEEDED = {"preload": "dask._task_spec", "read": "/proc/meminfo"}
_OPTIONS = inspect.signature(SandboxExecutor)
_log = logging.getLogger("distributed.foxden")  # beside what the worker itself says


class Plugin(WorkerPlugin):  # type: ignore[misc]
    """Gives every worker of a cluster an executor: `client.register_plugin(Plugin("default", timeout=30))`.

    executor: its name.  "default" has all tasks that name none; another one only those that say
    `dask.annotate(executor=…)`, and keep it: Dask drops annotations of many collections.
    unboxed: names of executors without a box that tasks may run in.  A task for any other fails, "default" being what
    one is for that names none; [] allows none.  None: all are allowed, and the log says so once where tasks name none.
    options: those of SandboxExecutor, as data.  max_workers is the worker's number of threads unless it is said.

    With it, no executor of foxden's that a worker has is passed by: a task that is a coroutine runs in the box, too,
    and an actor, which would live in the worker's own process, fails.  Where the executor cannot be made, as for a
    path that a worker's machine has not, its tasks fail.
    Raises: TypeError, FoxdenError for what is no such option.
    """

    def __init__(self, executor: str = NAME, *, unboxed: Iterable[str] | None = None, **options: Any) -> None:
        _check_options(executor, unboxed, options)
        self.name = f"foxden-{executor}"
        self.executor, self.options = executor, options
        self.unboxed = None if unboxed is None else frozenset(unboxed)
        self._replaced: list[tuple[Any, Any]] = []  # workers that have this one, and what they had under its name
        self._has_warned = False

    def setup(self, worker: Any) -> None:
        """Called by distributed in each worker.  Raises: what SandboxExecutor raises; the worker then says so."""
        executor: Executor | None = None
        try:
            _check(worker)
            executor = SandboxExecutor(**self._options_on(worker))
        except Exception as error:
            # Distributed logs what a plugin of a new worker raises, and gives that worker tasks all the same.
            executor = _NoBox(self.executor, f"{type(error).__name__}: {error}")
            raise
        finally:
            if executor is not None:
                self._replaced.append((worker, worker.executors.get(self.executor)))
                worker.executors[self.executor] = executor

    def _options_on(self, worker: Any) -> dict[str, Any]:
        options = {"max_workers": worker.state.nthreads, **self.options}
        for name, needed in _NEEDED.items():
            given = options.get(name, ())
            options[name] = [needed, *([given] if isinstance(given, str) else given)]
        return options

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
                try:
                    self._judge(worker, task, finish)
                except Exception as error:  # distributed would make a line of its log of it, and run the task
                    _refuse(task, f"task {_short(key)} cannot be judged: {type(error).__name__}: {error}", "")

    def _judge(self, worker: Any, task: Any, finish: str) -> None:
        """Have a task reach the executor of foxden's that it is for, or fail where it would run without a box."""
        name = (task.annotations or {}).get("executor", _DEFAULT)
        executor = worker.executors.get(name)
        if isinstance(executor, SandboxExecutor):
            _keep_in_box(worker, task, name)
        elif isinstance(executor, _NoBox):
            _refuse(task, *executor.why)
        elif executor is not None and self.unboxed is not None and name not in self.unboxed:
            _refuse(task, *_would_be_unboxed(task, name))
        elif self.unboxed is None and name == _DEFAULT and finish == "executing" and not self._has_warned:
            self._has_warned = True
            _log.warning(_NAMES_NONE, _short(task.key))


# ---- what would pass an executor by


_NAMES_NONE = (
    "task %s names no executor and runs without a box, and so will others here; hint: "
    'Plugin("default") has them in boxes, Plugin(unboxed=[]) refuses them, Plugin(unboxed=["default"]) says nothing'
)


def _check_options(executor: object, unboxed: object, options: dict[str, Any]) -> None:
    """Raises TypeError, FoxdenError here, at the client, where somebody sees it.  Paths are looked for by workers."""
    if not isinstance(executor, str) or not executor:
        raise FoxdenError(f"executor: expected a name, got {executor!r}", hint='Plugin("default"), or Plugin("foxden")')
    if isinstance(unboxed, str):
        raise FoxdenError(f"unboxed: expected names of executors, got {unboxed!r}", hint=f"unboxed=[{unboxed!r}]")
    try:
        _OPTIONS.bind(**options)
    except TypeError as error:
        raise TypeError(f"Plugin: {error}; options are those of SandboxExecutor") from None
    if options.get("den") is not None:
        raise FoxdenError("den: expected None, got a den: it cannot be sent to a worker", hint="leave it out")


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


def _keep_in_box(worker: Any, task: Any, name: str) -> None:
    """Have a task that is for an executor of foxden's reach it, or fail."""
    spec = task.run_spec
    if task.key in worker.state.actors:
        _refuse(
            task,
            f"actor {_short(task.key)}: executor {name!r} cannot have it: it would run in the worker's own process, "
            "without a box",
            "use functions that return data; only without that executor, unboxed, does Dask run it as an actor",
        )
    elif spec.is_coro:
        # A function that returns a coroutine is none that distributed would await; a worker of foxden's awaits it.
        task.run_spec = Task(task.key, functools.partial(operator.call, spec.func), *spec.args, **spec.kwargs)


def _would_be_unboxed(task: Any, name: str) -> tuple[str, str]:
    where = "without a box, which the worker's plugin forbids"
    if name == _DEFAULT:
        return (
            f"task {_short(task.key)} names no executor, and would run {where}",
            "compute inside `with dask.annotate(executor=…)`: Dask drops annotations that collections were made with; "
            'or register Plugin("default")',
        )
    return f"task {_short(task.key)} names executor {name!r}, and would run {where}", f"Plugin(unboxed=[{name!r}])"


def _refuse(task: Any, text: str, hint: str) -> None:
    """Have a task fail."""
    task.run_spec = Task(task.key, functools.partial(_fail, text, hint))


async def _fail(text: str, hint: str) -> None:
    """Takes the place of what a task would run.  A coroutine, so that distributed itself runs it, and asks no box."""
    raise _told(text, hint)


def _told(text: str, hint: str) -> FoxdenError:
    return FoxdenError(text, hint=hint)


def _short(key: Any) -> str:
    return str(key)[:100]


class _NoBox(Executor):
    """Stands where a box should be and could not be made: nothing runs there."""

    def __init__(self, name: str, reason: str) -> None:
        self.why = (
            f"executor {name!r} could not be made on this worker: {reason}",
            "options of the plugin must fit every worker's machine",
        )

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        raise _told(*self.why)


# ---- what an executor is asked


def submit(
    executor: SandboxExecutor, send: Callable[..., CallFuture], function: Any, args: tuple[Any, ...]
) -> Future[Any] | None:
    """Run what distributed wraps with `function`; None: it is no task, and needs nothing of this.

    Raises: what `send` raises.
    """
    if function.__name__ != "_run_task_simple":
        return None
    _look_for_plugin(executor)
    task, data, delay = args
    asked_at = time.time()
    inner = send(operator.call, (task, data), {}, name=_name_of(task))
    outer: Future[Any] = Future()
    outer.set_running_or_notify_cancel()
    inner.add_done_callback(lambda done: outer.set_result(_answer(inner, inner.given_at or asked_at, delay)))
    return outer


_seen: weakref.WeakSet[SandboxExecutor] = weakref.WeakSet()


def _look_for_plugin(executor: SandboxExecutor) -> None:
    """Say once of an executor that a worker has it without the plugin."""
    if executor in _seen:
        return
    _seen.add(executor)
    for worker in list(dask_worker.Worker._instances):
        has_it = any(each is executor for each in worker.executors.values())
        if has_it and not any(isinstance(plugin, Plugin) for plugin in worker.plugins.values()):
            _log.warning(
                "worker %s has an executor of foxden's without the plugin: coroutines and actors that name it run "
                "without a box; hint: Worker(…, plugins=[foxden.dask.Plugin(…)])", worker.name,
            )  # fmt: skip


def _name_of(task: Any) -> str:
    return f"task {_short(task.key)}"


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
