"""One test of pytest's, inside its worker: called, and what came of it put into words and data.

Runs in: utility; named in the parent, which sends it as the function to call.  Trusts: the parent's pickle.
Flow: pickle of (test, (arguments, filters)) → the test → {"outcome", …}, which the parent takes for nothing but data.
Source: pytest's outcomes; `_pytest.assertion.util._reprcompare`, the hook of rewritten assertions.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import linecache
import operator
import pickle
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

_OUTPUT_MAX = 64 << 10  # characters, of each stream
_TRACE_MAX = 48 << 10
_TEXT_MAX = 16 << 10
WARNINGS_MAX = 100  # of one test
WARNING_SIZES = (500, 4000, 1000, 1000)  # characters of its category, text, file name and line
_SCALARS = frozenset({type(None), bool, int, float, str, bytes})


class _Bounded(io.StringIO):
    """The beginning of what was written."""

    def write(self, text: str) -> int:
        super().write(text[: max(0, _OUTPUT_MAX - self.tell())])
        return len(text)


class BoxedTest:
    """What is called in a worker, under the name of the test."""

    def __init__(self, name: str) -> None:
        self.__qualname__ = name

    def __call__(self, work: bytes, verbosity: int) -> dict[str, Any]:
        return _run(work, verbosity)


def _run(work: bytes, verbosity: int) -> dict[str, Any]:
    """Returns {outcome: passed | failed | skipped | xfailed | unloadable, type, message, trace, error, out, err}.

    And warnings: rows of category's name, text, file name, number of the line and the line.
    """
    try:
        test, (keywords, filters) = pickle.loads(work)  # noqa: S301 - from the parent, in the child
    except BaseException as error:
        return _failure("unloadable", error, error.__traceback__)
    _explain_assertions(verbosity)
    filters = _loaded(filters)
    out, err = _Bounded(), _Bounded()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), _recorded(filters, keywords) as log:
        found = _call(test, keywords)
    return {**found, "out": out.getvalue(), "err": err.getvalue(), "warnings": _told(log)}


def _call(test: Any, keywords: dict[str, Any]) -> dict[str, Any]:
    try:
        value = test(**keywords)
        if inspect.iscoroutine(value):
            import asyncio

            asyncio.run(value)
    except BaseException as error:
        tracing = error.__traceback__.tb_next if error.__traceback__ is not None else None  # without this frame
        return _failure(_outcome_of(error), error, tracing)
    return {"outcome": "passed"}


def _outcome_of(error: BaseException) -> str:
    import unittest

    import pytest

    if isinstance(error, pytest.skip.Exception | unittest.SkipTest):
        return "skipped"
    return "xfailed" if isinstance(error, pytest.xfail.Exception) else "failed"


def _failure(outcome: str, error: BaseException, tracing: Any) -> dict[str, Any]:
    kind = type(error)
    plain = kind.__module__ == "builtins" and set(map(type, error.args)) <= _SCALARS
    trace = _trace_of(error, tracing)
    return {
        "outcome": outcome,
        "type": f"{kind.__module__}.{kind.__qualname__}",
        "message": _text_of(error)[:_TEXT_MAX],
        "trace": trace[-_TRACE_MAX:],
        "error": error if plain and isinstance(error, Exception) and len(repr(error.args)) < _TEXT_MAX else None,
    }


def _trace_of(error: BaseException, tracing: Any) -> str:
    """As Python writes it, without the frames that pytest would hide."""
    told = traceback.TracebackException(type(error), error, tracing)
    hidden = [bool(frame.f_locals.get("__tracebackhide__")) for frame, _ in traceback.walk_tb(tracing)]
    kept = [entry for entry, is_hidden in zip(told.stack, hidden, strict=False) if not is_hidden]
    told.stack = traceback.StackSummary.from_list(kept or list(told.stack))
    return "".join(told.format())


def _text_of(error: BaseException | str) -> str:
    message = getattr(error, "msg", None)  # of pytest's outcomes
    try:
        return message if isinstance(message, str) else str(error)
    except Exception:
        return "its text failed"


# ---- warnings


def _loaded(filters: list[Any]) -> list[Any]:
    """Filters with their categories.  One that cannot be imported here is of no warning here."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what an import of a category warns of is not the test's
        for action, message, category, module, line in filters:
            with contextlib.suppress(Exception):
                found.append((action, message, _category(category), module, line))
    return found


def _category(given: type[Warning] | tuple[str, str]) -> type[Warning]:
    if isinstance(given, type):
        return given
    module, name = given
    found: type[Warning] = operator.attrgetter(name)(importlib.import_module(module))
    return found


@contextlib.contextmanager
def _recorded(filters: list[Any], keywords: dict[str, Any]) -> Iterator[list[warnings.WarningMessage]]:
    """Record what is warned of under these filters, and in the fixture `recwarn` if the test has it."""
    import pytest

    with contextlib.ExitStack() as stack:
        log = stack.enter_context(warnings.catch_warnings(record=True))
        for value in keywords.values():
            if isinstance(value, pytest.WarningsRecorder):
                before = list(value)
                value._entered = False  # it was, where the fixture was made
                stack.enter_context(value).list.extend(before)
        warnings.resetwarnings()
        for action, message, category, module, line in filters:
            warnings.filterwarnings(action, message, category, module, line, append=True)
        yield log


def _told(log: list[warnings.WarningMessage]) -> list[list[Any]]:
    rows = [_row(each) for each in log[:WARNINGS_MAX]]
    if len(log) > WARNINGS_MAX:
        left = f"{len(log) - WARNINGS_MAX + 1} more warnings of this test are not shown"
        rows[-1] = ["builtins.UserWarning", left, *rows[-1][2:]]
    return rows


def _row(warning: warnings.WarningMessage) -> list[Any]:
    kind, filename, number = warning.category, str(warning.filename), int(warning.lineno)
    line = linecache.getline(filename, number).strip() if warning.line is None else str(warning.line)
    texts = (f"{kind.__module__}.{kind.__qualname__}", _text_of(warning.message), filename, line)
    category, text, filename, line = (text[:most] for text, most in zip(texts, WARNING_SIZES, strict=True))
    return [category, text, filename, max(0, number), line]


# ---- rewritten assertions


class _Writer:
    def _highlight(self, source: str, lexer: str = "") -> str:
        return source


class _Config:
    """As much of pytest's config as its comparison of two values asks for."""

    def __init__(self, verbosity: int) -> None:
        self._verbosity = verbosity
        self.pluginmanager = self

    def has_plugin(self, name: str) -> bool:
        return False

    def get_terminal_writer(self) -> _Writer:
        return _Writer()

    def get_verbosity(self, kind: str | None = None) -> int:
        return self._verbosity

    def getini(self, name: str) -> str | None:
        return "ndiff" if name == "assertion_text_diff_style" else None


def _explain_assertions(verbosity: int) -> None:
    """Have assertions that pytest rewrote tell what differs, as they do outside of a box."""
    from _pytest import assertion
    from _pytest.assertion import util

    config: Any = _Config(verbosity)

    def compare(op: str, left: object, right: object) -> str | None:
        try:
            lines = assertion.pytest_assertrepr_compare(config, op, left, right)
        except Exception:
            return None  # of another pytest than those that are tested: `assert 1 == 2` is told without it
        if not lines:
            return None
        return "\n~".join(line.replace("\n", "\\n") for line in lines).replace("%", "%%")

    util._reprcompare = compare
