"""What `foxden run` says when its program has ended: what was refused, which limit ended it, what would allow it.

Runs in: command.  Trusts: nothing of the program: text of it is escaped, or stands in JSON.
Flow: Outcome, what the broker told → records → lines on standard error, --report, --learn, or one JSON object.
Source: interface.md "Records".  Loaded only where there is something to say.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from foxden.errors import FoxdenError
from foxden.front.not_executed import why_not_executed
from foxden.front.run_options import RunOptions
from foxden.front.terminal import is_terminal, json_text, one_line, paint, say, tell, wants_colour
from foxden.launch.own_broker import Told
from foxden.launch.supervise import Outcome
from foxden.model.environment import is_on
from foxden.model.records import Act, Violation
from foxden.observe import violation_line
from foxden.parent.denials import Who, act_record, explainer_of, violation_of
from foxden.parent.learnt import ActLog, hidden, learn_to
from foxden.parent.program_policy import policy_of

if TYPE_CHECKING:
    from foxden.front.running import Run

_LIMITS = {
    "timeout": ("--timeout", "ended after {value} s"),
    "memory": ("--memory", "ended at {value} of memory"),
    "cpu-time": ("--cpu-time", "ended after {value} s of processor time"),
    "processes": ("--processes", "ended at {value} processes and threads"),
    "file-size": ("--file-size", "ended when a file grew beyond {value}"),
}
_LOGGING = ("MOZ_SANDBOX_LOGGING", "MOZ_SANDBOX_LOGGING_FOR_TESTS")
_QUIET_FAILURE = "what it could not read is not recorded at full speed: --explain shows all of it"


def report(run: Run, outcome: Outcome, told: Sequence[Told]) -> None:
    """Say, write and print all that there is to say."""
    options = run.options
    acts = _acts(run, told)
    violations = [*(violation_of(act) for act in acts if not act.granted), *hidden(acts)]
    if run.exceeded is not None:
        violations.append(_limit(*run.exceeded))
    if run.untold:
        violations.append(_untold(run.untold))
    if any(is_on(os.environ, name) for name in _LOGGING):
        for violation in violations:
            violation_line.say(violation)
    if options.report:
        _append(options.report, violations)
    if options.learn:
        _learn(options, acts)
    if options.as_json:
        say(json_text(_json(run, outcome, violations, acts if options.explain else ())))
    else:
        _print(options, outcome, violations)


def quiet_failure() -> None:
    """On a terminal: the program failed, and no refusal is there to show."""
    tell(f"{paint('hint:', 'cyan', wants_colour(sys.stderr))} {_QUIET_FAILURE}")


def check_files(options: RunOptions) -> None:
    """Before the program runs: can what is asked for be written?  Raises FoxdenError."""
    if options.report:
        _append(options.report, ())
    if options.learn:
        os.close(_open_learned(options.learn))


def _acts(run: Run, told: Sequence[Told]) -> list[Act]:
    if not told or run.plan is None:
        return []
    explainer = explainer_of("plugin", policy_of(run.plan.rules, explain=run.options.explain))
    log = ActLog()
    for each in told:
        log.add(act_record(each, explainer, Who(each.pid, "plugin", None, 1)))
    return log.acts()


def _limit(limit: str, value: int) -> Violation:
    option, words = _LIMITS[limit]
    return Violation(
        time=time.time(), pid=0, process_type="plugin", level=1, kind="limit", operation=limit,
        rule=words.format(value=_size(value) if limit in ("memory", "file-size") else value),
        hint=f"{option} gives it more",
    )  # fmt: skip


def _untold(count: int) -> Violation:
    return Violation(
        time=time.time(), pid=0, process_type="plugin", level=1, kind="limit", operation="more violations", count=count,
        rule="the broker tells of so many acts a second; the rest is counted here",
        hint="what was told first says what to allow",
    )  # fmt: skip


def _size(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB" if size % (1 << 20) else f"{size >> 20} MiB"


def _print(options: RunOptions, outcome: Outcome, violations: Sequence[Violation]) -> None:
    from foxden.front.violations_view import lines, summary

    colour = wants_colour(sys.stderr)
    width = shutil.get_terminal_size((100, 24)).columns if is_terminal(sys.stderr) else 100
    if outcome.errno:
        _tell("error", *why_not_executed(options.arguments[0], outcome.errno, options.cwd), colour)
    shown = lines(violations, width=width, colour=colour) if options.explain else ()
    if not options.explain:
        shown = summary([each for each in violations if _is_news(each)], width=width, colour=colour)
    for line in shown:
        tell(line)
    for limit in violations:
        if limit.kind == "limit" and not options.explain:
            _tell("limit", limit.rule, limit.hint, colour)


def _tell(word: str, text: str, hint: str, colour: bool) -> None:
    tell(f"{paint(f'{word}:', 'red', colour)} {one_line(text)}")
    if hint:
        tell(f"{paint('hint:', 'cyan', colour)} {one_line(hint)}")


# What programs try that have use for it and go on without: in the records, but no news for a person.
_NO_NEWS = (("open", "/proc/", "/coredump_filter"),)  # every Java


def _is_news(violation: Violation) -> bool:
    path = violation.path or ""
    return violation.kind != "limit" and not any(
        violation.operation == act and path.startswith(begin) and path.endswith(end) for act, begin, end in _NO_NEWS
    )


def _append(path: str, violations: Sequence[Violation]) -> None:
    from foxden.parent.report_file import ReportFile

    file = ReportFile(path, violation_line.warn)
    for violation in violations:
        file.write(violation)
    file.close()


def _learn(options: RunOptions, acts: Sequence[Act]) -> None:
    learn_to(str(options.learn), acts, before=options.grants)


def _open_learned(path: str, flags: int = 0) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
    except OSError as error:
        why = "it is a symbolic link" if os.path.islink(path) else error.strerror
        raise FoxdenError(
            f"--learn {path}: expected a file to write: {why}", hint="name a file in a directory that you may write"
        ) from None


def _json(run: Run, outcome: Outcome, violations: Sequence[Violation], acts: Sequence[Act]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "returncode": outcome.code,
        "signal": outcome.signal,
        "timed_out": outcome.limit == "timeout",
        "limit": outcome.limit or None,
        "stdout": outcome.stdout.decode("utf-8", "backslashreplace"),
        "stderr": outcome.stderr.decode("utf-8", "backslashreplace"),
        "truncated": outcome.truncated,
        "duration_s": round(outcome.duration_s, 6),
        "violations": msgspec.to_builtins(list(violations)),
        "enforcement": msgspec.to_builtins(run.enforcement),
    }
    if acts:
        found["acts"] = msgspec.to_builtins(list(acts))
    return found
