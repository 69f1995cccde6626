"""What `foxden support` says of a kernel: rows from facts, on trees of /proc and /sys that stand for other machines."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from foxden.model.enforcement import Enforcement, LayerStatus, Status
from foxden.parent.kernel import FEATURES, LANDLOCK_BROUGHT, Facts, Feature, features
from foxden.parent.own_ids import CALLERS_FILES, NO_NAMESPACE
from foxden.sandbox.losses import loss

FULL = LayerStatus(Status.FULL)
WHOLE = Enforcement(namespaces=FULL, root=FULL, landlock=FULL, seccomp=FULL)
LOST = Enforcement(namespaces=loss("namespaces-refused", errno.EPERM), root=loss("no-mount-namespace"))
NOTIFY = frozenset({"listener", "addfd", "addfd-send", "wait-killable", "wake-up"})


def tree(folder: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return f"{folder}/"


def rows(folder: Path, files: dict[str, str] | None = None, **facts: object) -> dict[str, Feature]:
    given = {"enforcements": (WHOLE,), "notify": NOTIFY, "landlock_abi": 7, "uid": 1000, **facts}
    found = features(Facts(root=tree(folder, files or {}), **given))  # type: ignore[arg-type]
    return {row.name: row for row in found}


def test_every_feature_has_a_row_and_a_whole_machine_needs_nothing(tmp_path: Path) -> None:
    cgroup = {"/proc/self/cgroup": "0::/user\n", "/proc/mounts": "cgroup2 /cg cgroup2 rw 0 0\n"}
    found = rows(tmp_path, {**cgroup, "/cg/user/cgroup.controllers": "cpu memory pids\n"})
    assert list(found) == list(FEATURES)
    for row in found.values():
        assert (row.status, row.lost, row.remedy) == (Status.FULL, "", ""), row


@pytest.mark.parametrize(
    ("files", "enforcement", "remedy"),
    [
        ({"/proc/sys/user/max_user_namespaces": "0\n"}, LOST, "sysctl -w user.max_user_namespaces=28633"),
        ({"/proc/sys/kernel/unprivileged_userns_clone": "0\n"}, LOST, "sysctl -w kernel.unprivileged_userns_clone=1"),
        ({"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, LOST, "/etc/apparmor.d/foxden"),
        ({"/.dockerenv": ""}, LOST, "docker run --security-opt seccomp="),
        ({"/run/.containerenv": ""}, LOST, "podman run --security-opt"),
        ({"/var/run/secrets/kubernetes.io/x": ""}, LOST, "procMount: Unmasked"),
        ({}, Enforcement(namespaces=loss("namespaces-refused", errno.ENOSPC)), "used up"),
        ({}, Enforcement(namespaces=loss("namespaces-useless", errno.EROFS)), "writable /proc"),
    ],
)
def test_remedy_for_namespaces_is_that_of_the_cause(
    tmp_path: Path, files: dict[str, str], enforcement: Enforcement, remedy: str
) -> None:
    row = rows(tmp_path, files, enforcements=(enforcement,))["user-namespaces"]
    assert row.status is not Status.FULL
    assert remedy in row.remedy
    assert "empty network" in row.lost


def test_apparmor_profile_is_a_text_to_copy(tmp_path: Path) -> None:
    files = {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}
    row = rows(tmp_path, files, enforcements=(LOST,))["apparmor"]
    first, *profile = row.remedy.splitlines()
    assert "apparmor_parser -r" in first
    assert "  userns," in profile
    assert any(line.startswith("profile foxden /") and line.endswith("flags=(unconfined) {") for line in profile)


def test_restriction_that_lets_this_program_pass_is_none(tmp_path: Path) -> None:
    files = {"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}
    assert rows(tmp_path, files)["apparmor"].status is Status.FULL


@pytest.mark.parametrize("abi", range(max(LANDLOCK_BROUGHT) + 1))
def test_landlock_names_what_its_version_lacks(tmp_path: Path, abi: int) -> None:
    row = rows(tmp_path, landlock_abi=abi)["landlock"]
    for version, brought in LANDLOCK_BROUGHT.items():
        assert (brought in row.lost) == (version > abi)
    assert (row.status is Status.FULL) == (abi == max(LANDLOCK_BROUGHT))


def test_landlock_that_was_not_switched_on_says_how(tmp_path: Path) -> None:
    row = rows(tmp_path, {"/sys/kernel/security/lsm": "capability,yama,apparmor"}, landlock_abi=0)["landlock"]
    assert "lsm=landlock,capability,yama,apparmor on its command line" in row.remedy


def test_without_a_listener_the_rest_comes_with_it(tmp_path: Path) -> None:
    found = rows(tmp_path, notify=frozenset(), notify_error="another listener serves these processes")
    assert found["seccomp-listener"].detail == "another listener serves these processes"
    assert "SCMP_ACT_NOTIFY" in found["seccomp-listener"].remedy
    for name in ("seccomp-addfd", "seccomp-addfd-send", "seccomp-wait-killable", "seccomp-wake-up"):
        assert found[name].remedy == "comes with seccomp-listener"


def test_old_listener_lacks_what_came_later(tmp_path: Path) -> None:
    found = rows(tmp_path, notify=frozenset({"listener", "addfd"}))
    assert found["seccomp-addfd"].status is Status.FULL
    assert found["seccomp-wait-killable"].remedy == "Linux 5.19 or later"


@pytest.mark.parametrize(
    ("files", "status", "detail"),
    [
        ({}, Status.NONE, "no cgroup v2"),
        ({"/proc/self/cgroup": "1:memory:/\n"}, Status.NONE, "no cgroup v2"),
        (
            {"/proc/self/cgroup": "0::/a", "/proc/mounts": "c /cg cgroup2 rw", "/cg/a/cgroup.controllers": "cpu"},
            Status.NONE, "no controller memory, pids",
        ),
    ],
)  # fmt: skip
def test_cgroup_must_be_there_with_its_controllers(
    tmp_path: Path, files: dict[str, str], status: Status, detail: str
) -> None:
    row = rows(tmp_path, files)["cgroup-v2"]
    assert row.status is status
    assert detail in row.detail


def test_ids_are_missing_only_where_they_were_due(tmp_path: Path) -> None:
    assert rows(tmp_path, kept_ids=("", CALLERS_FILES, NO_NAMESPACE))["own-ids"].status is Status.FULL
    row = rows(tmp_path, kept_ids=("", CALLERS_FILES, "u has no range"))["own-ids"]
    assert (row.status, row.detail) == (Status.PARTIAL, "u has no range")
    assert "caller's uid and groups" in row.lost


def test_yama_of_the_highest_kind_costs_the_broker(tmp_path: Path) -> None:
    assert rows(tmp_path, {"/proc/sys/kernel/yama/ptrace_scope": "2"})["ptrace"].status is Status.FULL
    assert rows(tmp_path, {"/proc/sys/kernel/yama/ptrace_scope": "3"})["ptrace"].status is Status.PARTIAL


def test_facts_of_this_machine_are_read_without_error() -> None:
    found = features(Facts(enforcements=(WHOLE,), notify=NOTIFY, landlock_abi=7, uid=os.getuid()))
    assert {row.name for row in found} == set(FEATURES)
