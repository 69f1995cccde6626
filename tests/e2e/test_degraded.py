"""Kernels that give less: refused by default, with the layers named; accepted by name, with the loss reported exactly.

FOXDEN_TEST_EMULATE stands for containers, distributions and old kernels (launch/emulate), FOXDEN_TEST_LANDLOCK_ABI for
an older Landlock.  What is left must still hold: the same probes are refused by what is left alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import den as dens
from tests.support import users
from tests.support.servers import ScriptedServer
from tests.support.users import needs_userns

from foxden import ChildCrashed, Den, SandboxExecutor, SandboxUnavailable
from foxden.model.enforcement import Status
from foxden.model.process_types import BY_NAME, RemoteType
from foxden.model.records import Violation
from foxden.sandbox import linux
from foxden.sandbox.build import build_plan

NO_USERNS = {"FOXDEN_TEST_NO_USERNS": "1"}
WITHOUT_USERNS = ("namespaces", "root", "network", "limits")
# What a filter refuses by itself, whatever else is lost.
BY_FILTER = {
    "tcp-socket": "EACCES", "udp-socket": "EACCES", "netlink-socket": "EACCES", "exec": "EPERM", "fork": "EPERM",
    "ptrace": "EPERM", "kill": "EPERM", "io-uring": "EPERM", "mount": "EPERM", "unshare-user": "EPERM",
    "read-file": "EACCES", "write-file": "EACCES", "abstract-listen": "EACCES",
}  # fmt: skip


@pytest.fixture
def pages() -> Iterator[ScriptedServer]:
    with ScriptedServer(dens.routes({"/": dens.title_page("root")})) as server:
        yield server


def lost(den: Den, process_type: str) -> dict[str, str]:
    """Layers of a running child that are not FULL: `STATUS reason`."""
    (record, *_) = [r for r in den.processes() if r.process_type == process_type and r.enforcement]
    assert record.enforcement is not None
    return {
        layer.value: f"{status.status.value} {status.reason}"
        for layer, status in record.enforcement.items()
        if layer in record.enforcement.missing()
    }


def outcomes_of(den: Den, kind: str, remote: str = "") -> dict[str, str]:
    arguments = {"exec": "/bin/true", "kill": str(os.getpid()), "ptrace": str(os.getpid())}
    arguments |= {"read-file": "/etc/passwd", "write-file": "/dev/null"}
    with dens.child_of(den, kind, remote) as child:
        return {name: dens.outcome(den, child, name, arguments.get(name, "")) for name in BY_FILTER}


# --- no user namespaces -----------------------------------------------------------------------------------------


def test_without_user_namespaces_nothing_is_started_that_was_not_agreed_to(pages: ScriptedServer) -> None:
    with dens.make_den(NO_USERNS) as den:
        for ask in (lambda: den.fetch(f"{pages.url}/"), lambda: den.open(f"{pages.url}/")):
            with pytest.raises(SandboxUnavailable, match="namespaces") as caught:
                ask()
            assert caught.value.layers == ("namespaces", "root"), "limits and network are judged when they are known"
            for word in ("user namespaces", "--allow-partial", *WITHOUT_USERNS):
                assert word in caught.value.hint
        assert pages.connections == 0


@pytest.mark.parametrize("accepted", [("namespaces",), ("landlock",), WITHOUT_USERNS[:2]])
def test_what_was_not_accepted_by_name_stays_an_error(pages: ScriptedServer, accepted: tuple[str, ...]) -> None:
    with dens.make_den(NO_USERNS, allow_partial=accepted) as den:
        with pytest.raises(SandboxUnavailable) as caught:
            den.open(f"{pages.url}/")
        assert caught.value.layers
        assert not set(caught.value.layers) <= set(accepted)
        assert not [r for r in den.processes() if r.process_type in ("content", "socket") and r.enforcement]


def test_without_user_namespaces_and_agreed_to_it_works_and_says_what_is_lost(pages: ScriptedServer) -> None:
    with dens.make_den(NO_USERNS, allow_partial=WITHOUT_USERNS) as den:
        assert den.open(f"{pages.url}/").title == "root"
        assert den.fetch(f"{pages.url}/").status == 200
        content, network = lost(den, "content"), lost(den, "socket")
        assert set(content) == set(WITHOUT_USERNS)
        assert content["namespaces"].startswith("NONE")
        assert content["root"].startswith("NONE")
        assert content["network"] == "PARTIAL no network namespace: the filter alone refuses sockets"
        assert content["limits"].startswith("PARTIAL not limited: nproc")
        assert set(network) == set(WITHOUT_USERNS) - {"network"}, "it has none of its own to lose"


def test_without_user_namespaces_the_filter_still_refuses() -> None:
    with dens.make_den(NO_USERNS, allow_partial=WITHOUT_USERNS) as den:
        for kind, remote in (("content", "web"), ("content", "extension"), ("utility", "")):
            assert outcomes_of(den, kind, remote) == BY_FILTER
        by_broker = {"read-file": "allowed"}  # file pages read files
        assert outcomes_of(den, "content", "file") == {**BY_FILTER, **by_broker}
    with (
        dens.make_den({**NO_USERNS, **dens.switched_off()}) as den,
        dens.child_of(den, "content") as child,
    ):
        assert dens.outcome(den, child, "read-file", "/etc/passwd") == "allowed", "the control: with no filter"
        assert dens.outcome(den, child, "fork") == "allowed"


def test_without_user_namespaces_a_child_still_has_no_capability_and_no_other_group() -> None:
    with (
        dens.make_den(NO_USERNS, allow_partial=WITHOUT_USERNS) as den,
        dens.child_of(den, "content", "web") as child,
    ):
        status = dens.status(child.pid)
        assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


# --- every tier -------------------------------------------------------------------------------------------------

NO_FILES = "the host's files are kept by Landlock and the filter alone, and that they exist can be seen"
NO_SPACES = {
    "root": f"NONE an empty root needs a mount namespace: {NO_FILES}",
    "network": "PARTIAL no network namespace: the filter alone refuses sockets",
}
# Tier → what a content child loses, as `layer: beginning of STATUS reason`.
TIERS: dict[str, dict[str, str]] = {
    "no-userns": {"namespaces": "NONE the kernel gave no user namespace (Operation not permitted)", **NO_SPACES},
    "userns-enospc": {"namespaces": "NONE the kernel gave no user namespace (No space left on device)", **NO_SPACES},
    "userns-apparmor": {
        "namespaces": "PARTIAL the user namespace gives no right in it (",
        "root": "NONE mounts are refused (mount: Operation not permitted)",
    },
    "no-mount": {"root": f"NONE mounts are refused (mount: Operation not permitted): {NO_FILES}"},
    "old-mount": {"root": "NONE mounts are refused (mount_setattr: Function not implemented)"},
    "no-seccomp": {
        "network": "PARTIAL no filter refuses sockets: the network namespace alone is empty",
        "seccomp": "NONE this kernel takes no seccomp filters",
    },
    "old-notify": {},
}
# Tasks are counted by uid: without a namespace for nobody, and for the machine's root never.
LIMITS_LOST = {"no-userns": True, "userns-enospc": True, "userns-apparmor": users.is_root()}
KINDS = (("content", "web"), ("utility", ""), ("rdd", ""))
# GMP: the same answers; what only an attack does ends the process.
BY_GMP = {name: BY_FILTER[name] for name in ("tcp-socket", "exec", "fork", "kill", "read-file", "write-file")}


@pytest.mark.parametrize("tier", TIERS)
def test_tier_is_refused_with_its_layers_and_works_when_they_are_accepted(pages: ScriptedServer, tier: str) -> None:
    users.require("userns")
    environment = {"FOXDEN_TEST_EMULATE": tier}
    expected = {**TIERS[tier], **({"limits": "PARTIAL not limited: nproc"} if LIMITS_LOST.get(tier) else {})}
    if expected:
        with dens.make_den(environment) as den:
            with pytest.raises(SandboxUnavailable) as caught:
                dens.launch(den, "content", "web")
            assert set(caught.value.layers) <= set(expected)
            assert caught.value.layers
            assert f"--allow-partial {','.join(caught.value.layers)}" in caught.value.hint
            assert "foxden support" in caught.value.hint
            assert not [r for r in den.processes() if r.process_type == "content"], "nothing of it is left"
    with dens.make_den(environment, allow_partial=[*expected]) as den:
        assert den.open(f"{pages.url}/").title == "root"
        found = lost(den, "content") if expected else {}
        assert set(found) == set(expected)
        for layer, words in expected.items():
            assert found[layer].startswith(words)


@pytest.mark.parametrize("tier", [name for name in TIERS if name != "no-seccomp"])
def test_what_is_left_of_a_tier_refuses_the_same(tier: str) -> None:
    users.require("userns")
    with dens.make_den({"FOXDEN_TEST_EMULATE": tier}, allow_partial=[*TIERS[tier], "limits"]) as den:
        for kind, remote in KINDS:
            # An errno of the emulated kernel outranks the question to the broker that the child's own filter has.
            of_the_kernel = {"unshare-user": "ENOSPC"} if tier == "userns-enospc" else {}
            assert outcomes_of(den, kind, remote) == {**BY_FILTER, **of_the_kernel}, kind
        with dens.child_of(den, "gmp") as child:
            arguments = {"exec": "/bin/true", "kill": str(os.getpid()), "read-file": "/etc/passwd"}
            arguments |= {"write-file": "/dev/null"}
            found = {name: dens.outcome(den, child, name, arguments.get(name, "")) for name in BY_GMP}
            assert found == BY_GMP
            with pytest.raises(ChildCrashed) as caught:
                dens.outcome(den, child, "ptrace", str(os.getpid()))
            assert caught.value.signal == signal.SIGSYS


def test_without_namespaces_and_filters_landlock_alone_keeps_files_and_other_processes() -> None:
    """The control is the same child without Landlock: it may signal this process, and trace it where Yama lets it."""
    users.require("landlock")
    environment = {"FOXDEN_TEST_EMULATE": "no-userns,no-seccomp"}
    accepted = (*WITHOUT_USERNS, "seccomp", "landlock")
    acts = {"kill": str(os.getpid()), "read-file": "/etc/passwd", "write-file": "/dev/null", "list-folder": "/"}
    with dens.make_den(environment, allow_partial=accepted) as den, dens.child_of(den, "utility") as child:
        assert {act: dens.outcome(den, child, act, given) for act, given in acts.items()} == {
            "kill": "EPERM", "read-file": "EACCES", "write-file": "EACCES", "list-folder": "EACCES",
        }  # fmt: skip
        assert dens.outcome(den, child, "ptrace", str(os.getpid())) == "EPERM"
    environment["FOXDEN_TEST_LANDLOCK_ABI"] = "0"
    with dens.make_den(environment, allow_partial=accepted) as den, dens.child_of(den, "utility") as child:
        assert {dens.outcome(den, child, act, given) for act, given in acts.items()} == {"allowed"}


@pytest.mark.parametrize("kind", [("content", "web"), ("gmp", ""), ("utility", ""), ("rdd", ""), ("socket", "")])
def test_where_others_are_in_sight_a_child_signals_itself_alone(kind: tuple[str, str]) -> None:
    """abort() is tgkill, and reaches nobody where a process namespace holds nobody else.  Landlock 5 has no scopes."""
    environment = {"FOXDEN_TEST_EMULATE": "no-userns", "FOXDEN_TEST_LANDLOCK_ABI": "5"}
    accepted = (*WITHOUT_USERNS, "landlock")
    with dens.make_den(environment, allow_partial=accepted) as den, dens.child_of(den, *kind) as child:
        assert dens.outcome(den, child, "signal-thread") == "allowed"
        assert dens.outcome(den, child, "signal-thread", str(os.getpid())) == "EPERM"
    off = {**environment, **dens.switched_off(), "FOXDEN_TEST_LANDLOCK_ABI": "0"}
    with dens.make_den(off) as den, dens.child_of(den, "utility") as child:
        assert dens.outcome(den, child, "signal-thread", str(os.getpid())) == "allowed", "the control: with no filter"


def test_everything_at_once_is_named_at_once() -> None:
    """The kernel's own refusal of namespaces comes first; accepted, all that is left to lose is named together."""
    environment = {"FOXDEN_TEST_EMULATE": "no-userns,no-seccomp", "FOXDEN_TEST_LANDLOCK_ABI": "0"}
    with dens.make_den(environment, allow_partial=["namespaces", "root"]) as den:
        with pytest.raises(SandboxUnavailable) as caught:
            dens.launch(den, "content", "web")
        assert set(caught.value.layers) == {"limits", "network", "landlock", "seccomp"}


# --- another listener -------------------------------------------------------------------------------------------


def want_listener(den: Den, process_type: str, remote: RemoteType | None) -> None:
    """Plan for a broker, as a den does that has one."""
    plans, row = den._runtime.plans, BY_NAME[process_type]
    plan = build_plan(plans.resolved(row, remote), arch=linux.ARCH, listener=True)
    plans._plans[plans._key(row, remote)] = plan


@needs_userns
def test_listener_of_someone_else_costs_the_broker_and_nothing_else(pages: ScriptedServer) -> None:
    environment = {"FOXDEN_TEST_EMULATE": "listener-taken"}
    with dens.make_den(environment) as den:
        want_listener(den, "content", RemoteType.WEB)
        with pytest.raises(SandboxUnavailable, match="another listener serves this process") as caught:
            den.open(f"{pages.url}/")
        assert caught.value.layers == ("seccomp",)
        assert "--allow-partial seccomp" in caught.value.hint
    with dens.make_den(environment, allow_partial=["seccomp"]) as den:
        want_listener(den, "content", RemoteType.WEB)
        assert den.open(f"{pages.url}/").title == "root"
        assert set(lost(den, "content")) == {"seccomp"}
        assert outcomes_of(den, "content", "web") == BY_FILTER


@pytest.mark.usefixtures("each_way")
def test_without_a_listener_a_child_tells_of_itself_what_it_was_refused(each_way: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with dens.make_den({"FOXDEN_TEST_EMULATE": "listener-taken"}, allow_partial=["seccomp"]) as den:
        child = dens.launch(den, "content", "web")
        assert child.enforcement is not None
        reason = child.enforcement.seccomp.reason if child.enforcement.seccomp else ""
        for _ in range(3):
            assert dens.outcome(den, child, "read-file", str(tmp_path / "secret")) == "EACCES"
        if each_way == "python":
            assert reason.endswith("no file is brokered, no violation recorded")
            return
        assert reason.endswith("violations are recorded by its own word")
        def of_secret() -> list[Violation]:
            return [each for each in den.violations() if each.path == str(tmp_path / "secret")]

        dens.wait_until(lambda: sum(each.count for each in of_secret()) == 3, "all three to be told")
        told = of_secret()[0]
        assert (told.pid, told.kind, told.operation, told.errno) == (child.pid, "file", "open", "EACCES")
        assert "by the process's own word" in told.rule


# --- programs ---------------------------------------------------------------------------------------------------


def run_program(tier: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "foxden", "run", *options, "--", "/bin/echo", "it runs"],
        cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "PYTHONPATH": str(users.CHECKOUT / "src"), "FOXDEN_TEST_EMULATE": tier},
    )  # fmt: skip


@pytest.mark.parametrize("tier", ["no-userns", "userns-enospc", "userns-apparmor", "no-mount", "listener-taken"])
def test_program_is_refused_on_a_lesser_kernel_until_that_is_accepted(tier: str) -> None:
    users.require("userns")
    done = run_program(tier)
    assert (done.returncode, done.stdout) == (125, ""), "as env(1), nice(1) and timeout(1): it was not started"
    assert "the sandbox is not whole" in done.stderr
    assert "--allow-partial" in done.stderr
    done = run_program(tier, "--allow-partial", "namespaces,root,network,limits,seccomp")
    assert (done.returncode, done.stdout) == (0, "it runs\n"), done.stderr


def test_program_needs_nothing_accepted_on_a_whole_kernel() -> None:
    users.require("userns")
    done = run_program("")
    assert (done.returncode, done.stdout) == (0, "it runs\n"), done.stderr


# --- old Landlock -----------------------------------------------------------------------------------------------


@needs_userns
@pytest.mark.parametrize(
    ("abi", "reason"),
    [
        ("0", "NONE this kernel has no Landlock"),
        ("3", "PARTIAL Landlock ABI 3 does not know all file rights, TCP ports, scopes"),
        ("5", "PARTIAL Landlock ABI 5 does not know all scopes"),
    ],
)
def test_older_landlock_is_an_error_until_it_is_accepted(pages: ScriptedServer, abi: str, reason: str) -> None:
    environment = {"FOXDEN_TEST_LANDLOCK_ABI": abi}
    with dens.make_den(environment) as den:
        with pytest.raises(SandboxUnavailable, match="landlock") as caught:
            den.open(f"{pages.url}/")
        assert caught.value.layers == ("landlock",)
        assert "--allow-partial landlock" in caught.value.hint
        assert "foxden support" in caught.value.hint
    with dens.make_den(environment, allow_partial=["landlock"]) as den:
        assert den.open(f"{pages.url}/").title == "root"
        content = lost(den, "content")
        assert set(content) == {"landlock"}
        assert content["landlock"].startswith(reason)
        assert outcomes_of(den, "content", "web") == BY_FILTER


def test_whole_landlock_loses_nothing(pages: ScriptedServer) -> None:
    users.require("landlock")
    users.require("userns")
    with dens.make_den({"FOXDEN_TEST_LANDLOCK_ABI": "6"}) as den:
        den.open(f"{pages.url}/")
        assert lost(den, "content") == lost(den, "socket") == {}


# --- support ----------------------------------------------------------------------------------------------------


def test_support_says_what_is_missing_and_what_to_do() -> None:
    with dens.make_den({**NO_USERNS, "FOXDEN_TEST_LANDLOCK_ABI": "3", "MOZ_DISABLE_RDD_SANDBOX": "1"}) as den:
        report = den.support()
    assert report.landlock_abi <= 3
    assert not [entry.error for entry in report.types if entry.error]
    by_type = {entry.process_type: entry for entry in report.types}
    utility = by_type["utility"].enforcement
    assert utility is not None
    assert {layer.value for layer in utility.missing()} == {*WITHOUT_USERNS, "landlock"}
    assert by_type["rdd"].switched_off_by == "MOZ_DISABLE_RDD_SANDBOX"
    advice = "\n".join(report.advice)
    for words in ("max_user_namespaces", "AppArmor", "landlock", "MOZ_DISABLE_RDD_SANDBOX is set"):
        assert words in advice
    features = {feature.name: feature for feature in report.kernel.features}
    for name in ("user-namespaces", "mounts", "landlock"):
        assert features[name].status is not Status.FULL
        assert features[name].lost
        assert features[name].remedy
    assert "ioctl on devices" in features["landlock"].lost
    assert features["landlock"].remedy == "Linux 6.12 or later"


def test_sandbox_switched_off_by_the_environment_counts_for_the_parent_only() -> None:
    """A child that sets the name turns nothing off: only the parent's own environment is looked at, at its start."""
    with dens.make_den() as den:
        with dens.child_of(den, "content", "web") as child:
            assert child.level == 4
        with dens.child_of(den, "rdd") as child:
            assert child.level == 1
    with dens.make_den({"MOZ_DISABLE_CONTENT_SANDBOX": "1"}) as den:
        with dens.child_of(den, "content", "web") as child:
            assert (child.level, child.enforcement.summary() if child.enforcement else "") == (0, "NONE")
        with dens.child_of(den, "rdd") as child:
            assert child.level == 1


@pytest.mark.parametrize("tier", [*TIERS, "listener-taken"])
def test_first_call_of_a_worker_needs_nothing_that_only_a_broker_could_open(tier: str) -> None:
    """By value, and with an exception: what a fork server may load after its first child is wanted at once."""

    def fails(value: int) -> None:
        raise ValueError(value)

    layers = ("namespaces", "root", "network", "limits", "seccomp")
    for act, told in ((lambda: 42, 42), (lambda: fails(3), "ValueError")):
        with (
            dens.make_den({"FOXDEN_TEST_EMULATE": tier}, allow_partial=layers) as den,
            SandboxExecutor(1, den=den) as pool,
        ):
            future = pool.submit(act)
            error = future.exception(30)
            assert (future.result() if error is None else type(error).__name__) == told
