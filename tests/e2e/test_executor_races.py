"""Many threads, chunks behind each other, deadlines, interrupts and forks at once: every call gets its own answer."""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import boxed
from tests.support import den as dens
from tests.support.users import needs_userns

import foxden
from foxden import AsyncDen, Den, SandboxExecutor
from foxden.parent.processes import ProcessManager
from foxden.parent.utility import Worker

WAIT_S = 30


@pytest.fixture(scope="module")
def den() -> Iterator[Den]:
    with Den(warm=("utility",)) as den:
        assert den.call(boxed.double, 1) == 2
        yield den


def exit_if(value: Any) -> Any:
    if value == "exit":
        os._exit(9)
    return value


@pytest.mark.parametrize("count", [1, 2])
def test_each_map_gets_its_own_results_whoever_reads_them(den: Den, count: int) -> None:
    """A chunk that was placed first and sent later would be answered by the one behind it."""
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(60):
            begin = number * 1_000_000 + turn * 1000
            found = list(pool.map(boxed.same, range(begin, begin + 64), chunksize=2, timeout=WAIT_S))
            if found != list(range(begin, begin + 64)):
                wrong.append(f"{begin}: {found}")

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with SandboxExecutor(count, den=den) as pool:
            threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(WAIT_S)
    finally:
        sys.setswitchinterval(before)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_waiting_for_many_calls_with_a_deadline_ends(den: Den) -> None:
    with SandboxExecutor(2, den=den, timeout=WAIT_S) as pool:
        for _ in range(150):
            done, _ = concurrent.futures.wait([pool.submit(boxed.double, n) for n in range(60)], timeout=WAIT_S)
            assert len(done) == 60


def test_what_returned_in_time_is_not_late_when_it_is_read_late(den: Den) -> None:
    with SandboxExecutor(4, den=den, timeout=0.7) as pool:
        for future in [pool.submit(boxed.sleep, 0.2) for _ in range(4)]:
            future.result(WAIT_S)  # all workers are there
        hanging, *others = [pool.submit(boxed.sleep, 60), *(pool.submit(boxed.double, 1) for _ in range(3))]
        with pytest.raises(foxden.CallTimeout):
            hanging.result(WAIT_S)
        assert [future.result(WAIT_S) for future in others] == [2, 2, 2]


def test_stop_iteration_ends_its_chunk_and_not_in_silence(den: Den) -> None:
    def first_even(values: list[int]) -> int:
        return next(value for value in values if value % 2 == 0)

    with SandboxExecutor(1, den=den) as pool:
        with pytest.raises((RuntimeError, foxden.RemoteError)):
            list(pool.map(first_even, [[2], [4], [1, 3], [6]], chunksize=3))
        assert list(pool.map(pow, [2, 3], [3, 2], chunksize=2)) == [8, 9]


def test_who_waits_for_a_chunk_behind_anothers_wakes_up(den: Den) -> None:
    with SandboxExecutor(1, den=den) as pool:
        pool.submit(boxed.double, 1).result(WAIT_S)
        mine = pool.map(boxed.sleep, [0.2] * 4, chunksize=2)
        found: list[Any] = []
        other = threading.Thread(target=lambda: found.extend(pool.map(boxed.sleep, [0.1] * 2, [1, 2], chunksize=2)))
        other.start()
        time.sleep(0.6)
        assert list(mine) == [None] * 4
        other.join(WAIT_S)
        assert found == [1, 2]


def test_a_long_time_for_many_calls_is_only_long(den: Den) -> None:
    with SandboxExecutor(1, den=den, timeout=86_400) as pool:
        assert sum(pool.map(boxed.double, range(1000), chunksize=1000)) == 999_000
        assert pool.submit(boxed.sleep, 0.1, 7).result(3e6) == 7


def test_results_are_not_kept_until_their_deadline(den: Den) -> None:
    with SandboxExecutor(1, den=den, timeout=600) as pool:
        pool.submit(boxed.double, 1).result(WAIT_S)
        for _ in range(50):
            pool.submit(boxed.same, 1).result(WAIT_S)
        assert not pool._functions.pool._deadlines._calls


def test_an_answer_that_this_process_cannot_hold_fails_its_call_only(den: Den) -> None:
    """No descriptor is left for the memory of a result."""
    with SandboxExecutor(1, den=den) as pool:
        pool.submit(boxed.double, 1).result(WAIT_S)
        future = pool.submit(np.ones, 1 << 16)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        time.sleep(0.3)
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            with pytest.raises((OSError, foxden.FoxdenError)):
                future.result(WAIT_S)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert pool.submit(boxed.double, 2).result(WAIT_S) == 4


@needs_userns
def test_a_call_that_this_process_cannot_send_fails_and_is_not_tried_without_end() -> None:
    text = f"""
import resource
from foxden import SandboxExecutor
with SandboxExecutor(1) as pool:
    pool.submit(abs, 1).result({WAIT_S})
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    import signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    error = pool.submit(len, bytes(3 << 20)).exception({WAIT_S})
    print(type(error).__name__, pool.submit(abs, -2).result({WAIT_S}))
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=WAIT_S)
    assert done.stdout == "OSError 2\n"


def test_an_interrupt_while_an_answer_is_read_loses_that_call_and_no_other(den: Den) -> None:
    with SandboxExecutor(1, den=den) as pool:
        pool.submit(boxed.double, 1).result(WAIT_S)
        worker = next(iter(pool._functions.pool._schedule.workers))

        def interrupted(packet: memoryview, fds: list[int]) -> None:
            raise KeyboardInterrupt

        worker._tree.receive = interrupted  # type: ignore[method-assign]
        future = pool.submit(boxed.double, 2)
        with pytest.raises(KeyboardInterrupt):
            future.result(WAIT_S)
        with pytest.raises(foxden.FoxdenError, match="interrupted while its answer was read"):
            future.result(WAIT_S)
        assert pool.submit(boxed.double, 3).result(WAIT_S) == 6


def test_an_interrupt_of_the_waiting_loses_nothing(den: Den) -> None:
    with SandboxExecutor(1, den=den) as pool:
        pool.submit(boxed.double, 1).result(WAIT_S)
        future = pool.submit(boxed.sleep, 0.6, "here")
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            future.result()
        timer.join()
        assert future.result(WAIT_S) == "here"


def test_what_a_worker_answered_before_it_ended_is_read_first(den: Den) -> None:
    """Whoever reads it may be late: the end of the process is told by somebody else."""
    with SandboxExecutor(1, den=den) as pool:
        assert list(pool.map(exit_if, [1, 2], chunksize=2)) == [1, 2]
        (worker,) = pool._functions.pool._schedule.workers

        def is_quick() -> bool:
            list(pool.map(exit_if, [1, 2], chunksize=2))
            return bool(worker.quick_at)

        dens.wait_until(is_quick, "a worker that may have a chunk behind the one that it is at")
        with worker.turn:
            futures = pool._functions.submit_chunks(exit_if, [[[1, 2]], [["exit", 1]], [[3, 4]]])
            dens.wait_until(lambda: dens.has_ended(worker.host.pid), "the worker to end")
            time.sleep(0.2)  # the den has heard of it
            assert not any(future.done() for future in futures)
        with pytest.raises(foxden.ChildCrashed):
            futures[1].result(WAIT_S)
        assert [futures[0].result(WAIT_S), futures[2].result(WAIT_S)] == [[1, 2], [3, 4]]


@pytest.mark.parametrize("how", ["executor", "den"])
def test_closing_under_a_chunk_that_had_begun_ends_all(how: str) -> None:
    with Den(warm=("utility",)) as den:
        pool = SandboxExecutor(1, den=den)
        pool.submit(boxed.double, 1).result(WAIT_S)
        list(pool.map(exit_if, [1, 2], chunksize=2))  # quick at it: chunks follow each other
        futures = pool._functions.submit_chunks(exit_if, [[["exit", 1]], [[2, 3]], [[4, 5]]])
        with pytest.raises(foxden.ChildCrashed):
            futures[0].result(WAIT_S)
        if how == "den":
            den.close()
        else:
            pool.shutdown(wait=True, cancel_futures=True)
        for future in futures[1:]:
            with contextlib.suppress(concurrent.futures.CancelledError, foxden.FoxdenError):
                assert future.result(WAIT_S) in ([2, 3], [4, 5])


def test_a_fork_takes_no_answer_of_its_parent(den: Den) -> None:
    with SandboxExecutor(1, den=den) as pool:
        pool.submit(boxed.double, 1).result(WAIT_S)
        future = pool.submit(boxed.sleep, 0.2, "mine")
        pid = os.fork()
        if pid == 0:
            time.sleep(0.4)
            try:
                pool.submit(boxed.double, 1)
            except foxden.DenClosed:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
        assert future.result(WAIT_S) == "mine"


def test_a_call_whose_task_is_cancelled_does_not_keep_its_worker() -> None:
    async def main() -> list[int]:
        async with AsyncDen(warm=("utility",)) as den:
            await den.call(boxed.double, 1)
            for _ in range(len(os.sched_getaffinity(0)) + 1):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(den.call(boxed.sleep, 600), 0.2)
            return [await asyncio.wait_for(den.call(boxed.double, n), WAIT_S) for n in range(3)]

    assert asyncio.run(main()) == [0, 2, 4]


def test_callbacks_may_wait_for_other_calls_and_exit(den: Den) -> None:
    with SandboxExecutor(2, den=den) as pool:
        pool.submit(boxed.double, 1).result(WAIT_S)
        found: list[int] = []
        first = pool.submit(boxed.sleep, 0.1)
        first.add_done_callback(lambda _: found.append(pool.submit(boxed.double, 4).result(WAIT_S)))
        first.result(WAIT_S)
        deadline = time.monotonic() + WAIT_S
        while not found and time.monotonic() < deadline:
            time.sleep(0.01)
        assert found == [8]
        leaving = pool.submit(boxed.sleep, 0.1)
        leaving.add_done_callback(lambda _: builtins.exit(3))
        concurrent.futures.wait([leaving], WAIT_S)
        assert pool.submit(boxed.double, 5).result(WAIT_S) == 10


def test_workers_killed_at_random_lose_their_own_calls_only(den: Den) -> None:
    stop = threading.Event()
    with SandboxExecutor(2, den=den) as pool:
        pool.submit(boxed.double, 1).result(WAIT_S)

        def kill() -> None:
            while not stop.wait(0.05):
                for worker in list(pool._functions.pool._schedule.workers)[:1]:
                    with contextlib.suppress(ProcessLookupError, OSError):  # it has just ended
                        signal.pidfd_send_signal(worker.host._pidfd, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        counts = {"ok": 0, "crashed": 0}
        try:
            for turn in range(150):
                begin = turn * 100
                try:
                    found = list(pool.map(boxed.double, range(begin, begin + 40), chunksize=4, timeout=WAIT_S))
                except foxden.ChildCrashed:
                    counts["crashed"] += 1
                else:
                    assert found == [2 * n for n in range(begin, begin + 40)]
                    counts["ok"] += 1
        finally:
            stop.set()
            killer.join()
        assert counts["ok"] > 0
        with contextlib.suppress(foxden.ChildCrashed):  # the last one that was killed may have got it
            pool.submit(boxed.double, 4).result(WAIT_S)
        assert pool.submit(boxed.double, 5).result(WAIT_S) == 10


def note_and(path: str, value: Any) -> Any:
    """Write a line for each run, then end, fail, or return the value."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"{value}\n")
    if value in ("exit", "exit too"):
        os._exit(9)
    if value == "fail":
        raise ValueError(value)
    return value


def sent_together(pool: SandboxExecutor, path: str, values: list[Any]) -> tuple[list[Any], list[int]]:
    """What a map of these in chunks of one brought, and how many of them went in each packet."""
    sizes: list[int] = []
    run = Worker.run

    def noted(worker: Worker, calls: Any) -> None:
        sizes.append(len(calls))
        run(worker, calls)

    chunks = [([path], [value]) for value in values]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "run", noted)
        futures = pool._functions.submit_chunks(note_and, chunks)
        outcomes = [future.exception(WAIT_S) or future.result() for future in futures]
    return outcomes, sizes


def test_of_chunks_in_one_packet_only_those_fail_that_do_and_each_runs_once(den: Den, tmp_path: Path) -> None:
    path = tmp_path / "ran"
    path.touch()
    values: list[Any] = [*range(40), "fail", *range(41, 60), "exit", *range(61, 90), "exit too", *range(91, 120)]
    with SandboxExecutor(1, den=den, write=[tmp_path]) as pool:
        sent_together(pool, str(path), list(range(40)))  # the worker is there, and has been quick
        path.write_text("")
        outcomes, sizes = sent_together(pool, str(path), values)
    assert max(sizes) > 1  # else nothing of this was tried
    for value, outcome in zip(values, outcomes, strict=True):
        if value == "fail":
            assert isinstance(outcome, ValueError)
        elif isinstance(value, str):
            assert isinstance(outcome, foxden.ChildCrashed)
        else:
            assert outcome == [value]
    assert path.read_text().splitlines() == [str(value) for value in values]


def test_a_chunk_that_hangs_takes_nothing_from_those_sent_with_it(den: Den) -> None:
    with SandboxExecutor(1, den=den, timeout=1) as pool:
        warm = [([0.0],)] * 60
        for _ in range(2):
            futures = pool._functions.submit_chunks(boxed.sleep, [*warm, ([60.0],), *warm])
            outcomes = [type(future.exception(WAIT_S)) for future in futures]
            assert outcomes == [*[type(None)] * 60, foxden.CallTimeout, *[type(None)] * 60]


def test_chunks_that_nobody_wants_are_not_sent(den: Den) -> None:
    with SandboxExecutor(1, den=den) as pool:
        assert list(pool.map(boxed.same, range(400), chunksize=2)) == list(range(400))
        results = pool.map(boxed.same, range(4000), chunksize=2)
        assert next(results) == 0
        del results
        assert pool.submit(boxed.same, "after").result(WAIT_S) == "after"
        assert list(pool.map(boxed.same, range(400), chunksize=2)) == list(range(400))


@pytest.mark.parametrize(
    ("function", "late", "imports"), [(abs, False, False), (boxed.same, False, True), (lambda value: value, True, True)]
)
def test_a_worker_that_is_started_for_a_function_has_what_that_needs(
    den: Den, monkeypatch: pytest.MonkeyPatch, function: Any, late: bool, imports: bool
) -> None:
    asked: list[tuple[bool, bool]] = []
    launch = ProcessManager.launch

    def noted(self: ProcessManager, type_name: str, *args: Any, **options: Any) -> Any:
        if type_name == "utility":  # not the den's broker
            asked.append((options["wants_late"], options["imports"]))
        return launch(self, type_name, *args, **options)

    monkeypatch.setattr(ProcessManager, "launch", noted)
    with SandboxExecutor(1, den=den) as pool:
        assert pool.submit(function, 7).result(WAIT_S) == 7
    assert asked == [(late, imports)]
