"""A policy: its file, what it includes and the named sets, merged; then resolved for one child.

Runs in: the parent, tools and tests; pure (files are read by the callable handed in).  Trusts: the policy texts.
Flow: load(name, read) → Policy → resolve(level, remote type, variables) → ResolvedPolicy → filter, build, broker.
Source: docs/reference/policies.md; minijail's @include; MozillaWiki Security/Sandbox for levels.

How lines about one system call meet (each proven in tests/unit/sandbox/test_policy.py):

1. Conditional lines are looked at before the unconditional one.
2. Of several conditional lines that match, the strictest wins: kill > notify > errno > allow.  At equal
   strictness the higher place wins, then the earlier line.
3. Places are ordered by level, then by include depth: the including file speaks after what it includes.
   An unconditional line replaces the unconditional line of every place below, and takes away the conditional
   lines below that are less strict than it.  So a later line can tighten everything, and can loosen only
   what an unconditional line said: no condition that denies is ever lost by accident.
4. Two different unconditional verdicts on one call at one place are a PolicyError.

File rules: a higher place replaces a rule of the same text, a remote type's rule one of every type; the rest is
`paths.lookup`.  A rule whose variable is not given is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar

import msgspec

from foxden.errors import PolicyError
from foxden.model.process_types import RemoteType
from foxden.sandbox.paths import AbsPath, FileRule, PathRules
from foxden.sandbox.policy_text import VARIABLES, CallLine, FileLine, Place, PolicySource, parse, parse_sets
from foxden.sandbox.syscalls import Call, Condition, Said, Verdict, policy_error

SETS = "sets"  # name of the file that holds the named sets


class Policy(msgspec.Struct, frozen=True):
    """One policy with everything that it includes; valid for every level of it."""

    name: str
    max_level: int
    places: tuple[Place, ...]  # lowest first; sets expanded: every line has a call
    limits: Mapping[str, int]


class Case(Said, frozen=True):
    """A verdict for the calls that pass all conditions."""

    conditions: tuple[Condition, ...]
    verdict: Verdict
    where: str = ""  # file, level and line that say so


class CallRules(Said, frozen=True):
    """Everything a resolved policy says about one call: cases in the order of looking, then the rest."""

    cases: tuple[Case, ...] = ()
    otherwise: Verdict | None = None  # None: the policy's default
    where: str = ""  # file, level and line that say what is otherwise


class Addition(msgspec.Struct, frozen=True):
    """One rule that is not of the policy's text: a preference or the environment added it (see `customise`)."""

    rule: str  # a path or a system call, as the policy would write it
    access: str  # `r`, `rwc`, `allow`, `kill` …
    origin: str  # name of the preference or of the environment variable
    warning: str = ""  # what it opens, in words; or why it has no effect

    @property
    def is_path(self) -> bool:
        return self.rule.startswith("/")


class ResolvedPolicy(Said, frozen=True):
    """What one child gets.  Level 0: nothing of it, and `default` is None."""

    telling: ClassVar[int] = 2
    name: str
    level: int
    remote_type: str | None = None
    default: Verdict | None = None
    calls: Mapping[str, CallRules] = msgspec.field(default_factory=dict)
    files: PathRules = msgspec.field(default_factory=lambda: PathRules({}))
    namespaces: tuple[str, ...] = ()
    root: str = "host"
    network: str = "host"
    capabilities: str = "keep"
    reads: str = "kernel"
    landlock: bool = False
    limits: Mapping[str, int] = msgspec.field(default_factory=dict)
    added: tuple[Addition, ...] = ()  # already in `calls` and `files`; kept to be shown with where they came from
    default_where: str = ""
    origins: Mapping[str, str] = msgspec.field(default_factory=dict)  # path of a file rule → where it stands


def load(name: str, read: Callable[[str], str], also: Sequence[str] = ()) -> Policy:
    """Read a policy and all it includes.  `read("content")` returns the text of content.toml.

    `also`: files that a preference adds; each speaks after the policy, at the levels that it names.

    Raises: PolicyError, and whatever `read` raises when there is no such file.
    """
    sets = parse_sets(SETS, read(SETS))
    sources = [source for each in (name, *also) for source in _follow(each, read, ())]
    depths = range(len(sources))
    ordered = sorted(
        ((place.level, depth, place) for depth, source in zip(depths, sources, strict=True) for place in source.places),
        key=lambda row: row[:2],
    )
    limits = {key: value for source in sources for key, value in source.limits.items()}
    places = tuple(_expand(place, sets) for _, _, place in ordered)
    policy = Policy(name, max(place.level for place in places), places, limits)
    for level in range(1, policy.max_level + 1):
        _check(resolve(policy, level=level, remote_type=None, variables={}))
    return policy


def _follow(name: str, read: Callable[[str], str], outer: tuple[str, ...]) -> Iterator[PolicySource]:
    """The included files first, each once a path, then the file itself."""
    if name in outer:
        raise PolicyError(f"{name}.toml: include: expected no circle, got {' → '.join((*outer, name))}")
    source = parse(name, read(name))
    for included in source.include:
        yield from _follow(included, read, (*outer, name))
    yield source


def _expand(place: Place, sets: Mapping[str, tuple[Call, ...]]) -> Place:
    """Put the calls of each set in its place; refuse two unconditional verdicts on one call."""
    lines: list[CallLine] = []
    unconditional: dict[str, CallLine] = {}
    for line in place.calls:
        if line.call is None and line.set_name not in sets:
            known = ["@" + name for name in sets]
            raise policy_error(line.where, "the name of a set in sets.toml", "@" + line.set_name, known)
        for call in sets[line.set_name] if line.call is None else (line.call,):
            expanded = CallLine(line.where, line.verdict, call, line.set_name)
            before = unconditional.setdefault(call.name, expanded) if not call.conditions else expanded
            if before.verdict != line.verdict:
                raise PolicyError(
                    f"{line.where}: expected one verdict on {call.name!r}, got {line.verdict} here "
                    f"and {before.verdict} at {before.where}"
                )
            lines.append(expanded)
    return Place(place.where, place.level, place.default, tuple(lines), place.files, place.namespaces, place.choices)


def resolve(
    policy: Policy, *, level: int, remote_type: str | None, variables: Mapping[str, str | Sequence[str]]
) -> ResolvedPolicy:
    """What a child of this level and remote type gets.

    `variables`: paths by name of `policy_text.VARIABLES`; several paths make one rule each.
    Raises: PolicyError for a level that the policy lacks, an unknown remote type, a path that is not absolute.
    """
    if not 0 <= level <= policy.max_level:
        raise policy_error(f"{policy.name}.toml", f"a level from 0 to {policy.max_level}", level)
    remote_types = [known.value for known in RemoteType]
    if remote_type is not None and remote_type not in remote_types:
        raise policy_error(f"{policy.name}.toml", "a remote type", remote_type, remote_types)
    for variable in variables:
        if variable not in VARIABLES:
            raise policy_error(f"{policy.name}.toml", "a variable of policy_text.VARIABLES", variable, VARIABLES)
    if level == 0:
        return ResolvedPolicy(policy.name, 0, remote_type)
    places = [place for place in policy.places if place.level <= level]
    choices = {word: value for place in places for word, value in place.choices.items()}
    namespaces = [place.namespaces for place in places if place.namespaces is not None]
    defaults = [(place.default, _rule(place, f"default = {place.default}")) for place in places if place.default]
    files, origins = _resolve_files(places, remote_type, variables)
    return ResolvedPolicy(
        name=policy.name,
        level=level,
        remote_type=remote_type,
        default=defaults[-1][0] if defaults else None,
        calls=_merge_calls(places),
        files=files,
        namespaces=namespaces[-1] if namespaces else (),
        root=str(choices.get("root", "host")),
        network=str(choices.get("network", "host")),
        capabilities=str(choices.get("capabilities", "keep")),
        reads=str(choices.get("reads", "kernel")),
        landlock=bool(choices.get("landlock", False)),
        limits=dict(policy.limits),
        default_where=defaults[-1][1] if defaults else "",
        origins=origins,
    )


def _rule(place: Place, what: str) -> str:
    """A line of a policy with its place, as `explain` tells it: `content.toml level 2: …`."""
    file, _, key = place.where.partition(":")
    level = f" level {place.level}" if "level" in key else ""
    return f"{file}{level}: {what}"


def _call_rule(place: Place, line: CallLine) -> str:
    assert line.call is not None, "sets are expanded by load"  # noqa: S101 - for the type checker
    text = line.call.text or line.call.name
    if line.set_name:
        text = f"@{line.set_name}: {text}" if line.call.conditions else f"@{line.set_name}"
    return _rule(place, f"{text} = {line.verdict}")


def _merge_calls(places: Sequence[Place]) -> dict[str, CallRules]:
    """Rules 1 to 3 of the module's text.  `places`: lowest first."""
    merged: dict[str, CallRules] = {}
    for place in places:
        cases: dict[str, list[Case]] = {}
        otherwise: dict[str, tuple[Verdict, str]] = {}
        for line in place.calls:
            call = line.call
            assert call is not None, "sets are expanded by load"  # noqa: S101 - for the type checker
            if call.conditions:
                cases.setdefault(call.name, []).append(Case(call.conditions, line.verdict, _call_rule(place, line)))
            else:
                otherwise[call.name] = line.verdict, _call_rule(place, line)
        for name in cases.keys() | otherwise.keys():
            below = merged.get(name, CallRules())
            merged[name] = _lay_over(below, cases.get(name, []), otherwise.get(name))
    return merged


def _lay_over(below: CallRules, cases: list[Case], otherwise: tuple[Verdict, str] | None) -> CallRules:
    kept = [case for case in below.cases if otherwise is None or case.verdict.action >= otherwise[0].action]
    ordered = sorted([*cases, *kept], key=lambda case: -case.verdict.action)  # stable: the higher place stays first
    return CallRules(tuple(ordered), *((below.otherwise, below.where) if otherwise is None else otherwise))


def _resolve_files(
    places: Sequence[Place], remote_type: str | None, variables: Mapping[str, str | Sequence[str]]
) -> tuple[PathRules, dict[str, str]]:
    """The rules, and by path where each stands."""
    chosen: dict[tuple[str, str], tuple[FileLine, Place]] = {}
    for place in places:
        for wanted in (None, remote_type) if remote_type else (None,):
            for line in place.files:
                if line.remote_type == wanted:
                    chosen[line.variable, line.rest] = line, place
    rules = PathRules.of(
        FileRule(path, line.access) for line, _ in chosen.values() for path in _resolve_paths(line, variables)
    )
    origins: dict[str, str] = {}
    for line, place in chosen.values():
        for path in _resolve_paths(line, variables):
            if path not in origins or line.access & rules.by_path[path]:  # of two, the one that was followed
                origins[path] = _file_rule(place, line)
    return rules, origins


def _file_rule(place: Place, line: FileLine) -> str:
    when = f".when-remote-type.{line.remote_type}" if line.remote_type else ""
    path = f"{{{line.variable}}}{line.rest}" if line.variable else line.rest
    return _rule(place, f'files{when} "{path}" = "{line.access.word()}"')


def _resolve_paths(line: FileLine, variables: Mapping[str, str | Sequence[str]]) -> Iterator[AbsPath]:
    """The paths of a rule: none when its variable is not given, one for each path that it stands for."""
    if not line.variable:
        yield AbsPath(line.rest)
        return
    bases = variables.get(line.variable, ())
    for base in (bases,) if isinstance(bases, str) else bases:
        try:
            yield AbsPath.parse(AbsPath.parse(base).rstrip("/") + line.rest or "/")
        except ValueError as error:
            raise PolicyError(f"{line.where}: {{{line.variable}}}: {error}") from None


def _check(resolved: ResolvedPolicy) -> None:
    """Refuse layers that do not fit together: a promise that no kernel could keep."""
    where = f"{resolved.name}.toml: level {resolved.level}"
    if resolved.default is None:
        raise PolicyError(f"{where}: expected syscalls.default, got none in the file and what it includes")
    if resolved.namespaces and "user" not in resolved.namespaces:
        raise policy_error(where, "'user' among the namespaces: the others need it", resolved.namespaces)
    if resolved.root == "empty" and "mount" not in resolved.namespaces:
        raise policy_error(where, "namespace 'mount' for root = 'empty'", resolved.namespaces)
    if resolved.network == "none" and "net" not in resolved.namespaces:
        raise policy_error(where, "namespace 'net' for network = 'none'", resolved.namespaces)
