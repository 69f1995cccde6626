"""Policy: one value from arguments, from text and from a file, and every contradiction refused in words."""

from __future__ import annotations

import dataclasses
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import foxden
from foxden import Policy, PolicyError
from foxden.parent.policies import policy_grants
from foxden.sandbox.grants import Grants
from foxden.sandbox.grants_text import parse_grants
from foxden.sandbox.grants_toml import render_grants, size_text
from foxden.sandbox.paths import Access
from foxden.sandbox.policy_files import read_policy


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "secret").mkdir(parents=True)
    return folder


def whole(data: Path) -> Policy:
    return Policy(
        extends="utility", read=[data], deny=[data / "secret"], env={"TZ": "UTC", "LANG": None}, memory="1 GiB",
        timeout=2, syscalls=["mlock"], protect=["*.lock"], unprotect=[".git/config"],
    )  # fmt: skip


def text(data: Path) -> str:
    return f"""
extends = "utility"
[files]
"{data}" = "r"
"{data}/secret" = "deny"
[env]
TZ = "UTC"
LANG = true
[limits]
memory = "1 GiB"
timeout = 2
[syscalls]
allow = ["mlock"]
[protect]
names = ["*.lock"]
except = [".git/config"]
"""


def test_arguments_text_and_file_make_the_same_policy(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text(data))
    made = whole(data)
    assert made == Policy.from_toml(text(data)) == Policy.from_file(path)
    assert len({made, Policy.from_file(path)}) == 1
    assert made != Policy(read=[data])
    assert made.extends == "utility"


def test_a_policy_is_data(data: Path) -> None:
    made = whole(data)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.grants = Grants()  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(made)) == made


def test_it_is_printed_as_a_file_that_can_be_read(data: Path) -> None:
    made = whole(data)
    assert Policy.from_toml(str(made)) == made
    assert eval(repr(made)) == made
    assert (str(Policy()), repr(Policy())) == ("", "Policy()")
    assert str(Policy(memory="512 MiB")) == '[limits]\nmemory = "512 MiB"\n'


def test_links_of_arguments_are_followed_and_those_of_a_file_are_not(data: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(data)
    assert Policy(read=[tmp_path / "link"]) == Policy(read=[data])
    with pytest.raises(PolicyError, match="a path through a symbolic link"):
        Policy.from_toml(f'[files]\n"{tmp_path}/link" = "r"')


def test_one_path_need_not_be_in_a_list(data: Path) -> None:
    for one in (str(data), data, os.fsencode(data)):
        assert Policy(read=one, deny="/usr") == Policy(read=[data], deny=["/usr"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"raed": ["/usr"]}, "one of the arguments extends, read"),
        ({"extends": "content"}, "extends: expected 'plugin' or 'utility'"),
        ({"read": [3]}, "read: expected a list of paths"),
        ({"read": ["/no/such/path"]}, "read: expected a file or directory that exists"),
        ({"write": ["/proc"]}, "write: expected less than '/proc'"),
        ({"read": ["/usr"], "deny": ["/usr"]}, "expected one answer for /usr"),
        ({"files": {"/usr": "q"}}, "letters of 'rwcx'"),
        ({"files": ["/usr"]}, "files: expected paths and what they get"),
        ({"env": "HOME"}, "env: expected a list of strings"),
        ({"env": {"A": 3}}, "env: expected a string, or None"),
        ({"env": ["LD_PRELOAD"]}, "expected LD_PRELOAD with its value"),
        ({"memory": "lots"}, "memory: expected a size"),
        ({"timeout": 0}, "timeout: expected more than 0 seconds"),
        ({"timeout": "soon"}, "timeout: expected more than 0 seconds"),
        ({"processes": 0}, "processes: expected a number"),
        ({"syscalls": ["ptrace"]}, "a call that can be granted, got 'ptrace'"),
        ({"syscalls": "mlock"}, "syscalls: expected a list of strings"),
        ({"connect": ["https://x/"]}, "expected HOST or HOST:PORT"),
        ({"protect": ["/etc"]}, "protect: expected a name"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy(**options)
    assert words in str(caught.value)
    assert isinstance(caught.value, foxden.FoxdenError)


def test_a_mistyped_name_gets_the_right_one() -> None:
    with pytest.raises(PolicyError) as caught:
        Policy(memroy="1 GiB")  # type: ignore[call-arg]
    assert "did you mean 'memory'?" in caught.value.hint
    with pytest.raises(PolicyError) as caught:
        Policy.from_toml("[limits]\nmemroy = 1", where="mine")
    assert str(caught.value).startswith("mine: ")
    assert "did you mean 'memory'?" in caught.value.hint


def test_a_policy_is_taken_by_name_as_a_file_and_as_an_object(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.toml"
    path.write_text(text(data))
    made = whole(data)
    monkeypatch.chdir(tmp_path)
    assert [policy_grants(given, "utility") for given in (made, path, str(path), "p.toml", made.grants)] == [
        made.grants
    ] * 5
    assert policy_grants(None, "utility") == policy_grants("utility", "utility") == Grants()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("socket", "expected 'utility' or a policy file, got 'socket'"),
        ("/no/such/policy.toml", "No such file"),
        (3, "expected a name, a file or a foxden.Policy, got int"),
        (Policy(extends="plugin"), "extends: expected 'utility', got 'plugin'"),
    ],
    ids=str,
)
def test_a_policy_that_does_not_fit_is_refused(given: Any, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        policy_grants(given, "utility")
    assert words in str(caught.value)


ACCESS = st.sampled_from([Access.parse(word) for word in ("r", "w", "rw", "rwc", "rx", "stat", "connect", "deny")])
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
PATHS = st.lists(TEXT.filter(lambda part: part and "/" not in part and part not in (".", "..")), min_size=1, max_size=3)


@given(
    files=st.dictionaries(PATHS.map(lambda parts: "/data/" + "/".join(parts)), ACCESS, max_size=4),
    environment=st.dictionaries(NAMES.filter(lambda name: not name.startswith("LD_")), st.none() | TEXT, max_size=3),
    memory=st.none() | st.integers(1, 1 << 50),
    timeout=st.none() | st.floats(1e-6, 86_400),
    processes=st.none() | st.integers(1, 65_536),
    extends=st.sampled_from([None, "plugin", "utility"]),
)
def test_whatever_is_rendered_is_read_back(
    files: dict[str, Access], environment: dict[str, str | None], memory: int | None, timeout: float | None,
    processes: int | None, extends: str | None,
) -> None:  # fmt: skip
    grants = Grants(
        files=tuple(sorted(files.items())), environment=tuple(environment.items()), memory=memory, timeout_s=timeout,
        processes=processes, extends=extends,
    )  # fmt: skip
    again = parse_grants(
        "x", render_grants(grants), real=lambda path: path, read=read_policy, extended=("plugin", "utility")
    )
    assert again == grants


def test_sizes_are_said_in_the_largest_unit_that_fits() -> None:
    assert [size_text(size) for size in (1, 1024, 1536, 5 << 20, 2 << 30)] == [
        "1 B", "1 KiB", "1536 B", "5 MiB", "2 GiB",
    ]  # fmt: skip
