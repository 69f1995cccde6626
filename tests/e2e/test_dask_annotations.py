"""Which of Dask's tasks reach their box, as the tables of the guide say, on a real cluster; the others can be refused.

Flow: docs/guides/use-with-dask.md → the cells of its tables → each one done → where its tasks ran.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import leaks
from tests.support.users import needs_userns

import foxden
from foxden import SandboxExecutor

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
import dask.array as arrays  # noqa: E402
import dask.bag as bags  # noqa: E402
from distributed import Client, LocalCluster, Scheduler, Worker  # noqa: E402

from foxden.dask import Plugin  # noqa: E402

WAIT_S = 60
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "use-with-dask.md"
BOXED, UNBOXED = "box", "**no box**"
pytestmark = [
    needs_userns,
    pytest.mark.leaks_ok("distributed keeps threads and sockets of its own; the fixture looks for processes"),
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore:Dask annotations:UserWarning"
    ),
]


def table(head: str) -> tuple[list[str], dict[str, list[str]]]:
    """Of the guide's table whose first line begins so: its columns, and each row by its first cell."""
    lines = GUIDE.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(head))
    rows = [line.strip("|").split("|") for line in itertools.takewhile(lambda line: line[:1] == "|", lines[start:])]
    columns, _, *body = [[cell.strip() for cell in row] for row in rows]
    return columns[1:], {row[0]: row[1:] for row in body}


# ---- what keeps its annotation

calls = itertools.count()  # each collection is another one: Dask does not compute again what it has


def pid_of(value: object, call: int) -> int:
    return os.getpid()


def pids_of(part: Any, call: int) -> list[int]:
    return [os.getpid() for _ in part]


def fill(block: Any, call: int) -> Any:
    return block * 0 + os.getpid()


def note(frame: Any, call: int) -> Any:
    return frame.assign(pid=os.getpid())


def _delayed() -> Any:
    return dask.delayed(pid_of)(dask.delayed(pid_of)(1, next(calls)), next(calls))


def _array() -> Any:
    return (arrays.ones(4, chunks=2) + 1).map_blocks(fill, next(calls), meta=np.array((), float))


def _bag() -> Any:
    return bags.from_sequence([1, 2], npartitions=2).map(pid_of, next(calls))


def _bag_of_parts() -> Any:
    return bags.from_sequence([1, 2], npartitions=2).map_partitions(pids_of, next(calls))


def _frame() -> Any:
    pandas = pytest.importorskip("pandas", reason="dask.dataframe needs pandas and pyarrow")
    pytest.importorskip("pyarrow", reason="dask.dataframe needs pandas and pyarrow")
    import dask.dataframe as frames

    frame = frames.from_pandas(pandas.DataFrame({"a": [1, 2]}), npartitions=2)
    return frame.map_partitions(note, next(calls), meta={"a": "i8", "pid": "i8"})["pid"]


MAKERS: dict[str, list[Callable[[], Any]]] = {
    "`client.submit`, `client.map`": [],
    "`dask.delayed`": [_delayed],
    "`dask.array`": [_array],
    "`dask.bag`": [_bag, _bag_of_parts],
    "`dask.dataframe`": [_frame],
}


def _by_compute(client: Any, made: Any) -> Iterator[Any]:
    yield client.compute(made()).result(WAIT_S)
    yield made().compute()


def _without_optimising(client: Any, made: Any) -> Iterator[Any]:
    yield client.compute(made(), optimize_graph=False).result(WAIT_S)
    yield made().compute(optimize_graph=False)


def _without_fusing(client: Any, made: Any) -> Iterator[Any]:
    with dask.config.set({"optimization.fuse.active": False}):
        yield from _by_compute(client, made)


def _inside(client: Any, made: Any) -> Iterator[Any]:
    for collection in (made(), made.__wrapped__()):
        with dask.annotate(executor="foxden"):
            future = client.compute(collection)
        yield future.result(WAIT_S)
    with dask.annotate(executor="foxden"):
        yield made().compute()
        yield from dask.compute(made.__wrapped__())
        kept = made.__wrapped__().persist()
    yield kept.compute()


WAYS = {
    'made inside `dask.annotate(executor="foxden")`, computed outside': _by_compute,
    "and `optimize_graph=False`": _without_optimising,
    "and `optimization.fuse.active` off": _without_fusing,
    "computed inside": _inside,
}


class MadeInside:
    """Makes a collection where it is said that it is for a box."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.__wrapped__ = make

    def __call__(self) -> Any:
        with dask.annotate(executor="foxden"):
            return self.__wrapped__()


def places(found: Any) -> set[str]:
    return {BOXED if pid == 1 else UNBOXED for pid in np.ravel(found).tolist()}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    before = leaks.snapshot()
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
        client.register_plugin(Plugin(timeout=WAIT_S, unboxed=["default"]))
        yield client
    assert not leaks.leaked_since(before, 10).children


def test_the_guides_table_has_what_is_tried_here() -> None:
    columns, rows = table("| tasks of |")
    assert columns == list(WAYS)
    assert list(rows) == list(MAKERS)
    assert {cell for row in rows.values() for cell in row} == {BOXED, UNBOXED, "-"}


@pytest.mark.parametrize("way", list(WAYS), ids=[way.__name__.strip("_") for way in WAYS.values()])
@pytest.mark.parametrize("tasks", [tasks for tasks, makers in MAKERS.items() if makers])
def test_tasks_run_where_the_guides_table_says(client: Any, tasks: str, way: str) -> None:
    columns, rows = table("| tasks of |")
    said = rows[tasks][columns.index(way)]
    for make in MAKERS[tasks]:
        for found in WAYS[way](client, MadeInside(make)):
            assert places(found) == {said}, f"{make.__name__}: the guide's table is not what this Dask does"


def test_what_is_submitted_runs_where_the_guides_table_says(client: Any) -> None:
    with dask.annotate(executor="foxden"):
        futures = [client.submit(pid_of, 1, next(calls)), *client.map(pid_of, [1, 2], call=next(calls))]
    assert places(client.gather(futures)) == {BOXED}
    assert places(client.submit(pid_of, 1, next(calls)).result(WAIT_S)) == {UNBOXED}, "the control"
    assert table("| tasks of |")[1]["`client.submit`, `client.map`"] == [BOXED, "-", "-", "-"]


def test_what_was_computed_without_a_box_is_not_run_again(client: Any) -> None:
    collection = _bag()
    kept = client.persist(collection)
    with dask.annotate(executor="foxden"):
        assert places(client.compute(kept).result(WAIT_S)) == {UNBOXED}
        assert places(client.compute(_bag()).result(WAIT_S)) == {BOXED}


def test_dask_calls_functions_of_collections_where_these_are_made() -> None:
    """In no box: what the guide says of meta=."""
    called: list[int] = []

    def seen(block: Any) -> Any:
        called.append(os.getpid())
        return block

    ones = arrays.ones(4, chunks=2)
    ones.map_blocks(seen, meta=np.array((), float))
    assert called == []
    ones.map_blocks(seen, dtype=float)
    assert called == [os.getpid()]


def test_dask_calls_functions_of_frames_where_these_are_made() -> None:
    pandas = pytest.importorskip("pandas", reason="dask.dataframe needs pandas and pyarrow")
    pytest.importorskip("pyarrow", reason="dask.dataframe needs pandas and pyarrow")
    import dask.dataframe as frames

    called: list[int] = []

    def seen(frame: Any) -> Any:
        called.append(os.getpid())
        return frame

    frame = frames.from_pandas(pandas.DataFrame({"a": [1, 2]}), npartitions=2)
    assert frame.map_partitions(seen, meta={"a": "i8"}).columns == ["a"]
    assert called == []
    assert frame.map_partitions(seen).columns == ["a"]
    assert set(called) == {os.getpid()}


# ---- what plugins make of the others


async def with_worker(act: Any, **options: Any) -> Any:
    async with (
        Scheduler(dashboard_address=":0", port=0, host="127.0.0.1") as scheduler,
        Client(scheduler.address, asynchronous=True) as client,
        Worker(scheduler.address, nthreads=1, host="127.0.0.1", **options) as worker,
    ):
        return await act(client, worker)


async def where_is(future: Any) -> str:
    """Words of the guide for what became of a task."""
    error = await future.exception()
    if error is None:
        return "runs in a box" if np.ravel(await future).tolist()[-1] == 1 else "runs without a box"
    assert isinstance(error, foxden.FoxdenError), error
    assert "without a box, which the worker's plugin forbids" in str(error)
    assert error.__notes__ == [f"hint: {error.hint}"]
    return "fails"


def _named(client: Any, executor: str) -> Any:
    with dask.annotate(executor=executor):
        return client.submit(pid_of, 0, next(calls))


async def pid_awaited(call: int) -> int:
    return os.getpid()


MODES = {
    'Plugin("default")': lambda: Plugin("default"),
    'Plugin("default", unboxed=[])': lambda: Plugin("default", unboxed=[]),
    'Plugin("default", unboxed=["offload"])': lambda: Plugin("default", unboxed=["offload"]),
    'Plugin("foxden", unboxed=[])': lambda: Plugin("foxden", unboxed=[]),
    'Plugin("foxden", unboxed=["default"])': lambda: Plugin("foxden", unboxed=["default"]),
    'Plugin("foxden")': lambda: Plugin("foxden"),
}


def test_the_guides_table_of_plugins_has_what_is_tried_here() -> None:
    assert [row.strip("`") for row in table("| | a task that names")[1]] == list(MODES)


@pytest.mark.parametrize("mode", list(MODES))
def test_plugins_have_the_others_boxed_refused_or_let_run_as_the_guide_says(mode: str) -> None:
    row = table("| | a task that names")[1][f"`{mode}`"]
    nameless, named = (cell.partition(",")[0] for cell in row)

    async def act(client: Any, worker: Any) -> None:
        plugin = MODES[mode]()
        await client.register_plugin(plugin)
        lost = client.compute(MadeInside(_bag)())
        assert await where_is(client.submit(pid_of, 0, next(calls))) == nameless
        assert await where_is(client.submit(pid_awaited, next(calls))) == nameless
        assert await where_is(lost) == nameless or plugin.executor == "default"
        assert await where_is(_named(client, plugin.executor)) == "runs in a box", "the control"
        assert await where_is(_named(client, "actor")) == named
        offload = "runs without a box" if "but for" in row[1] else named
        assert await where_is(_named(client, "offload")) == offload
        actor = client.submit(list, (), actor=True, pure=False)
        error = await actor.exception()
        assert (error is None) is (nameless == "runs without a box")

    before = leaks.snapshot()
    asyncio.run(with_worker(act))
    assert not leaks.leaked_since(before, 10).children


def touch(path: str) -> None:
    Path(path).touch()


async def touch_awaited(path: str) -> None:
    Path(path).touch()


def test_nothing_of_a_refused_task_has_run(tmp_path: Path) -> None:
    async def act(client: Any, worker: Any) -> None:
        for number, function in enumerate((touch, touch_awaited)):
            future = client.submit(function, str(tmp_path / f"refused {number}"))
            assert "names no executor" in str(await future.exception())
            with dask.annotate(executor="offload"):
                await client.submit(function, str(tmp_path / f"named {number}"))

    asyncio.run(with_worker(act, plugins=(Plugin(unboxed=["offload"]),)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["named 0", "named 1"]


def test_an_executor_that_cannot_be_made_fails_its_tasks_and_no_thread_has_them(tmp_path: Path) -> None:
    """Distributed gives a new worker tasks whose plugin failed."""
    marks = tmp_path / "marks"
    marks.mkdir()

    async def on_new_worker() -> None:
        async with (
            Scheduler(dashboard_address=":0", port=0, host="127.0.0.1") as scheduler,
            Client(scheduler.address, asynchronous=True) as client,
        ):
            await client.register_plugin(Plugin("default", read=[str(tmp_path / "gone")]))
            async with Worker(scheduler.address, nthreads=1, host="127.0.0.1") as worker:
                own = client.submit(list, (), actor=True)
                for number, function in enumerate((touch, touch_awaited)):
                    error = await client.submit(function, str(marks / str(number))).exception()
                    assert re.match("executor 'default' could not be made on this worker: .*no such file", str(error))
                assert "could not be made" in str(await own.exception())
                await client.unregister_worker_plugin("foxden-default")
                await client.submit(touch, str(marks / "control"))
                assert "ThreadPoolExecutor" in str(type(worker.executors["default"]))

    asyncio.run(on_new_worker())
    assert [path.name for path in marks.iterdir()] == ["control"]


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@pytest.fixture
def log() -> Iterator[list[str]]:
    handler, logger = Lines(), logging.getLogger("distributed.foxden")
    logger.addHandler(handler)
    yield handler.lines
    logger.removeHandler(handler)


@pytest.mark.parametrize(("unboxed", "warnings"), [(None, 1), (["default"], 0), ([], 0)])
def test_a_worker_says_once_that_it_runs_tasks_without_a_box(
    log: list[str], unboxed: list[str] | None, warnings: int
) -> None:
    async def act(client: Any, worker: Any) -> None:
        assert await _named(client, "foxden") == 1
        assert log == []
        await asyncio.gather(*(client.submit(pid_of, 0, next(calls)).exception() for _ in range(3)))

    asyncio.run(with_worker(act, plugins=(Plugin(unboxed=unboxed),)))
    assert len(log) == warnings
    assert all(re.match("task pid_of-.* names no executor and runs without a box.*hint: Plugin", line) for line in log)


def test_an_executor_without_the_plugin_says_so(log: list[str]) -> None:
    async def act(client: Any, worker: Any) -> None:
        for _ in range(2):
            assert await _named(client, "foxden") == 1

    def own() -> dict[str, SandboxExecutor]:
        return {"foxden": SandboxExecutor(1, preload=["dask"], read=["/proc/meminfo"])}

    asyncio.run(with_worker(act, executor=own(), name="bare"))
    assert [line.partition(": ")[0] for line in log] == ["worker bare has an executor of foxden's without the plugin"]
    asyncio.run(with_worker(act, executor=own(), plugins=(Plugin("other", unboxed=[]),)))
    assert len(log) == 1


# ---- what a plugin takes


@pytest.mark.parametrize(
    ("kind", "words", "options"),
    [
        (TypeError, "Plugin: got an unexpected keyword argument 'timeot'", {"timeot": 3}),
        (foxden.FoxdenError, "unboxed: expected names of executors, got 'offload'", {"unboxed": "offload"}),
        (foxden.FoxdenError, "executor: expected a name, got ''", {"executor": ""}),
        (foxden.FoxdenError, "den: expected None, got a den", {"den": object()}),
    ],
)
def test_options_are_looked_at_where_a_plugin_is_made(kind: type[Exception], words: str, options: Any) -> None:
    with pytest.raises(kind, match=words):
        Plugin(**options)


def test_options_of_the_executor_are_taken() -> None:
    given = {"timeout": 3, "memory": "1 GiB", "fresh": True, "read": ["/somewhere"], "returns": [Path]}
    assert Plugin("careful", **given).options == given
