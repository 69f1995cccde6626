"""Ranges of ids: which the files and maps of a system give, and how they travel to a fork server."""

from __future__ import annotations

from pathlib import Path

import pytest

from foxden.sandbox import subordinate
from foxden.sandbox.subordinate import FIRST_INSIDE, ROOTS_COUNT, Range, of_root, parse_word

WHOLE = "         0          0 4294967295\n"


def test_word_of_a_range_is_read_back() -> None:
    assert parse_word(Range(100000, 200000, 65536).word()) == Range(100000, 200000, 65536)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u:100000:65536\n", (100000, 65536)),
        ("1000:100000:65536\n", (100000, 65536)),  # by number
        ("v:100000:65536\n", (0, 0)),
        ("u:100000:10\nu:500000:900\nv:1:99999\n", (500000, 900)),  # the longest
        ("# words\n\nu:x:1\nu:1\nu:1:-5\nu:1:2:3\n", (0, 0)),  # what no range is
        ("u:1:99999999999999\n", (1, ROOTS_COUNT)),
    ],
)
def test_longest_range_of_a_user_counts(tmp_path: Path, text: str, expected: tuple[int, int]) -> None:
    path = tmp_path / "subuid"
    path.write_text(text)
    assert subordinate._largest(str(path), "u", 1000) == expected


def test_file_that_is_not_there_gives_nothing(tmp_path: Path) -> None:
    assert subordinate._largest(str(tmp_path / "none"), "u", 1000) == (0, 0)


@pytest.mark.parametrize(
    ("uid_map", "gid_map", "expected"),
    [
        (WHOLE, WHOLE, (FIRST_INSIDE, ROOTS_COUNT)),
        ("0 0 1\n", "0 0 1\n", (0, 0)),  # a container of one id
        ("", "", (0, 0)),
        ("0 100000 65536\n", "0 100000 65536\n", (32768, 61184 - 32768)),  # a rootless container
        ("0 1000 1\n1 100000 65536\n", "0 1000 1\n1 100000 65536\n", (32769, 61184 - 32769)),
        (WHOLE, "0 0 1000\n", (500, 500)),  # both must be there
        ("0 0 1000\n", "5000 0 1000\n", (0, 0)),
    ],
)
def test_root_gives_ids_that_its_namespace_has(uid_map: str, gid_map: str, expected: tuple[int, int]) -> None:
    assert of_root(uid_map, gid_map) == expected


def test_helper_that_is_not_privileged_is_none(tmp_path: Path) -> None:
    plain = tmp_path / "newuidmap"
    plain.write_text("#!/bin/sh\n")
    plain.chmod(0o755)
    assert not subordinate._is_privileged(str(plain))
    assert not subordinate._is_privileged("")
