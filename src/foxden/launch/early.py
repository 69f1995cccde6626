"""Fork servers begun before the parent has loaded anything else: they load while it does.

Runs in: the parent of the `foxden` command, first thing.  Trusts: its caller.
Flow: begin(families) → fresh interpreters → … → Launcher takes each over instead of making its own.
Source: the figure "foxden open, cold": two processors have work from the first millisecond.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from foxden import native

if TYPE_CHECKING:
    from foxden.launch import interpreter


class Begun:
    """A process that was made, and nobody holds yet."""

    def __init__(self, pid: int, sock: socket.socket, log: socket.socket) -> None:
        self.pid, self.sock, self.log = pid, sock, log


_begun: dict[str, Begun] = {}


def emulated_kernel() -> str:
    """What the starter and the fork servers take away from themselves, and from all that come from them: words.

    FOXDEN_TEST_EMULATE holds words of launch/emulate, joined by commas; FOXDEN_TEST_NO_USERNS=1 and
    MOZ_ASSUME_USER_NS=0 are one of them, and so is FOXDEN_NO_NATIVE=1, which takes the extension in C away.
    """
    no_namespaces = os.environ.get("MOZ_ASSUME_USER_NS") == "0" or os.environ.get("FOXDEN_TEST_NO_USERNS") == "1"
    words = os.environ.get("FOXDEN_TEST_EMULATE", "")
    no_extension = native.NO_NATIVE if native.is_off() else ""
    return ",".join(filter(None, (words, "no-userns" if no_namespaces else "", no_extension)))


def subordinate_ids() -> str:
    """The range of ids that an ordinary user may give to children, as a word; root needs none."""
    from foxden.sandbox import subordinate

    found = subordinate.find().range if os.getuid() else None
    return found.word() if found else ""


def begin(*families: str) -> None:
    """Make fork servers of these families.  What cannot be made now will fail again, and loudly, when it is needed."""
    from foxden.launch import interpreter

    path = interpreter.library_path()
    words = interpreter.BootWords("forkserver", "", emulated_kernel(), path, ids=subordinate_ids())
    for family in families:
        _begun[family] = make(words.for_family(family))


def make(words: interpreter.BootWords) -> Begun:
    """Make one process.  Raises OSError."""
    from foxden.launch import interpreter

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log_ours, log_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)  # as launch/childlog.make_log
    with theirs, log_theirs:
        try:
            return Begun(interpreter.spawn(words, theirs.fileno(), log_theirs.fileno()), ours, log_ours)
        except OSError:
            ours.close()
            log_ours.close()
            raise


def take(family: str) -> Begun | None:
    """What was begun of this family, once."""
    return _begun.pop(family, None)
