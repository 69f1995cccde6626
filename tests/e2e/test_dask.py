"""Dask's tasks in boxes, on real clusters: results, failures, crashes, and everything else going on.

Flow: a client → a scheduler → workers with executors of foxden's → utility processes.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import boxed, leaks

import foxden
from foxden import SandboxExecutor

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
from distributed import Client, LocalCluster, Scheduler, Worker  # noqa: E402

from foxden.dask import Plugin  # noqa: E402

WAIT_S = 60
pytestmark = [
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
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None) as cluster,
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
