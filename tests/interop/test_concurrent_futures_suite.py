"""CPython's own tests of executors, run against SandboxExecutor.

What differs, and why, is the table DIFFERS; docs/reference/executor-differences.md says it in words, and a test holds
the two together.  The suite is Debian's package libpython3-testsuite, or comes with Python where it was built.
"""

from __future__ import annotations

import importlib
import pathlib
import unittest
from typing import Any, ClassVar

import pytest

from foxden import Den, SandboxExecutor

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "reference" / "executor-differences.md"

# Test of the suite → why it does not hold here.
_DOOR = "imports the executor from concurrent.futures, in a program of its own: tests/e2e has the same"
_PRIVATE = "looks at ProcessPoolExecutor's private `_processes`: tests/e2e has the same by other means"
DIFFERS = {
    "test_interpreter_shutdown": _DOOR,
    "test_submit_after_interpreter_shutdown": _DOOR,
    "test_hang_gh83386": _DOOR,
    "test_cancel_futures": "expects a call to have begun at once, where one that waits for its worker can be cancelled",
    "test_traceback": "expects the private class of the traceback; tests/e2e has the same",
    "test_free_reference": "returns an object of a class of its own, which is no data",
    "test_killed_child": "expects BrokenProcessPool, where a dead worker fails its own call and is replaced",
    "test_ressources_gced_in_workers": "takes a multiprocessing manager, a server on a socket, into the box",
    "test_saturation": _PRIVATE,
    "test_idle_process_reuse_one": _PRIVATE,
    "test_idle_process_reuse_multiple": _PRIVATE,
    "test_max_tasks_per_child": "expects another pid, where each worker is process 1 of its own namespace",
    "test_max_tasks_per_child_defaults_to_spawn_context": "asks for a multiprocessing context, of which there is none",
}
MAY_HOLD = {"test_cancel_futures"}  # when the workers are quick
BASES = (
    "ExecutorShutdownTest", "WaitTests", "AsCompletedTests", "ExecutorTest", "ProcessPoolExecutorTest",
    "InitializerMixin",
)  # fmt: skip


def _suite() -> Any:
    """The module of the suite: one file up to 3.11, a package later."""
    try:
        module = importlib.import_module("test.test_concurrent_futures")
    except ImportError:
        return None
    if hasattr(module, "ExecutorTest"):
        return module
    return None


SUITE = _suite()


@pytest.fixture(scope="module")
def den() -> Any:
    with Den(warm=("utility",)) as den:
        den.call(pow, 2, 3)
        yield den


def _cases() -> list[tuple[str, str]]:
    if SUITE is None:
        return []
    return [(base, name) for base in BASES for name in vars(getattr(SUITE, base)) if name.startswith("test_")]


class Boxed(SandboxExecutor):
    """The executor as the suite makes it: with a context, which has no meaning here."""

    home: ClassVar[Den]

    def __init__(self, max_workers: int | None = None, mp_context: object = None, **options: Any) -> None:
        super().__init__(max_workers, den=self.home, **options)


class Context:
    """What the suite asks of a multiprocessing context."""

    def get_start_method(self, allow_none: bool = False) -> str:
        return "spawn"


class OfTheSuite:
    executor_type = Boxed
    worker_count = 2
    executor_kwargs: ClassVar[dict[str, Any]] = {}

    def setUp(self) -> None:
        self.executor = Boxed(self.worker_count, **self.executor_kwargs)

    def tearDown(self) -> None:
        self.executor.shutdown()

    def get_context(self) -> Context:
        return Context()


@pytest.mark.skipif(SUITE is None, reason="no CPython test suite: apt install libpython3-testsuite")
@pytest.mark.leaks_ok("the suite's executors end when they are collected")
@pytest.mark.parametrize(("base", "name"), _cases(), ids=lambda value: value)
def test_the_suite(base: str, name: str, den: Den) -> None:
    Boxed.home = den
    parents = (OfTheSuite, getattr(SUITE, base), unittest.TestCase)
    case = type(base, parents, {"__module__": SUITE.__name__, "__qualname__": base})
    if base == "InitializerMixin":
        case.setUp = _initialized  # type: ignore[attr-defined]
    result = unittest.TestResult()
    case(name).run(result)
    wrong = [text for _, text in (*result.errors, *result.failures)]
    if name in DIFFERS:
        assert wrong or result.skipped or name in MAY_HOLD, f"{name} holds after all: take it out of DIFFERS"
    elif wrong:
        pytest.fail(wrong[0], pytrace=False)


def _initialized(case: Any) -> None:
    case.executor_kwargs = {"initializer": SUITE.init, "initargs": ("initialized",)}
    OfTheSuite.setUp(case)


def test_the_page_names_every_difference() -> None:
    text = PAGE.read_text()
    assert [name for name in DIFFERS if f"`{name}`" not in text] == []
