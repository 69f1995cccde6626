"""The door of concurrent.futures: functions run in sandboxed workers, and their results come back as data.

Runs in: parent, on the caller's threads.  Trusts: the caller.
Flow: SandboxExecutor.submit → parent/functions → a utility process of a den → future.
Source: interface.md "Python"; concurrent.futures.ProcessPoolExecutor, whose semantics these are.
"""

from __future__ import annotations

import atexit
import functools
import inspect
import itertools
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from foxden.errors import FoxdenError
from foxden.ipc.values import MAX_RESULT
from foxden.model.records import Violation
from foxden.parent.call_pools import CallPools, grants_of
from foxden.parent.calls import CallFuture
from foxden.parent.den import AsyncDen, Den
from foxden.parent.function_view import make_grants
from foxden.parent.functions import Functions, check_options
from foxden.parent.workers import Pool

if TYPE_CHECKING:
    from foxden.parent.grant_arguments import StrPath
    from foxden.parent.policies import Policy

P = ParamSpec("P")
T = TypeVar("T")
Paths = Iterable[str | os.PathLike[str]] | str | os.PathLike[str]
_DASK = "distributed.worker"  # its tasks come wrapped, and their answers are to be wrapped again
UNTRUSTED_TIMEOUT_S = 60.0  # of `untrusted`, which has no place to say another


class SupportsWrite(Protocol):
    """A text file, as far as it is needed."""

    def write(self, text: str, /) -> object: ...


class SandboxExecutor(Executor):
    """Runs functions in `utility` processes: no network, no files but what they import, no other processes.

    max_workers: as many as there are processors.  read, write: paths, or one, to use beside what functions import.
    connect: nothing yet: functions have no network.
    env: variables, None for the caller's own, or names of those.  preload: modules that each worker imports.
    timeout, cpu_time: seconds for one call, and of processor time in it; its worker is ended then.
    memory: bytes, or a size like "512 MiB", for one worker.
    initializer, initargs, max_tasks_per_child: as in the standard library.  fresh: each call gets a worker of its own.
    level: 1, or 0 for no sandbox.  den: an open den to have the workers in; None: one of its own.
    policy: "utility", a policy file, or a Policy: more than every worker has; of two values for one thing the option's
    wins, and what it lets functions write is protected as for programs.
    returns: dataclasses, enums and named tuples that results may hold.  max_result: bytes of one result.
    output: has what workers write, escaped, line by line: a function, on the den's thread, or a file as sys.stderr.
    allow_partial: layers whose loss is accepted, by name, where there is no den yet.

    Raises: FoxdenError, PolicyError for options; SandboxUnavailable, from the calls, when the kernel gives less.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        read: Paths = (),
        write: Paths = (),
        connect: Iterable[str] = (),
        env: Mapping[str, str | None] | Iterable[str] | None = None,
        preload: Iterable[str] = (),
        timeout: float | None = None,
        cpu_time: float | None = None,
        memory: int | str | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
        fresh: bool = False,
        level: int | None = None,
        policy: StrPath | Policy | None = None,
        den: Den | AsyncDen | None = None,
        allow_partial: Iterable[str] = (),
        returns: Iterable[type] = (),
        max_result: int = MAX_RESULT,
        output: Callable[[str], object] | SupportsWrite | None = None,
    ) -> None:
        _check_den(den)
        grants = make_grants(
            read=read, write=write, connect=connect, env=env, memory=memory, level=level,
            policy=grants_of(policy),
        )  # fmt: skip
        own = Den(allow_partial=allow_partial, warm=("utility",)) if den is None else None
        home = own if own is not None else den
        assert home is not None  # noqa: S101 - for the type checker
        try:
            self._functions = Functions(
                home.make_pool, max_workers=max_workers, grants=grants, preload=preload, timeout=timeout,
                cpu_time=cpu_time, initializer=initializer, initargs=initargs,
                max_tasks_per_child=max_tasks_per_child, fresh=fresh, returns=returns, max_result=max_result,
                output=output,
                finished=own.close if own is not None else lambda: None,
            )  # fmt: skip
        except BaseException:
            if own is not None:
                own.close()
            raise
        self._max_workers = self._functions.max_workers
        # An executor that nobody holds any more finishes what it has.
        pool = self._functions.pool
        _pools.add(pool)
        self._finalizer = weakref.finalize(self, pool.close, cancel=False)
        self._finalizer.atexit = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """See concurrent.futures.  Raises ArgumentsNotSendable at once when something cannot be sent."""
        if getattr(fn, "__module__", None) == _DASK:
            from foxden import dask

            task = dask.submit(self, self._functions.submit, fn, args)
            if task is not None:
                return task
        return self._functions.submit(fn, args, kwargs)

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """See ProcessPoolExecutor.map: `chunksize` calls are sent together, but with `fresh` each by itself."""
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        until = None if timeout is None else time.monotonic() + timeout
        if chunksize == 1 or self._functions.is_fresh:
            return _results_of(self._functions.submit_all(fn, zip(*iterables, strict=False)), until)
        futures = self._functions.submit_chunks(fn, _chunks(iterables, chunksize))
        return itertools.chain.from_iterable(_results_of(futures, until))

    def violations(self, future: Future[Any] | None = None) -> list[Violation]:
        """What its workers were refused, oldest first, as much as is kept: see Den.violations.

        future: only what was refused since its worker got this call.
        """
        if not isinstance(future, CallFuture | None):
            raise FoxdenError(f"violations: expected a future of a call, got {future!r}", hint="ask without one")
        refused = self._functions.pool.refused
        return refused.records(future) if refused is not None else []

    def __reduce__(self) -> Any:
        raise TypeError("an executor cannot leave its process: an object that has one sends a function without it")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """See concurrent.futures."""
        pool = self._functions.pool
        pool.close(cancel=cancel_futures)
        if wait:
            self._finalizer.detach()
            if threading.current_thread() is not pool.thread:
                pool.thread.join()


    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """Finishes what it was given, but after Ctrl-C, which is for the calls as well."""
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            self._functions.pool.stop()
        self.shutdown()


def _results_of(futures: list[CallFuture], until: float | None) -> Iterator[Any]:
    """What each call, or chunk of them, returns, in order.  Whoever stops reading does not want the rest."""
    try:
        futures.reverse()
        while futures:
            yield futures[-1].result(None if until is None else until - time.monotonic())
            futures.pop()
    finally:
        for future in futures:
            future.cancel()


def _chunks(iterables: tuple[Iterable[Any], ...], size: int) -> Iterator[tuple[Sequence[Any], ...]]:
    """The arguments of `size` calls at a time, as columns."""
    if len(iterables) == 1:
        only = iter(iterables[0])
        while column := list(itertools.islice(only, size)):
            yield (column,)
        return
    rows = zip(*iterables, strict=False)
    while chunk := list(itertools.islice(rows, size)):
        yield tuple(zip(*chunk, strict=True))


_pools: weakref.WeakSet[Pool] = weakref.WeakSet()


@atexit.register
def _finish_all() -> None:
    """Before the program ends: every executor finishes what it was given; Ctrl-C, before or now, ends it instead."""
    pools = list(_pools)
    try:
        _end(pools, now=_was_interrupted())
    except KeyboardInterrupt:
        _end(pools, now=True)
    for pid, (den, _) in _untrusted.items():
        if pid == os.getpid():
            den.close()


def _end(pools: list[Pool], *, now: bool) -> None:
    for pool in pools:
        if now:
            pool.stop()
        else:
            pool.close(cancel=False)
    for pool in pools:
        pool.wait()


def _was_interrupted() -> bool:
    """Did the main thread end with Ctrl-C?  At a prompt that only says that something did, some time."""
    return getattr(sys, "last_type", None) is KeyboardInterrupt and not (hasattr(sys, "ps1") or sys.flags.interactive)


# ---- decorators


_shared_lock = threading.Lock()
_shared: dict[Any, SandboxExecutor] = {}
_INSIDE = "foxden.children.utility.process"


def _shared_executor(options: Mapping[str, Any]) -> SandboxExecutor:
    """One executor for all functions with the same options."""
    key = (os.getpid(), *sorted((name, _hashable(value)) for name, value in options.items()))
    with _shared_lock:
        if key not in _shared:
            _shared[key] = SandboxExecutor(**options)
        return _shared[key]


def _check_den(den: object) -> None:
    if not isinstance(den, Den | AsyncDen | None):
        raise FoxdenError(f"den: expected an open foxden.Den, got {den!r}", hint="with Den() as den: …")


def _check_options(options: Mapping[str, Any]) -> None:
    if not options:
        return
    try:
        inspect.signature(SandboxExecutor).bind(**options)
    except TypeError as error:
        raise TypeError(f"sandboxed: {error}") from None
    _check_den(options.get("den"))
    check_options(**options)


def _is_inside() -> bool:
    """Is this a locked worker?  That its module is loaded says nothing: anybody can import it, anywhere."""
    return getattr(sys.modules.get(_INSIDE), "is_serving", False) is True


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(sorted(value.items()))
    return tuple(value) if isinstance(value, list | tuple | set) else value


@overload
def sandboxed(function: Callable[P, T], /) -> Callable[P, T]: ...


@overload
def sandboxed(**options: Any) -> Callable[[Callable[P, T]], Callable[P, T]]: ...


def sandboxed(function: Any = None, /, **options: Any) -> Any:
    """Make every call of a function run in a sandboxed worker.  `options`: those of SandboxExecutor, checked now as far
    as that needs no file: the first call makes the executor.

    Works for `async def` too: the call is awaited here, and the coroutine runs there.
    """
    _check_options(options)
    if function is None:
        return functools.partial(sandboxed, **options)
    if not callable(function):
        raise TypeError(f"expected a function, got {type(function).__name__}: options go by name")
    make = functools.partial(_shared_executor, options)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            if _is_inside():
                return await function(*args, **kwargs)
            return await make()._functions.awaited(function, args, kwargs)

        return awaited

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        if _is_inside():  # a sandboxed function that calls another: it is in the box already
            return function(*args, **kwargs)
        return make().submit(function, *args, **kwargs).result()

    return called


def untrusted(
    function: Callable[..., T], /, *args: Any, policy: StrPath | Policy | None = None, **kwargs: Any
) -> T:
    """Call a function once in a worker that nobody used before, and return what it returns, as data.

    It may take 60 seconds, or what `policy` says; SandboxExecutor(fresh=True) has other bounds.  A parameter of the
    function's own that is named `policy` is given by place.
    Raises: what the function raised, or RemoteError; CallTimeout, ChildCrashed, ArgumentsNotSendable, ResultNotData.
    """
    with _untrusted_pools().lend(policy) as functions:
        result: T = functions.submit(function, args, kwargs).result()
        return result


_untrusted: dict[int, tuple[Den, CallPools]] = {}  # by process: at most this one's, and its parent's


def _untrusted_pools() -> CallPools:
    """Those of a den that all calls of `untrusted` share, from the first one to the end of the program."""
    pid = os.getpid()
    with _shared_lock:
        if pid not in _untrusted:
            den = Den(warm=("utility",))
            _untrusted[pid] = den, CallPools(den.make_pool, fresh=True, timeout=UNTRUSTED_TIMEOUT_S)
        return _untrusted[pid][1]
