"""What a strict child that was taken over would try next, from inside the real sandbox: the table is strict.toml.

Every refusal has its positive control: the same function, by the same user, without a sandbox.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.probes.test_probes import try_act, without_a_sandbox
from tests.support import den as dens
from tests.support import users

from foxden import Den
from foxden.launch.strict_probes import ACTS

pytestmark = [
    pytest.mark.needs("userns", "landlock", "seccomp"),
    pytest.mark.leaks_ok("the dens of this module are shared; shared_den looks for leaks when it closes them"),
]

TABLE: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "strict.toml").read_text())
STRICT = [kind for kind in dens.KINDS if kind[0] not in ("plugin", "broker")]
# Of a path: tests/attack/test_strict_files.py.
FILE_ACTS = {
    "stat", "lstat", "access", "readlink", "stat-of-nothing", "append", "empty", "truncate", "truncate-a-reader",
    "unlink", "rename", "link", "symlink", "make-node", "make-device", "chmod", "chown", "utime", "attribute",
    "link-of-own", "write-through-link-of-own", "hard-link-of-own", "move-out", "read-many",
    "open-bytes",
}  # fmt: skip


@pytest.fixture(scope="module")
def targets(victim: int) -> dict[str, str]:
    return {"victim": str(victim)}


@pytest.fixture(params=[2, 3])
def lower(request: pytest.FixtureRequest, victim: int) -> Iterator[tuple[int, Den]]:
    with dens.shared_den(level=request.param) as den:
        yield request.param, den


def test_every_act_is_in_a_table() -> None:
    assert {row.partition(" ")[0] for row in TABLE} | FILE_ACTS | {"host-name"} == set(ACTS)


def test_without_a_sandbox_every_act_gets_something_else(targets: dict[str, str]) -> None:
    rows = {row: words for row, words in TABLE.items() if words["alone"] != "-"}
    got = without_a_sandbox([("act", row.format(**targets)) for row in rows])
    wrong = {}
    for (row, words), result in zip(rows.items(), got, strict=True):
        who, _, wanted = words["alone"].rpartition(":")
        if who == "root" and not users.is_root():
            continue
        refusals = {word for name, word in words.items() if name not in ("alone", "cases")}
        if not (result not in refusals if wanted == "other" else result == wanted):
            wrong[row] = f"{result}, expected {wanted}"
    assert not wrong


def sweep(den: Den, kind: tuple[str, str], targets: dict[str, str], *names: str) -> dict[str, str]:
    """All acts in one child; which of them get what the table does not say."""
    wrong = {}
    child = dens.launch(den, *kind)
    try:
        for row, words in TABLE.items():
            wanted = next(words[name] for name in (*names, kind[0], "strict") if name in words)
            if wanted == "-":
                continue
            got = try_act(den, child, "act", row.format(**targets))
            if got == "killed":
                assert dens.has_ended(child.pid)
                child = dens.launch(den, *kind)
            if got != wanted:
                wrong[row] = f"{got}, expected {wanted}"
        dens.inside(den, child.ping(10))
    finally:
        dens.end(den, child)
    return wrong


@pytest.mark.parametrize("kind", STRICT, ids=dens.kind_name)
def test_each_act_gets_inside_what_the_table_says(den: Den, kind: tuple[str, str], targets: dict[str, str]) -> None:
    assert sweep(den, kind, targets) == {}


def test_each_act_gets_the_same_in_content_of_a_lower_level(lower: tuple[int, Den], targets: dict[str, str]) -> None:
    level, den = lower
    assert sweep(den, ("content", "web"), targets, f"content@{level}") == {}


@pytest.fixture
def abstract_name() -> Iterator[str]:
    """Of a socket of this process; the control: it is connected to."""
    name = f"foxden-strict-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as control:
        listener.bind("\0" + name)
        listener.listen(64)
        control.connect("\0" + name)
        yield name


def test_no_child_reaches_an_abstract_name_of_the_host(den: Den, abstract_name: str) -> None:
    for kind in STRICT:
        with dens.child_of(den, *kind) as child:
            assert dens.outcome(den, child, "unix-connect", abstract_name) == "EACCES", kind


def test_content_of_a_lower_level_reaches_no_abstract_name_either(lower: tuple[int, Den], abstract_name: str) -> None:
    """At these levels it may connect to the user's sound server, by its path."""
    level, den = lower
    with dens.child_of(den, "content", "web") as child:
        assert dens.outcome(den, child, "unix-connect", abstract_name) in ("EPERM", "EACCES"), level


@pytest.mark.parametrize("kind", STRICT, ids=dens.kind_name)
def test_no_child_learns_the_name_of_the_machine(den: Den, kind: tuple[str, str]) -> None:
    with dens.child_of(den, *kind) as child:
        answer = dens.probe(den, child, "act", "host-name")
        if kind[0] == "gmp":
            assert dens.outcome_of(answer) == "EPERM"
        else:
            assert answer.detail != socket.gethostname()
            assert answer.detail == "foxden"
