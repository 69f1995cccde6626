"""What `why` answers is what real children get: the tables of tests/probes, which are tried on real children."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from foxden.sandbox.explain import Answer, Explainer
from foxden.sandbox.explain_hints import Hints
from foxden.sandbox.paths import Access
from foxden.sandbox.policy import load, resolve
from foxden.sandbox.policy_files import read_policy
from foxden.sandbox.syscall_numbers import NUMBERS

ARCH = "x86_64"
TABLES = {
    path.stem: tomllib.loads(path.read_text())
    for path in sorted((Path(__file__).resolve().parents[2] / "probes").glob("*.toml"))
}
CASES = [
    (name, remote, level)
    for name, table in TABLES.items()
    for remote in table.get("remote_types", [None])
    for level in table["levels"]
    if level > 0  # at level 0 it is the fork server's filter that answers
    if name != "plugin"  # a program's root is made with its caller's grants, not by its policy alone
]

# Probe → the wish for a file that it is, or the call.
FILES = {
    "read-file {secret}": Access.READ,
    "write-file {folder}/new": Access.WRITE | Access.CREATE,
    "list-folder {folder}": Access.READ,
    "make-folder {folder}/made": Access.CREATE,
    "exec {program}": Access.EXECUTE,
}
CALLS = {
    "kill {victim}": "kill", "ptrace {victim}": "ptrace", "unshare-user": "unshare", "mount": "mount",
    "chroot": "chroot", "bpf": "bpf", "io-uring": "io_uring_setup", "userfaultfd": "userfaultfd",
    "perf": "perf_event_open", "keyctl": "keyctl", "process-vm-readv": "process_vm_readv", "pidfd-open": "pidfd_open",
    "open-by-handle": "open_by_handle_at", "clone3": "clone3",
}  # fmt: skip


# The filter lets it pass, and the kernel has its own reasons.
KERNEL_SAYS_NO = {
    ("broker", "process-vm-readv"),  # of a process that is no child of the den
}


def word(answer: Answer) -> str:
    return "allowed" if answer.allowed else "killed" if answer.kills else answer.errno


@pytest.mark.parametrize(("name", "remote", "level"), CASES)
def test_answers_are_those_of_real_children(name: str, remote: str | None, level: int) -> None:
    policy, table = name.partition("-")[0], TABLES[name]
    resolved = resolve(load(policy, read_policy), level=level, remote_type=remote, variables={})
    judge = Explainer(resolved, Hints(policy, read_policy), arch=ARCH)
    got = {row: outcomes[1 + table["levels"].index(level)] for row, outcomes in table["outcomes"].items()}
    for row, call in CALLS.items():
        if (name, row) not in KERNEL_SAYS_NO:
            assert got[row] in (word(judge.call(NUMBERS[ARCH][call])), "-", "other"), row
    for row, access in FILES.items():
        answer = word(judge.file("/data/of/a/test", access))
        # What a real child gets, the rules must give.  What it is refused may lack only someone to ask.
        assert got[row] in (answer, "-") or (answer == "allowed" and got[row] != "allowed"), row


def test_the_tables_have_every_row_that_is_compared() -> None:
    assert all({*FILES, *CALLS} <= table["outcomes"].keys() for table in TABLES.values())
