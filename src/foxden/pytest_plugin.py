"""The pytest plugin: the call of a test that is marked `sandboxed` runs in a worker of its own.

Runs in: pytest's process; loaded by every run of pytest where foxden is installed, so it imports nothing of it.
Trusts: the test's file, its markers and fixtures, which run here; not the test's call.
Flow: pytest_pyfunc_call → boxed_tests.call → a worker → what came of it, raised here → the report.
Source: pytest's hook reference; entry point `pytest11`.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

import pytest

MARKER = "sandboxed"
_HELP = (
    "sandboxed(read=, write=, env=, memory=, timeout=, level=, policy=, preload=): run the call of this test in a "
    "sandboxed worker process of its own.  Options as of foxden.SandboxExecutor; relative paths are the test file's."
)


class Told(NamedTuple):
    """What a worker had to say about a failed test, for its report."""

    lines: tuple[str, ...]
    message: str
    sections: tuple[tuple[str, str], ...]


told_key = pytest.StashKey[Told]()
called_key = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("foxden_timeout", "seconds for the call of a sandboxed test that names none", default="60")
    parser.addini("foxden_allow_partial", "layers of the sandbox whose loss is accepted, by name", type="args")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _HELP)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object | None:
    if pyfuncitem.get_closest_marker(MARKER) is None:
        return None
    from foxden import boxed_tests

    pyfuncitem.stash[called_key] = True
    boxed_tests.call(pyfuncitem)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A test that asks for a box and would run without one fails instead."""
    if item.get_closest_marker(MARKER) is None:
        return (yield)
    if not isinstance(item, pytest.Function) or _is_unittest(item):
        what = f"{type(item).__name__} cannot run in a box"
        pytest.fail(f"sandboxed: {what}: only functions can, and methods of plain classes", pytrace=False)
    result = yield
    if not item.stash.get(called_key, False):
        pytest.fail("sandboxed: another plugin ran this test, without a box", pytrace=False)
    return result


def _is_unittest(item: pytest.Function) -> bool:
    from unittest import TestCase

    return isinstance(item.cls, type) and issubclass(item.cls, TestCase)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    told = item.stash.get(told_key, None)
    if told is not None and report.when == "call" and report.failed:
        from foxden import boxed_tests

        boxed_tests.describe(report, told)
    return report
