"""The rows of Windows: the table of the document, the access check, and what the settings are in Win32."""

from __future__ import annotations

from typing import Any

import pytest

from foxden.errors import PolicyError
from foxden.sandbox import win32, windows
from foxden.sandbox.acts import EXAMPLE_PLACES, Act, Operation
from foxden.sandbox.policy_files import read_policy

PLACES = EXAMPLE_PLACES["windows"]
BASE = ("BOTTOM_UP_ASLR", "HEAP_TERMINATE", "SEHOP", "DEP_NO_ATL_THUNK", "DEP")
DELAYED = ("STRICT_HANDLE_CHECKS", "DLL_SEARCH_ORDER")
LEVEL_4 = (*BASE, "EXTENSION_POINT_DISABLE", "IMAGE_LOAD_NO_REMOTE", "IMAGE_LOAD_NO_LOW_LABEL")
# MozillaWiki Security/Sandbox, "Windows", column by column: job, token, desktop, station, initial and delayed
# integrity, mitigations, delayed mitigations.  None: the table has no such row.
TABLE: dict[tuple[str, int], tuple[Any, ...]] = {
    ("content", 0): ("NONE", "NON_ADMIN", False, False, "MEDIUM", "MEDIUM", (), ()),
    ("content", 1): ("NONE", "NON_ADMIN", False, False, "LOW", "LOW", BASE, DELAYED),
    ("content", 2): ("INTERACTIVE", "INTERACTIVE", False, False, "LOW", "LOW", BASE, DELAYED),
    ("content", 3): ("RESTRICTED", "LIMITED", False, False, "LOW", "LOW", (*BASE, "EXTENSION_POINT_DISABLE"), DELAYED),
    ("content", 4): ("LOCKDOWN", "LIMITED", True, False, "LOW", "LOW", LEVEL_4, DELAYED),
    ("gmp", 1): ("LOCKDOWN", "LOCKDOWN", True, None, "LOW", "UNTRUSTED", BASE, DELAYED),
    ("plugin", 1): ("UNPROTECTED", "INTERACTIVE", False, None, "LOW", "LOW", BASE, ()),
}


def policy(name: str, level: int, remote_type: str | None = None) -> windows.WindowsPolicy:
    return windows.resolve(name, read_policy, level=level, remote_type=remote_type)


@pytest.mark.parametrize(("name", "level"), TABLE)
def test_row_is_that_of_the_document(name: str, level: int) -> None:
    found = policy(name, level)
    job, token, desktop, station, initial, delayed, mitigations, delayed_mitigations = TABLE[name, level]
    settings = {key: row.value for key, row in found.settings.items()}
    assert settings["job"] == f"JOB_{job}"
    assert settings["token"] == f"USER_{token}"
    assert (settings["alternate_desktop"], settings.get("alternate_window_station")) == (desktop, station)
    assert settings["initial_integrity"] == f"INTEGRITY_LEVEL_{initial}"
    assert settings["delayed_integrity"] == f"INTEGRITY_LEVEL_{delayed}"
    assert tuple(found.mitigations) == tuple(f"MITIGATION_{word}" for word in mitigations)
    assert tuple(found.delayed_mitigations) == tuple(f"MITIGATION_{word}" for word in delayed_mitigations)


def test_only_gmp_has_a_lesser_token_for_some_plugins() -> None:
    assert policy("gmp", 1).settings["token_of_some"].value == "USER_RESTRICTED"
    assert "token_of_some" not in policy("plugin", 1).settings


def test_every_line_has_its_reason() -> None:
    for name, level in TABLE:
        found = policy(name, level)
        origins = [row.origin for row in (*found.settings.values(), *found.files)]
        for origin in (*origins, *found.mitigations.values(), *found.delayed_mitigations.values()):
            assert origin.reason, origin.where


def test_file_process_keeps_the_job_and_gets_a_token_that_reads() -> None:
    web, file = policy("content", 4, "web").settings, policy("content", 4, "file").settings
    assert (web["token"].value, file["token"].value) == ("USER_LIMITED", "USER_NON_ADMIN")
    assert web["job"].value == file["job"].value == "JOB_LOCKDOWN"
    assert policy("content", 0, "file").settings == policy("content", 0, "web").settings


# ---- the access check


@pytest.mark.parametrize(
    ("name", "level", "operation", "path", "outcome", "rule"),
    [
        ("content", 3, "read", r"{home}\a.txt", "refused", "restricting SID"),  # a user's file grants no one else
        ("content", 2, "read", r"{home}\a.txt", "allowed", "CurrentUser"),
        ("content", 1, "write", r"{home}\a.txt", "refused", "INTEGRITY_LEVEL_MEDIUM"),
        ("content", 1, "write", r"{home}\AppData\LocalLow\a.txt", "allowed", "LocalLow"),
        ("content", 0, "write", r"{system}\System32\a.dll", "refused", "enabled SID"),
        ("gmp", 1, "read", r"{system}\System32\a.dll", "refused", "enabled SID"),
        ("gmp", 1, "write", r"{home}\AppData\LocalLow\a.txt", "refused", "INTEGRITY_LEVEL_UNTRUSTED"),
        ("content", 4, "read", r"{profile}\EXTENSIONS\One.xpi", "allowed", "extensions"),  # names have no case
        ("content", 4, "read", r"D:\other\a.txt", "not said", "not written down"),
    ],
)
def test_token_label_and_place_decide(
    name: str, level: int, operation: str, path: str, outcome: str, rule: str
) -> None:
    act = Act(Operation(operation), path.format(**PLACES))
    decision = windows.decide(policy(name, level), act, PLACES)
    assert (decision.outcome.value, rule in decision.rule) == (outcome, True), decision


def test_innermost_place_speaks() -> None:
    protected = windows.read_places(read_policy)
    place = windows.find_place(protected, PLACES["home"] + r"\AppData\LocalLow\x", PLACES)
    assert place is not None
    assert place.label == "INTEGRITY_LEVEL_LOW"
    assert windows.find_place(protected, PLACES["home"] + "2", PLACES) is None


# ---- in Win32


@pytest.mark.parametrize(
    ("name", "level", "ui", "limits", "one"),
    [
        ("plugin", 1, "0x0", "0x2000", 0),
        ("content", 2, "0xc8", "0x2000", 0),  # system parameters, desktop, exit
        ("content", 3, "0xff", "0x2008", 1),
        ("content", 4, "0xff", "0x2408", 1),
    ],
)
def test_job_is_numbers_that_windows_takes(name: str, level: int, ui: str, limits: str, one: int) -> None:
    job = windows.win32_settings(policy(name, level))["job"]
    assert job["create"] is True
    assert job["JOBOBJECT_BASIC_UI_RESTRICTIONS"]["UIRestrictionsClass"]["value"] == ui
    assert job["JOBOBJECT_EXTENDED_LIMIT_INFORMATION"]["LimitFlags"]["value"] == limits
    assert job["JOBOBJECT_EXTENDED_LIMIT_INFORMATION"]["ActiveProcessLimit"] == one


def test_no_job_is_no_job() -> None:
    assert windows.win32_settings(policy("content", 1))["job"] == {"level": "JOB_NONE", "create": False}
    assert windows.win32_settings(policy("gmp", 0)) == {}


def test_token_says_whom_it_disables_and_whom_it_restricts_to() -> None:
    token = windows.win32_settings(policy("content", 4))["token"]
    assert token["SidsToDisable"]["all_groups_but"] == {
        "Users": "S-1-5-32-545", "Everyone": "S-1-1-0", "Interactive": "S-1-5-4"
    }  # fmt: skip
    assert list(token["SidsToRestrict"]) == ["Users", "Everyone", "Restricted", "LogonSession"]
    assert token["PrivilegesToDelete"] == {"all_but": ["SeChangeNotifyPrivilege"]}
    gmp = windows.win32_settings(policy("gmp", 1))
    assert gmp["token"]["SidsToRestrict"] == {"Null": "S-1-0-0"}
    assert gmp["token"]["SidsToDisable"] == {"all_groups_but": {}, "the_user_too": True}
    assert gmp["token"]["PrivilegesToDelete"] == {"all_but": []}
    assert gmp["token_of_some"]["SidsToRestrict"] == {"Restricted": "S-1-5-12"}


def test_integrity_is_a_sid() -> None:
    integrity = windows.win32_settings(policy("gmp", 1))["integrity"]
    assert (integrity["initial"]["sid"], integrity["delayed"]["sid"]) == ("S-1-16-4096", "S-1-16-0")
    assert windows.win32_settings(policy("content", 0))["integrity"]["initial"]["sid"] == "S-1-16-8192"


def test_mitigations_are_one_number_for_each_width() -> None:
    mitigations = windows.win32_settings(policy("content", 4))["mitigations"]
    assert mitigations["value_64_bits"] == f"{(1 << 12) | (1 << 16) | (1 << 32) | (1 << 52) | (1 << 56):#x}"
    assert int(mitigations["value_32_bits"], 16) == int(mitigations["value_64_bits"], 16) | 0x5
    assert windows.win32_settings(policy("content", 0))["mitigations"]["value_64_bits"] == "0x0"


def test_desktop_of_its_own_at_level_4_alone() -> None:
    desktops = [windows.win32_settings(policy("content", level))["desktop"] for level in range(5)]
    assert [desktop["alternate_desktop"]["own"] for desktop in desktops] == [False] * 4 + [True]
    assert desktops[4]["alternate_desktop"]["call"] == "CreateDesktop"
    assert "alternate_window_station" not in windows.win32_settings(policy("gmp", 1))["desktop"]


def test_numbers_of_flags_are_bits_of_their_own() -> None:
    for table in (win32.UI_RESTRICTIONS, win32.LIMITS):
        assert sum(table.values()) == _or(table.values())
    values = [row.value for row in win32.CREATION.values()]
    assert sum(values) == _or(values)


def _or(values: Any) -> int:
    found = 0
    for value in values:
        found |= value
    return found


# ---- wrong texts


def texts(**changed: str) -> Any:
    given = {"windows/x": changed.pop("x", ""), **changed}
    return lambda name: given.get(name) or read_policy(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"\[\[level\]\] tables"),
        ("[[level]]\nfrom = 1\njob = 'JOB_NON'\n", "JOB_NONE"),
        ("[[level]]\nfrom = 1\nalternate_desktop = 'yes'\n", "true or false"),
        ("[[level]]\nfrom = 1\nmitigations = ['MITIGATION_NONE']\n", "mitigations: expected one of"),
        ("[[level]]\nfrom = 1\ncolour = 'red'\n", "one of the keys"),
        ("[[level]]\nfrom = 1\n[[level]]\nfrom = 1\n", "a level above 1"),
        ("[[level]]\nfrom = 1\n[level.files]\n'{nowhere}' = 'r'\n", "one of the variables"),
        ("[[level]]\nfrom = 1\n[level.files]\n'{home}' = 'q'\n", "letters of"),
        ("[[level]\n", "expected TOML"),
        ("[[level]]\nfrom = 1\n[[when-remote-type]]\nremote_type = 'webb'\n", "a remote type"),
    ],
)
def test_wrong_text_is_refused_with_its_place(text: str, words: str) -> None:
    with pytest.raises(PolicyError, match=words):
        windows.resolve("x", texts(x=text or " "), level=1)


@pytest.mark.parametrize("level", [-1, 5])
def test_level_that_is_not_there_is_refused(level: int) -> None:
    with pytest.raises(PolicyError, match="a level from 0 to 4"):
        policy("content", level)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [('"SYSTEM"', '"SYSTEMM"', "name of a SID"), ("INTEGRITY_LEVEL_LOW", "LOW", "integrity level")],
)
def test_wrong_place_is_refused(old: str, new: str, words: str) -> None:
    text = read_policy("windows/places").replace(old, new)
    with pytest.raises(PolicyError, match=words):
        windows.resolve("content", texts(**{"windows/places": text}), level=1)
