"""What the sandbox refused to the workers of one pool, and in one call: told to its caller, and on the error it led to.

Runs in: parent, on callers' threads; the records are looked at on the den's loop, which writes them.
Trusts: the records.  What an error of a worker says, number and path, only chooses among the records of that one.
Flow: a call ends with EACCES → CallFuture.result → Refused.explain → the call's records → a note on the error.
Source: docs/guides/read-a-violation.md.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from foxden.parent.violations import Violations

if TYPE_CHECKING:
    from foxden.model.records import Violation
    from foxden.parent.calls import CallFuture

_EXPLAINED = {
    errno.EACCES: "EACCES", errno.EPERM: "EPERM", errno.ENETUNREACH: "ENETUNREACH", errno.ENOENT: "ENOENT",
}  # fmt: skip
_IN_WORDS = r"\[Errno (-?\d+)\] [^:'\n]{0,200}(?:: '([^'\n]{1,4096})')?"  # as str() of an OSError has them
_WORDS_MAX = 10_000  # characters of an error in which a number is looked for
_LOOK_S = 0.2  # for the den's loop to come to it: it loads what explains when there is the first to be explained
_LOOK_LONG_S = 5.0  # where somebody asks
_NOTES_MAX = 3
_CHILDREN_MAX = 4096  # of fresh workers there is no end
_OWN_WORD = "by the process's own word"  # parent/refusals: such a record says only what a worker claims


class Refused:
    """See the module's text."""

    def __init__(
        self,
        soon: Callable[[Callable[[], object]], bool],
        violations: Violations,
        have_told: Callable[[], Awaitable[None]],
        folder: str = "/",
    ) -> None:
        """`have_told`: until all that was refused has been told; `folder`: the caller's working directory."""
        self._soon, self._violations, self._have_told, self._folder = soon, violations, have_told, folder
        self._children: set[int] = set()

    def began(self, child_id: int) -> None:
        """On the den's loop: a worker of the pool is there.  Forgets those of whom there is nothing to tell."""
        self._children.add(child_id)
        if len(self._children) > _CHILDREN_MAX:
            told = self._violations.children()
            newest = max(self._children) - _CHILDREN_MAX // 2
            self._children = {each for each in self._children if each in told or each > newest}

    def records(self, future: CallFuture | None = None) -> list[Violation]:
        """Of all its workers; of one call: of its worker, since it got that call."""
        if future is None:
            return self._look(lambda: self._violations.of_children(self._children), _LOOK_LONG_S)
        return self._look(lambda: self._of(future), _LOOK_LONG_S)

    def _of(self, future: CallFuture) -> list[Violation]:
        return self._violations.of_children({future.child_id}, since=future.given_at)

    def _look(self, look: Callable[[], list[Violation]], within_s: float) -> list[Violation]:
        """When all has been told: the broker tells on another way than the answer's, and equal acts later."""
        found: list[Violation] = []
        looked = threading.Event()

        def told(_: object) -> None:
            found.extend(look())
            looked.set()

        def act() -> None:
            asyncio.ensure_future(self._have_told()).add_done_callback(told)

        if not self._soon(act):
            return look()  # the den has ended, and nobody writes any more
        return found if looked.wait(within_s) else []

    def explain(self, future: CallFuture, error: Exception) -> None:
        """Note on an error of a call what was refused in it."""
        number, path = _said(error)
        name = _EXPLAINED.get(number)
        if name is None or (path is None and number == errno.ENOENT):
            return
        for violation in self._look(lambda: self._reasons(future, name, path), _LOOK_S):
            error.add_note(_words(violation, path or "", self._folder))

    def _reasons(self, future: CallFuture, name: str, path: str | None) -> list[Violation]:
        """Of an error with a path the record of that path; of others the last ones of the call that are of no file."""
        if path is None:
            mine = [each for each in self._of(future) if each.path is None or each.operation == "connect"]
        else:  # equal acts are told later than the first of them, which may have been another call's
            mine = self._violations.of_children({future.child_id})
            mine = [each for each in mine if _is_meant(path, each.path or "")]
        return [each for each in mine if each.errno == name and not each.rule.startswith(_OWN_WORD)][-_NOTES_MAX:]


def _said(error: Exception) -> tuple[int, str | None]:
    """The number of an error, and its path: its own, or those in its words, where a library has put it in one of its
    own.  Negative ones are of names of hosts, which are looked up with a socket."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno, error.filename if isinstance(error.filename, str) else None
    import re

    found = re.search(_IN_WORDS, str(error)[:_WORDS_MAX])
    if found is None:
        return 0, None
    return max(int(found[1]), 0) or errno.EACCES, found[2]


def _is_meant(name: str, path: str) -> bool:
    """Is this canonical path what a function called by this name?"""
    return path == name or (not name.startswith("/") and path.endswith(f"/{_relative(name)}"))


def _relative(name: str) -> str:
    """Without the way up that it begins with."""
    found = os.path.normpath(name)
    while found.startswith("../"):
        found = found[3:]
    return found


def _words(violation: Violation, name: str, folder: str) -> str:
    """`name`: what the function called it; `folder`: what it is relative to for whoever wrote that."""
    from foxden.model.escaped import quoted_name
    from foxden.model.violation_words import act

    access, hint, where = violation.access or "", violation.hint, ""
    if name and folder != "/" and violation.path == f"/{_relative(name)}" and not name.startswith(("/", "..")):
        hint = _hint(os.path.join(folder, _relative(name)), access)
        where = f" (functions begin in / where nothing of {quoted_name(folder)} is granted)"
    use = " for writing" if "w" in access else " for reading" if access == "r" else ""
    told = f"refused by the sandbox: {act(violation)}{use}{where}"
    return f"{told}; hint: {quoted_name(hint)}" if hint else told


def _hint(path: str, access: str) -> str:
    from foxden.sandbox.explain_hints import Hints
    from foxden.sandbox.paths import Access
    from foxden.sandbox.policy_files import read_policy

    return Hints("utility", read_policy).for_file(path, Access.parse(access))
