"""A Linux policy as rows: what holds for a child, the line that says so, from which level on, and why.

Runs in: the parent, tools and tests; pure (texts are read by the callable handed in).  Trusts: the policy texts.
Flow: Policy + ResolvedPolicy → rows_of → LinuxRows → `foxden policy show` and `diff`.
Source: shapes.md section 2: a policy is a page that a reviewer reads.

The resolved policy says what holds; the lines are only looked up to say where it comes from.  What no line explains
was added from outside the texts, by a preference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from foxden.sandbox.paths import Access
from foxden.sandbox.platforms import Origin
from foxden.sandbox.policy import SETS, Policy, ResolvedPolicy
from foxden.sandbox.policy_reasons import read_reasons, reason_for
from foxden.sandbox.policy_text import FileLine, Place
from foxden.sandbox.syscalls import Call, Condition, Verdict, parse_call

_ELSEWHERE = "a preference"

Variables = Mapping[str, str | Sequence[str]]


class Choice(msgspec.Struct, frozen=True):
    """A layer or a limit, and its value as a person reads it."""

    name: str
    value: str
    origin: Origin


class FileRow(msgspec.Struct, frozen=True):
    path: str  # on this machine
    access: str  # as a policy writes it
    rule: str  # as the line has it, with its {variable}
    remote_type: str | None  # only for this one
    origin: Origin


class CallRow(msgspec.Struct, frozen=True):
    call: str  # with its conditions, as the line has it
    name: str
    verdict: str
    set_name: str  # empty: the line names the call itself
    origin: Origin


class LinuxRows(msgspec.Struct, frozen=True):
    """Everything that a resolved policy says."""

    default: str  # the verdict of calls without a row; empty: no filter
    layers: tuple[Choice, ...]
    limits: tuple[Choice, ...]
    files: tuple[FileRow, ...]
    calls: tuple[CallRow, ...]  # of one call those that are looked at first stand first


_CALLS = re.compile(r"(?:.*\.)?(?:allow|kill|(?:errno|notify)\.\w+)")  # sections that are lists of calls


class _Source:
    """The texts of a policy: its entries as they are written, and their reasons."""

    def __init__(self, policy: Policy, read: Callable[[str], str]) -> None:
        self.written: dict[tuple[str, Call], str] = {}
        self._reasons: dict[str, dict[tuple[str, str], str]] = {}  # by file
        names = dict.fromkeys(place.where.partition(".toml")[0] for place in policy.places)
        for name in (*names, SETS):
            self._reasons[name] = read_reasons(read(name))
            for section, entry in self._reasons[name]:
                if (section and name == SETS) or (_CALLS.fullmatch(section) and entry[:1] not in ("", "@")):
                    where = f"{name}.toml: {section}"
                    self.written[where, parse_call(where, entry)] = entry

    def reason(self, where: str, entry: str) -> str:
        name, _, section = where.partition(".toml: ")
        return reason_for(self._reasons.get(name, {}), section, entry)

    def speaks_of(self, name: str, section: str, entry: str) -> bool:
        return (section, entry) in self._reasons[name]


def rows_of(policy: Policy, resolved: ResolvedPolicy, read: Callable[[str], str], variables: Variables) -> LinuxRows:
    """`variables`: those that `resolved` was resolved with."""
    if resolved.default is None:
        return LinuxRows("", (), (), (), ())
    places = [place for place in policy.places if place.level <= resolved.level]
    source = _Source(policy, read)
    return LinuxRows(
        default=str(resolved.default),
        layers=tuple(_layers(resolved, places, source)),
        limits=tuple(_limits(resolved, policy, source)),
        files=tuple(_files(resolved, places, source, variables)),
        calls=tuple(_calls(resolved, places, source)),
    )


def _layers(resolved: ResolvedPolicy, places: Sequence[Place], source: _Source) -> Iterator[Choice]:
    spoken = [place for place in places if place.namespaces is not None]
    names = " ".join(resolved.namespaces) or "none"
    yield Choice("namespaces", names, _of_place(spoken[-1:], "namespaces", source))
    for word in ("root", "network", "capabilities", "reads", "landlock"):
        value = getattr(resolved, word)
        said = [place for place in places if word in place.choices]
        shown = ("yes" if value else "no") if isinstance(value, bool) else str(value)
        yield Choice(word, shown, _of_place(said[-1:], word, source))


def _of_place(places: Sequence[Place], key: str, source: _Source) -> Origin:
    if not places:
        return Origin("no line: what a process has by itself", 0, "")
    place = places[0]
    return Origin(f"{place.where}.{key}", place.level, source.reason(place.where, key))


def _limits(resolved: ResolvedPolicy, policy: Policy, source: _Source) -> Iterator[Choice]:
    files = [place.where.partition(".toml")[0] for place in policy.places if place.level == 1]
    for name, value in resolved.limits.items():
        said = [file for file in files if source.speaks_of(file, "limits", name)]  # included files stand first
        where = f"{said[-1]}.toml: limits" if said else _ELSEWHERE
        yield Choice(name, limit_text(name, value), Origin(where, 1, source.reason(where, name)))


def limit_text(name: str, value: int) -> str:
    """Sizes in the greatest unit that divides them; counts as they are."""
    if name in ("descriptors", "tasks", "oom_score_adj"):
        return str(value)
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if value and value % size == 0:
            return f"{value // size} {unit}"
    return f"{value} B"


def _files(
    resolved: ResolvedPolicy, places: Sequence[Place], source: _Source, variables: Variables
) -> Iterator[FileRow]:
    lines: dict[str, list[tuple[Place, FileLine]]] = {}
    for place in places:
        for line in sorted(place.files, key=lambda line: line.remote_type is not None):
            for path in _expanded(line, variables) if line.remote_type in (None, resolved.remote_type) else ():
                lines.setdefault(path, []).append((place, line))
    added = _added(resolved)
    for rule in resolved.files.rules():
        found = _explaining(lines.get(rule.path, []), rule.access) if rule.path not in added else None
        if found is None:
            origin = Origin(added.get(rule.path, _ELSEWHERE), resolved.level, "")
            yield FileRow(rule.path, rule.access.word(), rule.path, None, origin)
            continue
        place, line = found
        written = (f"{{{line.variable}}}" if line.variable else "") + line.rest
        section = line.where.rpartition(".'")[0] or line.where.rpartition('."')[0]
        origin = Origin(section, place.level, source.reason(section, written))
        yield FileRow(rule.path, rule.access.word(), written, line.remote_type, origin)


def _explaining(lines: Sequence[tuple[Place, FileLine]], access: Access) -> tuple[Place, FileLine] | None:
    """The highest line that gives exactly this; else the highest of several that give it together."""
    exact = [found for found in lines if found[1].access == access]
    together = Access.NONE
    for _, line in lines:
        together |= line.access
    return exact[-1] if exact else lines[-1] if lines and together == access else None


def _added(resolved: ResolvedPolicy) -> dict[str, str]:
    """Rules that a preference or the environment added, and which one it was; of calls by their name."""
    return {entry.rule: entry.origin for entry in getattr(resolved, "added", ())}


def _expanded(line: FileLine, variables: Variables) -> Iterator[str]:
    if not line.variable:
        yield line.rest
        return
    bases = variables.get(line.variable, ())
    for base in (bases,) if isinstance(bases, str) else bases:
        yield base.rstrip("/") + line.rest or "/"


def _calls(resolved: ResolvedPolicy, places: Sequence[Place], source: _Source) -> Iterator[CallRow]:
    index, added = _index(places), _added(resolved)
    for name, rules in sorted(resolved.calls.items()):
        said: Iterable[tuple[tuple[Condition, ...], Verdict]] = (
            *((case.conditions, case.verdict) for case in rules.cases),
            *(((), verdict) for verdict in (rules.otherwise,) if verdict is not None),
        )
        for conditions, verdict in said:
            yield _call(Call(name, conditions), verdict, index, source, added)


# (call, verdict) → the highest place that says so, where in it, and the set that the call came from.
_Index = Mapping[tuple[Call, Verdict], tuple[Place, str, str]]


def _index(places: Sequence[Place]) -> _Index:
    return {(line.call, line.verdict): (place, line.where, line.set_name)
            for place in places for line in place.calls if line.call is not None}  # fmt: skip


def _call(call: Call, verdict: Verdict, index: _Index, source: _Source, added: Mapping[str, str]) -> CallRow:
    found = index.get((call, verdict))
    if found is None:
        return CallRow(call.name, call.name, str(verdict), "", Origin(added.get(call.name, _ELSEWHERE), 0, ""))
    place, where, set_name = found
    within = f"{SETS}.toml: {set_name}" if set_name else where
    text = source.written.get((within, call), call.name)
    reason = source.reason(where, f"@{set_name}") if set_name else source.reason(where, text)
    return CallRow(text, call.name, str(verdict), set_name, Origin(where, place.level, reason))
