"""Every way to end has its exit code and its words."""

from __future__ import annotations

import signal

import pytest

from foxden.errors import ChildCrashed, LoadError, NetworkError, SandboxUnavailable
from foxden.front.failures import CommandFailed, Failure, Stopped, failure_of, report, warn


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (KeyboardInterrupt(), Failure(130)),
        (Stopped(signal.SIGTERM), Failure(143)),
        (BrokenPipeError(), Failure(141)),
        (SandboxUnavailable("no", hint="do"), Failure(3, "no", "do")),
        (NetworkError("net", code="NS_X"), Failure(1, "net")),
        (LoadError("load", code="NS_X", hint="h"), Failure(1, "load", "h")),
        (ChildCrashed("crash"), Failure(1, "crash")),
        (CommandFailed("cannot"), Failure(1, "cannot")),
        (FileNotFoundError(2, "No such file", "f"), Failure(1, "f: No such file")),
        (OSError(28, "No space"), Failure(1, "standard output: No space")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_end_has_a_code_and_words(error: BaseException, failure: Failure) -> None:
    assert failure_of(error) == failure


def test_bug_says_that_it_is_one() -> None:
    failure = failure_of(ZeroDivisionError("by zero"))
    assert failure.code == 1
    assert failure.error == "a bug in foxden: ZeroDivisionError: by zero"
    assert "--debug" in failure.hint


def test_error_and_hint_are_one_line_each_whatever_is_in_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(Failure(1, "a\nb\x1b[2J", "c\r\nhint: forged")) == 1
    assert capsys.readouterr().err == "error: a b\\x1b[2J\nhint: c hint: forged\n"


def test_quiet_end_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(Failure(130), error=KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == ""


def test_traceback_comes_before_the_error_line(capsys: pytest.CaptureFixture[str]) -> None:
    report(Failure(1, "words"), error=ValueError("inside"))
    text = capsys.readouterr().err
    assert text.splitlines()[-2:] == ["ValueError: inside", "error: words"]


def test_a_traceback_and_the_hint_line_say_the_hint_once(capsys: pytest.CaptureFixture[str]) -> None:
    error = LoadError("words", code="NS_X", hint="do")
    error.add_note("a note")
    report(failure_of(error), error=error)
    assert capsys.readouterr().err.splitlines()[-4:] == [
        "foxden.errors.LoadError: words", "a note", "error: words", "hint: do",
    ]  # fmt: skip


def test_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    warn("a\nb")
    assert capsys.readouterr().err == "warning: a b\n"
