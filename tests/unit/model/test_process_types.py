"""The process table holds together: numbers, policies, protocols and child modules are all there."""

from __future__ import annotations

import importlib

import pytest

from foxden.launch.forkserver import modules_of
from foxden.model.process_types import PROCESS_TYPES, Family, ProcessType, RemoteType, child_rows, family_of
from foxden.protocols.registry import BY_NAME as PROTOCOLS
from foxden.sandbox.policy_files import policy_names

# For ever: a number that was given is never given again.
NUMBERS = {
    "default": 0, "plugin": 1, "content": 2, "ipdlunittest": 3, "gmp": 4, "gpu": 5, "vr": 6, "rdd": 7, "socket": 8,
    "broker": 9, "forkserver": 10, "utility": 11,
}  # fmt: skip


def test_numbers_never_change() -> None:
    assert {row.name: row.number for row in PROCESS_TYPES} == NUMBERS


@pytest.mark.parametrize("row", PROCESS_TYPES, ids=lambda row: row.name)
def test_row_names_what_there_is(row: ProcessType) -> None:
    assert row.policy in policy_names()
    assert not row.protocol or row.protocol in PROTOCOLS
    assert row.about
    if row.child:
        module = importlib.import_module(row.child)
        assert callable(module.main)
        assert callable(module.prewarm)


def test_every_child_has_exactly_one_fork_server_that_takes_it() -> None:
    for row in child_rows():
        for remote in row.remote_types or (None,):
            family = family_of(row, remote)
            assert row.name in modules_of(family)


def test_web_file_and_extension_pages_never_share_a_fork_server() -> None:
    content = next(row for row in PROCESS_TYPES if row.name == "content")
    families = {remote: family_of(content, remote) for remote in RemoteType}
    assert families[RemoteType.WEB] is not families[RemoteType.FILE]
    assert families[RemoteType.EXTENSION] not in (families[RemoteType.WEB], families[RemoteType.FILE])
    assert [row.name for row in child_rows() if family_of(row, None) is Family.NETWORK] == ["socket"]
