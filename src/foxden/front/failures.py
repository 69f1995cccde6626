"""How a command ends: one `error:` line, at most one `hint:` line, and the exit code that scripts rely on.

Runs in: command.  Trusts: nothing in a message: it may quote a page or a server.
Flow: exception → (code, error, hint) → standard error.
Source: interface.md "Command": 0, 1 failed, 2 usage, 3 sandbox not available.
"""

from __future__ import annotations

import os
import signal
import sys

import msgspec

from foxden.errors import FoxdenError, SandboxUnavailable, notes_of
from foxden.front.terminal import one_line, paint, tell, wants_colour

FAILED, USAGE, NO_SANDBOX, RUN_FAILED, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 125, 130, 141


class Failure(msgspec.Struct, frozen=True):
    """What is said of an exception.  `error` empty: nothing is."""

    code: int
    error: str = ""
    hint: str = ""


class Stopped(BaseException):
    """A signal asks this process to end: it lets go of what it holds, as after Ctrl-C, and then does."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class CommandFailed(FoxdenError):
    """A command cannot do what it was asked; exit code 1."""


def failure_of(error: BaseException) -> Failure:
    """The words and the exit code for whatever ended a command."""
    if isinstance(error, KeyboardInterrupt):
        return Failure(INTERRUPTED)
    if isinstance(error, Stopped):
        return Failure(128 + error.number)
    if isinstance(error, BrokenPipeError):
        return Failure(BROKEN_PIPE)  # as `cat` by SIGPIPE: whoever reads us had enough
    if isinstance(error, FoxdenError):
        code = NO_SANDBOX if isinstance(error, SandboxUnavailable) else FAILED
        return Failure(code, str(error), error.hint)
    if isinstance(error, OSError):
        # Without a name it was a write to standard output: all else here is opened by name.
        return Failure(FAILED, f"{error.filename or 'standard output'}: {error.strerror or error}")
    return Failure(FAILED, f"a bug in foxden: {type(error).__name__}: {error}", "--debug shows where; please report it")


def report(failure: Failure, *, error: BaseException | None = None) -> int:
    """Say it; `error` is given to show its traceback too.  Returns the exit code."""
    if error is not None and failure.error:
        import traceback

        shown = traceback.TracebackException.from_exception(error)
        shown.__notes__ = notes_of(error)  # its hint has a line of its own below
        sys.stderr.write("".join(shown.format()))
    colour = wants_colour(sys.stderr)
    if failure.error:
        tell(f"{paint('error:', 'red', colour)} {one_line(failure.error)}")
    if failure.hint:
        tell(f"{paint('hint:', 'cyan', colour)} {one_line(failure.hint)}")
    return failure.code


def warn(text: str, *, word: str = "warning", style: str = "yellow") -> None:
    """Something that the user must know, and that stops nothing."""
    tell(f"{paint(word + ':', style, wants_colour(sys.stderr))} {one_line(text)}")


def stop_on_signals() -> None:
    """Make SIGTERM and SIGHUP end the command the way Ctrl-C does.  One that is ignored (nohup) stays ignored."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, stop)


def let_go_of_stdout() -> None:
    """Nobody reads it: what is still buffered must not fail when the interpreter ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
