"""A fork server takes a range of ids to itself, so that each of its children can be given one of its own.

Runs in: fork servers of an ordinary user, first thing.  Trusts: the parent's word, newuidmap and newgidmap.
Flow: fork a helper that stays outside → unshare a user namespace → the helper maps → two capabilities are kept.
Source: user_namespaces(7) "Defining user and group ID mappings"; decision 012.
"""

from __future__ import annotations

import os
import sys

from foxden.sandbox import capabilities, linux, namespaces
from foxden.sandbox.subordinate import FIRST_INSIDE, Range, helper_path

_CAP_SETGID, _CAP_SETUID = 6, 7
_MAX_WORDS = 400


class Entering:
    """A mapping that is being made while the fork server loads its modules."""

    def __init__(self, wanted: Range) -> None:
        """Raises OSError when there is no user namespace to be had; nothing has changed then."""
        go_reader, go_writer = os.pipe()
        answer_reader, answer_writer = os.pipe()
        self._helper = os.fork()
        if self._helper == 0:
            os.close(go_writer)
            os.close(answer_reader)
            _be_helper(wanted, go_reader, answer_writer)
        os.close(go_reader)
        os.close(answer_writer)
        self._answer = answer_reader
        try:
            linux.syscall("unshare", namespaces.CLONE_NEWUSER)
            os.write(go_writer, b"g")
        except OSError:
            os.close(go_writer)
            self._wait()
            raise
        os.close(go_writer)

    def finish(self) -> str:
        """Wait for the helper.  Returns why there is no range; empty: there is one."""
        said = self._wait()
        if said == "mapped":
            capabilities.keep_only(_CAP_SETGID, _CAP_SETUID)  # all that mapping a child's ids takes
            return ""
        # What this process has entered it cannot leave: at least it is itself in there.
        try:
            namespaces.map_own_ids()
        except OSError as error:
            said = f"{said}; {error}"
        capabilities.give_up()
        return said

    def _wait(self) -> str:
        with open(self._answer, "rb") as answer:
            words = answer.read(4096)
        os.waitpid(self._helper, 0)
        return " ".join(words.decode(errors="replace").split())[:_MAX_WORDS] or "the helper ended"


def _be_helper(wanted: Range, go: int, answer: int) -> None:
    """Map the ids of the process that this one was forked from, once it has a namespace.  Never returns."""
    try:
        linux.die_with_parent()
        target = os.getppid()
        if os.read(go, 1):
            uids = _spawn("newuidmap", answer, target, os.getuid(), wanted.first_uid, wanted.length)
            gids = _spawn("newgidmap", answer, target, os.getgid(), wanted.first_gid, wanted.length)
            codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in (uids, gids)]
            if codes == [0, 0]:
                os.write(answer, b"mapped")
    except OSError as error:
        os.write(answer, str(error).encode())
    finally:
        sys.stderr.flush()
        os._exit(0)


def _spawn(name: str, answer: int, target: int, own: int, first: int, count: int) -> int:
    """Our own id as it is, and the range from FIRST_INSIDE on.  What the helper complains of is the answer."""
    words = [name, str(target), str(own), str(own), "1", str(FIRST_INSIDE), str(first), str(count)]
    actions = [(os.POSIX_SPAWN_DUP2, answer, 1), (os.POSIX_SPAWN_DUP2, answer, 2)]
    return os.posix_spawn(helper_path(name), words, {}, file_actions=actions)
