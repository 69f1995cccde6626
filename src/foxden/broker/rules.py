"""What one child may do where: the decision, on canonical paths only.

Runs in: the broker; computes only.  Trusts: the rules; the path was made canonical by `view`.
Flow: rules and protected names of Attach → Rules → allows(path, need), guards(path) → operations.
Source: Gecko's SandboxBroker permissions; sandbox/paths (the longest rule wins); hostile cases 19-21.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from foxden.sandbox.paths import Access, longest

STAT, READ, WRITE, CREATE = int(Access.STAT), int(Access.READ), int(Access.WRITE), int(Access.CREATE)
CONNECT, DENY = int(Access.CONNECT), int(Access.DENY)
CHANGE = WRITE | CREATE
_KNOWN_MAX = 1024
_LINE_MAX = 64  # components of a path that are looked at for protected names; deeper ones are refused

_Pattern = tuple[re.Pattern[str], ...]


class Rules:
    """The rules of one child.  `ancestors`: directories above what is granted, which may be looked at."""

    __slots__ = ("_guarded", "_known", "_ways", "ancestors", "by_path")

    def __init__(
        self,
        rules: Iterable[tuple[str, int]] = (),
        protected: Iterable[tuple[str, Iterable[str]]] = (),
        *,
        show_ancestors: bool = False,
    ) -> None:
        self.by_path: dict[str, int] = {}
        self._known: dict[str, int] = {}  # what was found lately
        for path, access in rules:
            self._add(path, access)
        self._guarded = [(_folder(tree), [_pattern(name) for name in names]) for tree, names in protected]
        self._ways = self._above()
        self.ancestors = self._ways if show_ancestors else frozenset()

    def _add(self, path: str, access: int) -> None:
        """Where a path has two rules deny wins, else both are given."""
        self._known.clear()
        both = self.by_path.get(path, 0) | access
        self.by_path[path] = DENY if both & DENY else both

    def add_names_of(self, canonical: dict[str, str], *, show_ancestors: bool) -> None:
        """Rules speak of names; decisions are on canonical paths.  `canonical`: rule's path → where it leads."""
        for path, target in canonical.items():
            if target != path:
                self._add(target, self.by_path[path])
        self._ways = self._above()
        if show_ancestors:
            self.ancestors = self._ways

    def _above(self) -> frozenset[str]:
        found = {"/"}
        for path, access in self.by_path.items():
            while access and not access & DENY and path not in found:
                found.add(path)
                path = path.rpartition("/")[0] or "/"
        return frozenset(found)

    def access(self, path: str) -> int:
        """What the longest rule gives; 0: nothing, or a rule that denies."""
        known = self._known.get(path)
        if known is None:
            found = longest(self.by_path, path) or 0
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            known = self._known[path] = 0 if found & DENY else found
        return known

    def allows(self, path: str, need: int) -> bool:
        """Is every bit of `need` given here?  What is given anything may be looked at, too."""
        given = self.access(path)
        if given:
            return not need & ~(given | STAT)
        return need == STAT and path in self.ancestors

    def passes(self, path: str) -> bool:
        """May a way lead into this directory and back?  Elsewhere it would tell that the directory is there."""
        return path in self._ways or bool(self.access(path))

    def names(self, path: str) -> bool:
        """Is there a rule for exactly this path?"""
        return path in self.by_path

    def holds(self, path: str) -> bool:
        """Does a rule, or a protected tree, lie below `path`?  Then it stays where it is, or rules would lose it."""
        folder = _folder(path)
        return any(each.startswith(folder) for each in self.by_path) or any(
            tree.startswith(folder) for tree, _ in self._guarded
        )

    def guards(self, path: str) -> bool:
        """Is this, or something above it, a protected name?"""
        return any(_found(patterns, path[len(tree) :]) for tree, patterns in self._guarded if path.startswith(tree))

    def leads_to_guarded(self, path: str) -> bool:
        """Is this the beginning of a protected name of several components, as `.git` is of `.git/hooks`?"""
        return any(_leads(patterns, path[len(tree) :]) for tree, patterns in self._guarded if path.startswith(tree))


def _folder(path: str) -> str:
    return path if path.endswith("/") else path + "/"


def _pattern(name: str) -> _Pattern:
    return tuple(
        re.compile(re.escape(part.casefold()).replace(r"\*", ".*"), re.DOTALL) for part in name.strip("/").split("/")
    )


def _match(pattern: _Pattern, parts: list[str]) -> bool:
    return all(each.fullmatch(part) for each, part in zip(pattern, parts, strict=True))


def _found(patterns: list[_Pattern], relative: str) -> bool:
    parts = relative.casefold().split("/")
    if patterns and len(parts) > _LINE_MAX:
        return True
    return any(
        _match(pattern, parts[start : start + len(pattern)])
        for pattern in patterns
        for start in range(len(parts) - len(pattern) + 1)
    )


def _leads(patterns: list[_Pattern], relative: str) -> bool:
    parts = relative.casefold().split("/")
    return any(
        _match(pattern[:length], parts[-length:])
        for pattern in patterns
        for length in range(1, min(len(pattern), len(parts) + 1))
    )
