"""macOS rows: levels as layers, remote types, and what a text cannot say."""

from __future__ import annotations

import pytest

from foxden.errors import PolicyError
from foxden.sandbox import macos
from foxden.sandbox.acts import Act, Operation
from foxden.sandbox.policy_files import read_policy

PLACES = {"home": "/h", "profile": "/h/p", "install": "/i", "plugin": "/g", "tmp": "/t"}
LEVELS = """
[[level]]     # 1: the first
from = 1
[level.operations]
process-exec = "deny"   # no programs
[level.files]
"/" = "r"               # everything
[level.files.when-remote-type.file]
"{home}" = "rw"         # the user's own
[[level]]     # 2: the second
from = 2
[level.files]
"/" = "stat"
[level.literals]
"/a" = "r"
"""


def resolve(level: int, text: str = LEVELS, remote_type: str | None = None) -> macos.MacPolicy:
    return macos.resolve("x", lambda name: text, level=level, remote_type=remote_type)


def outcome(policy: macos.MacPolicy, operation: Operation, path: str = "") -> str:
    return macos.decide(policy, Act(operation, path), PLACES).outcome.value


def test_higher_level_replaces_a_rule_of_the_same_path() -> None:
    assert outcome(resolve(1), Operation.READ, "/etc") == "allowed"
    assert outcome(resolve(2), Operation.READ, "/etc") == "refused"
    assert outcome(resolve(2), Operation.STAT, "/etc") == "allowed"


def test_literal_speaks_of_itself_alone() -> None:
    assert outcome(resolve(2), Operation.READ, "/a") == "allowed"
    assert outcome(resolve(2), Operation.READ, "/a/b") == "refused"


def test_remote_type_has_its_own_rule() -> None:
    assert outcome(resolve(1, remote_type="file"), Operation.WRITE, "/h/x") == "allowed"
    assert outcome(resolve(1, remote_type="web"), Operation.WRITE, "/h/x") == "refused"
    assert outcome(resolve(1), Operation.WRITE, "/h/x") == "refused"


def test_what_no_line_speaks_of_is_not_said() -> None:
    assert outcome(resolve(1), Operation.EXEC) == "refused"
    assert outcome(resolve(1), Operation.PRINT) == "not said"


def test_path_without_a_rule_is_refused() -> None:
    text = '[[level]]\nfrom = 1\n[level.files]\n"/a" = "r"\n'
    assert outcome(resolve(1, text), Operation.READ, "/a/b") == "allowed"
    assert outcome(resolve(1, text), Operation.READ, "/b") == "refused"


def test_decision_names_the_line_and_its_reason() -> None:
    decision = macos.decide(resolve(1), Act(Operation.EXEC), PLACES)
    assert (decision.rule, decision.reason) == ("process-exec = deny", "no programs")


def test_level_is_the_reason_of_a_line_without_its_own() -> None:
    rule = macos.find(resolve(2), "/a", PLACES)
    assert rule is not None
    assert (rule.origin.level, rule.origin.reason) == (2, "the second")
    assert rule.origin.where == "macos/x.toml: level[1].literals./a"


def test_level_0_is_no_sandbox() -> None:
    assert outcome(resolve(0), Operation.EXEC) == "allowed"


def test_every_line_of_the_committed_policies_has_its_reason() -> None:
    for name, level, remote_type in (("content", 3, "file"), ("content", 3, "web"), ("gmp", 1, None)):
        policy = macos.resolve(name, read_policy, level=level, remote_type=remote_type)
        for row in (*policy.operations, *policy.files, *policy.services):
            assert row.origin.reason, row


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[level]\nfrom = 1\n", r"\[\[level\]\] tables"),
        ("[[level]]\nfrom = true\n", "a level above"),
        ("[[level]]\nfrom = 1\n[level.operations]\nprocess-exce = 'deny'\n", "process-exec"),
        ("[[level]]\nfrom = 1\n[level.operations]\nprint = 'no'\n", "'allow' or 'deny'"),
        ("[[level]]\nfrom = 1\n[level.services]\nmach-look = ['a']\n", "one of the keys"),
        ("[[level]]\nfrom = 1\n[level.services]\nsignal = 'self'\n", "a list of strings"),
        ("[[level]]\nfrom = 1\n[level.files]\n'{hom}/x' = 'r'\n", "one of the variables"),
        ("[[level]]\nfrom = 1\n[level.files.when-remote-type.webb]\n'/' = 'r'\n", "a remote type"),
        ("[[level]]\nfrom = 1\nfiles = 1\n", "a table"),
        ("colour = 1\n[[level]]\nfrom = 1\n", "one of the keys"),
    ],
)
def test_wrong_text_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words) as caught:
        resolve(1, text)
    assert "macos/x.toml" in str(caught.value)


@pytest.mark.parametrize("level", [-1, 3])
def test_level_that_is_not_there_is_refused(level: int) -> None:
    with pytest.raises(PolicyError, match="a level from 0 to 2"):
        resolve(level)


def test_unknown_remote_type_is_refused() -> None:
    with pytest.raises(PolicyError, match="a remote type"):
        resolve(1, remote_type="webb")
