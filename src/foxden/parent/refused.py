"""What the sandbox refused to the workers of one pool, and in one call: told to its caller, and on the error it led to.

Runs in: parent, on callers' threads; the records are looked at on the den's loop, which writes them.
Trusts: the records.  Of an error that a worker sent only its number counts, and its path to choose one of the records.
Flow: a call ends with EACCES → CallFuture.result → Refused.explain → the call's records → a note on the error.
Source: docs/guides/read-a-violation.md.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from foxden.parent.violations import Violations

if TYPE_CHECKING:
    from foxden.model.records import Violation
    from foxden.parent.calls import CallFuture

_EXPLAINED = {errno.EACCES: "EACCES", errno.EPERM: "EPERM", errno.ENETUNREACH: "ENETUNREACH"}
_TOLD_WITHIN_S, _PAUSE_S = 0.005, 0.001  # the broker tells on another way than the answer's
_LOOK_S = 0.2  # for the den's loop to come to it: it loads what explains when there is the first to be explained
_LOOK_LONG_S = 5.0  # where somebody asks
_NOTES_MAX = 3
_CHILDREN_MAX = 4096  # of fresh workers there is no end
_OWN_WORD = "by the process's own word"  # parent/refusals: such a record says only what a worker claims


class Refused:
    """See the module's text."""

    def __init__(self, soon: Callable[[Callable[[], object]], bool], violations: Violations) -> None:
        self._soon, self._violations = soon, violations
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
        found: list[Violation] = []
        looked = threading.Event()

        def act() -> None:
            found.extend(look())
            looked.set()

        if not self._soon(act):
            return look()  # the den has ended, and nobody writes any more
        return found if looked.wait(within_s) else []

    def explain(self, future: CallFuture, error: OSError) -> None:
        """Note on an error of a call what was refused in it, if that is known within a few milliseconds."""
        name = _EXPLAINED.get(error.errno or 0)
        if name is None:
            return
        until = time.monotonic() + _TOLD_WITHIN_S
        while not (found := self._look(lambda: self._reasons(future, error, name), _LOOK_S)):
            if time.monotonic() > until:
                return
            time.sleep(_PAUSE_S)
        for violation in found:
            error.add_note(_words(violation))

    def _reasons(self, future: CallFuture, error: OSError, name: str) -> list[Violation]:
        """Of an error with a path the record of that path; of others the last ones of the call that are of no file."""
        if error.filename is None:
            mine = [each for each in self._of(future) if each.path is None or each.operation == "connect"]
        else:  # equal acts are told later than the first of them, which may have been another call's
            mine = self._violations.of_children({future.child_id})
            mine = [each for each in mine if each.path == error.filename]
        return [each for each in mine if each.errno == name and not each.rule.startswith(_OWN_WORD)][-_NOTES_MAX:]


def _words(violation: Violation) -> str:
    from foxden.model.escaped import quoted_name
    from foxden.model.violation_words import act

    access = violation.access or ""
    use = " for writing" if "w" in access else " for reading" if access == "r" else ""
    hint = f"; hint: {quoted_name(violation.hint)}" if violation.hint else ""
    return f"refused by the sandbox: {act(violation)}{use}{hint}"
