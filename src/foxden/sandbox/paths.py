"""File rules: which access the most specific rule gives to a path.

Runs in: parent, broker and tests; pure.  Trusts: the policy; never the path that is asked for.
Flow: policy.resolve → PathRules; a canonical path → longest → Access.  Imports little: the broker runs without msgspec.
Source: MozillaWiki Security/Sandbox, "File System Restrictions"; path_resolution(7).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

PATH_MAX = 4096  # limits.h: bytes, with the NUL
T = TypeVar("T")


class Access(enum.IntFlag):
    """What a rule gives.  NONE: no rule speaks of the path, which is refused as DENY is.

    Whatever is given, its path may be looked at too, as with STAT alone.  Source: Gecko's SandboxBroker.h, MAY_ACCESS …
    """

    NONE = 0
    STAT = 1  # that it exists, and its attributes
    READ = 2
    WRITE = 4
    CREATE = 8  # and remove, and rename
    CONNECT = 16  # to a unix socket
    EXECUTE = 32
    DENY = 128  # wins over everything else that is said of the same path

    @classmethod
    def parse(cls, word: str) -> Access:
        """`deny`, `stat`, `connect`, or letters of `rwcx`.  Raises: ValueError."""
        if word in _WORDS:
            return _WORDS[word]
        if not word or len(set(word)) != len(word) or not set(word) <= set(_LETTERS):
            raise ValueError(f"expected 'deny', 'stat', 'connect' or letters of 'rwcx', got {word!r}")
        access = cls.NONE
        for letter in word:
            access |= _LETTERS[letter]
        return access

    def word(self) -> str:
        """As a policy writes it."""
        if self & Access.DENY:
            return "deny"
        letters = "".join(letter for letter, bit in _LETTERS.items() if self & bit)
        return letters or ("connect" if self & Access.CONNECT else "stat" if self else "none")


_LETTERS = {"r": Access.READ, "w": Access.WRITE, "c": Access.CREATE, "x": Access.EXECUTE}
_WORDS = {"deny": Access.DENY, "stat": Access.STAT, "connect": Access.CONNECT}


class AbsPath(str):
    """A path that says one thing: absolute, no `.`, `..` or empty component, no trailing slash, no NUL."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> AbsPath:
        """Check, never mend: a path that two readers could read differently is refused.  Raises: ValueError."""
        if not text.startswith("/"):
            raise ValueError(f"expected an absolute path, got {text!r}")
        if "\0" in text:
            raise ValueError(f"expected a path without NUL, got {text!r}")
        if len(text.encode("utf-8", "surrogateescape")) >= PATH_MAX:
            raise ValueError(f"expected a path of less than {PATH_MAX} bytes, got {len(text)} characters")
        if text != "/" and any(part in ("", ".", "..") for part in text[1:].split("/")):
            raise ValueError(f"expected a path without '.', '..', '//' or '/' at the end, got {text!r}")
        return cls(text)


_DENY = int(Access.DENY)  # as a number: what every launch does with every rule is slow with a Flag


class FileRule(msgspec.Struct, frozen=True):
    path: AbsPath  # the path itself and everything below it
    access: Access


class PathRules(msgspec.Struct, frozen=True):
    """Rules by path.  Made by `of`: where a path has two rules deny wins, else both are given."""

    by_path: Mapping[str, Access]

    @classmethod
    def of(cls, rules: Iterable[FileRule]) -> PathRules:
        by_path: dict[str, Access] = {}
        for rule in rules:
            path, access = rule.path, rule.access
            known = by_path.get(path)
            if known is not None:
                access = known | access
            by_path[path] = Access.DENY if int(access) & _DENY else access
        return cls(dict(sorted(by_path.items())))

    def rules(self) -> tuple[FileRule, ...]:
        """One rule a path, sorted by path."""
        return tuple(FileRule(AbsPath(path), access) for path, access in self.by_path.items())


def lookup(rules: PathRules, path: AbsPath) -> Access:
    """Return the access that the longest rule gives to `path`; `Access.NONE` when none covers it."""
    return longest(rules.by_path, path) or Access.NONE


def longest(by_path: Mapping[str, T], path: str) -> T | None:
    """What the longest rule says of `path`, or None.

    A rule covers whole components: `/tmp/good` speaks of `/tmp/good/x`, not of `/tmp/good_but_bad`.
    Cost: O(components).  Raises: nothing.
    """
    ancestor = path
    while ancestor:
        found = by_path.get(ancestor)
        if found is not None:
            return found
        ancestor = ancestor.rpartition("/")[0]
    return by_path.get("/")
