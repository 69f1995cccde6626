"""`foxden run` from its words to its exit code: the quick way, and what it prints.

Runs in: command.  Trusts: its command line.
Flow: words → run_options.read_words → running.Run → violations, failures → exit code.
Source: interface.md "run exit codes": foxden's own failures are 125, whatever they are.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from foxden.errors import FoxdenError
from foxden.front.run_options import RunOptions, read_words

if TYPE_CHECKING:
    from foxden.front.running import Run
    from foxden.launch.own_broker import Told
    from foxden.launch.supervise import Outcome


def run_quickly(words: Sequence[str]) -> int | None:
    """Run what these words ask for; None where the command line library's reader must look at them."""
    try:
        options = read_words(words)
    except FoxdenError as error:
        return failed(error)
    return None if options is None else execute(options)


def execute(options: RunOptions) -> int:
    """Run the program, show what was refused, return the exit code."""
    from foxden.front.running import Run

    run = Run(options)
    try:
        if options.report or options.learn:
            from foxden.front.run_report import check_files

            check_files(options)
        outcome, told = run.execute()
        if told or run.exceeded or outcome.errno or options.as_json or options.report or options.learn:
            _show(run, outcome, told)
        elif outcome.code and not options.explain and os.isatty(2):
            _show_way_to_know()
    except Exception as error:  # whatever it is, it is not the program's exit code
        return failed(error, debug=options.debug)
    return outcome.code


def failed(error: Exception, *, debug: bool = False) -> int:
    """foxden could not do it: one error line, one hint line."""
    from foxden.front import failures

    failures.report(failures.failure_of(error), error=error if debug else None)
    return failures.RUN_FAILED


def _show_way_to_know() -> None:
    """It failed, and nothing was refused that is recorded: a person may want to know where to look."""
    from foxden.front.run_report import quiet_failure

    quiet_failure()


def _show(run: Run, outcome: Outcome, told: Sequence[Told]) -> None:
    from foxden.front.run_report import report

    report(run, outcome, told)
