"""One test of pytest's, inside its worker: called, and what came of it put into words and data.

Runs in: utility; named in the parent, which sends it as the function to call.  Trusts: the parent's pickle.
Flow: pickle of (test, arguments) → the test → {"outcome", …}, which the parent takes for nothing but data.
Source: pytest's outcomes; `_pytest.assertion.util._reprcompare`, the hook of rewritten assertions.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import pickle
import traceback
from typing import Any

_OUTPUT_MAX = 64 << 10  # characters, of each stream
_TRACE_MAX = 48 << 10
_TEXT_MAX = 16 << 10
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
    """Returns {outcome: passed | failed | skipped | xfailed | unloadable, type, message, trace, error, out, err}."""
    try:
        test, keywords = pickle.loads(work)  # noqa: S301 - from the parent, in the child
    except BaseException as error:
        return _failure("unloadable", error, error.__traceback__)
    _explain_assertions(verbosity)
    out, err = _Bounded(), _Bounded()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = _call(test, keywords)
    return {**found, "out": out.getvalue(), "err": err.getvalue()}


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


def _text_of(error: BaseException) -> str:
    message = getattr(error, "msg", None)  # of pytest's outcomes
    try:
        return message if isinstance(message, str) else str(error)
    except Exception:
        return "its text failed"


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
