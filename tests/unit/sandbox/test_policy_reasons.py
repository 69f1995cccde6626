"""Reasons are the comments beside the lines: each goes to its own entries, and to nothing else."""

from __future__ import annotations

import pytest

from foxden.sandbox.policy_reasons import read_reasons, reason_for

TEXT = """
# About the file: no reason of anything.
include = ["common"]

[[level]]                     # 1: the first level
from = 1
root = "empty"                # nothing there
allow = [                     # the list's own
  "a", "b",                   # both
  "c",                        # likewise
  "d(x == 1)",
  "e",                        # begins here
                              # and goes on
]
errno.EACCES = ["f # g"]      # with a '#' in it
[level.files]                 # no reason of a rule
"/" = "deny"
"{home}/a.b" = "r"            # of home

[level.files.when-remote-type.file]
'/quoted' = "r"               # file's

[[level]]
from = 2

[limits]
memory = "1 GiB"              # enough
"""


@pytest.mark.parametrize(
    ("section", "entry", "reason"),
    [
        ("level[0]", "root", "nothing there"),
        ("level[0].allow", "a", "both"),
        ("level[0].allow", "b", "both"),
        ("level[0].allow", "c", "both"),
        ("level[0].allow", "d(x == 1)", "the list's own"),
        ("level[0].allow", "e", "begins here and goes on"),
        ("level[0].errno.EACCES", "f # g", "with a '#' in it"),
        ("level[0].files", "/", "the first level"),
        ("level[0].files", "{home}/a.b", "of home"),
        ("level[0].files.when-remote-type.file", "/quoted", "file's"),
        ("level[0]", "from", "the first level"),
        ("level[1]", "from", ""),
        ("limits", "memory", "enough"),
        ("limits", "tasks", ""),
    ],
)
def test_reason_is_that_of_the_entry_else_of_its_list_else_of_its_level(section: str, entry: str, reason: str) -> None:
    assert reason_for(read_reasons(TEXT), section, entry) == reason


def test_string_with_a_hash_is_no_comment() -> None:
    assert read_reasons('key = "a # b"\n') == {("", "key"): ""}
