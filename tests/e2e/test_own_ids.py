"""Every child a uid and gid of its own, and no other group: as root, and as an ordinary user with subordinate ids.

Runs in: the test process as root, which starts others as a user that the machine does not know (tests/support/
subordinate_user).  Trusts: /proc for the ids of a process, never what it says of itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from tests.support import den as dens
from tests.support import users
from tests.support.subordinate_user import UID
from tests.support.users import needs_ordinary_user, needs_root, needs_uidmap, needs_userns

from foxden.sandbox.subordinate import FIRST_INSIDE

pytestmark = needs_userns

AS_SUBORDINATE = (sys.executable, str(users.CHECKOUT / "tests" / "support" / "subordinate_user.py"))
AS_ORDINARY = (sys.executable, str(users.AS_ORDINARY_USER))
KINDS = [("content", "web"), ("content", "file"), ("gmp", ""), ("socket", ""), ("utility", ""), ("utility", "")]

# Starts one child of each kind, all alive at once, and tells of each what the kernel says.
SCRIPT = f"""
import ctypes, json, os, sys
from tests.support import den as dens
from foxden.sandbox import linux

def peek(pid):
    "Read four bytes of a child's memory, as a broker does."
    with open(f"/proc/{{pid}}/maps") as maps:
        address = int(maps.readline().split("-")[0], 16)
    here = ctypes.create_string_buffer(4)
    class IoVec(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
    ours, theirs = IoVec(ctypes.addressof(here), 4), IoVec(address, 4)
    libc = ctypes.CDLL(None, use_errno=True)
    got = libc.process_vm_readv(pid, ctypes.byref(ours), 1, ctypes.byref(theirs), 1, 0)
    return got == 4 and here.raw == b"\\x7fELF"

told = []
with dens.make_den(allow_partial=["limits"]) as den:
    children = [dens.launch(den, *kind) for kind in {KINDS!r} + [("broker", ""), ("plugin", "")]]
    records = {{record.pid: record for record in den.processes()}}
    for child in children:
        status = dens.status(child.pid)
        told.append(dict(
            kind=child.row.name, uids=status["Uid"].split(), gids=status["Gid"].split(),
            groups=status["Groups"].split(), capabilities=status["CapPrm"],
            whole=child.enforcement.summary(), kept=child.kept_ids,
            memory=records[child.pid].memory_bytes,
            peek=child.row.name != "plugin" and peek(child.pid),  # a program's starter lets nobody look
        ))
    reader = next(child for child in children if child.remote_type and child.remote_type.value == "file")
    brokered = [dens.outcome(den, reader, act, "/etc/passwd") for act in ("read-file", "write-file")]
    servers = [dens.status(r.pid)["CapPrm"] for r in den.processes() if r.process_type == "forkserver"]
    features = {{f.name: (f.status.value, f.detail) for f in den.support().kernel.features}}
    dens.end(den, *children)
    ended = all(dens.has_ended(child.pid) for child in children)
print(json.dumps(dict(children=told, servers=servers, own_ids=features["own-ids"], ended=ended, brokered=brokered)))
"""


def run(prefix: tuple[str, ...], **env: str) -> dict[str, Any]:
    done = subprocess.run(
        [*prefix, sys.executable, "-c", SCRIPT],
        cwd=users.CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": f"{users.CHECKOUT / 'src'}:{users.CHECKOUT}", **env},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def ids_of(told: dict[str, Any], *but: str) -> list[tuple[str, str]]:
    """Real uid and gid of each child, which are all its uids and gids."""
    found = []
    for child in told["children"]:
        if child["kind"] not in but:
            assert len(set(child["uids"])) == len(set(child["gids"])) == 1
            found.append((child["uids"][0], child["gids"][0]))
    return found


@needs_root
@needs_uidmap
def test_children_of_a_user_with_a_range_have_ids_of_their_own() -> None:
    told = run(AS_SUBORDINATE, FOXDEN_TEST_RANGE="300000:4096", FOXDEN_TEST_GROUPS="4321,8765")
    found = ids_of(told, "broker", "plugin")
    assert len(set(found)) == len(found) == len(KINDS), "no two children have the same"
    for uid, gid in found:
        assert uid == gid
        assert 300_000 <= int(uid) < 304_096
    for child in told["children"]:
        if child["kind"] != "plugin":
            assert child["peek"], "its memory is the broker's to read"
            assert child["memory"] > 0
        assert int(child["capabilities"], 16) == 0
        if child["kind"] not in ("broker", "plugin"):
            assert child["groups"] == [], "the caller's groups are dropped with his ids"
            assert (child["whole"], child["kept"]) == ("FULL", "")
    assert told["own_ids"][0] == "FULL"
    assert told["ended"], "the parent can end who has another uid"
    assert told["brokered"] == ["allowed", "EACCES"], "the broker serves who has another uid"


@needs_root
@needs_uidmap
def test_programs_and_the_broker_keep_the_ids_of_the_users_files() -> None:
    told = run(AS_SUBORDINATE, FOXDEN_TEST_GROUPS="4321")
    kept = [child for child in told["children"] if child["kind"] in ("broker", "plugin")]
    assert len(kept) == 2
    for child in kept:
        assert set(child["uids"]) == {str(UID)}
        assert child["groups"] == ["4321"], "the control of the test above"
        assert child["kept"] == "it works on the caller's own files"


@needs_root
@needs_uidmap
def test_fork_servers_hold_the_two_rights_over_ids_and_no_other() -> None:
    told = run(AS_SUBORDINATE)
    assert {int(held, 16) for held in told["servers"]} == {0, 1 << 6 | 1 << 7}


@needs_root
@needs_uidmap
@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"FOXDEN_TEST_RANGE": "300000:100"}, "has no range of 256 ids"),
        ({"FOXDEN_TEST_RANGE": "many:few"}, "has no range of 256 ids"),
        # An emulated kernel needs no_new_privs, under which the helpers have no effect.
        ({"FOXDEN_TEST_EMULATE": "old-notify"}, "newuidmap: write to uid_map failed"),
    ],
)
def test_without_a_range_that_works_children_keep_the_callers_ids_and_lose_nothing_else(
    env: dict[str, str], reason: str
) -> None:
    told = run(AS_SUBORDINATE, **env)
    assert {uid for uid, _ in ids_of(told)} == {str(UID)}
    assert {child["whole"] for child in told["children"]} == {"FULL"}
    assert told["own_ids"][0] == "PARTIAL"
    assert reason in told["own_ids"][1]


@needs_root
def test_user_without_a_name_keeps_his_ids() -> None:
    told = run(AS_ORDINARY)
    assert len({uid for uid, _ in ids_of(told)}) == 1
    assert "no entry in /etc/passwd" in told["own_ids"][1]


@needs_root
def test_children_of_root_have_ids_that_nobody_has() -> None:
    told = run(())
    found = ids_of(told, "broker", "plugin")
    assert len(set(found)) == len(found)
    assert all(int(uid) >= FIRST_INSIDE for uid, _ in found)
    assert all(child["groups"] == [] for child in told["children"] if child["kind"] not in ("broker", "plugin"))
    assert told["own_ids"][0] == "FULL"


@needs_ordinary_user
def test_ids_of_an_ordinary_users_children_are_his_or_of_his_range() -> None:
    with dens.make_den() as den, dens.child_of(den, "content", "web") as child:
        own = dens.status(child.pid)["Uid"].split()[0] != str(os.getuid())
        assert own == (not child.kept_ids)
