"""What a Linux policy answers to an act, by the filter and the rules: one open way is enough to be allowed."""

from __future__ import annotations

import pytest
from tests.unit.sandbox.support import texts

from foxden.sandbox import policy, simulate
from foxden.sandbox.acts import Act, Operation

NOTHING = '[syscalls]\ndefault = "errno.EPERM"\n'


def outcome(text: str, operation: Operation, path: str = "", level: int = 1) -> tuple[str, str]:
    loaded = policy.load("x", texts(x=text))
    resolved = policy.resolve(loaded, level=level, remote_type=None, variables={})
    decision = simulate.decide(resolved, Act(operation, path))
    return decision.outcome.value, decision.rule


@pytest.mark.parametrize("operation", [one for one in Operation if one not in (Operation.PRINT, Operation.CLIPBOARD)])
def test_policy_that_allows_no_call_allows_no_act(operation: Operation) -> None:
    assert outcome(NOTHING, operation, "/a")[0] == "refused"
    assert outcome(NOTHING.replace("errno.EPERM", "allow"), operation, "/a")[0] == "allowed"


@pytest.mark.parametrize(
    ("operation", "call"),
    [
        (Operation.READ, "open"),
        (Operation.STAT, "statx"),
        (Operation.WRITE, "truncate"),
        (Operation.CREATE, "mkdirat"),
        (Operation.EXEC, "execveat"),
        (Operation.FORK, "clone3"),
    ],
)
def test_one_open_way_is_enough(operation: Operation, call: str) -> None:
    text = NOTHING + f'allow = ["{call}"]\n'
    assert outcome(text, operation, "/a")[0] == "allowed"


def test_every_step_of_a_way_is_needed() -> None:
    assert outcome(NOTHING + 'allow = ["socket"]\n', Operation.CONNECT) == ("refused", "connect: errno.EPERM")
    assert outcome(NOTHING + 'allow = ["socket", "connect"]\n', Operation.CONNECT)[0] == "allowed"
    assert outcome(NOTHING + 'allow = ["socket", "listen"]\n', Operation.LISTEN)[0] == "refused"
    assert outcome(NOTHING + 'allow = ["socket", "bind", "listen"]\n', Operation.LISTEN)[0] == "allowed"


def test_condition_of_a_call_is_looked_at() -> None:
    text = NOTHING + 'allow = ["openat(flags & O_ACCMODE == O_RDONLY)"]\n'
    assert outcome(text, Operation.READ, "/a")[0] == "allowed"
    assert outcome(text, Operation.WRITE, "/a")[0] == "refused"
    assert outcome(NOTHING + 'allow = ["socket(domain == AF_UNIX)", "connect"]\n', Operation.CONNECT)[0] == "refused"


@pytest.mark.parametrize("verdict", ["allow = [", "notify.EACCES = ["])
def test_longest_rule_decides_where_the_kernel_or_the_broker_looks(verdict: str) -> None:
    text = NOTHING + f'{verdict}"openat"]\n[files]\n"/" = "deny"\n"/a" = "r"\n"/a/b" = "rw"\n'
    assert outcome(text, Operation.READ, "/a/x") == ("allowed", "/a = r")
    assert outcome(text, Operation.WRITE, "/a/x") == ("refused", "/a = r")
    assert outcome(text, Operation.WRITE, "/a/b/x") == ("allowed", "/a/b = rw")
    assert outcome(text, Operation.READ, "/ab") == ("refused", "/ = deny")


def test_without_a_rule_a_call_that_asks_is_refused() -> None:
    assert outcome(NOTHING + 'notify.EACCES = ["openat"]\n', Operation.READ, "/a") == ("refused", "no rule = none")


def test_level_0_allows_and_what_no_policy_speaks_of_is_not_said() -> None:
    assert outcome(NOTHING, Operation.EXEC, level=0) == ("allowed", "level 0: no sandbox")
    assert outcome(NOTHING, Operation.PRINT)[0] == "not said"
