"""Policies of this installation, resolved for one den: process type and level in, sandbox plan out.

Runs in: parent.  Trusts: the committed policies, the preferences.
Flow: process table row → policy text → resolve with this machine's paths → SandboxPlan (kept).
Source: shapes.md section 2.
"""

from __future__ import annotations

import functools
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from foxden.model.process_types import BY_NAME, SERVER_POLICIES, Family, ProcessType, RemoteType
from foxden.parent.prefs import Prefs
from foxden.sandbox.build import build_plan
from foxden.sandbox.plan import SandboxPlan
from foxden.sandbox.policy import ResolvedPolicy, load, resolve
from foxden.sandbox.policy_files import read_policy

_LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")


class Plans:
    """All plans of one den, made when first asked for."""

    def __init__(self, prefs: Prefs, profile: Path | None) -> None:
        self._prefs = prefs
        self._variables = _variables(prefs, profile)
        self._resolved: dict[tuple[str, int, str | None], ResolvedPolicy] = {}
        self._plans: dict[tuple[str, int, str | None], SandboxPlan] = {}

    def resolved(self, row: ProcessType, remote_type: RemoteType | None) -> ResolvedPolicy:
        """The rules as rules, for look-ups and for `support`."""
        key = self._key(row, remote_type)
        if key not in self._resolved:
            name, level, remote = key
            policy = load(name, read_policy)
            self._resolved[key] = resolve(policy, level=level, remote_type=remote, variables=self._variables)
        return self._resolved[key]

    def plan(self, row: ProcessType, remote_type: RemoteType | None = None) -> SandboxPlan:
        key = self._key(row, remote_type)
        if key not in self._plans:
            self._plans[key] = build_plan(self.resolved(row, remote_type), arch=platform.machine())
        return self._plans[key]

    def _key(self, row: ProcessType, remote_type: RemoteType | None) -> tuple[str, int, str | None]:
        return row.policy, self._prefs.level_of(row), remote_type.value if remote_type else None


@functools.cache
def server_plan(family: Family) -> SandboxPlan:
    """What the fork server of this family puts on itself (the network's does not: see launch/launcher)."""
    return _lock_plan(SERVER_POLICIES[family], listener=True)


def parent_plan() -> SandboxPlan:
    """What the `foxden` command's parent locks itself with."""
    return _lock_plan(BY_NAME["default"].policy)


def _lock_plan(policy_name: str, *, listener: bool = False) -> SandboxPlan:
    """`listener`: leave notifications to the newer filters of children; without one the kernel answers ENOSYS."""
    resolved = resolve(load(policy_name, read_policy), level=1, remote_type=None, variables={})
    plan = build_plan(resolved, arch=platform.machine(), listener=listener)
    return msgspec.structs.replace(plan, limits=(), namespaces=0)


def _variables(prefs: Prefs, profile: Path | None) -> Mapping[str, str | Sequence[str]]:
    """What the {…} in policies stand for on this machine; a rule whose variable is missing is left out."""
    certificates = prefs.authorities()
    found: dict[str, str | Sequence[str]] = {
        "install": str(Path(__file__).resolve().parent.parent),
        "stdlib": str(Path(os.__file__).resolve().parent),
        "system_libraries": [folder for folder in _LIBRARY_FOLDERS if os.path.isdir(folder)],
    }
    if profile is not None:
        found["profile"] = str(profile.resolve())
    if certificates:
        found["certificates"] = certificates
    home = os.path.expanduser("~")
    if os.path.isabs(home) and home != "/":
        found["home"] = home
    return found
