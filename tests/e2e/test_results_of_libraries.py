"""Frames and tables from real workers; exceptions that `except ValueError` catches; too much of something."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support import boxed
from tests.support.users import needs_userns

import foxden
from foxden import Den, SandboxExecutor
from foxden.ipc.values import Code, Ext, encode_tokens

WAIT_S = 60


@pytest.fixture(scope="module")
def den() -> Iterator[Den]:
    with Den(warm=("utility",)) as den, SandboxExecutor(1, den=den) as warm:
        assert warm.submit(boxed.double, 1).result(WAIT_S) == 2
        yield den


@pytest.fixture
def pool(den: Den) -> Iterator[SandboxExecutor]:
    with SandboxExecutor(1, den=den) as pool:
        assert run(pool, boxed.double, 1) == 2
        yield pool


def run(pool: SandboxExecutor, function: Any, *args: Any) -> Any:
    return pool.submit(function, *args).result(WAIT_S)


@pytest.mark.leaks_ok("Arrow has threads of its own from its first use on")
def test_a_table_comes_from_a_worker(pool: SandboxExecutor) -> None:
    pa = pytest.importorskip("pyarrow")

    def make() -> Any:
        import pyarrow as pa

        return pa.table({"n": list(range(100_000)), "s": ["a", None] * 50_000})

    assert run(pool, make).equals(make())
    evil = encode_tokens([Ext(Code.ARROW_ARRAY, b""), ["string"], 1, None, None, None])
    with pytest.raises(foxden.BadMessage, match="no buffer of an Arrow array"):
        run(pool, boxed.answer_once, evil)
    assert run(pool, lambda: pa.array([1])).to_pylist() == [1], "the pool goes on"


@pytest.mark.leaks_ok("Arrow has threads of its own from its first use on")
def test_a_frame_comes_from_a_worker_as_it_was_there(pool: SandboxExecutor) -> None:
    pd = pytest.importorskip("pandas")

    def make() -> Any:
        import pandas as pd

        frame = pd.DataFrame({"k": pd.Categorical(["a", "b", "a"]), "v": pd.array([1, None, 3], dtype="Int64")})
        frame["when"] = pd.date_range("2026", periods=3, tz="Europe/Paris")
        return frame.set_index("k").rename_axis("id")

    pd.testing.assert_frame_equal(run(pool, make), make())


def test_an_exception_of_a_library_is_caught_as_what_it_is_derived_from(pool: SandboxExecutor) -> None:
    with pytest.raises(ValueError, match="JSONDecodeError: Expecting property name") as caught:
        run(pool, json.loads, "{")
    assert isinstance(caught.value, foxden.RemoteError)


def test_too_many_items_do_not_end_the_worker(pool: SandboxExecutor) -> None:
    before = run(pool, boxed.pid)
    with pytest.raises(foxden.ResultNotData, match="items in all"):
        run(pool, lambda: set(range(2_200_000)))
    assert run(pool, boxed.pid) == before


_PROGRAM = """
import sys
import foxden

def number():
    import numpy as np
    return [np.int64(3), np.float64(0.5)]

if __name__ == "__main__":
    with foxden.SandboxExecutor(1) as pool:
        found = pool.submit(number).result(60)
        print([type(item).__name__ for item in found], "numpy" in sys.modules)
    with foxden.SandboxExecutor(1, preload=["numpy"]) as pool:
        print([type(item).__name__ for item in pool.submit(number).result(60)], "numpy" in sys.modules)
"""


@needs_userns
def test_numbers_of_numpy_come_to_a_caller_without_it(tmp_path: Any) -> None:
    path = tmp_path / "program.py"
    path.write_text(_PROGRAM)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, timeout=120)
    assert done.stdout == "['int', 'float'] False\n['int64', 'float64'] True\n", done.stderr
