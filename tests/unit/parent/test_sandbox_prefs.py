"""Each preference, name of the environment and build setting about sandboxes: both of its values make a difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from foxden import build_settings
from foxden.errors import FoxdenError
from foxden.launch import early
from foxden.model.preferences import PreferenceError
from foxden.model.process_types import BY_NAME, PROCESS_TYPES, RemoteType
from foxden.parent.plans import Plans
from foxden.parent.prefs import Prefs
from foxden.sandbox.paths import AbsPath, Access, lookup
from foxden.sandbox.plan import SandboxPlan
from foxden.sandbox.policy import ResolvedPolicy

CONTENT = BY_NAME["content"]
PREFIX = "security.sandbox.content."


def resolved(prefs: dict[str, object] | None = None, environment: dict[str, str] | None = None) -> ResolvedPolicy:
    return Plans(Prefs(prefs, environment or {}), None).resolved(CONTENT, RemoteType.WEB)


def plan(type_name: str, prefs: dict[str, object] | None = None, **environment: str) -> SandboxPlan:
    row = BY_NAME[type_name]
    return Plans(Prefs(prefs, environment), None).plan(row, row.remote_types[0] if row.remote_types else None)


def levels(prefs: dict[str, object] | None = None, **environment: str) -> dict[str, int]:
    given = Prefs(prefs, environment)
    return {row.name: given.level_of(row) for row in PROCESS_TYPES if row.child}


DEFAULTS = levels()


def changed(prefs: dict[str, object] | None = None, **environment: str) -> dict[str, int]:
    return {name: level for name, level in levels(prefs, **environment).items() if level != DEFAULTS[name]}


def test_default_levels_are_the_highest() -> None:
    assert {name for name, level in DEFAULTS.items() if level != 1} == {"content"}
    assert DEFAULTS["content"] == 4


@pytest.mark.parametrize("level", range(5))
def test_content_level_is_the_level_of_its_plan(level: int) -> None:
    got = plan("content", {"security.sandbox.content.level": level})
    assert got.level == level
    assert bool(got.filter) == (level > 0)
    assert bool(got.landlock) == (level > 1)
    assert bool(got.namespaces) == got.empty_root == (level > 3)


@pytest.mark.parametrize(
    ("name", "type_name", "off"),
    [
        ("security.sandbox.socket.process.level", "socket", 0),
        ("security.sandbox.gpu.level", "gpu", 0),
        ("dom.ipc.plugins.sandbox-level.default", "plugin", False),
        ("dom.ipc.plugins.sandbox-level.default", "plugin", "false"),
    ],
)
def test_level_of_one_type_is_its_own_preference(name: str, type_name: str, off: object) -> None:
    assert changed({name: off}) == {type_name: 0}
    assert plan(type_name, {name: off}) == SandboxPlan(policy=type_name, level=0)
    got = plan(type_name)
    assert (type(got.level), got.level) == (int, 1)
    assert got.filter


def test_whitelisted_paths_are_rules_of_content_only() -> None:
    prefs = {f"{PREFIX}read_path_whitelist": "/srv/a, /srv/b/", f"{PREFIX}write_path_whitelist": "/srv/w/"}
    paths = ("/srv/a", "/srv/b/c", "/srv/w/new")
    assert [lookup(resolved(prefs).files, AbsPath(path)).word() for path in paths] == ["r", "r", "rwc"]
    assert [lookup(resolved().files, AbsPath(path)) for path in paths] == [Access.DENY] * 3
    utility = Plans(Prefs(prefs, {}), None).resolved(BY_NAME["utility"], None)
    assert [lookup(utility.files, AbsPath(path)) for path in paths] == [Access.DENY] * 3


def test_whitelisted_calls_change_the_filter_of_content_only() -> None:
    prefs = {f"{PREFIX}syscall_whitelist": "flock, mlock"}
    assert plan("content", prefs).filter != plan("content").filter
    assert plan("utility", prefs) == plan("utility")


@pytest.mark.parametrize("name", ["read_path_whitelist", "write_path_whitelist", "syscall_whitelist"])
def test_wrong_list_is_an_error_when_it_is_given(name: str) -> None:
    with pytest.raises(PreferenceError, match=f"{PREFIX}{name}"):
        Prefs({PREFIX + name: "not/absolute"}, {})


def test_additions_that_open_much_are_warned_of() -> None:
    assert Plans(Prefs({f"{PREFIX}syscall_whitelist": "flock"}, {}), None).warnings() == []
    (line,) = Plans(Prefs({f"{PREFIX}syscall_whitelist": "flock,ptrace"}, {}), None).warnings()
    assert line.startswith(f"{PREFIX}syscall_whitelist: ptrace: DANGEROUS")


def test_headless_content_has_no_display(tmp_path: Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    display = AbsPath(f"{tmp_path}/wayland-0")
    assert lookup(resolved({}, environment).files, display) is Access.DENY
    assert lookup(resolved({f"{PREFIX}headless": False}, environment).files, display) is Access.CONNECT


def test_forced_namespaces_are_in_the_plan_below_level_four() -> None:
    level: dict[str, object] = {f"{PREFIX}level": 2}
    assert plan("content", level).namespaces == 0
    assert plan("content", {**level, f"{PREFIX}force-namespace": True}).namespaces != 0


@pytest.mark.parametrize(
    ("prefs", "environment", "wanted"),
    [
        ({}, {}, False),
        ({"security.sandbox.logging.enabled": True}, {}, True),
        ({}, {"MOZ_SANDBOX_LOGGING": "1"}, True),
        ({}, {"MOZ_SANDBOX_LOGGING_FOR_TESTS": "1"}, True),
        ({}, {"MOZ_SANDBOX_LOGGING": "0"}, False),
    ],
)
def test_violations_are_printed_where_it_is_asked_for(
    prefs: dict[str, object], environment: dict[str, str], wanted: bool
) -> None:
    assert Prefs(prefs, environment).logs_violations() is wanted


# --- the environment --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [row for row in PROCESS_TYPES if row.disable_env], ids=lambda row: row.name)
def test_each_switch_turns_off_the_sandbox_of_its_type_alone(row: object) -> None:
    assert isinstance(row, type(CONTENT))
    assert changed(None, **{row.disable_env: "1"}) == {row.name: 0}
    assert changed(None, **{row.disable_env: "0"}) == {}
    assert Prefs({}, {row.disable_env: "1"}).switched_off_by(row) == row.disable_env


@pytest.mark.parametrize(
    ("value", "off"),
    [("1", True), ("utility:0", True), ("utility:3,utility:0", True), ("utility:3", False), ("0", False), ("", False)],
)
def test_utility_sandbox_is_switched_off_by_kind(value: str, off: bool) -> None:
    assert Prefs({}, {"MOZ_DISABLE_UTILITY_SANDBOX": value}).switched_off(BY_NAME["utility"]) is off


def test_faked_lack_of_sandboxes_turns_all_of_them_off() -> None:
    assert set(levels(None, MOZ_FAKE_NO_SANDBOX="1").values()) == {0}
    assert Prefs({}, {"MOZ_FAKE_NO_SANDBOX": "1"}).switched_off_by(CONTENT) == "MOZ_FAKE_NO_SANDBOX"


def test_permissive_mode_is_refused_and_not_ignored() -> None:
    with pytest.raises(FoxdenError, match="MOZ_PERMISSIVE_CONTENT_SANDBOX is set") as caught:
        Prefs({}, {"MOZ_PERMISSIVE_CONTENT_SANDBOX": "1"})
    assert "MOZ_SANDBOX_LOGGING" in caught.value.hint
    Prefs({}, {"MOZ_PERMISSIVE_CONTENT_SANDBOX": "0"})


@pytest.mark.parametrize("type_name", ["content", "socket", "rdd", "utility"])
def test_crash_on_error_changes_the_filter_of_every_type(type_name: str) -> None:
    assert plan(type_name, MOZ_SANDBOX_CRASH_ON_ERROR="1").filter != plan(type_name).filter
    assert plan(type_name, MOZ_SANDBOX_CRASH_ON_ERROR="0") == plan(type_name)


def test_crash_on_error_spares_the_broker_that_all_wait_for() -> None:
    assert plan("broker", MOZ_SANDBOX_CRASH_ON_ERROR="1") == plan("broker")


def test_mitigations_of_speculation_come_along_where_it_is_asked_for() -> None:
    assert plan("content").spec_allow
    assert not plan("content", MOZ_SANDBOX_NO_SPEC_ALLOW="1").spec_allow


@pytest.mark.parametrize(("value", "emulated"), [("0", "no-userns"), ("1", ""), ("", "")])
def test_user_namespaces_can_be_assumed_away(monkeypatch: pytest.MonkeyPatch, value: str, emulated: str) -> None:
    for name in ("FOXDEN_TEST_NO_USERNS", "FOXDEN_TEST_EMULATE", "FOXDEN_NO_NATIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MOZ_ASSUME_USER_NS", value)
    assert early.emulated_kernel() == emulated


def test_folders_of_the_user_are_where_the_environment_says() -> None:
    given = {
        "XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": "/r/", "XAUTHORITY": "/x", "XDG_DATA_HOME": "/d",
        "XDG_DATA_DIRS": "/e:relative:/f",
    }  # fmt: skip
    got = Prefs({}, given).user_folders()
    assert (got["config"], got["runtime"], got["xauthority"]) == ("/c", "/r", "/x")
    assert got["fonts"] == ["/d/fonts", "/e/fonts", "/f/fonts"]
    plain = Prefs({}, {"XDG_CONFIG_HOME": "relative"}).user_folders()
    assert not {"config", "runtime"} & plain.keys(), "what is no whole path is left out, with its rules"


# --- build settings ---------------------------------------------------------------------------------------------


def test_build_settings_turn_sandboxes_off_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not build_settings.DISABLE_SANDBOX
    assert not build_settings.DISABLE_CONTENT_SANDBOX
    monkeypatch.setattr(build_settings, "DISABLE_CONTENT_SANDBOX", True)
    assert changed() == {"content": 0}
    assert Prefs({}, {}).switched_off_by(CONTENT) == "build setting disable-content-sandbox"
    monkeypatch.setattr(build_settings, "DISABLE_SANDBOX", True)
    assert set(levels().values()) == {0}
    assert Prefs({}, {}).switched_off_by(BY_NAME["socket"]) == "build setting disable-sandbox"
