"""What preferences, policy files and the environment add to a policy: more paths and calls, or a harder end.

Runs in: the parent, tools and tests; pure.  Trusts: the user who set them, and tells him what he opens.
Flow: preference texts → parse_paths, parse_calls → Wishes; ResolvedPolicy + Wishes → customise → ResolvedPolicy.
Source: MozillaWiki Security/Sandbox, "Customization Settings"; Gecko's SandboxBrokerPolicyFactory.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from foxden.model.preferences import PreferenceError
from foxden.sandbox.paths import AbsPath, Access, FileRule, PathRules
from foxden.sandbox.policy import Addition, CallRules, Case, ResolvedPolicy
from foxden.sandbox.syscall_numbers import NUMBERS
from foxden.sandbox.syscalls import ALLOW, KILL, SYSCALLS, Action, Call, Verdict, policy_error

READ_PATHS = "security.sandbox.content.read_path_whitelist"
WRITE_PATHS = "security.sandbox.content.write_path_whitelist"
CALLS = "security.sandbox.content.syscall_whitelist"
POLICY_FILE = "policy file: syscalls.allow"
CRASH_ON_ERROR = "MOZ_SANDBOX_CRASH_ON_ERROR"

# Sets of sets.toml that a user had better not allow → what that would give.
_DANGERS = {
    "exec": "starts programs",
    "fork": "makes processes",
    "filter-bypass": "does work that no filter sees",
    "other-processes": "reaches into other processes",
    "kernel-surface": "opens a part of the kernel that exploits use",
    "namespaces-and-mounts": "changes what files and processes there are",
    "administration": "administers the machine",
    "host-names": "names the machine",
    "unseen-flags": "has its arguments where no filter sees them",
    "path-reads": "is no longer judged by the broker",
    "path-writes": "is no longer judged by the broker",
    "socket-calls": "makes sockets",
}
# What a broker may grant is no violation until it has said so.
_BROKERED_SETS = ("path-reads", "path-writes")
_BROKERED_CALLS = frozenset({"connect"})

Sets = Mapping[str, tuple[Call, ...]]


class Wishes(msgspec.Struct, frozen=True):
    """What one den adds to the policy of one process type."""

    read: tuple[FileRule, ...] = ()
    write: tuple[FileRule, ...] = ()
    calls: tuple[str, ...] = ()
    granted: tuple[Call, ...] = ()  # [syscalls] allow of a policy file; conditions may narrow them
    crash_on_error: bool = False

    def __bool__(self) -> bool:
        return bool(self.read or self.write or self.calls or self.granted or self.crash_on_error)


def parse_paths(name: str, items: Iterable[str], *, write: bool) -> tuple[FileRule, ...]:
    """The paths of a preference.  A path that ends in `/` is a folder: in it, `write` makes and removes files too.

    Raises PreferenceError: a path that is not absolute, or that two readers could read differently.
    """
    rules = []
    for item in items:
        is_folder = item.endswith("/")
        try:
            path = AbsPath.parse(item.rstrip("/") or "/")
        except ValueError as error:
            raise PreferenceError(f"{name}: {error}", hint="whole paths, with a comma between two of them") from None
        if path == "/" and write:
            raise PreferenceError(
                f"{name}: expected a folder or a file, got '/'",
                hint="security.sandbox.content.level 1 leaves files as the user has them",
            )
        rules.append(FileRule(path, Access.parse("r" if not write else "rwc" if is_folder else "rw")))
    return tuple(rules)


def parse_calls(name: str, items: Iterable[str], arch: str) -> tuple[str, ...]:
    """The system calls of a preference, by name; numbers are this architecture's.  Raises PreferenceError."""
    by_number = {number: call for call, number in NUMBERS[arch].items()}
    calls = []
    for item in items:
        call = by_number.get(int(item), "") if item.isascii() and item.isdigit() else item
        if call not in SYSCALLS:
            wrong = policy_error(name, f"the number or name of a system call of {arch}", item, SYSCALLS)
            raise PreferenceError(str(wrong), hint=wrong.hint)
        calls.append(call)
    return tuple(calls)


def customise(resolved: ResolvedPolicy, wishes: Wishes, sets: Sets) -> ResolvedPolicy:
    """The policy with these wishes.  `sets`: those of sets.toml.  Level 0 has no rules to add to."""
    if resolved.level == 0 or not wishes:
        return resolved
    allowed = {call: CallRules((), ALLOW, f"{CALLS}: {call} = allow") for call in wishes.calls}
    for call in wishes.granted:
        allowed[call.name] = _granted(call, allowed.get(call.name, resolved.calls.get(call.name, CallRules())))
    added = [
        *(_path_addition(resolved, rule, READ_PATHS) for rule in wishes.read),
        *(_path_addition(resolved, rule, WRITE_PATHS) for rule in wishes.write),
        *(Addition(call, "allow", CALLS, _danger_of(call, sets)) for call in wishes.calls),
        *(Addition(call.text, "allow", POLICY_FILE, _danger_of(call.name, sets)) for call in wishes.granted),
    ]
    wished = [*wishes.read, *wishes.write]
    # Deny wins at equal length, but for `/`: that only says that nothing is granted until something is.
    kept = [rule for rule in resolved.files.rules() if rule.path != "/" or all(wish.path != "/" for wish in wished)]
    files = PathRules.of([*kept, *wished])
    origins = {entry.rule: f'{entry.origin}: "{entry.rule}" = "{entry.access}"' for entry in added if entry.is_path}
    got = msgspec.structs.replace(
        resolved,
        calls={**resolved.calls, **allowed},
        files=files,
        origins={**resolved.origins, **origins},
        added=(*resolved.added, *added),
    )
    return _harden(got, sets) if wishes.crash_on_error else got


def _granted(call: Call, rules: CallRules) -> CallRules:
    """A call is judged by the first case that it passes; without conditions no other is left to look at."""
    where = f"{POLICY_FILE}: {call.text}"
    if not call.conditions:
        return CallRules((), ALLOW, where)
    return msgspec.structs.replace(rules, cases=(Case(call.conditions, ALLOW, where), *rules.cases))


def _path_addition(resolved: ResolvedPolicy, rule: FileRule, origin: str) -> Addition:
    """Deny wins at equal length; a longer rule wins over it, and that is worth a word."""
    denied = [
        path
        for path, access in resolved.files.by_path.items()
        if access & Access.DENY and path != "/" and (rule.path == path or rule.path.startswith(path + "/"))
    ]
    warning = ""
    if rule.path in denied:
        warning = "has no effect: the policy denies exactly this path"
    elif denied:
        warning = f"opens a part of {denied[-1]}, which the policy denies"
    elif rule.path == "/":
        warning = "opens all files that no longer rule denies"
    return Addition(rule.path, rule.access.word(), origin, warning)


def _danger_of(call: str, sets: Sets) -> str:
    for name, gives in _DANGERS.items():
        if any(known.name == call for known in sets.get(name, ())):
            return f"DANGEROUS: a process that has it {gives}"
    return ""


def _harden(resolved: ResolvedPolicy, sets: Sets) -> ResolvedPolicy:
    """Every refusal that a broker would only record kills instead."""
    brokered = _BROKERED_CALLS | {call.name for name in _BROKERED_SETS for call in sets.get(name, ())}
    calls = {
        name: rules if name in brokered else CallRules(
            tuple(Case(case.conditions, _hardened(case.verdict), case.where) for case in rules.cases),
            None if rules.otherwise is None else _hardened(rules.otherwise),
            rules.where,
        )
        for name, rules in resolved.calls.items()
    }  # fmt: skip
    default = None if resolved.default is None else _hardened(resolved.default)
    note = Addition("calls that would be refused and recorded", "kill", CRASH_ON_ERROR)
    return msgspec.structs.replace(resolved, calls=calls, default=default, added=(*resolved.added, note))


def _hardened(verdict: Verdict) -> Verdict:
    return KILL if verdict.action is Action.NOTIFY else verdict
