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

import msgspec

from foxden import native
from foxden.launch.interpreter import interpreter_files, library_path
from foxden.launch.program_view import view_for
from foxden.model.process_types import BY_NAME, SERVER_POLICIES, Family, ProcessType, RemoteType
from foxden.parent.prefs import Prefs
from foxden.sandbox.build import build_plan
from foxden.sandbox.customise import Sets, customise
from foxden.sandbox.filter import Entry, VerdictTable, verdicts
from foxden.sandbox.grants import Grants
from foxden.sandbox.paths import AbsPath, FileRule
from foxden.sandbox.plan import SandboxPlan
from foxden.sandbox.policy import SETS, Policy, ResolvedPolicy, load, resolve
from foxden.sandbox.policy_files import read_policy
from foxden.sandbox.policy_text import parse_sets
from foxden.sandbox.program import ProgramPlan
from foxden.sandbox.program_base import load_base
from foxden.sandbox.read_policies import READ, load_read
from foxden.sandbox.same import Same
from foxden.sandbox.syscalls import Action

_LIBRARY_FOLDERS = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")

# Stands for each child's own directory for temporary files, in rules that all children of a type share.
_TEMPORARY = "/.foxden-tmp"

_Frozen = tuple[tuple[str, str | tuple[str, ...]], ...]  # what the variables of policies stand for
_Split = tuple[tuple[FileRule, ...], tuple[FileRule, ...]]  # rules that all children share, those of the child's own


class Plans:
    """All plans of one den, made when first asked for."""

    def __init__(self, prefs: Prefs, profile: str | None) -> None:
        self._prefs = prefs
        self._variables = _variables(prefs, profile)
        self._frozen = tuple((k, v if isinstance(v, str) else tuple(v)) for k, v in self._variables.items())
        self._resolved: dict[tuple[str, int, str | None], ResolvedPolicy] = {}
        self._plans: dict[tuple[str, int, str | None], SandboxPlan] = {}
        self._split: dict[tuple[str, int, str | None], _Split] = {}

    def resolved(self, row: ProcessType, remote_type: RemoteType | None) -> ResolvedPolicy:
        """The rules as rules, for look-ups and for `support`."""
        key = self._key(row, remote_type)
        if key not in self._resolved:
            name, level, remote = key
            also = (*self._prefs.also_included(row), *_for_this_build(row))
            committed = _resolved(name, also, level, remote, self._frozen)
            wishes = self._prefs.wishes(row)
            self._resolved[key] = customise(committed, wishes, _sets()) if wishes else committed
        return self._resolved[key]

    @property
    def variables(self) -> Mapping[str, str | Sequence[str]]:
        """What the {…} of policies stand for here."""
        return self._variables

    def plan(self, row: ProcessType, remote_type: RemoteType | None = None) -> SandboxPlan:
        key = self._key(row, remote_type)
        if key not in self._plans:
            self._plans[key] = self.finish(self._build(row, remote_type))
        return self._plans[key]

    def _build(self, row: ProcessType, remote_type: RemoteType | None) -> SandboxPlan:
        if row.name == "broker":
            return load_base(row.policy, platform.machine()).plan  # no preference and no variable changes it
        resolved = self.resolved(row, remote_type)
        if row.name == "plugin" and resolved.level:
            return program_without_grants().sandbox
        return build_plan(resolved, arch=platform.machine(), listener=True)

    def errnos(self, row: ProcessType, remote_type: RemoteType | None) -> Mapping[int, int]:
        """Call number → what the policy answers where it asks the broker, and the broker says no."""
        return _errnos(Same(verdicts(self.resolved(row, remote_type), platform.machine())))

    def rules(self, row: ProcessType, remote_type: RemoteType | None, temporary: str) -> tuple[FileRule, ...]:
        """File rules of one child.  `temporary`: its own directory, or empty."""
        return _with_temporary(*self._file_rules(row, remote_type), temporary)

    def rules_of(self, resolved: ResolvedPolicy, temporary: str) -> tuple[FileRule, ...]:
        """The same of a policy that a caller's grants were added to."""
        return _with_temporary(*_split(resolved), temporary)

    def has_temporary(self, row: ProcessType, remote_type: RemoteType | None) -> bool:
        return bool(self._file_rules(row, remote_type)[1])

    def _file_rules(self, row: ProcessType, remote_type: RemoteType | None) -> _Split:
        key = self._key(row, remote_type)
        if key not in self._split:
            self._split[key] = _split(self.resolved(row, remote_type))
        return self._split[key]

    def warnings(self) -> list[str]:
        """What the user's own additions open, one line each, loud enough to be seen."""
        found = {
            f"{entry.origin}: {entry.rule}: {entry.warning}": None
            for remote_type in RemoteType
            for entry in self.resolved(BY_NAME["content"], remote_type).added
            if entry.warning
        }
        return list(found)

    def finish(self, plan: SandboxPlan) -> SandboxPlan:
        """What every plan of this den gets, whoever made it."""
        return msgspec.structs.replace(plan, stacks=plan.notify, spec_allow=self._prefs.spec_allow())

    def _key(self, row: ProcessType, remote_type: RemoteType | None) -> tuple[str, int, str | None]:
        return row.policy, self._prefs.level_of(row), remote_type.value if remote_type else None


@functools.cache
def _committed(name: str, also: tuple[str, ...] = ()) -> Policy:
    """A policy of this installation: read once, for all dens."""
    return load_read(name) if name in READ and not also else load(name, read_policy, also=also)


@functools.lru_cache(maxsize=32)
def _resolved(name: str, also: tuple[str, ...], level: int, remote: str | None, variables: _Frozen) -> ResolvedPolicy:
    """The same for all dens of this process that mean the same by its variables."""
    return resolve(_committed(name, also), level=level, remote_type=remote, variables=dict(variables))


@functools.lru_cache(maxsize=32)
def _errnos(table: Same[VerdictTable]) -> Mapping[int, int]:
    found = {number: _notified(entry) for number, entry in table.it.entries.items()}
    return {number: errno for number, errno in found.items() if errno}


@functools.cache
def _sets() -> Sets:
    """The named sets of system calls."""
    return parse_sets(SETS, read_policy(SETS))


@functools.cache
def program_without_grants() -> ProgramPlan:
    """What a plugin process has that is only looked at."""
    return view_for(load_base("plugin", platform.machine()), Grants(), (), cwd="/")


@functools.cache
def server_plan(family: Family) -> SandboxPlan:
    """What the fork server of this family puts on itself (the network's does not: see launch/launcher)."""
    return _lock_plan(SERVER_POLICIES[family])


def parent_plan() -> SandboxPlan:
    """What the `foxden` command's parent locks itself with."""
    return _lock_plan(BY_NAME["default"].policy)


def _lock_plan(policy_name: str) -> SandboxPlan:
    plan = load_base(policy_name, platform.machine()).plan
    return msgspec.structs.replace(plan, limits=(), namespaces=0, spec_allow=Prefs().spec_allow())


def _split(resolved: ResolvedPolicy) -> _Split:
    rules = resolved.files.rules()
    own = tuple(rule for rule in rules if rule.path.startswith(_TEMPORARY))
    return tuple(rule for rule in rules if rule not in own), own


def _with_temporary(kept: tuple[FileRule, ...], own: tuple[FileRule, ...], temporary: str) -> tuple[FileRule, ...]:
    return kept + tuple(msgspec.structs.replace(rule, path=AbsPath(temporary)) for rule in own if temporary)


def _notified(entry: Entry) -> int:
    """The errno of this call's notifying verdict; 0: it has none."""
    all_of_it = (entry.otherwise, *(branch.verdict for branch in entry.branches))
    return next((verdict.errno for verdict in all_of_it if verdict.action is Action.NOTIFY), 0)


def _for_this_build(row: ProcessType) -> tuple[str, ...]:
    """What a policy needs where a part of this installation is missing."""
    return ("descriptor-stats",) if row.name == "utility" and not native.preload() else ()


def _variables(prefs: Prefs, profile: str | None) -> Mapping[str, str | Sequence[str]]:
    """What the {…} in policies stand for on this machine; a rule whose variable is missing is left out."""
    certificates = prefs.authorities()
    found: dict[str, str | Sequence[str]] = {
        "install": os.path.dirname(os.path.dirname(os.path.realpath(__file__))),
        "tmp": _TEMPORARY,
        "stdlib": os.path.dirname(os.path.realpath(os.__file__)),
        "python": interpreter_files(),
        "packages": [os.path.realpath(folder) for folder in library_path()],
        "system_libraries": [folder for folder in _LIBRARY_FOLDERS if os.path.isdir(folder)],
        **prefs.user_folders(),
    }
    if profile is not None:
        found["profile"] = os.path.realpath(profile)
    if certificates:
        found["certificates"] = certificates
    return found
