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
    "timeout": ("--timeout", "after {value} s"),
    "memory": ("--memory", "at {value} bytes of memory"),
    "cpu-time": ("--cpu-time", "after {value} s of processor time"),
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
        rule=f"ended {words.format(value=value)}", hint=f"{option} gives it more",
    )  # fmt: skip


def _untold(count: int) -> Violation:
    return Violation(
        time=time.time(), pid=0, process_type="plugin", level=1, kind="limit", operation="more violations", count=count,
        rule="the broker tells of so many acts a second; the rest is counted here",
        hint="what was told first says what to allow",
    )  # fmt: skip


def _print(options: RunOptions, outcome: Outcome, violations: Sequence[Violation]) -> None:
    from foxden.front.violations_view import lines, summary

    colour = wants_colour(sys.stderr)
    width = shutil.get_terminal_size((100, 24)).columns if is_terminal(sys.stderr) else 100
    if outcome.errno:
        word = paint("error:", "red", colour)
        tell(f"{word} {one_line(options.arguments[0])}: {os.strerror(outcome.errno)}")
        tell(f"{paint('hint:', 'cyan', colour)} {_not_executed(options.arguments[0])}")
    shown = lines if options.explain else summary
    for line in shown(violations, width=width, colour=colour):
        tell(line)


def _not_executed(program: str) -> str:
    if "/" in program and os.path.exists(program):
        return f"what it needs must be there too: --read {one_line(os.path.dirname(os.path.abspath(program)))}"
    return "a program is looked for in the folders of PATH; those outside of the system's need --read"


def _append(path: str, violations: Sequence[Violation]) -> None:
    from foxden.parent.report_file import ReportFile

    file = ReportFile(path, violation_line.warn)
    for violation in violations:
        file.write(violation)
    file.close()


def _learn(options: RunOptions, acts: Sequence[Act]) -> None:
    learn_to(str(options.learn), acts, before=options.grants)


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
