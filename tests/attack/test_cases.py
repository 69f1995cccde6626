"""Every hostile case is tested somewhere, or says why not: the table is cases.toml, and what it names is there."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from foxden.launch.probes import PROBES

HERE = Path(__file__).parent
TABLE: dict[str, dict[str, Any]] = tomllib.loads((HERE / "cases.toml").read_text())
RUN = HERE / "run"  # of programs
# Numbers that no case has.
NONE = {9, 11, 23, 27, 28, 37, 39, 47, 51, 56, 65, 70, 82, 86, 88, 95, 106, 110, 114, 116, 129, 131, 135, 136, 137}


@cache
def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


@cache
def numbers_of_acts() -> set[int]:
    rows = tomllib.loads((HERE / "strict.toml").read_text())
    return {number for words in rows.values() for number in words["cases"]}


@cache
def numbers_of_programs() -> set[int]:
    rows = tomllib.loads((RUN / "probes.toml").read_text())
    return {int(found[0]) for row in rows if (found := re.match(r"\d+", row))}


def is_there(number: int, where: str) -> bool:
    if where == "acts":
        return number in numbers_of_acts()
    if where == "probes":
        return not RUN.exists() or number in numbers_of_programs()
    if where.startswith("probe "):
        return where.removeprefix("probe ") in PROBES
    name, _, test = where.partition("::")
    path = HERE.parent / name
    if not RUN.exists() and path.is_relative_to(RUN):
        return True
    return path.exists() and (not test or test in functions_of(path))


def test_every_case_has_its_row() -> None:
    assert {int(number) for number in TABLE} == set(range(1, 141)) - NONE


@pytest.mark.parametrize("side", ["strict", "program"])
def test_what_a_row_names_is_there(side: str) -> None:
    missing = []
    for number, row in TABLE.items():
        named = row[side]
        if isinstance(named, str):
            word, _, reason = named.partition(": ")
            assert word in ("no", "documented", "later"), (number, named)
            assert reason or word == "documented", number
        else:
            assert named, number
            missing += [f"{number}: {where}" for where in named if not is_there(int(number), where)]
    assert not missing


def test_acts_are_of_cases_that_say_so() -> None:
    assert {n for n in numbers_of_acts() if "acts" not in TABLE[str(n)]["strict"]} == set()
