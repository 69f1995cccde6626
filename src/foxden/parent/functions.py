"""Functions in a box, with a den's own workers or an executor's: settings checked, calls packed, a pool kept.

Runs in: parent, on the caller's threads.  Trusts: the caller.
Flow: options → Settings, Sizes → make_pool → submit(function, arguments) → Pool.submit → future.
Source: interface.md "Python"; concurrent.futures.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import itertools
import numbers
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from foxden.errors import ArgumentsNotSendable, FoxdenError
from foxden.ipc.value_encode import is_plain_record, name_of
from foxden.ipc.values import MAX_RESULT
from foxden.parent import arguments
from foxden.parent.calls import CallFuture, Sizes
from foxden.parent.function_view import FunctionGrants, make_grants, working_directory
from foxden.parent.import_folders import import_path, kept_back, readable_folders, shown_names
from foxden.parent.importable import View
from foxden.parent.utility import Settings
from foxden.parent.workers import Pool
from foxden.sandbox.grants import Grants
from foxden.sandbox.paths import Access

MakePool = Callable[[Settings, Sizes, Callable[[], None]], Pool]
_LIBRARIES = ("numpy", "pandas", "pyarrow")  # that results may be made with
_LONGEST_S = 86_400.0
_READY_S = 60.0  # that preload and initializer may take at least
_LOOK_EVERY, _LOOK_S = 8, 0.001  # chunks, or seconds, between two looks for what is done


class Functions:
    """One pool and what is needed to send functions to it."""

    def __init__(
        self,
        make_pool: MakePool,
        *,
        max_workers: int | None = None,
        grants: FunctionGrants | None = None,
        preload: Iterable[str] = (),
        timeout: float | None = None,
        cpu_time: float | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        max_tasks_per_child: int | None = None,
        fresh: bool = False,
        returns: Iterable[type] = (),
        max_result: int = MAX_RESULT,
        output: Any = None,
        finished: Callable[[], None] = lambda: None,
    ) -> None:
        """Raises: FoxdenError, PolicyError, ArgumentsNotSendable, ValueError, TypeError; what make_pool raises."""
        given = grants or FunctionGrants()
        sizes = _sizes(
            max_workers, given.policy.timeout_s if timeout is None else timeout,
            given.policy.cpu_time_s if cpu_time is None else cpu_time, max_tasks_per_child, fresh=fresh,
        )  # fmt: skip
        _check_initializer(initializer)
        path = import_path()
        folders = readable_folders(path)
        granted = [path for path, access in given.policy.files if access & Access.READ]
        shown = (*folders, *given.read, *given.write, *granted)
        self._view = View((*shown, _stdlib()))
        settings = Settings(
            grants=given,
            path=path,
            folders=folders,
            begins_in=working_directory(),
            kept_back=kept_back(folders),
            names=shown_names(path, shown),
            sent=self._view.sent,
            preload=(preload := _modules(preload)),
            types=_types(returns, preload),
            max_result=_size(max_result),
            output=_line_of(output),
            ready_s=max(_READY_S, sizes.seconds or 0),
            initializer=arguments.pack_whole(initializer, initargs, view=self._view) if initializer else b"",
        )
        self.is_fresh = fresh
        self._memory = settings.memory
        self._maps = itertools.count(1)
        self.pool = make_pool(settings, sizes, finished)
        self.max_workers = sizes.max_workers

    def submit(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, name: str = ""
    ) -> CallFuture:
        """`name`: what errors call it, where the function's own says little.

        Raises ArgumentsNotSendable; RuntimeError, WorkersBroken, DenClosed when no more calls are taken."""
        packed = arguments.pack(function, args, kwargs, view=self._view)
        name = name or _name(function)
        return self.pool.submit(name, self._checked(name, packed))

    def _checked(self, name: str, packed: arguments.Packed) -> arguments.Packed:
        """A worker holds what it is sent: more than all its memory cannot come there."""
        if self._memory and packed.size > self._memory:
            raise ArgumentsNotSendable(
                f"{name}: expected arguments of at most {self._memory} bytes, a worker's memory, got {packed.size}",
                hint=f"memory= more than {self._memory >> 20} MiB, or arguments in smaller pieces",
            )
        return packed

    def submit_all(self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> list[CallFuture]:
        """One call for each row of arguments; the function is packed once for all of them."""
        name, function = _name(function), arguments.pack_function(function, view=self._view)
        packed = (self._checked(name, arguments.pack(function, row, {}, view=self._view)) for row in calls)
        return _all_or_none(self.pool.submit(name, one) for one in packed)

    def submit_chunks(
        self, function: Callable[..., Any], chunks: Iterable[Sequence[Sequence[Any]]]
    ) -> list[CallFuture]:
        """Of each chunk, call the function once for each first argument, second argument … of its columns, one after
        the other in one worker; its future has a list."""
        name, function = _name(function), arguments.pack_function(function, view=self._view)
        packed = (
            (self._checked(name, arguments.pack(function, columns, None, view=self._view)), len(columns[0]))
            for columns in chunks
        )
        return _all_or_none(self._sent(name, packed))

    def _sent(self, name: str, packed: Iterable[tuple[arguments.Packed, int]]) -> Iterator[CallFuture]:
        """One after the other as they are made; what each costs to queue is shared by some."""
        looked, chunk_of = 0.0, next(self._maps)
        for place, (chunk, each) in enumerate(packed):
            look = place % _LOOK_EVERY == 0 or time.monotonic() - looked > _LOOK_S
            if look:
                looked = time.monotonic()
            yield self.pool.submit(name, chunk, each=each, chunk_of=chunk_of, look=look)

    async def awaited(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """`submit` for asyncio.  A call whose task is cancelled is ended with its worker."""
        import asyncio

        future = self.submit(function, args, kwargs)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self.pool.give_up(future)
            raise


def _all_or_none(futures: Iterable[CallFuture]) -> list[CallFuture]:
    """Where one cannot be sent, those before it are taken back."""
    sent: list[CallFuture] = []
    try:
        sent.extend(futures)  # what came before an error is in it
    except BaseException:
        for future in sent:
            future.cancel()
        raise
    return sent


def check_options(
    *,
    max_workers: int | None = None,
    preload: Iterable[str] = (),
    timeout: float | None = None,
    cpu_time: float | None = None,
    initializer: Callable[..., object] | None = None,
    max_tasks_per_child: int | None = None,
    returns: Iterable[type] = (),
    max_result: int = MAX_RESULT,
    output: Any = None,
    memory: int | str | None = None,
    level: int | None = None,
    connect: Iterable[str] = (),
    **others: object,
) -> None:
    """Check what can be checked of SandboxExecutor's options before it is made: not what only a file system knows.

    Raises: what Functions and make_grants raise for them."""
    make_grants(read=(), write=(), connect=connect, env=None, memory=memory, level=level, policy=Grants())
    _sizes(max_workers, timeout, cpu_time, max_tasks_per_child, fresh=False)
    _check_initializer(initializer)
    _modules(preload)
    _types(returns, ())
    _size(max_result)
    _line_of(output)


def _line_of(output: Any) -> Callable[[str], object] | None:
    if output is None:
        return None
    from foxden.parent.output import Output

    return Output(output).line


def _sizes(
    max_workers: int | None, timeout: float | None, cpu_time: float | None, tasks: int | None, *, fresh: bool
) -> Sizes:
    return Sizes(
        max_workers=_workers(max_workers),
        seconds=_seconds("timeout", timeout),
        cpu_seconds=_seconds("cpu_time", cpu_time),
        calls_each=1 if fresh else _tasks(tasks),
        spare=fresh,
    )


def _check_initializer(given: object) -> None:
    if given is not None and not callable(given):
        raise TypeError("initializer must be a callable")


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or type(function).__qualname__)[:200]


def _stdlib() -> str:
    return os.path.dirname(os.__file__)


def _workers(given: int | None) -> int:
    if given is None:
        return len(os.sched_getaffinity(0)) or 1
    if not isinstance(given, int):
        raise TypeError(f"max_workers must be an integer, got {given!r}")
    if given <= 0:
        raise ValueError("max_workers must be greater than 0")
    return given


def _tasks(given: int | None) -> int | None:
    if given is None:
        return None
    if not isinstance(given, int):
        raise TypeError("max_tasks_per_child must be an integer")
    if given <= 0:
        raise ValueError("max_tasks_per_child must be >= 1")
    return given


def _seconds(name: str, given: float | None) -> float | None:
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, numbers.Real) or not given > 0:  # this way round for nan
        raise FoxdenError(f"{name}: expected more than 0 seconds, got {given!r}", hint=f"{name}=5")
    return min(float(given), _LONGEST_S)


def _size(given: int) -> int:
    if isinstance(given, bool) or not isinstance(given, numbers.Integral) or not 0 < given <= 4 << 30:
        raise FoxdenError(f"max_result: expected 1 to {4 << 30} bytes, got {given!r}", hint="max_result=64 << 20")
    return int(given)


def _modules(given: Iterable[str]) -> tuple[str, ...]:
    names = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    for name in names:
        if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
            raise FoxdenError(f"preload: expected names of modules, got {name!r}", hint="preload=['numpy']")
    return names


def _types(given: Iterable[type], preload: Iterable[str] = ()) -> dict[str, type]:
    """By name.  Naming a library's type, or the library to be loaded in the workers, is asking for the library: it is
    loaded now, before any worker runs, and not when a child says."""
    found = {}
    for kind in given:
        root = kind.__module__.partition(".")[0] if isinstance(kind, type) else ""
        if not _can_be_named(kind) and root not in _LIBRARIES:
            text = f"returns: expected dataclasses, enums, named tuples, got {kind!r:.200}"
            raise FoxdenError(text, hint=_type_hint(kind))
        _load(root)
        found[name_of(kind)] = kind
    for name in preload:
        _load(name.partition(".")[0])
    return found


def _load(root: str) -> None:
    if root in _LIBRARIES and root not in sys.modules:
        with contextlib.suppress(ImportError):  # a worker has it, perhaps: a result that needs it says so
            importlib.import_module(root)


def _can_be_named(kind: object) -> bool:
    if not isinstance(kind, type) or issubclass(kind, BaseException):
        return False
    named_tuple = issubclass(kind, tuple) and hasattr(kind, "_fields")
    record = hasattr(kind, "__dataclass_fields__") and is_plain_record(kind)
    return named_tuple or record or (issubclass(kind, enum.Enum) and kind is not enum.Enum)


def _type_hint(kind: object) -> str:
    if not isinstance(kind, type):
        return "returns=[Colour, Point]"
    if hasattr(kind, "model_dump"):
        return "return ….model_dump(), and make the model of it here"
    if issubclass(kind, BaseException):
        return "exceptions come back unnamed, as themselves or as RemoteError"
    return "data needs no name: numbers, texts, lists …, arrays; anything else: a dataclass of its parts"


__all__ = ["Functions", "make_grants"]
