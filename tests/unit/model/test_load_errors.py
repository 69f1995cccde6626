"""Every error name that the code can say is in one of the two tables, and no table says one that no code does."""

from __future__ import annotations

import re
from pathlib import Path

import foxden
from foxden.model import load_errors, network_errors

SOURCE = Path(foxden.__file__).parent
NAME = re.compile(r'"((?:NS_(?:ERROR|BINDING)|SEC_ERROR|SSL_ERROR|MOZILLA_PKIX_ERROR|PR_END)_[A-Z0-9_]*[A-Z0-9])"')


def said() -> set[str]:
    tables = {Path(load_errors.__file__), Path(network_errors.__file__)}
    return {name for path in SOURCE.rglob("*.py") if path not in tables for name in NAME.findall(path.read_text())}


def test_every_name_that_the_code_says_has_its_row() -> None:
    assert said() - load_errors.BY_CODE.keys() - network_errors.BY_CODE.keys() == set()


def test_no_name_stands_in_both_tables() -> None:
    assert load_errors.BY_CODE.keys() & network_errors.BY_CODE.keys() == set()


def test_every_row_of_a_failed_load_is_said_somewhere() -> None:
    assert load_errors.BY_CODE.keys() - said() == set()
