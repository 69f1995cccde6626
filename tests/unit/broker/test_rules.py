"""Decisions on canonical paths: permissions, denials, protected names, what holds what.  Gecko's TestBrokerPolicy."""

from __future__ import annotations

import pytest
from tests.unit.broker.harness import rules_of

from foxden.broker.rules import CHANGE, CREATE, READ, STAT, WRITE, Rules


def made(words: dict[str, str], names: tuple[str, ...] = (), *, show_ancestors: bool = False) -> Rules:
    return Rules(rules_of(words), [("/proj", names)] if names else (), show_ancestors=show_ancestors)


@pytest.mark.parametrize(
    ("words", "path", "need", "expected"),
    [
        ({"/dev/urandom": "r"}, "/dev/urandom", READ, True),
        ({"/dev/urandom": "r"}, "/etc/passwd", STAT, False),
        ({"/dev": "rw"}, "/dev/random", READ | WRITE, True),
        ({"/dev": "rw"}, "/dev/sd/0", WRITE, True),
        ({"/dev": "rw"}, "/usr/dev/sd", STAT, False),
        ({"/tmp/good": "r"}, "/tmp/good/a", READ, True),
        ({"/tmp/good": "r"}, "/tmp/good_but_bad", STAT, False),
        ({"/tmp/good": "r"}, "/tmp/good/a", WRITE, False),
        ({"/a": "rw", "/a/b": "deny"}, "/a/b/c", STAT, False),
        ({"/a": "rw", "/a/b": "deny", "/a/b/c": "r"}, "/a/b/c", READ, True),
        ({"/a": "stat"}, "/a/b", STAT, True),
        ({"/a": "stat"}, "/a/b", READ, False),
        ({"/a": "rwc"}, "/a/b", CHANGE, True),
        ({"/a": "rw"}, "/a/b", CREATE, False),
        ({}, "/", STAT, False),
    ],
)
def test_the_longest_rule_decides_and_every_needed_bit_is_asked_of_it(
    words: dict[str, str], path: str, need: int, expected: bool
) -> None:
    assert made(words).allows(path, need) is expected


def test_deny_wins_where_a_path_has_two_rules() -> None:
    assert not Rules([*rules_of({"/a": "r"}), *rules_of({"/a": "deny"})]).allows("/a", STAT)
    assert Rules([*rules_of({"/a": "r"}), *rules_of({"/a": "w"})]).allows("/a", READ | WRITE)


def test_directories_above_what_is_granted_may_be_looked_at_only_where_they_are_shown() -> None:
    words = {"/": "deny", "/home/u/proj": "r", "/home/v": "deny"}
    shown, hidden = made(words, show_ancestors=True), made(words)
    for path in ("/", "/home", "/home/u"):
        assert shown.allows(path, STAT)
        assert not shown.allows(path, READ)
        assert not hidden.allows(path, STAT)
    for path in ("/home/v", "/home/u/other", "/etc"):
        assert not shown.allows(path, STAT)


PROTECTED = (".git/hooks", ".git/config", "*.pth", ".envrc", ".vscode/tasks.json")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/proj/.git/hooks", True),
        ("/proj/.git/hooks/pre-commit", True),
        ("/proj/sub/.git/hooks/x", True),
        ("/proj/.GIT/Hooks", True),
        ("/proj/.git", False),
        ("/proj/.git/objects/aa", False),
        ("/proj/hooks", False),
        ("/proj/a.pth", True),
        ("/proj/lib/python/x.PTH", True),
        ("/proj/pth", False),
        ("/proj/a.pth.txt", False),
        ("/proj/.envrc", True),
        ("/proj/.envrc2", False),
        ("/proj/.vscode/tasks.json", True),
        ("/proj/.vscode/settings.json", False),
        ("/proj/a.b/c.pth/d", True),
        ("/elsewhere/.envrc", False),
        ("/proj", False),
        ("/proj/" + "d/" * 70 + "x", True),
    ],
)
def test_protected_names_are_found_at_any_depth_and_in_any_case(path: str, expected: bool) -> None:
    assert made({"/proj": "rwc"}, PROTECTED).guards(path) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/proj/.git", True),
        ("/proj/deep/.GIT", True),
        ("/proj/.vscode", True),
        ("/proj/git", False),
        ("/proj/.git/hooks", False),
        ("/proj/.git/objects", False),
        ("/elsewhere/.git", False),
    ],
)
def test_beginnings_of_protected_names_are_known(path: str, expected: bool) -> None:
    assert made({"/proj": "rwc"}, PROTECTED).leads_to_guarded(path) is expected


def test_a_star_never_crosses_a_slash() -> None:
    rules = made({"/proj": "rwc"}, ("a*z/x",))
    assert rules.guards("/proj/abcz/x")
    assert not rules.guards("/proj/a/z/x")


def test_what_rules_speak_of_below_is_held() -> None:
    rules = Rules(rules_of({"/w": "rwc", "/w/a/secret": "deny"}), [("/w/p/q", ("x",))])
    assert rules.holds("/w/a")
    assert rules.holds("/w/p")
    assert not rules.holds("/w/a/secret")
    assert not rules.holds("/w/other")
