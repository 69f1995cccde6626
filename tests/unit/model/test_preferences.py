"""Preferences: names and values are checked when they are given."""

from __future__ import annotations

import pytest

from foxden.model.preferences import BY_NAME, PREFERENCES, PreferenceError, checked
from foxden.model.process_types import BY_NAME as TYPES
from foxden.parent.prefs import Prefs


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("security.sandbox.content.level", "3", 3),
        ("security.sandbox.content.level", 0, 0),
        ("network.http.http2.enabled", "false", False),
        ("network.http.http2.enabled", "TRUE", True),
        ("general.useragent.override", "x", "x"),
    ],
)
def test_value_becomes_what_its_preference_is(name: str, given: object, value: object) -> None:
    assert checked(name, given) == value


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("security.sandbox.content.levle", 4, "expected the name of a preference"),
        ("security.sandbox.content.level", 5, "expected 0 to 4, got 5"),
        ("security.sandbox.content.level", -1, "expected 0 to 4"),
        ("security.sandbox.content.level", "high", "expected a whole number"),
        ("security.sandbox.content.level", True, "expected int"),
        ("network.http.http2.enabled", "yes", "expected true or false"),
        ("network.http.http2.enabled", 1, "expected bool"),
        ("general.useragent.override", 7, "expected str"),
    ],
)
def test_wrong_name_or_value_is_an_error_that_says_so(name: str, given: object, words: str) -> None:
    with pytest.raises(PreferenceError, match=words):
        checked(name, given)


def test_misspelt_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(PreferenceError) as caught:
        checked("security.sandbox.content.levle", 4)
    assert "security.sandbox.content.level" in caught.value.hint


def test_every_default_passes_its_own_check() -> None:
    assert all(checked(row.name, row.default) == row.default for row in PREFERENCES)


def test_level_preferences_of_process_types_exist() -> None:
    assert {row.level_pref for row in TYPES.values() if row.level_pref} <= BY_NAME.keys()


@pytest.mark.parametrize(("value", "level"), [("1", 0), ("anything", 0), ("0", 4), ("", 4)])
def test_environment_of_the_parent_switches_a_sandbox_off(value: str, level: int) -> None:
    assert Prefs({}, {"MOZ_DISABLE_CONTENT_SANDBOX": value}).level_of(TYPES["content"]) == level
