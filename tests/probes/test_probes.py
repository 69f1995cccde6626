"""Every probe in every process type at every level, inside the real sandbox, against the tables beside this file.

A table says what each act gets without any sandbox, and at each level.  So every refusal has its positive control:
the same function, by the same user, on the same target, where nothing forbids it.
`-`: not tried there, for it would act on the test's own machine.  `other`: anything but what the highest level says.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import den as dens
from tests.support import users

from foxden import ChildCrashed, Den
from foxden.launch.probes import PROBES
from foxden.model.process_types import BY_NAME, child_rows
from foxden.parent.hosts import ChildHost

pytestmark = [
    pytest.mark.needs("userns", "landlock", "seccomp"),
    pytest.mark.leaks_ok("the dens of this module are shared; shared_den looks for leaks when it closes them"),
]

Table = dict[str, Any]


def read_tables() -> dict[str, Table]:
    folder = Path(__file__).parent
    return {path.stem: tomllib.loads(path.read_text()) for path in sorted(folder.glob("*.toml"))}


TABLES = read_tables()
# One case a process type, remote type and level; in the order of levels, so that each den is made once.
CASES = sorted(
    (level, name, remote)
    for name, table in TABLES.items()
    for remote in table.get("remote_types", [""])
    for level in table["levels"]
)


def type_of(table_name: str) -> str:
    return table_name.partition("-")[0]


# --- the tables -------------------------------------------------------------------------------------------------


def test_every_child_type_and_remote_type_has_a_table() -> None:
    covered = {(type_of(name), remote) for name, table in TABLES.items() for remote in table.get("remote_types", [""])}
    assert covered == set(dens.KINDS)
    assert {type_of(name) for name in TABLES} == {row.name for row in child_rows()}


@pytest.mark.parametrize("name", TABLES)
def test_table_tries_every_probe_and_has_rows_of_both_kinds(name: str) -> None:
    table = TABLES[name]
    rows = table["outcomes"]
    assert {row.partition(" ")[0] for row in rows} == set(PROBES)
    assert {len(outcomes) for outcomes in rows.values()} == {1 + len(table["levels"])}
    for column, level in enumerate(table["levels"], start=1):
        got = {outcomes[column] for outcomes in rows.values()}
        assert "allowed" in got
        assert level == 0 or got & {"EACCES", "EPERM", "killed"}
        changed = [row for row, outcomes in rows.items() if outcomes[column] != outcomes[column - 1]]
        assert level == 0 or changed, f"level {level} takes nothing away"
    assert 0 in table["levels"] or not BY_NAME[type_of(name)].disable_env, "a type with a switch is tried without"


# --- without a sandbox ------------------------------------------------------------------------------------------

_WITHOUT = """
import errno, json, os, sys
from foxden.launch import probes
from foxden.protocols.process import PChildProcess

def attempt(name, argument, unshare):
    if unshare:  # mounts and roots of its own, so that it can do no harm
        probes.linux.syscall("unshare", 0x1002_0000)
    answer = probes.run(PChildProcess.RunProbe(probe=name, argument=argument))
    return "allowed" if answer.succeeded else errno.errorcode.get(answer.errno, str(answer.errno))

for name, argument in json.load(sys.stdin):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, (attempt(name, argument, name in ("mount", "chroot")) + "\\n").encode())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    said = os.fdopen(reader).readline().strip()  # nothing, and no failure: another program took its place
    print(said or ("allowed" if status == 0 else f"status {status}"), flush=True)
"""


def without_a_sandbox(rows: list[tuple[str, str]]) -> list[str]:
    command = [sys.executable, "-c", _WITHOUT]
    environment = {"PYTHONPATH": str(users.CHECKOUT / "src")}
    done = subprocess.run(
        command, input=json.dumps(rows), capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_without_a_sandbox_the_acts_succeed(probe_targets: dict[str, str], tmp_path: Path) -> None:
    rows: dict[str, tuple[str, set[str]]] = {}
    for table in TABLES.values():
        for row, outcomes in table["outcomes"].items():
            if outcomes[0] != "-":
                wanted, refusals = rows.setdefault(row, (outcomes[0], set()))
                assert wanted == outcomes[0], f"{row}: the tables disagree on what it gets without a sandbox"
                refusals.add(outcomes[-1])
    targets = {**probe_targets, **others(tmp_path)}
    got = without_a_sandbox([split(row, targets) for row in rows])
    wrong = {
        row: f"{result}, expected {wanted}"
        for (row, (wanted, refusals)), result in zip(rows.items(), got, strict=True)
        if not (result not in refusals if wanted == "other" else result == wanted)
    }
    assert not wrong


# --- inside -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def leveled(request: pytest.FixtureRequest) -> Iterator[tuple[int, Den]]:
    """A den at this level.  Level 1 of types that have just one is in the den of level 1, and also of level 4."""
    level: int = request.param
    with dens.shared_den(dens.switched_off() if level == 0 else {}, level=level) as den:
        yield level, den


@pytest.mark.parametrize(
    ("leveled", "name", "remote"), CASES, indirect=["leveled"], ids=lambda value: str(value) or "-"
)
def test_each_act_gets_inside_what_the_table_says(
    leveled: tuple[int, Den], name: str, remote: str, probe_targets: dict[str, str], tmp_path: Path
) -> None:
    level, den = leveled
    table = TABLES[name]
    column = 1 + table["levels"].index(level)
    targets = {**probe_targets, **others(tmp_path)}
    wrong = {}
    child = dens.launch(den, type_of(name), remote)
    try:
        assert child.level == level
        for row, outcomes in table["outcomes"].items():
            wanted = outcomes[column]
            if wanted == "-":
                continue
            got = try_act(den, child, *split(row, targets))
            if got == "killed":
                child = dens.launch(den, type_of(name), remote)
            if not (got != outcomes[-1] if wanted == "other" else got == wanted):
                wrong[row] = f"{got}, expected {wanted}"
    finally:
        dens.end(den, child)
    assert not wrong


def try_act(den: Den, child: ChildHost, name: str, argument: str) -> str:
    """`killed`: by the filter, and the error says so, and of whom."""
    try:
        return dens.outcome(den, child, name, argument)
    except ChildCrashed as crash:
        said = (crash.signal, crash.pid, crash.process_type, f"SIGSYS while trying {name}" in str(crash))
        return "killed" if said == (31, child.pid, child.row.name, True) else f"{crash}"


def others(tmp_path: Path) -> dict[str, str]:
    """What a test has for itself, or what depends on the den."""
    from foxden.parent.prefs import Prefs

    return {"folder": str(tmp_path), "authorities": Prefs().authorities()}


def split(row: str, targets: dict[str, str]) -> tuple[str, str]:
    name, _, argument = row.partition(" ")
    return name, argument.format(**targets)
