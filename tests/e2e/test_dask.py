"""Dask's tasks in boxes, on real clusters: results, failures, crashes, and everything else going on.

Flow: a client → a scheduler → workers with executors of foxden's → utility processes.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import boxed, leaks
from tests.support.users import needs_userns

import foxden
from foxden import SandboxExecutor

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
from distributed import Client, LocalCluster, Scheduler, Worker  # noqa: E402

from foxden.dask import Plugin  # noqa: E402

WAIT_S = 60
pytestmark = [
    needs_userns,
    pytest.mark.leaks_ok("distributed keeps threads and sockets of its own; the fixture looks for processes"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tasks may write."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[Any]:
    """A cluster of two workers, each a process with a nanny, each with boxes."""
    before = leaks.snapshot()
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        client.register_plugin(Plugin(timeout=20, preload=["numpy"], write=[str(place)]))
        yield client
    assert not leaks.leaked_since(before, 10).children


def submit(client: Any, function: Any, *args: Any, **options: Any) -> Any:
    with dask.annotate(executor="foxden"):
        return client.submit(function, *args, pure=False, **options)


def where(value: object = None) -> tuple[object, int]:
    return value, os.getpid()


def add(left: Any, right: Any) -> Any:
    return left + right


def crash() -> None:
    os._exit(3)


def crash_once(marker: str) -> str:
    if not os.path.exists(marker):
        with open(marker, "w"):
            os._exit(9)
    return "the second time"


def fail_in_words() -> None:
    raise boxed.Odd("odd")


class Evil:
    """Unpickling it would write a file: the parent of a box never does."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.path, "w")


def evil(path: str) -> object:
    return Evil(path)


def test_tasks_run_in_boxes_where_that_is_said_and_only_there(client: Any) -> None:
    with dask.annotate(executor="foxden"):
        boxed_ones = client.map(where, range(20), pure=False)
    plain = client.map(where, range(20, 24), pure=False)
    assert client.gather(boxed_ones) == [(n, 1) for n in range(20)]
    assert all(pid != 1 for _, pid in client.gather(plain))
    assert len(set(client.who_has(boxed_ones).values())) >= 1


def test_results_go_from_task_to_task_and_arrays_are_whole(client: Any) -> None:
    array = submit(client, np.arange, 1_000_000)
    total = submit(client, add, array, array)
    assert total.result(WAIT_S).sum() == 2 * np.arange(1_000_000).sum()
    with dask.annotate(executor="foxden"):
        graph = dask.delayed(sum)([dask.delayed(add)(n, 1) for n in range(20)])
        assert client.compute(graph, optimize_graph=False).result(WAIT_S) == 210


def test_lambdas_and_keywords_go_down(client: Any) -> None:
    factor = 3
    assert submit(client, lambda value, by: value * by * factor, 5, by=2).result(WAIT_S) == 30


def test_exceptions_come_back_as_they_are_or_by_name(client: Any) -> None:
    own = submit(client, boxed.divide, 0).exception(WAIT_S)
    assert isinstance(own, ZeroDivisionError)
    assert "in divide" in str(own.__cause__)
    named = submit(client, fail_in_words).exception(WAIT_S)
    assert isinstance(named, foxden.RemoteError)
    assert (named.type_name, str(named)) == ("tests.support.boxed.Odd", "tests.support.boxed.Odd: odd")


def test_a_task_cannot_do_what_one_outside_can(client: Any) -> None:
    wanted = "/etc/passwd"
    assert client.submit(boxed.open_file, wanted, pure=False).result(WAIT_S), "the control: outside"
    assert isinstance(submit(client, boxed.open_file, wanted).exception(WAIT_S), PermissionError)


def test_a_result_that_is_no_data_is_an_error_and_is_never_loaded(client: Any, tmp_path: Path) -> None:
    target = tmp_path / "planted"
    assert isinstance(submit(client, evil, str(target)).exception(WAIT_S), foxden.ResultNotData)
    assert not target.exists()


def test_a_crash_fails_its_task_and_nothing_else(client: Any) -> None:
    workers = set(client.scheduler_info()["workers"])
    good = [submit(client, add, n, 1) for n in range(10)]
    bad = [submit(client, crash) for _ in range(4)]
    after = [submit(client, add, n, 1) for n in range(10)]
    for future in bad:
        error = future.exception(WAIT_S)
        assert isinstance(error, foxden.ChildCrashed)
        assert "exited with 3 while running task crash" in str(error)
    assert client.gather(good) == client.gather(after) == list(range(1, 11))
    assert set(client.scheduler_info()["workers"]) == workers, "the workers live"


def test_a_crashed_task_is_tried_again_if_asked(client: Any, place: Path) -> None:
    marker = str(place / "marker")
    assert submit(client, crash_once, marker, retries=2).result(WAIT_S) == "the second time"
    assert os.path.exists(marker)


def test_a_task_that_hangs_is_ended(client: Any) -> None:
    client.register_plugin(Plugin("hasty", timeout=1))
    with dask.annotate(executor="hasty"):
        hanging = client.submit(time.sleep, 1000, pure=False)
    assert submit(client, add, 1, 1).result(WAIT_S) == 2
    assert isinstance(hanging.exception(WAIT_S), foxden.CallTimeout)
    client.unregister_worker_plugin("foxden-hasty")


# --- what Dask itself would run ---------------------------------------------------------------------------------


async def where_awaited(value: object = None) -> tuple[object, int]:
    await asyncio.sleep(0.01)
    return value, os.getpid()


async def divide_awaited(by: int) -> float:
    await asyncio.sleep(0)
    return 1 / by


async def read_awaited(path: str) -> str:
    return Path(path).read_text()


class Counter:
    """Leaves a mark where it is made."""

    def __init__(self, place: str) -> None:
        self.count = 0
        Path(place, f"made by {os.getpid()}").touch()

    def increment(self) -> tuple[int, int]:
        self.count += 1
        return self.count, os.getpid()


def test_coroutines_run_in_boxes_where_that_is_said_and_only_there(client: Any) -> None:
    with dask.annotate(executor="foxden"):
        boxed_ones = client.map(where_awaited, range(20), pure=False)
        graph = dask.delayed(where_awaited)(dask.delayed(where_awaited)("inner")[0])
        computed = client.compute(graph, optimize_graph=False)
    plain = client.map(where_awaited, range(20, 24), pure=False)
    assert client.gather(boxed_ones) == [(n, 1) for n in range(20)]
    assert computed.result(WAIT_S) == ("inner", 1)
    workers = set(client.run(os.getpid).values())
    assert {pid for _, pid in client.gather(plain)} <= workers, "the control: Dask's own way"
    assert len(workers) == 2


def test_a_coroutine_fails_and_is_refused_as_any_task(client: Any) -> None:
    wanted = "/etc/passwd"
    assert isinstance(submit(client, divide_awaited, 0).exception(WAIT_S), ZeroDivisionError)
    assert submit(client, divide_awaited, by=2).result(WAIT_S) == 0.5
    assert client.submit(read_awaited, wanted, pure=False).result(WAIT_S), "the control: outside"
    assert isinstance(submit(client, read_awaited, wanted).exception(WAIT_S), PermissionError)


def test_coroutines_that_are_let_go_and_asked_for_again_stay_in_boxes(client: Any) -> None:
    """Under the same keys: a worker may be told of them while it still has what it was told before."""
    for pause_s in (0, 0.01, 0.05, 0.1, 0.2):
        with dask.annotate(executor="foxden"):
            first = client.map(where_awaited, range(8), key="again")
            time.sleep(pause_s)
            del first
            again = client.map(where_awaited, range(8), key="again")
        assert client.gather(again) == [(n, 1) for n in range(8)]
        del again


def test_an_actor_that_is_for_a_box_is_refused_and_never_made(client: Any, place: Path) -> None:
    folder = place / "marks"
    folder.mkdir()
    with dask.annotate(executor="foxden"):
        refused = client.submit(Counter, str(folder), actor=True)
        data = client.submit(list, (1, 2), actor=True)
    for future in (refused, data):
        error = future.exception(WAIT_S)
        assert isinstance(error, foxden.FoxdenError)
        assert re.fullmatch("actor .*: executor 'foxden' cannot have it: .* without a box", str(error))
        assert error.hint.startswith("use functions that return data")
        assert error.__notes__ == [f"hint: {error.hint}"]
    assert list(folder.iterdir()) == []
    counter = client.submit(Counter, str(folder), actor=True).result(WAIT_S)
    (mark,) = folder.iterdir()
    count, pid = counter.increment().result(WAIT_S)
    assert (count, mark.name) == (1, f"made by {pid}"), "the control: an actor of Dask's own"
    assert pid in client.run(os.getpid).values()


async def _with_workers(act: Any, first: dict[str, Any], second: dict[str, Any]) -> Any:
    async with (
        Scheduler(dashboard_address=":0", port=0, host="127.0.0.1") as scheduler,
        Worker(scheduler.address, nthreads=1, host="127.0.0.1", **first) as one,
        Worker(scheduler.address, nthreads=1, host="127.0.0.1", **second) as two,
        Client(scheduler.address, asynchronous=True) as client,
    ):
        return await act(client, one, two)


async def _pids_awaited(client: Any, *workers: Any) -> set[int]:
    futures = [client.submit(where_awaited, workers=[w.address], pure=False) for w in workers for _ in range(3)]
    return {pid for _, pid in await client.gather(futures)}


def _for_dask() -> SandboxExecutor:
    return SandboxExecutor(1, preload=["dask"], read=["/proc/meminfo"])


def test_an_executor_for_all_tasks_has_their_coroutines_and_no_actor() -> None:
    """By the plugin, or given to a worker that has the plugin, one and the same for two workers."""

    async def act(client: Any, *workers: Any) -> None:
        assert await _pids_awaited(client, *workers) == {1}
        for worker in workers:
            actor = client.submit(list, (), actor=True, workers=[worker.address], pure=False)
            assert "executor 'default' cannot have it" in str(await actor.exception())
        with dask.annotate(executor="offload"):
            assert (await client.submit(where_awaited, pure=False))[1] == os.getpid(), "asked for by name"

    before = leaks.snapshot()
    shared = Plugin("default", max_workers=1)
    asyncio.run(_with_workers(act, {"plugins": (shared,)}, {"plugins": (shared,)}))
    given = [{"executor": _for_dask(), "plugins": (Plugin("other", max_workers=1),)} for _ in range(2)]
    asyncio.run(_with_workers(act, *given))
    assert not leaks.leaked_since(before, 10).children


def test_without_the_plugin_dask_runs_coroutines_itself() -> None:
    """What the guide says, and the control of the others: here nothing of foxden's is asked."""
    given = [{"executor": SandboxExecutor(1)} for _ in range(2)]
    assert asyncio.run(_with_workers(_pids_awaited, *given)) == {os.getpid()}


def test_an_executor_for_all_tasks_gives_its_place_back() -> None:
    async def act(client: Any, *workers: Any) -> None:
        own = [worker.executors["default"] for worker in workers]
        await client.register_plugin(Plugin("default", max_workers=1))
        assert (await client.submit(where, pure=False))[1] == 1
        await client.unregister_worker_plugin("foxden-default")
        assert [worker.executors["default"] for worker in workers] == own
        assert (await client.submit(where, pure=False))[1] == os.getpid()

    asyncio.run(_with_workers(act, {}, {}))


def test_a_distributed_that_hides_its_tasks_is_refused() -> None:
    state = types.SimpleNamespace(tasks={}, nthreads=1)
    worker = types.SimpleNamespace(state=state, executors={})
    with pytest.raises(foxden.FoxdenError, match="does not tell actors: coroutines and actors would run without a box"):
        Plugin().setup(worker)
    with pytest.raises(foxden.FoxdenError, match=r"executor 'foxden' could not be made on this worker: .*tell actors"):
        worker.executors["foxden"].submit(where)


def test_a_plain_executor_serves_a_worker_in_this_process() -> None:
    before = leaks.snapshot()

    async def work() -> list[Any]:
        async with (
            Scheduler(dashboard_address=":0", port=0, host="127.0.0.1") as scheduler,
            Worker(scheduler.address, executor={"foxden": SandboxExecutor(1)}, nthreads=1, host="127.0.0.1"),
            Worker(scheduler.address, executor={"foxden": SandboxExecutor(1)}, nthreads=1, host="127.0.0.1"),
            Client(scheduler.address, asynchronous=True) as client,
        ):
            with dask.annotate(executor="foxden"):
                futures = client.map(boxed.pid, range(6), pure=False)
                failing = client.submit(boxed.divide, 0, pure=False)
            return [*await client.gather(futures), type(await failing.exception())]

    assert asyncio.run(work()) == [*[1] * 6, ZeroDivisionError]
    assert not leaks.leaked_since(before, 10).children
