"""One policy as it is shown and compared: who it is for, its rows, and what it answers to the acts that all share.

Runs in: command.  Trusts: the committed policies, the user's preferences.
Flow: Target → parent.plans (Linux) or sandbox.macos, sandbox.windows → View → command_policy_show, _diff.
Source: docs/concepts/platforms.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from foxden.front.options import Settings
from foxden.front.policy_target import Target, check_level
from foxden.sandbox import macos, windows
from foxden.sandbox.acts import EXAMPLE_PLACES, STANDARD_ACTS, Act, Decision, act_on
from foxden.sandbox.macos import MacPolicy
from foxden.sandbox.platforms import Origin, Platform
from foxden.sandbox.policy_files import read_policy
from foxden.sandbox.policy_rows import LinuxRows
from foxden.sandbox.windows import WindowsPolicy


class Answered(msgspec.Struct, frozen=True):
    """One of STANDARD_ACTS and what the policy answers.  `path`: with its {place}, the same on every platform."""

    operation: str
    path: str
    decision: Decision

    def name(self) -> str:
        return f"{self.operation} {self.path}".rstrip()


class View(msgspec.Struct, frozen=True):
    target: Target
    level: int
    max_level: int
    content: LinuxRows | MacPolicy | WindowsPolicy
    answers: tuple[Answered, ...]
    places: Mapping[str, str]  # what the {…} of the acts stand for
    made_up: tuple[str, ...] = ()  # those of the places that are examples
    off: str = ""  # what switches the sandbox off here, whatever level was asked for

    @property
    def enforced_here(self) -> bool:
        linux = self.target.platform is Platform.LINUX and sys.platform == "linux"
        return linux and self.level > 0 and not self.off

    def standing(self) -> str:
        """In words."""
        if self.enforced_here:
            return f"enforced here: {self.target.platform.title}"
        if self.off:
            return f"not enforced here: {self.off} switches it off"
        off = self.target.platform is Platform.LINUX and self.level == 0
        return f"not enforced here: {'level 0 is no sandbox' if off else self.target.platform.title}"


def make_view(target: Target, settings: Settings) -> View:
    """Raises: click.UsageError for a level that there is not, PolicyError for a policy that is wrong."""
    if target.platform is Platform.LINUX:
        return _linux(target, settings)
    return _elsewhere(target)


def _elsewhere(target: Target) -> View:
    platform, name = target.platform.value, target.row.policy
    remote_type = target.remote_type.value if target.remote_type else None
    places = EXAMPLE_PLACES[platform]
    resolve: Callable[..., MacPolicy | WindowsPolicy] = (
        macos.resolve if target.platform is Platform.MACOS else windows.resolve
    )
    most = resolve(name, read_policy, level=0).max_level
    level = most if target.level is None else target.level
    check_level(target, level, most)
    policy = resolve(name, read_policy, level=level, remote_type=remote_type)

    def decide(act: Act) -> Decision:
        if isinstance(policy, MacPolicy):
            return macos.decide(policy, act, places)
        return windows.decide(policy, act, places)

    return View(target, level, most, policy, _answers(platform, decide, places), places, tuple(places))


def _answers(platform: str, decide: Callable[[Act], Decision], places: Mapping[str, str]) -> tuple[Answered, ...]:
    return tuple(
        Answered(operation.value, path, decide(act_on(platform, operation, path, dict(places))))
        for operation, path in STANDARD_ACTS
    )


def _linux(target: Target, settings: Settings) -> View:
    """As a den with these settings would have it on this machine."""
    from foxden.parent.plans import Plans
    from foxden.parent.prefs import Prefs
    from foxden.sandbox import policy_rows, simulate
    from foxden.sandbox.policy import load, resolve

    row = target.row
    given: dict[str, object] = dict(settings.prefs)
    if target.level is not None:
        check_level(target, target.level, load(row.policy, read_policy).max_level)
        given |= {row.level_pref: target.level} if row.level_pref else {}
    prefs = Prefs(given)
    policy = load(row.policy, read_policy, also=prefs.also_included(row))
    level = prefs.level_of(row) if target.level is None else target.level
    plans = Plans(prefs, settings.profile or EXAMPLE_PLACES["linux"]["profile"])
    if level == prefs.level_of(row):
        resolved = plans.resolved(row, target.remote_type)
    else:
        remote_type = target.remote_type.value if target.remote_type else None
        resolved = resolve(policy, level=level, remote_type=remote_type, variables=plans.variables)
    rows = policy_rows.rows_of(policy, resolved, read_policy, plans.variables)
    places, made_up = _linux_places(plans.variables, settings)
    answers = _answers("linux", lambda act: simulate.decide(resolved, act), places)
    off = row.disable_env if level > 0 and prefs.switched_off(row) else ""
    return View(target, level, policy.max_level, rows, answers, places, made_up, off)


def _linux_places(
    variables: Mapping[str, str | Sequence[str]], settings: Settings
) -> tuple[dict[str, str], tuple[str, ...]]:
    """This machine's places, and examples of those that it does not have."""
    example = EXAMPLE_PLACES["linux"]
    known = {name: value for name, value in variables.items() if isinstance(value, str) and name in example}
    home = known.get("home", example["home"])
    within = {name: path.replace(example["home"], home, 1) for name, path in example.items()
              if path.startswith(example["home"]) and name != "profile"}  # fmt: skip
    made_up = [name for name in example if name not in known]
    if not settings.profile and "profile" in known:
        made_up.append("profile")
    return {**example, **within, **known}, tuple(sorted(made_up))


# ---- as JSON


def as_json(view: View) -> dict[str, Any]:
    """Everything, complete."""
    return {
        "process_type": view.target.row.name,
        "remote_type": view.target.remote_type.value if view.target.remote_type else None,
        "platform": view.target.platform.value,
        "level": view.level,
        "max_level": view.max_level,
        "enforced_here": view.enforced_here,
        "standing": view.standing(),
        **_content(view.content),
        "acts": [
            {
                "operation": answer.operation,
                "path": answer.path or None,
                "outcome": answer.decision.outcome.value,
                "rule": answer.decision.rule,
                "reason": answer.decision.reason,
            }
            for answer in view.answers
        ],
        "places": dict(view.places),
        "made_up_places": list(view.made_up),
    }


def _content(content: LinuxRows | MacPolicy | WindowsPolicy) -> dict[str, Any]:
    if isinstance(content, LinuxRows):
        return _linux_json(content)
    return _mac_json(content) if isinstance(content, MacPolicy) else _windows_json(content)


def _from(origin: Origin) -> dict[str, Any]:
    return {"from": origin.where, "from_level": origin.level, "reason": origin.reason}


def _linux_json(rows: LinuxRows) -> dict[str, Any]:
    return {
        "layers": [{"layer": row.name, "value": row.value, **_from(row.origin)} for row in rows.layers],
        "limits": [{"limit": row.name, "value": row.value, **_from(row.origin)} for row in rows.limits],
        "files": [
            {"path": row.path, "access": row.access, "rule": row.rule, "remote_type": row.remote_type,
             **_from(row.origin)}
            for row in rows.files
        ],
        "syscalls": {
            "default": rows.default or None,
            "rules": [
                {"call": row.call, "name": row.name, "verdict": row.verdict, "set": row.set_name or None,
                 **_from(row.origin)}
                for row in rows.calls
            ],
        },
    }  # fmt: skip


def _mac_json(policy: MacPolicy) -> dict[str, Any]:
    return {
        "operations": [
            {"operation": row.operation, "verdict": "allow" if row.allow else "deny", **_from(row.origin)}
            for row in policy.operations
        ],
        "files": [
            {"path": row.path, "access": row.access.word(), "below_it_too": not row.literal, **_from(row.origin)}
            for row in policy.files
        ],
        "services": [{"operation": row.operation, "name": row.name, **_from(row.origin)} for row in policy.services],
    }


def _windows_json(policy: WindowsPolicy) -> dict[str, Any]:
    return {
        "settings": [{"setting": name, "value": row.value, **_from(row.origin)}
                     for name, row in policy.settings.items()],
        "mitigations": [{"mitigation": name, **_from(origin)} for name, origin in policy.mitigations.items()],
        "delayed_mitigations": [{"mitigation": name, **_from(origin)}
                                for name, origin in policy.delayed_mitigations.items()],
        "files": [{"path": row.path, "access": row.access.word(), **_from(row.origin)} for row in policy.files],
        "win32": windows.win32_settings(policy),
    }  # fmt: skip


# ---- to compare

Facts = dict[str, dict[str, str]]


def facts(view: View) -> Facts:
    """What a policy says, as names and values by section: what `diff` compares."""
    content = view.content
    if isinstance(content, LinuxRows):
        return _linux_facts(content)
    if isinstance(content, MacPolicy):
        return {
            "operations": {row.operation: "allow" if row.allow else "deny" for row in content.operations},
            "files": {row.path + (" itself" if row.literal else ""): row.access.word() for row in content.files},
            "services": {f"{row.operation} {row.name}": "allow" for row in content.services},
        }
    return {
        "settings": {name: _word(row.value) for name, row in content.settings.items()},
        "mitigations": dict.fromkeys(content.mitigations, "from the start"),
        "delayed mitigations": dict.fromkeys(content.delayed_mitigations, "once loaded"),
        "files": {row.path: row.access.word() for row in content.files},
    }


def _word(value: str | bool) -> str:
    return value if isinstance(value, str) else "yes" if value else "no"


def _linux_facts(rows: LinuxRows) -> Facts:
    calls: dict[str, str] = {"every other call": rows.default} if rows.default else {}
    for row in rows.calls:
        calls[row.call] = f"{calls[row.call]}, then {row.verdict}" if row.call in calls else row.verdict
    return {
        "layers": {row.name: row.value for row in rows.layers},
        "limits": {row.name: row.value for row in rows.limits},
        "files": {row.rule: row.access for row in rows.files},
        "syscalls": calls,
    }


def acts_of(view: View) -> dict[str, str]:
    return {answer.name(): answer.decision.outcome.value for answer in view.answers}


def with_level(target: Target, level: int | None) -> Target:
    return target if level is None else msgspec.structs.replace(target, level=level)
