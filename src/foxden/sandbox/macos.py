"""The rows of macOS: what its sandbox would be told, and what it would answer.  Enforced nowhere here.

Runs in: the parent, tools and tests; pure.  Trusts: the policy texts.
Flow: policies/macos/<type>.toml → resolve → MacPolicy → decide; seatbelt.export.
Source: MozillaWiki Security/Sandbox, "OSX"; the order of rules is Seatbelt's own: the last that matches wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

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

# From the outside in: a rule on a later one speaks after a rule on an earlier one, since it lies within, if at all.
VARIABLES = ("", "home", "profile", "tmp", "install", "plugin")

OPERATIONS: dict[str, Operation] = {
    "network-outbound": Operation.CONNECT,
    "network-inbound": Operation.LISTEN,
    "process-exec": Operation.EXEC,
    "process-fork": Operation.FORK,
    "print": Operation.PRINT,
}
SERVICES = ("signal", "process-info-pidinfo", "process-info-setcontrol", "sysctl-read", "mach-lookup", "iokit-open")
_NEEDS = {
    Operation.READ: Access.READ,
    Operation.LIST: Access.READ,
    Operation.WRITE: Access.WRITE,
    Operation.CREATE: Access.CREATE,
    Operation.STAT: Access.STAT | Access.READ,
}


class OperationRule(msgspec.Struct, frozen=True):
    operation: str  # Seatbelt's word, and `print`
    allow: bool
    origin: Origin


class Service(msgspec.Struct, frozen=True):
    """One name of the system that may be used; `*`: all of the operation's."""

    operation: str
    name: str
    origin: Origin


class MacPolicy(msgspec.Struct, frozen=True):
    """What one child would get on macOS.  Level 0: nothing of it."""

    name: str
    level: int
    max_level: int
    remote_type: str | None = None
    operations: tuple[OperationRule, ...] = ()
    files: tuple[Rule, ...] = ()  # in the order of speaking: outer before inner
    services: tuple[Service, ...] = ()


def resolve(name: str, read: Callable[[str], str], *, level: int, remote_type: str | None = None) -> MacPolicy:
    """Raises: PolicyError for a level that the policy lacks, and for what its text cannot say."""
    text = read_text(Platform.MACOS, name, read)
    check_keys(text, "", text.table, ("level",))
    check_remote_type(text, remote_type)
    places = list(levels(text, ("operations", "files", "literals", "services")))
    most = places[-1][0]
    check_level(text, level, 1, most)
    operations: dict[str, OperationRule] = {}
    services: dict[tuple[str, str], Service] = {}
    files: dict[tuple[str, bool], Rule] = {}
    for at, section, table in places:
        chosen = at <= level
        read_operations = _operations(text, f"{section}.operations", table.get("operations", {}), at)
        read_services = _services(text, f"{section}.services", table.get("services", {}), at)
        read_files = _files(text, section, table, at, remote_type)
        if chosen:
            operations |= read_operations
            services |= read_services
            files |= read_files
    return MacPolicy(
        name, level, most, remote_type, tuple(operations.values()), _ordered(files), tuple(services.values())
    )


def _operations(text: Text, section: str, table: Mapping[str, object], level: int) -> dict[str, OperationRule]:
    found = {}
    for name, word in table.items():
        if name not in OPERATIONS:
            raise policy_error(text.where(section), f"one of {', '.join(OPERATIONS)}", name, OPERATIONS)
        if word not in ("allow", "deny"):
            raise policy_error(text.where(section, name), "'allow' or 'deny'", word, ("allow", "deny"))
        found[name] = OperationRule(name, word == "allow", text.origin(section, name, level))
    return found


def _services(text: Text, section: str, table: Mapping[str, object], level: int) -> dict[tuple[str, str], Service]:
    found = {}
    check_keys(text, section, table, SERVICES)
    for operation, names in table.items():
        for name in strings(text.where(section, operation), names):
            origin = text.origin(f"{section}.{operation}", name, level)
            found[operation, name] = Service(operation, name, origin)
    return found


def _files(
    text: Text, section: str, table: Mapping[str, object], level: int, remote_type: str | None
) -> dict[tuple[str, bool], Rule]:
    """The rules of a level by path; those of the remote type speak after those of every type."""
    listed = dict(_mapping(text, f"{section}.files", table.get("files", {})))
    special = _mapping(text, f"{section}.files.when-remote-type", listed.pop("when-remote-type", {}))
    literals = _mapping(text, f"{section}.literals", table.get("literals", {}))
    found = [*rules(text, f"{section}.files", listed, level, VARIABLES)]
    found += rules(text, f"{section}.literals", literals, level, VARIABLES, literal=True)
    for kind, lines in special.items():
        check_remote_type(text, kind)
        within = f"{section}.files.when-remote-type.{kind}"
        of_kind = list(rules(text, within, _mapping(text, within, lines), level, VARIABLES))
        found += of_kind if kind == remote_type else []
    return {(rule.path, rule.literal): rule for rule in found}


def _mapping(text: Text, section: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise policy_error(text.where(section), "a table", value)
    return value


def _ordered(files: Mapping[tuple[str, bool], Rule]) -> tuple[Rule, ...]:
    def place(rule: Rule) -> tuple[int, int, bool, str]:
        variable = rule.path[1 : rule.path.index("}")] if rule.path.startswith("{") else ""
        return VARIABLES.index(variable), len(rule.path), rule.literal, rule.path

    return tuple(sorted(files.values(), key=place))


def decide(policy: MacPolicy, act: Act, places: Mapping[str, str]) -> Decision:
    """What Seatbelt would answer.  `places`: what the variables stand for."""
    if policy.level == 0:
        return Decision(Outcome.ALLOWED, "level 0: no sandbox")
    if act.operation in ON_PATHS:
        return _on_path(policy, act, places)
    for rule in policy.operations:
        if OPERATIONS[rule.operation] is act.operation:
            outcome = Outcome.ALLOWED if rule.allow else Outcome.REFUSED
            return Decision(outcome, f"{rule.operation} = {'allow' if rule.allow else 'deny'}", rule.origin.reason)
    return Decision(Outcome.NOT_SAID, f"no line of {policy.name} speaks of {act.operation.value}")


def _on_path(policy: MacPolicy, act: Act, places: Mapping[str, str]) -> Decision:
    rule = find(policy, act.path, places)
    if rule is None:
        return Decision(Outcome.REFUSED, "(deny default)", "whoever is not named is refused")
    outcome = Outcome.ALLOWED if rule.access & _NEEDS[act.operation] else Outcome.REFUSED
    return Decision(outcome, f"{rule.path} = {rule.access.word()}", rule.origin.reason)


def find(policy: MacPolicy, path: str, places: Mapping[str, str]) -> Rule | None:
    """The rule that speaks of `path`: the longest, and of equally long ones a literal."""
    best: tuple[int, bool] = (-1, False)
    found = None
    for rule in policy.files:
        base = fill(rule.path, places)
        covers = path == base or (not rule.literal and (base == "/" or path.startswith(base + "/")))
        if covers and (len(base), rule.literal) >= best:
            best, found = (len(base), rule.literal), rule
    return found
