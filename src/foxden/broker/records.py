"""What the broker says, and how an operation ends inside it: plain tuples, for any sink.

Runs in: the broker.  Trusts: nothing; paths and stacks are the child's own text.
Flow: operations → Refused or a result → telling → Act, Ask, Detached → sink.
Source: protocols/broker, which has the same as messages.
"""

from __future__ import annotations

import msgspec

_PATH_MAX = 4096


def carried(path: str) -> str:
    """A path as text that every sink can carry: bytes of it that are no UTF-8 stand as `\\xff`, and it is bounded."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")[:_PATH_MAX]


class Act(msgspec.Struct, frozen=True):
    """Something that a child tried: refused, or granted where everything is told."""

    child_id: int
    pid: int
    granted: bool
    operation: str  # empty: not an operation on a file
    syscall: int
    args: tuple[int, ...]  # of 64 bits, signed
    path: str = ""
    access: int = 0
    errno: int = 0
    stack: tuple[str, ...] = ()
    times: int = 1  # equal ones, this one among them
    detail: str = ""


class Ask(msgspec.Struct, frozen=True):
    """May this child do this?"""

    token: int
    child_id: int
    pid: int
    operation: str
    path: str
    access: int


class Detached(msgspec.Struct, frozen=True):
    """Nobody is answered on this listener any more."""

    child_id: int
    served: int
    refused: int
    untold: int


class Refused(Exception):
    """The rules, or the broker's own, say no.  `errno` 0: what the view answers for what it does not grant."""

    def __init__(self, path: str = "", access: int = 0, errno: int = 0, detail: str = "") -> None:
        super().__init__(path, detail)
        self.path, self.access, self.errno, self.detail = path, access, errno, detail


class Given(msgspec.Struct, frozen=True):
    """A descriptor for the child; it becomes the call's result."""

    fd: int
    close_on_exec: bool


class Waits:
    """The answer comes later: a helper thread, or the parent, is at it."""
