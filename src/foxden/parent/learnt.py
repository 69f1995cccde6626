"""Policy files of users, on the disk: read for a run, written by learning; and the acts of a run, kept for both.

Runs in: command and parent.  Trusts: the user's paths; nothing in an act, and nothing that was put at a path meanwhile.
Flow: F.toml → load_grants → Grants → a run that is denied → ActLog → learn_to → F.toml, for a person to read.
Source: sandbox/learn and sandbox/grants_text decide; this only touches the disk.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable

import msgspec

from foxden.errors import PolicyError
from foxden.model.records import Act, Violation
from foxden.sandbox.explain_hints import Hints
from foxden.sandbox.grants import PROGRAM_POLICY, Grants
from foxden.sandbox.grants_text import parse_grants
from foxden.sandbox.learn import is_hidden, learn
from foxden.sandbox.paths import Access
from foxden.sandbox.policy_files import read_policy

ACTS_MAX = 16_384  # different ones of a run
_TEXT_MAX = 1 << 20


class ActLog:
    """All that a child asked for, equal acts as one; give `add` to `Denials.tell_acts`."""

    def __init__(self, most: int = ACTS_MAX) -> None:
        self._most = most
        self._acts: dict[tuple[object, ...], tuple[Act, int]] = {}
        self.untold = 0  # acts beyond the bound

    def add(self, act: Act) -> None:
        key = (act.pid, act.operation, act.syscall, act.path, act.access, act.granted, act.errno,
               act.host, act.port)  # fmt: skip
        first, count = self._acts.get(key, (act, 0))
        if not count and len(self._acts) >= self._most:
            self.untold += act.count
            return
        self._acts[key] = first, count + act.count

    def acts(self) -> list[Act]:
        """In the order in which they were first seen."""
        return [msgspec.structs.replace(act, count=count) for act, count in self._acts.values()]


def hidden(acts: Iterable[Act]) -> list[Violation]:
    """As violations: what a program looked for in a tree that is private to it, and the host has."""
    hints = Hints(PROGRAM_POLICY, read_policy)
    return [_as_violation(act, hints) for act in acts if is_hidden(act, real_path)]


def _as_violation(act: Act, hints: Hints) -> Violation:
    fields = {name: getattr(act, name) for name in Violation.__struct_fields__}
    hint = hints.for_file(act.path or "", Access.parse(act.access or "r"))
    rule = f"{act.rule}: private to it; the host's file is not in there"
    return Violation(**{**fields, "rule": rule, "hint": hint})


def real_path(path: str) -> str | None:
    """Where a path leads; None when nothing is there, or it cannot be looked at."""
    try:
        return os.path.realpath(path, strict=True)
    except (OSError, ValueError):
        return None


def load_grants(path: str) -> Grants:
    """Read a user's policy file.  Raises: PolicyError, naming file, key and value."""
    try:
        data = _read(path)
    except OSError as error:
        raise PolicyError(f"{path}: expected a policy file: {error.strerror or error}") from None
    if len(data) > _TEXT_MAX:
        raise PolicyError(f"{path}: expected a policy of at most {_TEXT_MAX >> 20} MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise PolicyError(f"{path}: expected TOML, got bytes that are no UTF-8") from None
    return parse_grants(path, text, real=real_path, read=read_policy)


def _read(path: str) -> bytes:
    """One byte more than there may be, at most.  Raises: OSError, PolicyError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a fifo must not hold us up
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise PolicyError(f"{path}: expected a policy file, got something that is no plain file")
        data = b""
        while len(data) <= _TEXT_MAX and (part := os.read(fd, _TEXT_MAX + 1 - len(data))):
            data += part
        return data
    finally:
        os.close(fd)


def learn_to(path: str, acts: Iterable[Violation], before: Grants = Grants()) -> str:  # noqa: B008 - cannot be changed
    """Write what these acts would need to `path`, whole or not at all, and return it.  Raises: PolicyError."""
    home = os.path.expanduser("~")
    text = learn(acts, real=real_path, home=real_path(home) or home, read=read_policy, before=before)
    folder = os.path.dirname(os.path.abspath(path))
    temporary = ""
    try:
        if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
            raise PolicyError(f"--learn {path}: expected a plain file, or none yet", hint="name another file")
        fd, temporary = tempfile.mkstemp(prefix=".foxden-learn-", dir=folder)  # 0600
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(temporary, path)
    except OSError as error:
        if temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        raise PolicyError(f"--learn {path}: expected a file that can be written: {error.strerror or error}") from None
    return text
