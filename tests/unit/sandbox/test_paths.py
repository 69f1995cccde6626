"""File rules: the longest wins, deny wins where they meet, and components are whole."""

from __future__ import annotations

import pytest

from foxden.sandbox.paths import AbsPath, Access, FileRule, PathRules, longest, lookup


def made(*pairs: tuple[str, Access]) -> PathRules:
    return PathRules.of(FileRule(AbsPath.parse(path), access) for path, access in pairs)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/tmp/good", Access.READ),
        ("/tmp/good/x/y", Access.READ),
        ("/tmp/good_but_bad", Access.NONE),
        ("/tmp/goo", Access.NONE),
        ("/tmp", Access.NONE),
        ("/", Access.NONE),
        ("/tmp/good/secret", Access.DENY),
        ("/tmp/good/secret/deep", Access.DENY),
        ("/tmp/good/secret/deep/open", Access.READ),
        ("/tmp/good/secrets", Access.READ),
    ],
)
def test_longest_rule_of_whole_components_wins(path: str, expected: object) -> None:
    table = made(
        ("/tmp/good", Access.READ), ("/tmp/good/secret", Access.DENY), ("/tmp/good/secret/deep/open", Access.READ)
    )
    assert lookup(table, AbsPath.parse(path)) is expected


def test_rule_on_the_root_covers_everything_that_has_no_longer_one() -> None:
    table = made(("/", Access.READ), ("/home", Access.DENY))
    assert lookup(table, AbsPath.parse("/")) is Access.READ
    assert lookup(table, AbsPath.parse("/etc/passwd")) is Access.READ
    assert lookup(table, AbsPath.parse("/home/u")) is Access.DENY


@pytest.mark.parametrize("order", [(Access.READ, Access.DENY), (Access.DENY, Access.READ)])
def test_deny_wins_at_equal_length_in_any_order(order: tuple[Access, ...]) -> None:
    assert lookup(made(*(("/a/b", access) for access in order)), AbsPath("/a/b/c")) is Access.DENY


def test_without_rules_nothing_is_given() -> None:
    assert lookup(made(), AbsPath("/etc/passwd")) is Access.NONE


def test_rules_come_back_one_a_path_and_sorted() -> None:
    table = made(("/b", Access.READ), ("/a", Access.READ), ("/b", Access.DENY))
    assert table.rules() == (FileRule(AbsPath("/a"), Access.READ), FileRule(AbsPath("/b"), Access.DENY))


@pytest.mark.parametrize("path", ["/", "/a", "/a/b.c", "/a/...", "/a/..b", "/ü/\udcff", "/a b"])
def test_normal_paths_are_taken_as_they_are(path: str) -> None:
    assert AbsPath.parse(path) == path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "absolute"),
        ("a/b", "absolute"),
        ("./a", "absolute"),
        ("/a/../b", r"without '\.'"),
        ("/..", r"without '\.'"),
        ("/a/./b", r"without '\.'"),
        ("/a//b", r"without '\.'"),
        ("//", r"without '\.'"),
        ("/a/", r"without '\.'"),
        ("/a\0b", "NUL"),
        ("/" + "a" * 4095, "4096"),
        ("/" + "ü" * 2048, "4096"),
        ("/\ud800", "surrogates"),
    ],
)
def test_paths_that_two_readers_could_read_differently_are_refused(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        AbsPath.parse(path)


def test_longest_says_what_is_said_of_any_path_or_nothing() -> None:
    said = {"/a": 1, "/a/b/c": 2}
    assert [longest(said, path) for path in ("/a/b", "/a/b/c/d", "/ab", "/", "")] == [1, 2, None, None, None]
    assert longest({"/": 3}, "/x") == 3
