"""A resolved policy becomes a plan: the bits and paths that a child applies."""

from __future__ import annotations

import msgspec
import pytest
from tests.support import bpf_interpreter
from tests.unit.sandbox.support import NAMES, highest, resolved, texts

from foxden.errors import PolicyError
from foxden.sandbox import policy
from foxden.sandbox.bpf import RET_ALLOW, RET_USER_NOTIF
from foxden.sandbox.build import build_plan
from foxden.sandbox.constants import ARCHES, AUDIT_ARCH
from foxden.sandbox.plan import Bind, LandlockRule, Limit, SandboxPlan
from foxden.sandbox.syscall_numbers import NUMBERS

READ = 0b1100  # LANDLOCK_ACCESS_FS_READ_FILE, READ_DIR


def plan(name: str, level: int | None = None, *, listener: bool = False) -> SandboxPlan:
    return build_plan(resolved(name, highest(name) if level is None else level), arch="x86_64", listener=listener)


def plan_of(text: str, level: int = 1, **variables: str) -> SandboxPlan:
    loaded = policy.load("x", texts(x='[syscalls]\ndefault = "allow"\n' + text))
    return build_plan(
        policy.resolve(loaded, level=level, remote_type=None, variables=variables), arch="x86_64", listener=True
    )


def test_level_zero_applies_nothing() -> None:
    assert plan("content", 0) == SandboxPlan(policy="content", level=0)


def test_content_at_its_highest_level() -> None:
    got = plan("content", listener=True)
    assert got.namespaces == 0x7E02_0000
    assert (got.empty_root, got.drop_capabilities, got.own_network, got.notify) == (True, True, True, True)
    assert got.binds == ()
    assert got.landlock is not None
    assert (got.landlock.handled_fs, got.landlock.handled_net, got.landlock.scoped) == (0xFFFF, 3, 3)
    assert got.landlock.rules == ()
    assert got.limits == (
        Limit("core", 1), Limit("data", 1 << 30), Limit("nofile", 256), Limit("fsize", 64 << 20),
        Limit("nproc", 64, own_ids_only=True), Limit("memlock", 0),
    )  # fmt: skip
    assert got.oom_score_adj == 500


def test_content_reads_the_host_through_landlock_at_level_two() -> None:
    got = plan("content", 2)
    assert (got.namespaces, got.empty_root, got.binds, got.own_network) == (0, False, (), False)
    assert got.landlock is not None
    assert got.landlock.rules[0] == LandlockRule("/", READ)
    assert [rule.path for rule in got.landlock.rules[1:]] == ["/tmp/own"]
    assert got.landlock.handled_net == 1, "binding a port is nobody's business"
    assert plan("content", 1).landlock is None


def test_socket_process_sees_its_few_files_and_nothing_else() -> None:
    got = plan("socket")
    assert Bind("/etc/resolv.conf", "/etc/resolv.conf") in got.binds
    assert all(bind.target.startswith("/etc/") for bind in got.binds), "libraries were loaded before the fork"
    assert got.landlock is not None
    assert {rule.path for rule in got.landlock.rules} == {bind.target for bind in got.binds}
    assert {rule.access for rule in got.landlock.rules} == {READ}
    assert got.landlock.handled_net == 1, "connecting is what it is for"
    assert (got.own_network, got.empty_root) == (False, True)
    assert got.namespaces == 0x7E02_0000 & ~0x4000_0000


@pytest.mark.parametrize("name", ["parent", "forkserver"])
def test_trusted_processes_get_a_filter_only(name: str) -> None:
    got = plan(name, listener=True)
    assert got.filter
    assert (got.namespaces, got.empty_root, got.landlock) == (0, False, None)
    assert (got.drop_capabilities, got.notify) == (False, name == "forkserver")
    assert got.limits == (Limit("core", 1),)


@pytest.mark.parametrize("name", NAMES)
def test_every_plan_travels_in_a_message(name: str) -> None:
    for level in range(highest(name) + 1):
        for arch in ARCHES:
            got = build_plan(resolved(name, level), arch=arch, listener=True)
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(got), type=SandboxPlan) == got


def test_listener_changes_the_filter_and_says_so() -> None:
    with_listener, without = plan("content", listener=True), plan("content")
    assert with_listener.filter != without.filter
    assert (with_listener.notify, without.notify) == (True, False)


def test_core_dumps_are_off_whatever_the_limits() -> None:
    assert plan_of("").limits == (Limit("core", 1),)
    assert Limit("as", 1 << 30) in plan_of('[limits]\naddress_space = "1 GiB"').limits


EMPTY = '[[level]]\nfrom = 1\nnamespaces = ["user", "mount"]\nroot = "empty"\n'


def test_files_served_by_a_broker_are_neither_mounted_nor_granted() -> None:
    got = plan_of(EMPTY + 'landlock = true\nreads = "broker"\n[files]\n"/usr" = "r"')
    assert got.binds == ()
    assert got.landlock is not None
    assert got.landlock.rules == ()


def test_files_served_by_the_kernel_are_mounted_in_an_empty_root_and_granted() -> None:
    got = plan_of(EMPTY + 'landlock = true\n[files]\n"/usr" = "r"\n"/home" = "deny"')
    assert got.binds == (Bind("/usr", "/usr"),)
    assert got.landlock is not None
    assert got.landlock.rules == (LandlockRule("/usr", READ),)


@pytest.mark.parametrize(("granted", "denied"), [("/", "/home"), ("/usr", "/usr/lib/x")])
def test_deny_rule_that_the_kernel_cannot_keep_is_refused(granted: str, denied: str) -> None:
    text = f'[files]\n"{granted}" = "r"\n"{denied}" = "deny"'
    message = f"x.toml: level 1: expected no deny rule below {granted!r}, which reads = 'kernel' grants as a whole"
    with pytest.raises(PolicyError, match=message):
        plan_of(text)
    assert plan_of(f'[[level]]\nfrom = 1\nreads = "broker"\n{text}').binds == ()


def test_deny_rule_beside_a_granted_tree_is_none_of_it() -> None:
    assert plan_of('[files]\n"/usr" = "r"\n"/usr2" = "deny"').level == 1


def test_whole_host_cannot_be_mounted_into_an_empty_root() -> None:
    with pytest.raises(PolicyError, match="expected root = 'host' where all of '/' is granted by the kernel"):
        plan_of(EMPTY + '[files]\n"/" = "r"')


@pytest.mark.parametrize("arch", ARCHES)
def test_a_function_asks_the_broker_where_it_stands_and_the_kernel_where_there_is_none(arch: str) -> None:
    got = build_plan(resolved("utility", highest("utility")), arch=arch, listener=True)
    call = (NUMBERS[arch]["getcwd"], (0,) * 6, AUDIT_ARCH[arch])
    found = [bpf_interpreter.run(bpf_interpreter.decode(each), *call) for each in (got.filter, got.quiet_filter)]
    assert found == [RET_USER_NOTIF, RET_ALLOW]
