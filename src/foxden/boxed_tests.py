"""Tests of pytest's in workers: what is sent down, what came of it, and the words for a report.

Runs in: pytest's process, once a marked test runs.  Trusts: the test's file and fixtures; nothing that a worker says.
Flow: item → options of its markers → arguments.pack_whole → a fresh worker → Answer → an exception of pytest's, Told.
Source: the plugin's guide, docs/guides/test-in-a-box.md.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprFileLocation, ReprTraceback, ReprTracebackNative

from foxden import boxed_warnings
from foxden.children.utility.boxed_test import BoxedTest
from foxden.errors import ArgumentsNotSendable, CallTimeout, ChildCrashed, FoxdenError, RemoteError, notes_of
from foxden.executor import SandboxExecutor
from foxden.front.violations_view import summary
from foxden.model.escaped import one_line
from foxden.model.records import Violation
from foxden.parent.arguments import pack_whole
from foxden.parent.calls import CallFuture
from foxden.parent.den import Den
from foxden.parent.import_folders import import_path, readable_folders
from foxden.parent.importable import View
from foxden.pytest_plugin import MARKER, Told, told_key
from foxden.sandbox.syscalls import policy_error

_OPTIONS = ("read", "write", "connect", "env", "memory", "timeout", "cpu_time", "level", "policy", "preload")
_PATHS = ("read", "write")
_MAX_ANSWER = 4 << 20  # bytes
_OWN_FOLDERS = ("tmp_path",)  # fixtures that stand for a folder of the test's own: the test may write there
_LONGER = "@pytest.mark.sandboxed(timeout=…), or foxden_timeout in pytest's ini file, gives it longer"
_HEARD_WITHIN_S = 0.5  # a refusal is told on another way than the answer
_den_key = pytest.StashKey[Den]()
_pools_key = pytest.StashKey[dict[str, SandboxExecutor]]()


class Answer(NamedTuple):
    """What a worker said of its test, every field of the type that it should have."""

    outcome: str
    kind: str = ""
    message: str = ""
    trace: str = ""
    out: str = ""
    err: str = ""
    error: Exception | None = None
    warned: tuple[boxed_warnings.Warned, ...] = ()


_FIELDS = {"kind": "type", "message": "message", "trace": "trace", "out": "out", "err": "err"}
_OUTCOMES = ("passed", "failed", "skipped", "xfailed", "unloadable")


def call(item: pytest.Function) -> None:
    """Run the call of a test in a worker of its own, and raise here what it raised there."""
    __tracebackhide__ = True
    options = options_of(item)
    work = packed(item, options)
    den = _den(item.config)
    pool, is_shared = _pool(item, den, options)
    verbosity = item.config.get_verbosity(pytest.Config.VERBOSITY_ASSERTIONS)
    try:
        future = pool.submit(BoxedTest(item.name), work, verbosity)
        _settle(item, den, future)
    finally:
        if not is_shared:
            pool.shutdown()


def _settle(item: pytest.Function, den: Den, future: Any) -> None:
    __tracebackhide__ = True
    try:
        answer = answer_of(future.result())
    except FoxdenError as error:  # it ended its worker, or never came there, or answered with no data
        text = f"{type(error).__name__}: {error}"
        late = isinstance(error, CallTimeout) and error.limit == "timeout"
        hint = _LONGER if late else "" if isinstance(error, ChildCrashed) else error.hint
        _tell(item, den, future, [f"E   {one_line(text)}", *_notes(error), *_hint(hint)], text)
        raise error from None
    for stream, text in ((sys.stdout, answer.out), (sys.stderr, answer.err)):
        stream.write("".join(one_line(line) + "\n" for line in text.splitlines()))
    boxed_warnings.show(answer.warned, item.config)
    if answer.outcome == "passed":
        return
    if answer.outcome == "skipped":
        raise pytest.skip.Exception(one_line(answer.message), _use_item_location=True)
    if answer.outcome == "xfailed":
        raise pytest.xfail.Exception(one_line(answer.message))
    _tell(item, den, future, told_lines(answer), _shortened(f"{_short(answer.kind)}: {answer.message}"))
    raise _error_of(answer) from None


def _error_of(answer: Answer) -> BaseException:
    if answer.error is not None:
        return answer.error
    if answer.kind in ("_pytest.outcomes.Failed", "builtins.Failed"):
        return pytest.fail.Exception(one_line(answer.message), pytrace=False)
    return RemoteError(
        f"{_short(answer.kind)}: {one_line(answer.message)}", type_name=answer.kind, remote_traceback=answer.trace
    )


def answer_of(value: object) -> Answer:
    """Check what came; a worker that was taken over may send anything.  Raises: FoxdenError."""
    wrong = FoxdenError("the worker's answer is no result of a test", hint="something in the test replaced it")
    if not isinstance(value, Mapping) or value.get("outcome") not in _OUTCOMES:
        raise wrong
    texts = {field: value.get(key, "") for field, key in _FIELDS.items()}
    error, warned = value.get("error"), boxed_warnings.checked(value.get("warnings", ()))
    if not all(isinstance(text, str) for text in texts.values()) or not isinstance(error, Exception | None):
        raise wrong
    if warned is None:
        raise wrong
    return Answer(str(value["outcome"]), **texts, error=error, warned=warned)


# ---- what is sent


def options_of(item: pytest.Item) -> dict[str, Any]:
    """Options of all its markers, the closest first.  Raises: pytest's failure, in words."""
    merged: dict[str, Any] = {}
    for marker in item.iter_markers(MARKER):
        if marker.args:
            pytest.fail(f"sandboxed: options go by name, got {marker.args[0]!r}", pytrace=False)
        for name in marker.kwargs:
            if name not in _OPTIONS:
                error = policy_error("sandboxed", f"one of the options {', '.join(_OPTIONS)}", name, _OPTIONS)
                pytest.fail("\n".join([str(error), *_hint(error.hint)]), pytrace=False)
        merged = {**marker.kwargs, **merged}
    folder = item.path.parent
    for name in _PATHS:
        paths = merged.get(name, ())
        paths = (paths,) if isinstance(paths, str | os.PathLike) else paths
        merged[name] = [os.path.join(folder, os.fsdecode(path)) for path in paths]
    policy = merged.get("policy")
    if isinstance(policy, str | os.PathLike) and os.path.exists(folder / policy):
        merged["policy"] = os.path.join(folder, policy)
    merged.setdefault("timeout", float(item.config.getini("foxden_timeout")))
    merged["read"].append(str(item.path))  # so that its traceback has lines
    merged["preload"] = ["pytest", *_listed(merged.get("preload", ()))]
    return merged


def _listed(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def packed(item: pytest.Function, options: Mapping[str, Any]) -> bytes:
    """The test and its fixtures' values as a pickle.  Raises: pytest's failure, which names what cannot be sent."""
    keywords = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
    folders = (*readable_folders(import_path()), *options["read"], *options["write"], os.path.dirname(os.__file__))
    view = View(folders, by_value=(item.module.__name__,))
    try:
        return pack_whole(item.obj, (keywords, boxed_warnings.filters_in_force(view)), view=view)
    except ArgumentsNotSendable as error:
        text = f"the test cannot be sent to a worker: {error.__cause__}\nhint: {_SENDABLE}"
    problems = (_problem_of(name, value, view) for name, value in keywords.items())
    pytest.fail(next(filter(None, problems), text), pytrace=False)


_SENDABLE = "names of its module that it uses must be data, functions, classes or modules"
_SENDABLE_VALUE = "let it return data, or use it in a fixture and hand the test what it needs of it"


def _problem_of(name: str, value: object, view: View) -> str:
    """Why the value of a fixture cannot be sent; empty when it can."""
    try:
        pack_whole(str, (value,), view=view)
    except ArgumentsNotSendable as error:
        what = f"fixture '{name}' cannot be sent to a worker: it is a {type(value).__qualname__}"
        return f"{what}: {error.__cause__}\nhint: {_SENDABLE_VALUE}"
    return ""


# ---- workers


def _den(config: pytest.Config) -> Den:
    """One for the whole run, made when the first marked test comes."""
    den = config.stash.get(_den_key, None)
    if den is None:
        den = Den(allow_partial=config.getini("foxden_allow_partial"), warm=("utility",))
        config.stash[_den_key] = den
        config.stash[_pools_key] = {}
        config.add_cleanup(den.close)
    return den


def _pool(item: pytest.Function, den: Den, options: dict[str, Any]) -> tuple[SandboxExecutor, bool]:
    """Workers that serve one test each; those of equal options are made ready ahead.  True: others use it, too."""
    own = [str(item.funcargs[name]) for name in _OWN_FOLDERS if name in item.funcargs]
    if own:
        options = {**options, "write": [*options["write"], *own]}
        return SandboxExecutor(1, den=den, max_tasks_per_child=1, max_result=_MAX_ANSWER, **options), False
    pools = item.config.stash[_pools_key]
    key = repr(sorted(options.items(), key=lambda pair: pair[0]))
    if key not in pools:
        pools[key] = SandboxExecutor(1, den=den, fresh=True, max_result=_MAX_ANSWER, **options)
    return pools[key], True


# ---- what is told


def told_lines(answer: Answer) -> list[str]:
    """The traceback in the worker, and below it what was raised, as pytest marks it."""
    lines = [one_line(line) if line.strip() else "" for line in _without_tabs(answer.trace)]
    raised = _place_of_error(lines)
    head = "could not be loaded in its worker:" if answer.outcome == "unloadable" else "in its worker:"
    return [head, *lines[:raised], *(f"E   {_shortened(line)}" for line in lines[raised:])]


def _shortened(line: str) -> str:
    """As pytest shows an assertion that it rewrote."""
    return line.removeprefix("AssertionError: ") if line.startswith("AssertionError: assert ") else line


def _place_of_error(lines: list[str]) -> int:
    """The first line below the last frame and its source."""
    frames = [place for place, line in enumerate(lines) if line.startswith("  File ")]
    below = range(frames[-1] + 1, len(lines)) if frames else ()
    return next((place for place in below if not lines[place].startswith("    ")), 0)


def _without_tabs(text: str) -> list[str]:
    return text.expandtabs(4).splitlines()


def _tell(item: pytest.Function, den: Den, future: CallFuture, lines: list[str], message: str) -> None:
    refused = _refusals(den, future)
    sections = (("refused by the sandbox", "\n".join(summary(refused))),) if refused else ()
    item.stash[told_key] = Told(tuple(lines), one_line(message.partition("\n")[0]), sections)


def _refusals(den: Den, future: CallFuture) -> list[Violation]:
    """What its worker was refused since it got the test: what it imported before is not the test's."""
    until = time.monotonic() + _HEARD_WITHIN_S
    while future.pid and time.monotonic() < until:
        found = [each for each in den.violations(pid=future.pid) if each.time >= future.given_at]
        if found:
            return found
        time.sleep(0.02)
    return []


def _notes(error: BaseException) -> list[str]:
    return [f"    {one_line(line)}" for note in notes_of(error) for line in note.splitlines()]


def _hint(hint: str) -> list[str]:
    return [f"hint: {one_line(hint)}"] if hint else []


def _short(kind: str) -> str:
    return one_line(kind.removeprefix("builtins.").removeprefix("_pytest.outcomes."))


def describe(report: pytest.TestReport, told: Told) -> None:
    """Put a worker's words into the report of its test."""
    path, line, _ = report.location
    crash = ReprFileLocation(path, (line or 0) + 1, told.message)
    trace: ReprTraceback = ReprTracebackNative([f"{line}\n" for line in told.lines])
    report.longrepr = ExceptionChainRepr([(trace, crash, None)])
    report.sections.extend(told.sections)
