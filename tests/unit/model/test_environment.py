"""The table of environment names is what the code reads: no more, and no less."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import foxden
from foxden.model.environment import BY_NAME, ENVIRONMENT, is_on, value_of
from foxden.model.process_types import PROCESS_TYPES

SOURCE = Path(foxden.__file__).parent
READERS = {row.reader for row in ENVIRONMENT if row.reader}
# How a module gets at the environment; parent/prefs goes by names of the table, given to these two.
_READS = re.compile(r'(?:environ\.get\(|environ\[|envvar=|self\.is_on\(|self\.variable\()"(\w+)"')


def module(name: str) -> str:
    return (SOURCE / f"{name}.py").read_text()


def others() -> dict[str, str]:
    paths = (path.relative_to(SOURCE).with_suffix("").as_posix() for path in SOURCE.rglob("*.py"))
    return {name: module(name) for name in paths if name not in READERS}


def test_every_name_that_is_read_is_in_the_table_with_its_reader() -> None:
    read = {(name, reader) for reader in READERS for name in _READS.findall(module(reader))}
    read |= {(row.disable_env, "parent/prefs") for row in PROCESS_TYPES if row.disable_env}
    read.add(("MOZ_SANDBOX_CRASH_ON_ERROR", "parent/prefs"))  # by a constant of sandbox/customise
    assert read == {(row.name, row.reader) for row in ENVIRONMENT if row.reader}


def test_no_other_module_reads_the_environment() -> None:
    """So no child does: what a child sets in its own can turn nothing off."""
    allowed = {
        "front/command_demo": 1,  # sets SSL_CERT_FILE, for the den that it makes
        "parent/program_request": 1,  # likewise of Den.run
        "front/run_settings": 1,  # is any name of the table set at all?  Then parent/prefs reads them
        "children/utility/process": 1,  # puts what the caller gives a function there, after the lock
        "parent/function_view": 3,  # the caller's own variables that env=, a list or a mapping, or a policy names
        "parent/temporaries": 1,  # where temporary files go, by names that are Python's own
        "front/run_report": 1,  # MOZ_SANDBOX_LOGGING, for a run that has no Prefs
        "launch/interpreter": 1,  # takes LD_PRELOAD out again, which the parent had put there
        "front/running": 2,  # what `run` hands on to a program, as --env says; the tests' limit of Landlock
    }
    found = {name: len(re.findall(r"os\.environ|getenv\(|envvar=", text)) for name, text in others().items()}
    assert {name: count for name, count in found.items() if count} == allowed


def test_table_reads_well() -> None:
    assert len(BY_NAME) == len(ENVIRONMENT)
    for row in ENVIRONMENT:
        assert re.fullmatch(r"[A-Z][A-Z_]*", row.name)
        assert row.doc
        assert not row.doc.endswith(".")
        assert row.reader or "no effect" in row.doc


@pytest.mark.parametrize(("value", "on"), [("1", True), ("yes", True), ("0", False), ("", False), (None, False)])
def test_switch_is_on_when_it_is_set_to_more_than_zero(value: str | None, on: bool) -> None:
    environment = {} if value is None else {"MOZ_SANDBOX_LOGGING": value}
    assert is_on(environment, "MOZ_SANDBOX_LOGGING") is on
    assert value_of(environment, "MOZ_SANDBOX_LOGGING") == (value or "")


def test_name_that_is_not_in_the_table_is_not_read() -> None:
    with pytest.raises(KeyError):
        is_on({"MOZ_DISABLE_EVERYTHING": "1"}, "MOZ_DISABLE_EVERYTHING")
