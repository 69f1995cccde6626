"""Some four hundred hostile acts of one program, each with what it must find, and why that is known to be the sandbox.

The table is probes.toml; the acts are programs/probes.py; both are named by the number of the hostile case.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.attack.run.ground import PYTHON, Done, Ground, program
from tests.support.users import is_root

pytestmark = pytest.mark.needs("userns", "landlock", "seccomp")
TABLE: dict[str, list[str]] = tomllib.loads((Path(__file__).parent / "probes.toml").read_text())
SHM_KEY = 0x0F0C5DE4
IPC_CREAT, IPC_RMID = 0o1000, 0


class Found(NamedTuple):
    inside: dict[str, str]
    alone: dict[str, str]
    run: Done


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    """One run in the sandbox, and one without, each on a ground of its own."""
    folder = tmp_path_factory.mktemp("probes")
    shared = Path(f"/dev/shm/foxden-hostile-{os.getpid()}")
    shared.write_text("x")
    libc = ctypes.CDLL(None)
    segment = libc.shmget(SHM_KEY, 4096, IPC_CREAT | 0o600)
    queue = f"/foxden-hostile-{os.getpid()}".encode()
    os.close(libc.mq_open(queue, os.O_CREAT | os.O_RDWR, 0o600, None))
    grounds = [Ground(folder / name) for name in ("inside", "alone")]
    try:
        port = grounds[0].serve()
        run = grounds[0].run(PYTHON, program("probes.py"), str(grounds[0].base), str(os.getpid()), "inside", str(port))
        assert run.code == 0, run.stderr
        grounds[0].close()
        port = grounds[1].serve()
        done = grounds[1].alone(
            PYTHON, program("probes.py"), str(grounds[1].base), str(os.getpid()), "alone", str(port)
        )
        assert done.returncode == 0, done.stderr
        yield Found(json.loads(run.stdout), json.loads(done.stdout), run)
    finally:
        for ground in grounds:
            ground.close()
        shared.unlink()
        Path(f"{shared}-own").unlink(missing_ok=True)  # what the control made
        libc.shmctl(segment, IPC_RMID, None)
        libc.mq_unlink(queue)


@pytest.mark.parametrize("name", TABLE)
def test_hostile_act_finds_what_the_table_says(found: Found, name: str) -> None:
    pattern, witnesses = TABLE[name]
    assert re.fullmatch(pattern, found.inside[name]), found.inside[name]
    for witness in witnesses.split(", "):
        assert _is_so(found, name, witness), f"{witness}: without a sandbox it is {found.alone.get(name)}"


def _is_so(found: Found, name: str, witness: str) -> bool:
    word, _, value = witness.partition(" ")
    violations = found.run.violations
    match word:
        case "free":
            return found.alone[name].startswith("ok")
        case "root":
            return not is_root() or found.alone[name].startswith("ok")
        case "same":
            return found.alone[name] == found.inside[name]
        case "call":
            return any(each.get("syscall") == value and each.get("rule") and each.get("errno") for each in violations)
        case "path":
            last = "/" + name.partition(" ")[2] if value == "own" else value
            return any(
                each.get("path", "").endswith(last) or each.get("path", "").startswith(last) for each in violations
            )
        case "host":
            return any(each.get("host") == value and each["kind"] == "network" and "--connect" in each["hint"]
                       for each in violations)  # fmt: skip
        case _:
            return word in ("granted", "-", "asked")


def test_every_probe_is_in_the_table(found: Found) -> None:
    assert found.inside.keys() == TABLE.keys()


def test_a_path_that_is_forbidden_and_one_that_is_missing_are_told_apart_by_nothing(found: Found) -> None:
    """Case 30."""
    for name, outcome in found.inside.items():
        if name.startswith("30 ") and name.endswith("of the secret"):
            assert outcome == found.inside[name.replace("of the secret", "of what is missing")], name


def test_what_a_program_writes_into_a_path_stands_escaped_in_its_record(found: Found) -> None:
    """Case 21: a path with line ends and escapes is one JSON string, and the record is of that path alone."""
    odd = [each for each in found.run.violations if "\x1b" in each.get("path", "")]
    assert [each["path"].rpartition("/")[2] for each in odd] == ["a\nb\x1b[31m"] or odd == [], odd


def test_the_refused_are_recorded_with_their_process_and_their_hint(found: Found) -> None:
    assert len(found.run.violations) > 100
    for each in found.run.violations:
        assert each["process_type"] == "plugin"
        assert each["level"] == 1
        assert each["pid"] > 0
        assert each["rule"], each
        assert each.get("hint"), each
