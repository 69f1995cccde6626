"""SandboxExecutor: what concurrent.futures promises, and what the box adds."""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime
import decimal
import functools
import importlib
import math
import os
import pathlib
import subprocess
import sys
import threading
import time
import types
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.support import boxed
from tests.support.den import end_shared_executors
from tests.support.users import needs_userns

import foxden
from foxden import Den, SandboxExecutor, executor
from foxden.errors import RemoteError, RemoteTraceback
from foxden.parent import functions

WAIT_S = 30


@pytest.fixture(scope="module")
def den() -> Iterator[Den]:
    with Den(warm=("utility",)) as den:
        assert den.call(boxed.double, 1) == 2
        yield den


@pytest.fixture(scope="module")
def pool(den: Den) -> Iterator[SandboxExecutor]:
    with SandboxExecutor(1, den=den, returns=[boxed.Colour, boxed.Point, boxed.Pair, boxed.Rights]) as pool:
        assert len(pool.submit(boxed.same, bytes(8 << 20)).result(WAIT_S)) == 8 << 20  # lent memory is there, too
        yield pool


def run(pool: SandboxExecutor, function: Any, *args: Any, **kwargs: Any) -> Any:
    return pool.submit(function, *args, **kwargs).result(WAIT_S)


# --- functions down ---------------------------------------------------------------------------------------------


def test_a_function_of_a_module_is_called(pool: SandboxExecutor) -> None:
    assert run(pool, boxed.double, 21) == 42


def test_a_lambda_and_a_closure_are_called(pool: SandboxExecutor) -> None:
    factor = 3
    assert run(pool, lambda value: value * factor, 5) == 15


def test_a_function_of_main_is_called(pool: SandboxExecutor) -> None:
    space: dict[str, Any] = {"__name__": "__main__", "base": 10}
    exec("def add(value):\n    return base + value", space)
    assert run(pool, space["add"], 5) == 15


def test_keywords_and_builtins_are_called(pool: SandboxExecutor) -> None:
    assert run(pool, sorted, [1, 3, 2], reverse=True) == [3, 2, 1]


def test_an_async_function_is_run_on_a_loop_of_the_worker(pool: SandboxExecutor) -> None:
    assert run(pool, boxed.awaited, 7) == 7


def test_it_runs_in_another_process_that_is_locked(pool: SandboxExecutor, den: Den) -> None:
    def seccomp() -> int:
        import ctypes

        return int(ctypes.CDLL(None).prctl(21, 0, 0, 0, 0))  # PR_GET_SECCOMP: 2, a filter

    assert run(pool, seccomp) == 2
    assert any(record.process_type == "utility" for record in den.processes())


@pytest.mark.parametrize("value", [threading.Lock(), (n for n in ())], ids=["lock", "generator"])
def test_what_cannot_be_sent_is_refused_at_once(pool: SandboxExecutor, value: Any) -> None:
    with pytest.raises(foxden.ArgumentsNotSendable, match=r"same: argument 2 cannot be sent") as caught:
        pool.submit(boxed.same, 1, value)
    assert caught.value.hint
    assert run(pool, boxed.same, 1) == 1


# --- results up -------------------------------------------------------------------------------------------------

VALUES = [
    None, True, 0, -(2**63), 2**64 - 1, 2**200, -(2**200), 1.5, float("inf"), 1 + 2j, "text", "\ud800", "", b"", b"x",
    b"long" * 20_000, bytearray(b"array"), [], [1, [2, [3, "x"]]], (), (1, (2,)), {}, {"a": 1}, {1: {"b": (None,)}},
    {1, 2}, frozenset({"a"}), datetime.date(2026, 1, 2), datetime.datetime(2026, 1, 2, 3, 4, 5, 6),
    datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC), datetime.time(1, 2, fold=1), datetime.timedelta(-1, 5),
    decimal.Decimal("1.50"), uuid.UUID(int=5), pathlib.Path("/a/b"), range(1, 10, 3), np.float64(2.5), np.int32(-1),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__} {value!s:.20}")
def test_data_comes_back_as_it_was(pool: SandboxExecutor, value: Any) -> None:
    back = run(pool, boxed.same, value)
    assert type(back) is type(value)
    assert back == value


def test_types_that_the_caller_names_come_back(pool: SandboxExecutor) -> None:
    assert run(pool, boxed.kinds) == boxed.kinds()


def test_types_that_the_caller_does_not_name_are_an_error(den: Den) -> None:
    with pytest.raises(foxden.ResultNotData, match=r"boxed\.Point is a type that the caller has not named") as caught:
        den.call(boxed.point, 1)
    assert caught.value.hint == "returns=[Point] names it"
    assert caught.value.__notes__ == ["hint: returns=[Point] names it"], "said once, whoever it was that said it"


@pytest.mark.parametrize(
    ("function", "args", "words"),
    [
        (boxed.generator, (), "generator is not data"),
        (boxed.cyclic, (), "holds itself"),
        (boxed.deep, (100,), "at most 64 containers"),
        (boxed.bad_text, (), "Sly is not data"),
        (boxed.same, (object,), "type is not data"),
    ],
)
def test_a_result_that_is_no_data_is_an_error(pool: SandboxExecutor, function: Any, args: Any, words: str) -> None:
    with pytest.raises(foxden.ResultNotData, match=words):
        run(pool, function, *args)
    assert run(pool, boxed.double, 1) == 2


def test_a_result_that_is_too_large_is_an_error(den: Den) -> None:
    with SandboxExecutor(1, den=den, max_result=100_000) as pool:
        assert len(run(pool, boxed.large, 90_000)) == 90_000
        with pytest.raises(foxden.ResultNotData, match="expected at most 100000 bytes"):
            run(pool, boxed.large, 200_000)


# --- exceptions -------------------------------------------------------------------------------------------------


def test_an_exception_of_pythons_own_comes_back_as_itself(pool: SandboxExecutor) -> None:
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        run(pool, boxed.divide, 0)
    cause = caught.value.__cause__
    assert isinstance(cause, RemoteTraceback)
    assert "in divide" in str(cause)
    assert "return 1 / by" in str(cause)


def test_arguments_of_an_exception_come_back(pool: SandboxExecutor) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        run(pool, boxed.open_file, f"{os.path.dirname(boxed.__file__)}/nowhere")
    assert caught.value.filename.endswith("/nowhere")
    with pytest.raises(KeyError) as other:
        run(pool, boxed.chained)
    assert other.value.args == ("outer",)
    assert "ZeroDivisionError" in str(other.value.__cause__)


def test_an_exception_of_another_type_comes_back_by_name(pool: SandboxExecutor) -> None:
    with pytest.raises(foxden.RemoteError, match="Odd") as caught:
        run(pool, boxed.odd)
    assert caught.value.type_name == "tests.support.boxed.Odd"
    assert caught.value.__notes__ == ["a note"]
    assert "in odd" in caught.value.remote_traceback


def test_an_exception_that_cannot_be_put_into_words_comes_back_all_the_same(pool: SandboxExecutor) -> None:
    with pytest.raises(foxden.RemoteError, match="its text failed"):
        run(pool, boxed.fail_without_words)


def test_exit_of_a_function_does_not_end_the_caller(pool: SandboxExecutor) -> None:
    with pytest.raises(foxden.RemoteError, match="SystemExit: 3"):
        run(pool, boxed.leave, 3)


# --- buffers ----------------------------------------------------------------------------------------------------


def test_arrays_go_down_and_come_up(pool: SandboxExecutor) -> None:
    array = np.arange(1_000_000, dtype="f8").reshape(1000, 1000)
    assert run(pool, boxed.total, array) == array.sum()
    back = run(pool, boxed.same, array.T)
    assert (back == array.T).all()
    assert back.flags.f_contiguous
    back[0, 0] = 5  # it is the caller's own


def test_an_array_can_be_changed_by_the_function_and_is_not_changed_here(pool: SandboxExecutor) -> None:
    array = np.zeros(100_000)
    for _ in range(3):
        assert (run(pool, boxed.add_in_place, array) == 1).all()
    assert (array == 0).all()


def test_an_array_that_a_function_keeps_stays_as_it_was(den: Den) -> None:
    with SandboxExecutor(1, den=den) as pool:
        assert run(pool, boxed.keep, np.full(50_000, 7.0)) == 1
        for value in (1.0, 2.0, 3.0):
            assert run(pool, boxed.total, np.full(50_000, value)) == 50_000 * value
        assert (run(pool, boxed.first_kept) == 7.0).all()


def test_bytes_and_views_go_down(pool: SandboxExecutor) -> None:
    data = os.urandom(3_000_000)
    assert run(pool, boxed.same, data) == data
    view = memoryview(np.arange(12.0).reshape(3, 4))
    assert run(pool, lambda view: (type(view).__name__, view.tolist()), view) == ("memoryview", view.tolist())
    assert run(pool, lambda value: (type(value).__name__, len(value)), bytearray(data)) == ("bytearray", len(data))


def test_a_pickle_that_is_long_goes_down(pool: SandboxExecutor) -> None:
    rows = [str(n) for n in range(50_000)]
    assert run(pool, boxed.same, rows) == rows


# --- concurrent.futures -----------------------------------------------------------------------------------------


def test_map_keeps_the_order_in_chunks_and_without(pool: SandboxExecutor) -> None:
    assert list(pool.map(boxed.double, range(10))) == [2 * n for n in range(10)]
    assert list(pool.map(boxed.double, range(1000), chunksize=33)) == [2 * n for n in range(1000)]
    assert list(pool.map(pow, [2, 3], [5, 2, 9], chunksize=2)) == [32, 9]
    assert list(pool.map(boxed.awaited, [1, 2], chunksize=2)) == [1, 2]


def test_an_exception_in_map_comes_in_its_place(pool: SandboxExecutor) -> None:
    results = pool.map(boxed.divide, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_chunk_that_ends_its_worker_takes_no_other_with_it(den: Den) -> None:
    def crash_at_5(value: int) -> int:
        if value == 5:
            os._exit(9)
        return value

    with SandboxExecutor(1, den=den, timeout=5) as pool:
        run(pool, boxed.double, 1)
        futures = pool._functions.submit_chunks(crash_at_5, [[range(n, n + 2)] for n in range(0, 20, 2)])
        for place, future in enumerate(futures):
            if place == 2:
                with pytest.raises(foxden.ChildCrashed, match="exited with 9"):
                    future.result(WAIT_S)
            else:
                assert future.result(WAIT_S) == [2 * place, 2 * place + 1]


def test_a_chunk_that_hangs_takes_no_other_with_it(den: Den) -> None:
    with SandboxExecutor(1, den=den, timeout=0.2) as pool:
        run(pool, boxed.double, 1)
        futures = pool._functions.submit_chunks(boxed.sleep, [[[seconds, 0]] for seconds in (0, 20, 0, 0)])
        assert futures[0].result(WAIT_S) == [None, None]
        with pytest.raises(foxden.CallTimeout, match=r"within 0\.4 s"):
            futures[1].result(WAIT_S)
        assert [future.result(WAIT_S) for future in futures[2:]] == [[None, None]] * 2


def test_a_function_that_goes_by_value_is_mapped_in_chunks(pool: SandboxExecutor) -> None:
    space: dict[str, Any] = {"__name__": "__main__", "base": 10}
    exec("class Box:\n    def __init__(self, of): self.of = of\ndef add(box): return base + box.of", space)
    boxes = [space["Box"](n) for n in range(200)]
    assert list(pool.map(space["add"], boxes, chunksize=7)) == [10 + n for n in range(200)]
    table = np.arange(1 << 16)
    assert list(pool.map(lambda n: int(table[n]), range(40), chunksize=10)) == list(range(40))
    assert list(pool.map(functools.partial(lambda a, b: a - b, 3), range(4), chunksize=2)) == [3, 2, 1, 0]


def test_more_functions_in_turn_than_a_worker_keeps(pool: SandboxExecutor) -> None:
    named = [abs, bin, chr, float, hex, int, oct, ord, repr, str, bool, complex, boxed.double, boxed.same, ascii]
    named += [bytes, range, round, format, math.sqrt]
    for turn in range(3):
        for function in named if turn else named[:7]:
            value: Any = "7" if function is ord else 7
            assert run(pool, function, value) == function(value)
    assert list(pool.map(math.sqrt, range(9), chunksize=2)) == [math.sqrt(n) for n in range(9)]


def test_functions_by_value_have_the_globals_of_their_call_whoever_else_brought_others(
    pool: SandboxExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("foxden_test_of_globals")
    module.__file__ = "/nowhere/foxden_test_of_globals.py"
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec("def one(): return x\ndef other(): return x", vars(module))
    for name, x in (("one", 1), ("other", 2), ("one", 1), ("one", 3), ("other", 1)):
        module.x = x  # type: ignore[attr-defined]
        assert run(pool, getattr(module, name)) == x
        assert run(pool, boxed.double, x) == 2 * x  # what goes by name changes nothing of it


def test_what_cannot_be_sent_in_chunks_is_named_and_takes_back_the_others(pool: SandboxExecutor) -> None:
    lock = threading.Lock()
    with pytest.raises(foxden.ArgumentsNotSendable, match="the function cannot be sent"):
        pool.map(lambda _: lock, range(10), chunksize=2)
    begun = time.monotonic()
    with pytest.raises(foxden.ArgumentsNotSendable, match="an argument cannot be sent"):
        pool.map(boxed.sleep, [*[0.5] * 50, lock], [0] * 51, chunksize=2)
    assert run(pool, boxed.double, 2) == 4  # behind what had begun, and not behind all
    assert time.monotonic() - begun < 10


def test_chunks_begin_while_the_next_are_still_made(pool: SandboxExecutor) -> None:
    def slowly() -> Iterator[int]:
        for number in range(6):
            yield number
            time.sleep(0.05)

    begun = time.time()
    times = list(pool.map(lambda _: time.time(), slowly(), chunksize=2))
    assert times[0] - begun < 0.2
    assert times[4] - times[0] > 0.1


def test_whoever_stops_reading_a_map_does_not_want_the_rest(den: Den) -> None:
    with SandboxExecutor(1, den=den) as pool:
        results = pool.map(boxed.sleep, [0] * 4 + [0.2] * 200, range(204), chunksize=2)
        assert next(results) == 0
        begun = time.monotonic()
        del results
    assert time.monotonic() - begun < 10


def test_no_chunk_waits_behind_a_slow_one_while_a_worker_has_nothing_to_do(den: Den) -> None:
    with SandboxExecutor(2, den=den) as pool:
        list(pool.map(boxed.sleep, [0.2, 0.2], chunksize=1))  # both are there
        slow, *others = pool._functions.submit_chunks(boxed.sleep, [[[n, 0]] for n in (3, 0.1, 0, 0, 0, 0, 0, 0)])
        assert concurrent.futures.wait(others, timeout=2).not_done == set()
        assert not slow.done()


@needs_userns
def test_what_an_initializer_of_a_script_sets_is_there_for_its_functions() -> None:
    text = f"""
from foxden import SandboxExecutor
model = None
def init(): global model; model = 9
def use(x): return model + x
with SandboxExecutor(1, initializer=init) as pool:
    print(pool.submit(use, 1).result({WAIT_S}), *pool.map(use, range(3)))
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True, timeout=WAIT_S)
    assert done.stdout == "10 9 10 11\n"


def test_a_function_is_sent_again_when_its_globals_are_others(den: Den) -> None:
    space: dict[str, Any] = {"__name__": "__main__", "base": 5}
    exec("class Box: pass\ndef add(x): return base + x\ndef other(x, y=None): return base - x", space)
    with SandboxExecutor(1, den=den) as pool:
        found = [run(pool, space["add"], 1)]
        for base, function, args in (
            (6, "add", ()), (5, "add", ()), (7, "other", ()), (5, "add", ()), (8, "other", (space["Box"](),)),
            (5, "add", ()), (5, "add", ()), (9, "add", ()),
        ):  # fmt: skip
            space["base"] = base
            found.append(run(pool, space[function], 1, *args))
    assert found == [6, 7, 6, 6, 6, 7, 6, 6, 10]


def test_a_function_that_cannot_be_loaded_says_so_each_time_and_the_next_is_loaded(pool: SandboxExecutor) -> None:
    class Bad:
        def __reduce__(self) -> Any:
            return int, ("no number",)

    bad = Bad()
    for _ in range(2):
        with pytest.raises(ValueError, match="no number"):
            run(pool, lambda: bad)
    assert list(pool.map(lambda x: x + 1, [1, 2])) == [2, 3]


def test_with_fresh_workers_each_call_of_a_map_has_its_own(den: Den) -> None:
    def count() -> int:
        import builtins

        builtins.calls = getattr(builtins, "calls", 0) + 1  # type: ignore[attr-defined]
        return int(builtins.calls)  # type: ignore[attr-defined]

    with SandboxExecutor(1, den=den) as shared:
        assert list(shared.map(lambda _: count(), range(4), chunksize=2)) == [1, 2, 3, 4]
    with SandboxExecutor(2, den=den, fresh=True) as fresh:
        assert list(fresh.map(lambda _: count(), range(4), chunksize=2)) == [1, 1, 1, 1]


def test_thousands_of_arrays_go_down(pool: SandboxExecutor) -> None:
    assert run(pool, len, [np.zeros(3) for _ in range(5000)]) == 5000
    with pytest.raises(foxden.ArgumentsNotSendable, match="4000 buffers") as caught:
        run(pool, len, [np.zeros(300) for _ in range(5000)])
    assert "numpy.stack" in caught.value.hint


def test_an_executor_does_not_go_down(pool: SandboxExecutor) -> None:
    with pytest.raises(foxden.ArgumentsNotSendable, match="an executor cannot leave its process"):
        run(pool, len, [pool])


def test_the_time_zone_of_the_environment_is_in_force(den: Den) -> None:
    with SandboxExecutor(1, den=den, env={"TZ": "Asia/Tokyo"}) as pool:
        assert run(pool, lambda: time.localtime(0).tm_hour) == 9


def test_map_times_out(den: Den) -> None:
    with SandboxExecutor(1, den=den) as pool:
        run(pool, boxed.double, 1)
        results = pool.map(boxed.sleep, [0, 0.5], [1, 2], timeout=0.2)
        assert next(results) == 1
        with pytest.raises(TimeoutError):
            next(results)


def test_result_times_out_and_comes_later(pool: SandboxExecutor) -> None:
    future = pool.submit(boxed.sleep, 0.3, "late")
    with pytest.raises(TimeoutError):
        future.result(0.05)
    assert future.result(WAIT_S) == "late"


def test_wait_as_completed_and_callbacks_work(pool: SandboxExecutor) -> None:
    futures = [pool.submit(boxed.double, n) for n in range(5)]
    done, _ = concurrent.futures.wait(futures, WAIT_S)
    assert {future.result() for future in done} == {0, 2, 4, 6, 8}
    assert sorted(f.result() for f in concurrent.futures.as_completed([pool.submit(boxed.double, 1)], WAIT_S)) == [2]
    called = threading.Event()
    pool.submit(boxed.double, 1).add_done_callback(lambda _: called.set())
    assert called.wait(WAIT_S)


def test_a_future_that_is_only_polled_gets_done(pool: SandboxExecutor) -> None:
    future = pool.submit(boxed.double, 1)
    until = time.monotonic() + WAIT_S
    while not future.done():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert future.result() == 2


def test_a_future_that_nobody_looks_at_does_not_hold_its_worker(pool: SandboxExecutor) -> None:
    for n in range(20):
        pool.submit(boxed.double, n)
    assert run(pool, boxed.double, 4) == 8


def test_a_waiting_call_can_be_cancelled_and_a_running_one_cannot(den: Den) -> None:
    with SandboxExecutor(1, den=den) as pool:
        run(pool, boxed.double, 1)
        running, waiting = pool.submit(boxed.sleep, 0.3, 1), pool.submit(boxed.double, 2)
        assert waiting.cancel()
        assert not running.cancel()
        assert running.result(WAIT_S) == 1
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result(WAIT_S)


def test_shutdown_finishes_what_was_asked_and_takes_no_more(den: Den) -> None:
    pool = SandboxExecutor(1, den=den)
    futures = [pool.submit(boxed.sleep, 0.05, n) for n in range(4)]
    pool.shutdown()
    assert [future.result(0) for future in futures] == [0, 1, 2, 3]
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(boxed.double, 1)
    pool.shutdown()


def test_shutdown_cancels_what_waits(den: Den) -> None:
    pool = SandboxExecutor(1, den=den)
    run(pool, boxed.double, 1)
    futures = [pool.submit(boxed.sleep, 0.3, n) for n in range(4)]
    pool.shutdown(cancel_futures=True)
    assert futures[0].result(0) == 0
    assert all(future.cancelled() for future in futures[1:])


def test_workers_are_several_and_no_more_than_asked(den: Den) -> None:
    with SandboxExecutor(2, den=den) as pool:
        begun = time.monotonic()
        pids = {pool.submit(boxed.pid).result(WAIT_S)}
        futures = [pool.submit(boxed.sleep, 1.0) for _ in range(4)]
        concurrent.futures.wait(futures, WAIT_S)
        assert time.monotonic() - begun < 3.9, "two at a time"
        names = [record for record in den.processes() if record.process_type == "utility"]
        assert len(names) <= 2 + 2, "this pool's, the den's own and the module's"
        assert len(pids) == 1


def test_initializer_runs_once_in_each_worker(den: Den) -> None:
    with SandboxExecutor(1, den=den, initializer=boxed.set_up, initargs=("ready",)) as pool:
        assert run(pool, boxed.what_was_set_up) == ["ready"]


def test_an_initializer_that_fails_breaks_the_executor(den: Den) -> None:
    with SandboxExecutor(1, den=den, initializer=boxed.fail_to_set_up) as pool:
        with pytest.raises(concurrent.futures.BrokenExecutor, match="no such device"):
            run(pool, boxed.double, 1)
        with pytest.raises(foxden.WorkersBroken, match="no such device"):
            pool.submit(boxed.double, 1)


def test_each_worker_imports_what_is_preloaded_and_with_fresh_ones_so_does_each_call(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the guide to a pool in a web service says: nothing is imported once for all."""
    marks = tmp_path / "marks"
    marks.mkdir()
    code = f"import os, time\nopen(os.path.join({str(marks)!r}, str(time.time_ns())), 'w').close()\n"
    (tmp_path / "costly.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = []
    for options in ({"fresh": True}, {"max_tasks_per_child": 3}, {}):
        with SandboxExecutor(1, preload=["costly"], write=[marks], **options) as pool:  # type: ignore[arg-type]
            for number in range(6):
                assert pool.submit(abs, number).result() == number
        found.append(len(list(marks.iterdir())))
        for mark in marks.iterdir():
            mark.unlink()
    fresh, shared, kept = found
    assert 6 <= fresh <= 8  # and those that were kept ready
    assert 2 <= shared <= 3
    assert kept == 1


def test_a_worker_is_used_again_fresh_or_so_often(den: Den) -> None:
    def born() -> str:  # pids are 1 in each worker's own namespace
        import foxden

        foxden.count = getattr(foxden, "count", 0) + 1  # type: ignore[attr-defined]
        return str(foxden.count)  # type: ignore[attr-defined]

    with SandboxExecutor(1, den=den) as pool:
        assert [run(pool, born) for _ in range(3)] == ["1", "2", "3"]
    with SandboxExecutor(1, den=den, fresh=True) as pool:
        assert [run(pool, born) for _ in range(3)] == ["1", "1", "1"]
    with SandboxExecutor(1, den=den, max_tasks_per_child=2) as pool:
        assert [run(pool, born) for _ in range(4)] == ["1", "2", "1", "2"]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_workers": 0}, ValueError), ({"max_tasks_per_child": 0}, ValueError), ({"initializer": 5}, TypeError),
        ({"timeout": 0}, foxden.FoxdenError), ({"cpu_time": -1}, foxden.FoxdenError),
        ({"cpu_time": float("nan")}, foxden.FoxdenError), ({"cpu_time": "5"}, foxden.FoxdenError),
        ({"memory": "lots"}, foxden.FoxdenError),
        ({"memory": 5}, foxden.FoxdenError), ({"read": ["/"]}, foxden.PolicyError),
        ({"read": ["/no/such/path"]}, foxden.FoxdenError), ({"connect": ["example.org"]}, foxden.PolicyError),
        ({"level": 4}, foxden.PolicyError), ({"policy": "socket"}, foxden.PolicyError),
        ({"preload": ["a-b"]}, foxden.FoxdenError), ({"returns": ["Point"]}, foxden.FoxdenError),
        ({"env": ["NO_SUCH_NAME_HERE"]}, foxden.FoxdenError),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(den: Den, options: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        SandboxExecutor(den=den, **options)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"max_workers": "2"}, TypeError, "max_workers must be an integer, got '2'"),
        ({"timeout": [1]}, foxden.FoxdenError, r"timeout: expected more than 0 seconds, got \[1\]"),
        ({"cpu_time": True}, foxden.FoxdenError, "cpu_time: expected more than 0 seconds, got True"),
        ({"max_result": "1 MB"}, foxden.FoxdenError, "max_result: expected 1 to .* bytes, got '1 MB'"),
        ({"max_result": 1.5}, foxden.FoxdenError, "max_result: expected 1 to .* bytes, got 1.5"),
        ({"preload": 5}, foxden.FoxdenError, "preload: expected names of modules, got 5"),
        ({"memory": [1]}, foxden.FoxdenError, "memory: expected bytes or a size"),
        ({"den": 5}, foxden.FoxdenError, "den: expected an open foxden.Den, got 5"),
    ],
    ids=str,
)
def test_an_option_of_another_type_is_told_in_words(
    options: dict[str, Any], error: type[Exception], words: str
) -> None:
    """By the executor, and by the decorator before any call, which makes no executor for that."""
    before = dict(executor._shared)
    with pytest.raises(error, match=words):
        SandboxExecutor(**options)
    with pytest.raises(error, match=words):
        foxden.sandboxed(**options)
    with pytest.raises(TypeError, match="sandboxed: got an unexpected keyword argument 'bad'"):
        foxden.sandboxed(bad=1)
    assert executor._shared == before


@pytest.mark.parametrize(
    ("given", "words"),
    [("landlok", "got 'landlok'"), (["landlok"], "got 'landlok'"), (5, "got 5"), ("root,network", "'root,network'")],
)
def test_layers_that_may_be_missing_are_named_in_full(given: Any, words: str) -> None:
    with pytest.raises(foxden.PolicyError, match=f"expected the name of a layer, .*{words}"):
        SandboxExecutor(allow_partial=given)
    with SandboxExecutor(1, allow_partial="landlock") as pool:
        assert run(pool, boxed.double, 1) == 2


def test_a_variable_of_none_is_the_callers_own(den: Den, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOXDEN_TEST_MARK", "mine")
    monkeypatch.delenv("FOXDEN_TEST_ABSENT", raising=False)
    with SandboxExecutor(1, den=den, env={"FOXDEN_TEST_MARK": None, "FOXDEN_TEST_ABSENT": None, "A": "b"}) as pool:
        found = run(pool, boxed.environment)
    assert (found["FOXDEN_TEST_MARK"], found["A"]) == ("mine", "b")
    assert "FOXDEN_TEST_ABSENT" not in found
    with pytest.raises(foxden.FoxdenError, match="env: expected a list of names, got 'PATH'"):
        SandboxExecutor(den=den, env="PATH")


@needs_userns
def test_calls_of_a_closed_den_are_told_that_it_is() -> None:
    den = Den(warm=("utility",))
    assert den.call(boxed.double, 1) == 2
    den.close()
    with pytest.raises(foxden.DenClosed):
        den.call(boxed.double, 1)


# --- the box ----------------------------------------------------------------------------------------------------


def test_the_network_is_not_there(pool: SandboxExecutor, loopback_port: int) -> None:
    boxed.connect(loopback_port)  # the control: outside it works
    with pytest.raises(PermissionError):
        run(pool, boxed.connect, loopback_port)


@pytest.fixture
def loopback_port() -> Iterator[int]:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_files_are_there_when_they_are_granted(den: Den, pool: SandboxExecutor, tmp_path: pathlib.Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("words")
    with pytest.raises(PermissionError):
        run(pool, boxed.open_file, str(secret))
    with SandboxExecutor(1, den=den, read=[secret]) as granted:
        assert run(granted, boxed.open_file, str(secret)) == "words"
        for function, arguments in ((boxed.open_file, (str(secret), "w")), (boxed.listed, (str(tmp_path),))):
            with pytest.raises(PermissionError):
                run(granted, function, *arguments)
    assert secret.read_text() == "words"


def test_places_to_write_to_are_granted(den: Den, pool: SandboxExecutor, tmp_path: pathlib.Path) -> None:
    def work(folder: str) -> list[str]:
        os.makedirs(f"{folder}/made/deep")
        with open(f"{folder}/made/file", "w") as file:
            file.write("written")
        os.rename(f"{folder}/made/file", f"{folder}/renamed")
        with open(f"{folder}/renamed") as file:
            assert file.read() == "written"
        os.rmdir(f"{folder}/made/deep")
        return sorted(os.listdir(folder))

    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(PermissionError):
        run(pool, work, str(place))
    with SandboxExecutor(1, den=den, write=[place]) as granted:
        assert run(granted, work, str(place)) == ["made", "renamed"]
        with pytest.raises(PermissionError):
            run(granted, boxed.open_file, str(tmp_path / "beside"), "w")
    assert (place / "renamed").read_text() == "written"
    assert not (tmp_path / "beside").exists()


def test_temporary_files_are_the_workers_own(pool: SandboxExecutor) -> None:
    def work() -> bool:
        import tempfile

        with tempfile.NamedTemporaryFile("w") as file:
            file.write("x")
            file.flush()
            with open(file.name) as again:
                return again.read() == "x"

    assert run(pool, work)


def test_what_a_function_was_refused_is_told(den: Den, pool: SandboxExecutor) -> None:
    with pytest.raises(PermissionError):
        run(pool, boxed.open_file, "/etc/shadow")
    until = time.monotonic() + 5
    while not any(found.path == "/etc/shadow" and found.process_type == "utility" for found in den.violations()):
        assert time.monotonic() < until
        time.sleep(0.05)


def noted(ask: Any) -> list[str]:
    """Notes on the PermissionError of a call.  A busy machine may be late with them, but not each time."""
    for _ in range(5):
        with pytest.raises(PermissionError) as caught:
            ask()
        notes: list[str] = getattr(caught.value, "__notes__", [])
        if notes:
            break
    return notes


@pytest.mark.usefixtures("shared_executors")
def test_an_error_says_what_was_refused_and_what_would_allow_it(den: Den, pool: SandboxExecutor) -> None:
    passwd = ["refused by the sandbox: open /etc/passwd for reading; hint: read=['/etc/passwd']"]
    assert noted(lambda: run(pool, boxed.open_file, "/etc/passwd")) == passwd
    assert noted(lambda: run(pool, boxed.open_file, "/etc/passwd")) == passwd, "equal acts are told later, and known"
    assert noted(lambda: den.call(boxed.open_file, "/etc/passwd")) == passwd
    assert noted(lambda: foxden.untrusted(boxed.open_file, "/etc/passwd")) == passwd
    assert noted(lambda: asyncio.run(waited(pool, boxed.open_file, "/etc/passwd"))) == passwd
    (wrote,) = noted(lambda: run(pool, boxed.open_file, "/etc/new", "w"))
    assert wrote.startswith("refused by the sandbox: open /etc/new for writing; hint: write=['/etc']")
    fork = noted(lambda: foxden.untrusted(boxed.fork))
    assert fork
    assert fork[-1].startswith("refused by the sandbox: clone; hint: no option allows this")


def test_an_error_about_a_relative_path_has_the_hint_for_the_callers_folder(
    den: Den, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.csv").write_text("given")
    monkeypatch.chdir(tmp_path)
    with SandboxExecutor(1, den=den) as pool:
        (note,) = noted(lambda: run(pool, boxed.open_file, "out.csv", "w"))
        assert note.endswith(f"hint: write=[{str(tmp_path)!r}]")
        (note,) = noted(lambda: run(pool, boxed.open_file, "./in.csv"))
        assert note.startswith("refused by the sandbox: open /in.csv for reading (functions begin in / where nothing ")
        assert note.endswith(f"hint: read=[{str(tmp_path / 'in.csv')!r}]")
    with SandboxExecutor(1, den=den, read=["in.csv"]) as pool:
        assert run(pool, boxed.open_file, "./in.csv") == "given", "the hint is right"
        (note,) = noted(lambda: run(pool, boxed.open_file, "out.csv", "w"))
        assert note == f"refused by the sandbox: open {tmp_path}/out.csv for writing; hint: write=[{str(tmp_path)!r}]"


def test_an_error_of_a_library_about_a_refusal_is_explained(den: Den, pool: SandboxExecutor) -> None:
    def fetch() -> Any:
        import urllib.request

        return urllib.request.urlopen("http://127.0.0.1:1/").status

    with pytest.raises(RemoteError, match="urlopen error") as caught:
        run(pool, fetch)
    assert [note for note in caught.value.__notes__ if "Den.fetch" in note]


def test_all_that_was_refused_is_told_before_it_is_asked_for(den: Den) -> None:
    """Equal acts too, which the broker counts for a second."""

    def try_often(times: int) -> None:
        import contextlib

        for _ in range(times):
            with contextlib.suppress(PermissionError):
                boxed.open_file("/etc/passwd")

    with SandboxExecutor(1, den=den) as pool:
        for times in (1, 1, 5, 20):
            future = pool.submit(try_often, times)
            future.result(WAIT_S)
            assert [each.path for each in pool.violations(future)] == ["/etc/passwd"]
        assert [each.count for each in pool.violations()] == [27]
        assert sum(each.count for each in den.violations(pid=future.pid)) == 27


async def waited(pool: SandboxExecutor, function: Any, *args: Any) -> Any:
    return await asyncio.wrap_future(pool.submit(function, *args))


def test_what_only_a_worker_says_explains_nothing(den: Den) -> None:
    with SandboxExecutor(1, den=den) as pool:
        assert noted(lambda: run(pool, boxed.open_file, "/etc/passwd")), "the control"
        for number, path in ((13, None), (13, "/etc/group"), (1, "/etc/passwd"), (2, "/etc/passwd")):
            error = pool.submit(boxed.claim, number, path).exception(WAIT_S)
            assert isinstance(error, OSError)
            assert getattr(error, "__notes__", []) == [], (number, path)


def test_violations_are_those_of_the_executors_workers_and_of_one_call(den: Den) -> None:
    def paths(pool: SandboxExecutor, future: Any = None) -> list[str | None]:
        return [each.path for each in pool.violations(future) if each.path in ("/etc/passwd", "/etc/group")]

    def until_told(pool: SandboxExecutor, path: str) -> None:
        until = time.monotonic() + 5
        while path not in paths(pool):
            assert time.monotonic() < until
            time.sleep(0.02)

    with SandboxExecutor(1, den=den) as pool, SandboxExecutor(1, den=den) as other:
        first = pool.submit(boxed.open_file, "/etc/passwd")
        assert isinstance(first.exception(WAIT_S), PermissionError)
        until_told(pool, "/etc/passwd")
        second = pool.submit(boxed.open_file, "/etc/group")
        assert isinstance(second.exception(WAIT_S), PermissionError)
        until_told(pool, "/etc/group")
        assert paths(pool) == ["/etc/passwd", "/etc/group"]
        assert paths(pool, second) == ["/etc/group"]
        assert paths(other) == []
        with pytest.raises(foxden.FoxdenError, match="expected a future of a call"):
            pool.violations(concurrent.futures.Future())
    assert paths(pool) == ["/etc/passwd", "/etc/group"], "after its end, too"
    with SandboxExecutor(1) as own:
        assert isinstance(own.submit(boxed.open_file, "/etc/passwd").exception(WAIT_S), PermissionError)
        until_told(own, "/etc/passwd")
    assert paths(own) == ["/etc/passwd"], "and after its den's"


@pytest.mark.parametrize("how", ["print", "stderr", "os.write", "libc"])
def test_a_function_may_write_more_at_once_than_any_buffer_holds(pool: SandboxExecutor, how: str) -> None:
    assert run(pool, boxed.write_much, 220, how) == 220
    assert run(pool, boxed.write_much, 2_200_000, how) == 2_200_000


def say(word: str) -> None:
    import logging
    import sys
    import warnings

    print(word)
    print("\x1b[2J", file=sys.stderr)
    warnings.warn("beware", stacklevel=1)
    logging.warning("logged")


def test_what_functions_write_comes_to_whom_the_executor_names(den: Den, capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with SandboxExecutor(1, den=den, output=lines.append) as pool, SandboxExecutor(1, den=den) as other:
        run(pool, say, "one")
        run(other, say, "two")
    assert "one" in lines
    assert r"\x1b[2J" in lines
    assert any("UserWarning: beware" in line for line in lines)
    assert "WARNING:root:logged" in lines
    assert "two" not in lines
    assert capsys.readouterr() == ("", "")
    with pytest.raises(foxden.FoxdenError, match="output: expected a function or a file"):
        foxden.sandboxed(output=5)


def test_a_flood_of_output_is_counted_and_holds_nobody(den: Den) -> None:
    lines: list[str] = []
    with SandboxExecutor(1, den=den, output=lines.append) as pool:
        assert run(pool, boxed.write_lines, 100_000) == 100_000
        assert run(pool, boxed.double, 1) == 2
    assert 1000 < lines.count("a line") < 60_000
    assert any(line.endswith("more, which came too fast") for line in lines)


def test_the_environment_is_what_is_given(den: Den, pool: SandboxExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    assert "SECRET_TOKEN" not in run(pool, boxed.environment)
    with SandboxExecutor(1, den=den, env=["SECRET_TOKEN"]) as given:
        assert run(given, boxed.environment)["SECRET_TOKEN"] == "hush"


def test_memory_is_limited(den: Den) -> None:
    with SandboxExecutor(1, den=den, memory="256 MiB") as pool:
        assert run(pool, boxed.allocate, 64 << 20) == 64 << 20
        with pytest.raises(MemoryError):
            run(pool, boxed.allocate, 512 << 20)
        assert run(pool, boxed.double, 2) == 4


def test_arguments_that_no_memory_of_a_worker_holds_are_not_sent(den: Den) -> None:
    with SandboxExecutor(1, den=den, memory="256 MiB") as pool:
        assert run(pool, len, np.zeros(140 << 20, "u1")) == 140 << 20, "the control: more than half goes down, too"
        words = f"len: expected arguments of at most {256 << 20} bytes, a worker's memory, got {257 << 20}"
        with pytest.raises(foxden.ArgumentsNotSendable, match=words) as caught:
            pool.submit(len, bytes(257 << 20))
        assert caught.value.hint.startswith("memory= more than 256 MiB")
        with pytest.raises(foxden.ArgumentsNotSendable):
            list(pool.map(len, [np.zeros(129 << 20, "u1"), np.zeros(129 << 20, "u1")], chunksize=2))
        assert run(pool, boxed.double, 1) == 2


@pytest.mark.parametrize(
    "word", ["MemoryError", "OSError: [Errno 12] Cannot allocate memory", "what():  std::bad_alloc", "other"]
)
def test_a_worker_that_ends_with_words_of_memory_is_said_to_have_run_out_of_it(den: Den, word: str) -> None:
    with SandboxExecutor(1, den=den) as pool, pytest.raises(foxden.ChildCrashed) as caught:
        run(pool, boxed.end_like_one_without_memory, word)
    memory = word != "other"
    assert str(caught.value).endswith("; it seems to have run out of memory") == memory
    assert (caught.value.hint == "memory=… gives it more, if that is so") == memory
    assert caught.value.__notes__[-1] == f"hint: {caught.value.hint}"
    assert caught.value.__notes__[0].endswith(word)


def test_what_a_worker_does_before_it_is_ready_has_its_time(den: Den, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions, "_READY_S", 0.5)
    slow: dict[str, Any] = {"den": den, "initializer": boxed.sleep, "initargs": (1,)}
    with SandboxExecutor(1, **slow) as pool, pytest.raises(foxden.ChildTimeout) as caught:
        run(pool, boxed.double, 1)
    assert "the initializer took longer than 0.5 s" in str(caught.value)
    assert caught.value.hint.startswith("timeout=…")
    with SandboxExecutor(1, timeout=20, **slow) as pool:
        assert run(pool, boxed.double, 1) == 2


def test_processor_time_is_that_of_one_call(den: Den) -> None:
    with SandboxExecutor(1, den=den, cpu_time=0.5) as pool:
        uses = []
        for _ in range(4):
            run(pool, boxed.compute, 0.25)
            uses.append(run(pool, boxed.use_again))
        assert uses == [1, 2, 3, 4], "one worker, with twice as much together"
        assert run(pool, boxed.sleep, 0.8, "slept") == "slept", "time in which it does nothing does not count"
        with pytest.raises(foxden.CallTimeout, match=r"compute: used more than 0\.5 s of processor time"):
            run(pool, boxed.compute, 20)
        assert run(pool, boxed.use_again) == 1, "another worker"
        assert list(pool.map(boxed.compute, [0.2] * 4, range(4), chunksize=4)) == list(range(4)), "each has its own"


def test_packages_are_imported_late_and_preloaded(den: Den, pool: SandboxExecutor) -> None:
    def loaded() -> bool:
        import sys

        return "numpy" in sys.modules

    assert run(pool, lambda: float(__import__("numpy").linalg.det([[1.0, 2.0], [3.0, 4.0]]))) == pytest.approx(-2)
    with SandboxExecutor(1, den=den) as plain:
        assert run(plain, loaded) is False
    with SandboxExecutor(1, den=den, preload=["numpy"]) as ready:
        assert run(ready, loaded) is True


def test_threads_of_a_library_work(pool: SandboxExecutor) -> None:
    def multiply() -> float:
        import threading

        import numpy as np

        made: list[float] = []
        ones = np.ones((300, 300))
        threads = [threading.Thread(target=lambda: made.append(float((ones @ ones).sum()))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(made)

    assert run(pool, multiply) == 3 * 300**3


# --- other doors ------------------------------------------------------------------------------------------------


def test_calls_are_awaited() -> None:
    async def work() -> list[Any]:
        async with foxden.AsyncDen(warm=("utility",)) as den:
            return list(await asyncio.gather(den.call(boxed.double, 1), den.call(boxed.awaited, 5)))

    assert asyncio.run(work()) == [2, 5]


def test_the_broker_is_there_for_the_first_call() -> None:
    def types() -> set[str]:
        return {record.process_type for record in den.processes()}

    until = time.monotonic() + WAIT_S
    with Den() as den, SandboxExecutor(1, den=den):
        while "broker" not in types() and time.monotonic() < until:
            time.sleep(0.01)
        assert "broker" in types()
    with Den() as den, SandboxExecutor(1, den=den, level=0) as unboxed:
        assert run(unboxed, boxed.double, 1) == 2
        assert "broker" not in types()


@pytest.mark.parametrize("waits_for_s", [0, 0.3])
def test_a_function_of_python_itself_may_open_a_file_all_the_same(waits_for_s: float, tmp_path: pathlib.Path) -> None:
    """No broker is begun for such a function, which seldom opens one; but when it does, or a moment later."""
    (tmp_path / "granted").write_text("as granted")
    with SandboxExecutor(1, read=[tmp_path]) as pool:
        time.sleep(waits_for_s)
        assert run(pool, pow, 2, 3) == 8
        assert run(pool, eval, f"open({os.fspath(tmp_path / 'granted')!r}).read()") == "as granted"
        assert run(pool, eval, "__import__('fractions').Fraction(1, 2).denominator") == 2


def test_an_executor_of_its_own_leaves_nothing_behind() -> None:
    with SandboxExecutor(1) as pool:
        assert run(pool, boxed.double, 4) == 8


@pytest.fixture
def shared_executors() -> Iterator[None]:
    """Those of the decorators live as long as the program; here they end with the test."""
    yield
    end_shared_executors()


@pytest.mark.usefixtures("shared_executors")
def test_a_decorated_function_runs_in_a_box() -> None:
    @foxden.sandboxed(timeout=20)
    def where(value: int) -> list[int]:
        return [value, os.getpid()]

    importlib.import_module("foxden.children.utility.process")  # which does not make this process a worker
    assert where(3) == [3, 1]
    assert where.__name__ == "where"


@pytest.mark.usefixtures("shared_executors")
def test_untrusted_is_one_line() -> None:
    assert foxden.untrusted(boxed.double, 3) == 6


# --- the end of a program ---------------------------------------------------------------------------------------


def program(text: str) -> tuple[int, str, str]:
    """Run a program of its own with this text; what it wrote."""
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@needs_userns
def test_a_program_that_forgets_its_executor_finishes_its_calls_and_ends() -> None:
    code, out, err = program(
        "import foxden, time\npool = foxden.SandboxExecutor(1)\n"
        "pool.submit(time.sleep, 0.3).add_done_callback(lambda f: print('done', f.exception()))"
    )
    assert (code, out, err) == (0, "done None\n", "")


@needs_userns
def test_a_program_that_does_not_wait_finishes_its_calls_and_ends() -> None:
    code, out, err = program(
        "import foxden\npool = foxden.SandboxExecutor(1)\nf = pool.submit(pow, 2, 5)\n"
        "f.add_done_callback(lambda f: print(f.result()))\npool.shutdown(wait=False)"
    )
    assert (code, out, err) == (0, "32\n", "")


def interrupted(text: str) -> tuple[int, str, str]:
    """Run a program, press Ctrl-C once when it says so, and let it end."""
    import signal
    import subprocess
    import sys

    started = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    with started:
        assert started.stdout is not None
        try:
            assert started.stdout.readline() == "press\n"
            started.send_signal(signal.SIGINT)
            out, err = started.communicate(timeout=WAIT_S)
        finally:
            started.kill()
        return started.returncode, out, err


HANGS = """
import foxden, threading
from tests.support import boxed

def hung(pool):
    future = pool.submit(boxed.hang)
    future.add_done_callback(lambda f: print(f.exception()))
    while not future.running():
        pass
    timer = threading.Timer(0.3, print, ["press"], {"flush": True})
    timer.daemon = True
    timer.start()
    return future

"""


@needs_userns
@pytest.mark.parametrize(
    "text",
    [
        "pool = foxden.SandboxExecutor(1)\nhung(pool).result()",
        "with foxden.SandboxExecutor(1) as pool:\n    hung(pool).result()",
    ],
    ids=["without with", "with"],
)
def test_ctrl_c_ends_the_calls_that_run_and_the_program(text: str) -> None:
    code, out, err = interrupted(HANGS + text)
    assert code == -2, "as Python itself ends"
    assert out.startswith("utility child ")
    assert "its executor was shut down while running hang" in out
    assert err.splitlines()[-1] == "KeyboardInterrupt"


@needs_userns
def test_ctrl_c_ends_the_calls_that_a_program_finishes_at_its_end() -> None:
    code, out, err = interrupted(HANGS + "pool = foxden.SandboxExecutor(1)\nhung(pool)")
    assert (code, err) == (0, "")
    assert "its executor was shut down while running hang" in out


@needs_userns
def test_a_call_that_ends_after_ctrl_c_was_caught_is_finished() -> None:
    """The control: only an interrupt that ended the program ends its calls."""
    code, out, err = interrupted(
        "import foxden, time\npool = foxden.SandboxExecutor(1)\nfuture = pool.submit(time.sleep, 2)\n"
        "future.add_done_callback(lambda f: print('done', f.exception()))\nwhile not future.running(): pass\n"
        "try:\n    print('press', flush=True)\n    time.sleep(5)\nexcept KeyboardInterrupt:\n    pass"
    )
    assert (code, out, err) == (0, "done None\n", "")


def test_an_executor_that_nobody_holds_ends_its_workers(den: Den) -> None:
    pool = SandboxExecutor(1, den=den)
    assert run(pool, boxed.double, 1) == 2
    thread = pool._functions.pool.thread
    del pool
    thread.join(WAIT_S)
    assert not thread.is_alive()


@needs_userns
def test_a_den_that_is_closed_ends_its_executors() -> None:
    den = Den(warm=("utility",))
    pool = SandboxExecutor(1, den=den)
    run(pool, boxed.double, 1)
    running, waiting = pool.submit(boxed.sleep, 20), pool.submit(boxed.double, 1)
    den.close()
    assert isinstance(running.exception(0), foxden.FoxdenError)
    assert waiting.cancelled()
    with pytest.raises(RuntimeError):
        pool.submit(boxed.double, 1)
    with pytest.raises(foxden.DenClosed):
        SandboxExecutor(1, den=den)


def test_a_fork_of_the_program_cannot_use_the_executor(pool: SandboxExecutor) -> None:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            pool.submit(boxed.double, 1)
        except foxden.DenClosed:
            os.write(writer, b"refused")
        os._exit(0)
    os.close(writer)
    assert os.read(reader, 100) == b"refused"
    os.close(reader)
    os.waitpid(child, 0)
    assert run(pool, boxed.double, 1) == 2


def test_level_0_is_no_sandbox_and_says_so(den: Den, pool: SandboxExecutor, tmp_path: pathlib.Path) -> None:
    target = tmp_path / "made"
    with pytest.raises(PermissionError):
        run(pool, boxed.open_file, str(target), "w")
    with SandboxExecutor(1, den=den, level=0) as bare:
        assert run(bare, boxed.open_file, str(target), "w") == "7"
        assert [record.level for record in den.processes() if record.process_type == "utility"].count(0) == 1
    assert target.read_text() == "written"
