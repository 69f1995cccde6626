"""The doors: Den, and AsyncDen, over one runtime on a loop of its own thread.

Runs in: parent; the caller's thread on this side, the den's loop thread on the other.  Trusts: the caller.
Flow: den.open(url) → loop thread → Loads.open → Page.  What not every den needs is loaded when it is first used.
Source: interface.md "Python".
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from foxden.errors import DenClosed, FoxdenError, PolicyError
from foxden.model.enforcement import Layer
from foxden.model.records import ProcessRecord, Violation
from foxden.model.sinks import LoadSink
from foxden.parent.broker import AskRecord
from foxden.parent.call_pools import CallPools
from foxden.parent.runtime import Runtime

if TYPE_CHECKING:
    from pathlib import Path

    from foxden.parent.answers import Page, Reply
    from foxden.parent.calls import CallFuture, Sizes
    from foxden.parent.functions import Functions
    from foxden.parent.grant_arguments import StrPath
    from foxden.parent.policies import Policy
    from foxden.parent.program_request import RunArguments
    from foxden.parent.programs import Done
    from foxden.parent.support import SupportReport
    from foxden.parent.utility import Settings
    from foxden.parent.workers import Pool

T = TypeVar("T")
OPEN_TIMEOUT_S = 60.0


class _Door:
    """What both doors share: the loop's thread, and the runtime on it."""

    def __init__(
        self,
        profile: str | Path | None = None,
        prefs: Mapping[str, object] | None = None,
        lock_parent: bool = False,
        *,
        allow_partial: Iterable[str] = (),
        level: int | None = None,
        warm: Iterable[str] = ("network",),
        ask: Callable[[AskRecord], bool] | None = None,
        report: str | Path | None = None,
    ) -> None:
        """Make a den.  Its starter and fork servers begin to warm up at once; children come when needed.

        profile: a folder; file pages may not read it.  prefs: by Firefox's names (`model/preferences`).
        lock_parent: give up internet sockets and program starts in this very process, for good.
        allow_partial: layers whose loss is accepted, by name.  level: of content processes, 0 to 4.
        warm: families whose fork servers load at once; the others when first needed.
        ask: called on a thread of its own before a file is refused to a child; True lets this one call happen.
        report: a file to append violations to, one JSON text a line.
        Raises: FoxdenError, PreferenceError, PolicyError, SandboxUnavailable, LaunchFailed.
        """
        folder = os.fspath(profile) if profile is not None else None
        if folder is not None and not os.path.isdir(folder):
            raise FoxdenError(f"expected a profile folder, got {folder!r}", hint="make it first: mkdir -p")
        layers = _layers(allow_partial)
        self._closing = threading.Lock()  # held for as long as the den takes to close
        self._gate = threading.Lock()  # nothing is handed to the loop behind the closing's back
        self._closed = False
        self._pools: set[Pool] = set()
        self._calls = CallPools(self.make_pool)
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        # Children die with the thread that started their makers, so this one lives exactly as long as the den.
        self._thread = threading.Thread(target=self._loop.run_forever, name="foxden-loop", daemon=True)
        self._thread.start()
        try:
            self._runtime = self._run(_make(folder, prefs or {}, lock_parent, layers, level, warm, ask, report))
        except BaseException:
            self._stop()
            raise

    def _submit(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        with self._gate:
            refusal = self._refusal()
            if refusal is None:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise refusal

    def _refusal(self) -> DenClosed | None:
        if os.getpid() != self._pid:
            return DenClosed(f"this den is process {self._pid}'s, which forked this one", hint="make a new one here")
        return DenClosed("this den is closed", hint="make a new one") if self._closed else None

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        if threading.current_thread() is self._thread:
            work.close()
            raise _own_thread()
        future = self._submit(work)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise _closed_meanwhile() from None
        except BaseException:
            future.cancel()  # Ctrl-C in the caller's thread ends the work, not only the waiting
            raise

    def _close(self) -> None:
        if os.getpid() != self._pid:
            return  # a fork of the process that has the den: nothing here is its to end
        if threading.current_thread() is self._thread:
            raise _own_thread()
        with self._closing:
            with self._gate:
                if self._closed:
                    return
                self._closed = True
                for pool in list(self._pools):  # others end meanwhile, on their own threads
                    pool.close(cancel=True)
                closing = asyncio.run_coroutine_threadsafe(_close(self._runtime), self._loop)
            try:
                closing.result()
            finally:
                self._stop()

    def make_pool(self, settings: Settings, sizes: Sizes, finished: Callable[[], None] = lambda: None) -> Pool:
        """Workers of their own, on this den: what SandboxExecutor is made of.  Raises DenClosed, PolicyError."""
        from foxden.parent.refused import Refused
        from foxden.parent.utility import Starter
        from foxden.parent.workers import Pool

        runtime = self._runtime

        def ended() -> None:
            self._pools.discard(pool)
            finished()

        with self._gate:
            refusal = self._refusal()
            if refusal is not None:
                raise refusal
            starter = Starter(runtime.processes, runtime.plans, runtime.brokers, settings)
            refused = Refused(self._soon, runtime.violations, runtime.brokers.have_told, settings.begins_in)
            pool = Pool(self._soon, starter, sizes, finished=ended)
            pool.refused = refused
            self._pools.add(pool)
        self._soon(lambda: runtime.prepare_functions(with_broker=starter.asks_broker))
        return pool

    def _send(self, functions: Functions, function: Any, args: Any, kwargs: Any) -> CallFuture:
        """Raises: what Functions.submit raises, but DenClosed where that is why there are no workers any more."""
        try:
            return functions.submit(function, args, kwargs)
        except RuntimeError:
            refusal = self._refusal()
            if refusal is None:
                raise
            raise refusal from None

    def _soon(self, act: Callable[[], object]) -> bool:
        try:
            self._loop.call_soon_threadsafe(act)
        except RuntimeError:
            return False
        return True

    def _stop(self) -> None:
        for pool in list(self._pools):
            if pool.thread is not threading.current_thread():
                pool.thread.join()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _close(runtime: Runtime) -> None:
    """End all work, so that none of it starts a child again, and then what it was done with."""
    await _cancel_all()
    await runtime.close()
    await _cancel_all()  # what closing began; a task that never hears of its end complains when collected


async def _cancel_all() -> None:
    rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def _own_thread() -> FoxdenError:
    return FoxdenError("a den cannot be asked from its own thread", hint="a sink only takes bytes; ask when it is done")


def _closed_meanwhile() -> DenClosed:
    return DenClosed("this den was closed while it was at work")


async def _make(
    profile: str | None,
    prefs: Mapping[str, object],
    lock_parent: bool,
    layers: tuple[Layer, ...],
    level: int | None,
    warm: Iterable[str],
    ask: Callable[[AskRecord], bool] | None,
    report: str | Path | None,
) -> Runtime:
    runtime = Runtime(
        profile=profile, prefs=prefs, lock_parent=lock_parent, accept_partial=layers, level=level, warm=warm, ask=ask,
        report=None if report is None else os.fspath(report),
    )  # fmt: skip
    try:
        runtime.start()
    except BaseException:
        await runtime.close()
        raise
    return runtime


def _layers(names: Iterable[str]) -> tuple[Layer, ...]:
    known = {layer.value: layer for layer in Layer}
    names = tuple(names) if isinstance(names, Iterable) and not isinstance(names, str) else (names,)
    for name in names:
        if name not in known:
            raise PolicyError(f"expected the name of a layer, got {name!r}", hint=f"one of {', '.join(known)}")
    return tuple(known[name] for name in names)


class Den(_Door):
    """A trusted parent, its children, and the one process that owns the network.  Thread-safe; use with `with`."""

    def open(self, url: str, *, timeout: float = OPEN_TIMEOUT_S, sink: LoadSink = LoadSink.DOCUMENT) -> Page:
        """Load a page or a file in a content process, through the socket process.

        url: http, https or file, or the path of a file.  timeout: seconds for everything.
        Raises: NetworkError, LoadError, ChildCrashed, ChildTimeout, SandboxUnavailable.
        """
        from foxden.parent.answers import page_of

        work = self._runtime.loading(lambda loads: loads.open(url, timeout_s=timeout, sink=sink))
        return page_of(url, self._run(work))

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        data: bytes = b"",
        follow: bool = True,
        timeout: float = OPEN_TIMEOUT_S,
        sink: Callable[[bytes | memoryview], object] | None = None,
    ) -> Reply:
        """One exchange.  `sink` gets the body in pieces, on the den's thread, as they come; else it is in `.body`.

        Raises: NetworkError, LoadError, ChildCrashed, SandboxUnavailable.
        """
        work = self._runtime.loading(
            lambda loads: loads.fetch(
                url, method=method, headers=headers, body=data, follow=follow, timeout_s=timeout, sink=sink
            )
        )
        return self._run(work)

    def run(self, arguments: Sequence[str], **options: Unpack[RunArguments]) -> Done:
        """Run an unmodified program in a plugin process, and wait for its end.

        Options as of `foxden run`: read=[…], write=[…], env={NAME: VALUE or None for yours}, cwd, input (bytes),
        timeout and cpu_time (seconds), memory, file_size and output (bytes), processes, designate, explain, policy
        (a file, a Policy, or a Grants).  Its output is kept, not shown.
        Raises: PolicyError, SandboxUnavailable, LoadError (it cannot be executed), LaunchFailed.
        """
        from foxden.parent.program_request import request_of
        from foxden.parent.programs import run_program

        return run_program(self._runtime.programs, request_of(arguments, options), self._run)

    def call(
        self, function: Callable[..., T], /, *args: Any, policy: StrPath | Policy | None = None, **kwargs: Any
    ) -> T:
        """Call a function in a worker of this den, and return what it returns, as data.

        policy: "utility", a policy file, or a Policy; a parameter of the function's own with this name is given by
        place.  Workers are shared by all calls of this den with the same policy, and kept for the next one; of more
        policies than a few those that nobody used for longest start anew.  `SandboxExecutor(den=…)` has limits, grants
        and more.
        Raises: what the function raised, or RemoteError; PolicyError, ArgumentsNotSendable, ResultNotData,
        ChildCrashed.
        """
        with self._calls.lend(policy) as functions:
            return self._send(functions, function, args, kwargs).result()  # type: ignore[no-any-return]

    def processes(self) -> list[ProcessRecord]:
        """All processes of this den, the parent first."""
        return self._run(_soon(self._runtime.records))

    def violations(self, *, pid: int | None = None) -> list[Violation]:
        """What was refused, oldest first: as much as is kept, of one process only where it is named."""
        return self._run(self._runtime.refused(pid))

    def support(self) -> SupportReport:
        """What this kernel gives, per layer and per process type, and what to do about what is missing."""
        from foxden.parent.support import report

        return self._run(report(self._runtime))

    def grant(self, child: int, path: str, access: str = "r") -> None:
        """Let a running child have this path and all below it: `r`, `rw`, `rwc` (create and remove), `stat`, `connect`.

        child: its pid, as in `processes()`.  Raises: FoxdenError.
        """
        self._run(self._runtime.grant(child, path, access))

    def revoke(self, child: int, path: str) -> None:
        """Take back what `grant` gave.  What the child has open stays open.  Raises: FoxdenError."""
        self._run(self._runtime.revoke(child, path))

    def close(self) -> None:
        """End every process of the den.  A second call does nothing."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._close()


class AsyncDen(_Door):
    """The same, awaited; use with `async with`."""

    async def open(self, url: str, *, timeout: float = OPEN_TIMEOUT_S, sink: LoadSink = LoadSink.DOCUMENT) -> Page:
        """See Den.open."""
        from foxden.parent.answers import page_of

        work = self._runtime.loading(lambda loads: loads.open(url, timeout_s=timeout, sink=sink))
        return page_of(url, await self._wait(work))

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        data: bytes = b"",
        follow: bool = True,
        timeout: float = OPEN_TIMEOUT_S,
        sink: Callable[[bytes | memoryview], object] | None = None,
    ) -> Reply:
        """See Den.fetch."""
        work = self._runtime.loading(
            lambda loads: loads.fetch(
                url, method=method, headers=headers, body=data, follow=follow, timeout_s=timeout, sink=sink
            )
        )
        return await self._wait(work)

    async def run(self, arguments: Sequence[str], **options: Unpack[RunArguments]) -> Done:
        """See Den.run.  Cancelling ends the program."""
        from foxden.parent.program_request import request_of
        from foxden.parent.programs import run_program

        request = request_of(arguments, options)
        cancelled = threading.Event()
        work = asyncio.to_thread(run_program, self._runtime.programs, request, self._run, cancelled)
        try:
            return await asyncio.shield(task := asyncio.ensure_future(work))
        except asyncio.CancelledError:
            cancelled.set()
            await asyncio.wait([task])
            raise

    async def call(
        self, function: Callable[..., Any], /, *args: Any, policy: StrPath | Policy | None = None, **kwargs: Any
    ) -> Any:
        """See Den.call.  A function that is `async` runs in the worker, on a loop of its own there."""
        with self._calls.lend(policy) as functions:
            refusal = self._refusal()
            if refusal is not None:
                raise refusal
            return await functions.awaited(function, args, kwargs)

    async def processes(self) -> list[ProcessRecord]:
        """See Den.processes."""
        return await self._wait(_soon(self._runtime.records))

    async def violations(self, *, pid: int | None = None) -> list[Violation]:
        """See Den.violations."""
        return await self._wait(self._runtime.refused(pid))

    async def support(self) -> SupportReport:
        """See Den.support."""
        from foxden.parent.support import report

        return await self._wait(report(self._runtime))

    async def grant(self, child: int, path: str, access: str = "r") -> None:
        """See Den.grant."""
        await self._wait(self._runtime.grant(child, path, access))

    async def revoke(self, child: int, path: str) -> None:
        """See Den.revoke."""
        await self._wait(self._runtime.revoke(child, path))

    async def close(self) -> None:
        """See Den.close."""
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    async def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        task = asyncio.current_task()
        try:
            return await asyncio.wrap_future(self._submit(work))
        except asyncio.CancelledError:
            if task is not None and task.cancelling():
                raise  # the caller's own wish
            raise _closed_meanwhile() from None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


async def _soon(function: Callable[[], T]) -> T:
    return function()
