"""Kernels that give less: refused by default, with the layers named; accepted by name, with the loss reported exactly.

FOXDEN_TEST_NO_USERNS=1 stands for a container that forbids namespaces, FOXDEN_TEST_LANDLOCK_ABI for an older kernel.
What is left must still hold: the same probes are refused by the filter alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from tests.support import den as dens
from tests.support import users
from tests.support.servers import ScriptedServer

from foxden import Den, SandboxUnavailable

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
        for kind, remote in (("content", "web"), ("content", "file"), ("utility", "")):
            assert outcomes_of(den, kind, remote) == BY_FILTER
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


# --- old Landlock -----------------------------------------------------------------------------------------------


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
