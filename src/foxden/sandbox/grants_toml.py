"""Grants as the text of a policy file, in which everything is seen.

Runs in: command and parent; pure.  Trusts: the Grants, which were checked when they were made.
Flow: Grants → render_grants → text, which grants_text.parse_grants reads back; learn writes its own with these words.
Source: the table at the head of grants_text; TOML 1.0, basic strings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from foxden.model.escaped import quoted_name
from foxden.sandbox.grants import Grants, file_rules

_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1))


def render_grants(grants: Grants) -> str:
    """The text of a policy file; empty for grants that are.  Raises: PolicyError where grants contradict each other."""
    lines = [f"extends = {toml_text(grants.extends)}"] if grants.extends else []
    for table, body in _tables(grants):
        pairs = list(body)
        if pairs:
            lines += [f"[{table}]", *(f"{key} = {value}" for key, value in pairs)]
    return "\n".join(lines) + "\n" if lines else ""


def _tables(grants: Grants) -> Iterator[tuple[str, Iterable[tuple[str, str]]]]:
    yield "files", ((toml_text(path), toml_text(access.word())) for path, access in file_rules(grants))
    yield "env", ((name, "true" if value is None else toml_text(value)) for name, value in grants.environment)
    yield "network", _lists(connect=grants.connect)
    yield "syscalls", _lists(allow=grants.syscalls)
    yield "limits", _limits(grants)
    yield "protect", _lists(names=grants.protect, **{"except": grants.unprotected})


def _lists(**given: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for key, items in given.items():
        if items:
            yield key, f"[{', '.join(map(toml_text, items))}]"


def _limits(grants: Grants) -> Iterator[tuple[str, str]]:
    for key in ("memory", "file_size", "output"):
        size = getattr(grants, key)
        if size is not None:
            yield key, toml_text(size_text(size))
    for key, seconds in (("cpu_time", grants.cpu_time_s), ("timeout", grants.timeout_s)):
        if seconds is not None:
            yield key, f"{seconds!r}"
    if grants.processes is not None:
        yield "processes", str(grants.processes)


def size_text(size: int) -> str:
    """Bytes in the largest unit that leaves none over."""
    unit, one = next((unit, one) for unit, one in _UNITS if size % one == 0)
    return f"{size // one} {unit}"


def toml_text(text: str) -> str:
    """A basic string of TOML in which everything is seen."""
    return '"' + "".join(_character(character) for character in text) + '"'


def _character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character == quoted_name(character) else f"\\u{ord(character):04x}"
