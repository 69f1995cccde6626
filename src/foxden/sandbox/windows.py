"""The rows of Windows: job, token, integrity, desktop, mitigations, and what they would answer.  Not enforced here.

Runs in: the parent, tools and tests; pure.  Trusts: the policy texts.
Flow: policies/windows/<type>.toml → resolve → WindowsPolicy → decide (Windows' own access check), win32_settings.
Source: MozillaWiki Security/Sandbox, "Windows"; MSDN "How AccessCheck works", "Mandatory Integrity Control".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from foxden.sandbox import win32
from foxden.sandbox.acts import ON_PATHS, Act, Decision, Operation, Outcome
from foxden.sandbox.paths import Access
from foxden.sandbox.platforms import (
    Origin,
    Platform,
    Rule,
    Text,
    check_keys,
    check_level,
    check_remote_type,
    fill,
    levels,
    read_text,
    rules,
    strings,
)
from foxden.sandbox.syscalls import policy_error

VARIABLES = ("home", "profile", "tmp", "install", "plugin", "system", "user_fonts")
PLACES = "places"  # the file of what Windows itself protects

# Setting → the words that it can have; None: true or false.
_CHOICES: dict[str, tuple[str, ...] | None] = {
    "job": tuple(win32.JOBS),
    "token": tuple(win32.TOKENS),
    "token_of_some": tuple(win32.TOKENS),
    "alternate_desktop": None,
    "alternate_window_station": None,
    "initial_integrity": tuple(win32.INTEGRITY),
    "delayed_integrity": tuple(win32.INTEGRITY),
}
_LISTS: dict[str, tuple[str, ...]] = {
    "mitigations": tuple(win32.CREATION),
    "delayed_mitigations": tuple(win32.DELAYED),
}
_KEYS = (*_CHOICES, *_LISTS, "files")
_WRITES = (Operation.WRITE, Operation.CREATE)


class Setting(msgspec.Struct, frozen=True):
    value: str | bool
    origin: Origin


class Place(msgspec.Struct, frozen=True):
    """How Windows protects a folder and what is in it."""

    path: str
    read: tuple[str, ...]
    write: tuple[str, ...]
    label: str


class WindowsPolicy(msgspec.Struct, frozen=True):
    """What one child would get on Windows.  A setting that its table does not speak of is absent."""

    name: str
    level: int
    max_level: int
    remote_type: str | None = None
    settings: Mapping[str, Setting] = msgspec.field(default_factory=dict)
    mitigations: Mapping[str, Origin] = msgspec.field(default_factory=dict)
    delayed_mitigations: Mapping[str, Origin] = msgspec.field(default_factory=dict)
    files: tuple[Rule, ...] = ()  # what the parent opens for it, whatever its token says
    places: tuple[Place, ...] = ()


def resolve(name: str, read: Callable[[str], str], *, level: int, remote_type: str | None = None) -> WindowsPolicy:
    """Raises: PolicyError for a level that the policy lacks, and for what its text cannot say."""
    text = read_text(Platform.WINDOWS, name, read)
    check_keys(text, "", text.table, ("level", "when-remote-type"))
    check_remote_type(text, remote_type)
    listed = list(levels(text, _KEYS))
    check_level(text, level, listed[0][0], listed[-1][0])
    chosen = [(at, section, table) for at, section, table in listed if at <= level]
    for index, table in enumerate(text.table.get("when-remote-type", [])):
        section = f"when-remote-type[{index}]"
        check_keys(text, section, table, ("remote_type", "from", *_KEYS))
        check_remote_type(text, table.get("remote_type"))
        if table.get("remote_type") == remote_type and table.get("from", 0) <= level:
            chosen.append((table.get("from", 0), section, table))
    settings: dict[str, Setting] = {}
    lists: dict[str, dict[str, Origin]] = {key: {} for key in _LISTS}
    files: dict[str, Rule] = {}
    for at, section, table in chosen:
        settings |= _settings(text, section, table, at)
        for key in _LISTS:
            lists[key] |= _list(text, section, table, key, at)
        files |= {rule.path: rule for rule in rules(text, f"{section}.files", table.get("files", {}), at, VARIABLES)}
    return WindowsPolicy(
        name, level, listed[-1][0], remote_type, settings, lists["mitigations"], lists["delayed_mitigations"],
        tuple(rule for rule in files.values() if rule.access), read_places(read),
    )  # fmt: skip


def _settings(text: Text, section: str, table: Mapping[str, object], level: int) -> dict[str, Setting]:
    found = {}
    for key, choices in _CHOICES.items():
        if key not in table:
            continue
        value = table[key]
        if choices is None and not isinstance(value, bool):
            raise policy_error(text.where(section, key), "true or false", value)
        if choices is not None and value not in choices:
            raise policy_error(text.where(section, key), f"one of {', '.join(choices)}", value, choices)
        assert isinstance(value, str | bool)  # noqa: S101 - for the type checker
        found[key] = Setting(value, text.origin(section, key, level))
    return found


def _list(text: Text, section: str, table: Mapping[str, object], key: str, level: int) -> dict[str, Origin]:
    found = {}
    for name in strings(text.where(section, key), table.get(key, [])):
        if name not in _LISTS[key]:
            raise policy_error(text.where(section, key), f"one of {', '.join(_LISTS[key])}", name, _LISTS[key])
        found[name] = text.origin(f"{section}.{key}", name, level)
    return found


def read_places(read: Callable[[str], str]) -> tuple[Place, ...]:
    text = read_text(Platform.WINDOWS, PLACES, read)
    found = []
    for index, table in enumerate(text.table["place"]):
        section = f"place[{index}]"
        check_keys(text, section, table, ("path", "read", "write", "label"))
        for name in (*table["read"], *table["write"]):
            if name not in win32.SIDS:
                raise policy_error(text.where(section), "the name of a SID", name, win32.SIDS)
        if table["label"] not in win32.INTEGRITY:
            raise policy_error(text.where(section, "label"), "an integrity level", table["label"], win32.INTEGRITY)
        found.append(Place(table["path"], tuple(table["read"]), tuple(table["write"]), table["label"]))
    return tuple(found)


# ---- the access check


def decide(policy: WindowsPolicy, act: Act, places: Mapping[str, str]) -> Decision:
    """What Windows would answer once the delayed settings hold.  `places`: what the variables stand for."""
    if not policy.settings:
        return Decision(Outcome.ALLOWED, "level 0: no sandbox")
    if act.operation in ON_PATHS:
        return _on_path(policy, act, places)
    if act.operation in (Operation.EXEC, Operation.FORK):
        one = win32.JOBS[_word(policy, "job")].active_processes == 1
        return _by_job(policy, "ActiveProcessLimit 1" if one else "no limit of processes", refused=one)
    if act.operation is Operation.CLIPBOARD:
        closed = "JOB_OBJECT_UILIMIT_READCLIPBOARD" in win32.JOBS[_word(policy, "job")].ui
        return _by_job(policy, "UILIMIT_READCLIPBOARD, _WRITECLIPBOARD" if closed else "no limit", refused=closed)
    return Decision(Outcome.NOT_SAID, f"no row of the table of {policy.name} speaks of {act.operation.value}")


def _by_job(policy: WindowsPolicy, means: str, *, refused: bool) -> Decision:
    outcome = Outcome.REFUSED if refused else Outcome.ALLOWED
    return Decision(outcome, f"job = {_word(policy, 'job')}: {means}", policy.settings["job"].origin.reason)


def _word(policy: WindowsPolicy, key: str) -> str:
    return str(policy.settings[key].value)


def _on_path(policy: WindowsPolicy, act: Act, places: Mapping[str, str]) -> Decision:
    """The parent opens what a rule grants; else the token, the label and what protects the place decide."""
    needed = Access.WRITE if act.operation in _WRITES else Access.READ
    for rule in policy.files:
        if rule.access & needed and _matches(fill(rule.path, places), act.path):
            return Decision(Outcome.ALLOWED, f"{rule.path} = {rule.access.word()}", rule.origin.reason)
    place = find_place(policy.places, act.path, places)
    if place is None:
        return Decision(Outcome.NOT_SAID, "how Windows protects this place is not written down here")
    return _check(policy, place, writes=needed is Access.WRITE)


def _check(policy: WindowsPolicy, place: Place, *, writes: bool) -> Decision:
    integrity, name = _word(policy, "delayed_integrity"), _word(policy, "token")
    if writes and win32.INTEGRITY[integrity][0] < win32.INTEGRITY[place.label][0]:
        reason = policy.settings["delayed_integrity"].origin.reason
        return Decision(Outcome.REFUSED, f"{place.path} is {place.label}, the token {integrity}", reason)
    granted = place.write if writes else place.read
    token = win32.TOKENS[name]
    own = [] if token.user_deny_only else ["CurrentUser", "LogonSession"]
    reason = policy.settings["token"].origin.reason
    for which, sids in (("enabled", [*token.keep, *own]), ("restricting", token.restricting)):
        if (which == "enabled" or sids) and not set(sids) & set(granted):
            return Decision(Outcome.REFUSED, f"token = {name}: no {which} SID is granted {place.path}", reason)
    return Decision(Outcome.ALLOWED, f"token = {name}: {place.path} grants {', '.join(granted)}", reason)


def find_place(protected: tuple[Place, ...], path: str, places: Mapping[str, str]) -> Place | None:
    """The innermost place that `path` is in."""
    covering = [place for place in protected if _matches(fill(place.path, places), path)]
    return max(covering, key=lambda place: len(fill(place.path, places)), default=None)


def _matches(pattern: str, path: str) -> bool:
    """Names are the same in any case.  A `*` at the end stands for anything; without one, for all below."""
    pattern, path = pattern.lower(), path.lower()
    if pattern.endswith("*"):
        return path.startswith(pattern[:-1])
    return path == pattern or path.startswith(pattern + "\\")


# ---- for whoever applies it


def win32_settings(policy: WindowsPolicy) -> dict[str, Any]:
    """Everything with its Win32 name and number.  Numbers in hex, as texts: JSON readers round those of 64 bits."""
    if not policy.settings:
        return {}
    delayed = [{"name": name, "call": win32.DELAYED[name].call, "arguments": win32.DELAYED[name].arguments}
               for name in policy.delayed_mitigations]  # fmt: skip
    integrity = {when: _integrity(_word(policy, f"{when}_integrity")) for when in ("initial", "delayed")}
    tokens = {key: _token(_word(policy, key)) for key in ("token", "token_of_some") if key in policy.settings}
    return {
        "job": _job(_word(policy, "job")),
        **tokens,
        "integrity": integrity,
        "desktop": _desktop(policy),
        "mitigations": _mitigations(policy),
        "delayed_mitigations": delayed,
    }


def _flags(names: tuple[str, ...], table: Mapping[str, int]) -> dict[str, Any]:
    value = sum(table[name] for name in names)
    return {"flags": {name: f"{table[name]:#x}" for name in names}, "value": f"{value:#x}"}


def _job(name: str) -> dict[str, Any]:
    job = win32.JOBS[name]
    if not job.limits:
        return {"level": name, "create": False}
    return {
        "level": name,
        "create": True,
        "JOBOBJECT_EXTENDED_LIMIT_INFORMATION": {
            "LimitFlags": _flags(job.limits, win32.LIMITS),
            "ActiveProcessLimit": job.active_processes,
        },
        "JOBOBJECT_BASIC_UI_RESTRICTIONS": {"UIRestrictionsClass": _flags(job.ui, win32.UI_RESTRICTIONS)},
    }


def _token(name: str) -> dict[str, Any]:
    token = win32.TOKENS[name]
    return {
        "level": name,
        "SidsToDisable": {
            "all_groups_but": {sid: win32.SIDS[sid] for sid in token.keep},
            "the_user_too": token.user_deny_only,
        },
        "SidsToRestrict": {sid: win32.SIDS[sid] for sid in token.restricting},
        "PrivilegesToDelete": {"all_but": list(token.privileges)},
    }


def _integrity(name: str) -> dict[str, Any]:
    rid, sid = win32.INTEGRITY[name]
    return {"level": name, "sid": sid, "rid": f"{rid:#x}", "attributes": "SE_GROUP_INTEGRITY (0x20)"}


def _desktop(policy: WindowsPolicy) -> dict[str, Any]:
    calls = {"alternate_window_station": "CreateWindowStation", "alternate_desktop": "CreateDesktop"}
    return {key: {"own": policy.settings[key].value, "call": call if policy.settings[key].value else None}
            for key, call in calls.items() if key in policy.settings}  # fmt: skip


def _mitigations(policy: WindowsPolicy) -> dict[str, Any]:
    """PROC_THREAD_ATTRIBUTE_MITIGATION_POLICY of UpdateProcThreadAttribute, for a child of 64 and of 32 bits."""
    rows = [(name, win32.CREATION[name]) for name in policy.mitigations]
    return {
        "list": [{"name": name, "flag": row.flag, "value": f"{row.value:#x}", "only_32_bits": row.only_32_bits}
                 for name, row in rows],
        "attribute": "PROC_THREAD_ATTRIBUTE_MITIGATION_POLICY",
        "value_64_bits": f"{sum(row.value for _, row in rows if not row.only_32_bits):#x}",
        "value_32_bits": f"{sum(row.value for _, row in rows):#x}",
    }  # fmt: skip
