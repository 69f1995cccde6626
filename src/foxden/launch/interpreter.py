"""How a fresh interpreter of ours is started: which words, which descriptors, which path.

Runs in: the parent (starter, network fork server), the starter (other fork servers).  Trusts: its caller.
Flow: BootWords → argv of a python that reads nothing of the user's → `main` of starter or fork server.
Source: python(1) -I -S; posix_spawn(3).
"""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

from foxden.launch import loading, ordered

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

# Where a fresh process finds its pipe to the parent; 0-2 are /dev/null, log, log.
IPC_FD = 3
_HIGHEST_FD = (1 << 31) - 1
_LINKS_MAX = 40  # as the kernel has it
EXIT_NOT_STARTED = 70  # EX_SOFTWARE: the interpreter could not be executed, or failed at once

# Loading makes much that lives and little that dies: what has loaded says when there is to be collected.
_BOOT = (
    "import gc, sys; gc.disable(); role, family, emulate, when, ids, *path = sys.argv[1:]; sys.path += path; "
    "from foxden.launch import late; late.load_typing(); "
    "from foxden.launch import interpreter; interpreter.main(role, family, emulate, when, ids, path)"
)


class BootWords:
    """What is said on the command line: no secret, no input.

    A plain class: it is needed before anything is loaded that makes better ones, and a named tuple takes a millisecond.
    """

    def __init__(
        self, role: str, family: str, emulate: str, path: tuple[str, ...], eager: bool = True, ids: str = ""
    ) -> None:
        self.role = role  # starter | forkserver
        self.family = family
        self.emulate = emulate  # `launch/emulate`: a lesser kernel, for tests; empty: none
        self.path = path  # where foxden and its libraries lie; comes after the standard library
        self.eager = eager  # load everything at once; False: when the first message has come
        self.ids = ids  # `sandbox/subordinate.Range`: ids that children can be given; empty: none

    def when_asked(self) -> BootWords:
        return BootWords(self.role, self.family, self.emulate, self.path, eager=False, ids=self.ids)

    def for_family(self, family: str) -> BootWords:
        return BootWords("forkserver", family, self.emulate, self.path, ids=self.ids)

    def arguments(self) -> list[str]:
        options = ["-I", "-S", "-B", "-X", "utf8"]
        when = "at-once" if self.eager else "when-asked"
        return [sys.executable, *options, "-c", _BOOT, self.role, self.family, self.emulate, when, self.ids, *self.path]


    def environment(self) -> dict[str, str]:
        """Nothing of the caller's.  Children have the extension's fstat: see `sandbox/policies/descriptor-stats`."""
        from foxden import native

        library = native.preload() if self.role == "forkserver" else ""
        return {"LD_PRELOAD": library} if library else {}


def library_path() -> tuple[str, ...]:
    """The directories that foxden and the libraries of its children lie in."""
    return _libraries_on(tuple(sys.path))


@lru_cache(maxsize=1)  # a den asks twice, before its first process is started
def _libraries_on(path: tuple[str, ...]) -> tuple[str, ...]:
    found = []
    for name in ("foxden", "msgspec", "pycurl", "selectolax", "cloudpickle"):
        spec = _spec_of(name)
        if spec is None or spec.origin is None:
            continue  # the child that needs it says so
        is_package = spec.submodule_search_locations is not None
        folder = os.path.dirname(os.path.dirname(spec.origin) if is_package else spec.origin)
        if folder not in found:
            found.append(folder)
    return tuple(found)


def interpreter_files() -> tuple[str, ...]:
    """The interpreter, each link that leads to it, and `Modules` beside them: sysconfig asks there whether it runs in
    the tree that it was built in."""
    names = [os.path.abspath(sys.executable)]
    if not os.path.isfile(names[0]):
        return ()  # embedded in another program, which does not say
    while os.path.islink(names[-1]) and len(names) < _LINKS_MAX:
        names.append(os.path.normpath(os.path.join(os.path.dirname(names[-1]), os.readlink(names[-1]))))
    return (*names, *{os.path.join(os.path.dirname(name), "Modules"): None for name in names})


def _spec_of(name: str) -> ModuleSpec | None:
    """Where a module is from, or would be.  A den's first process waits for this, and most are found without more."""
    loaded: ModuleSpec | None = getattr(sys.modules.get(name), "__spec__", None)
    found = loaded or PathFinder.find_spec(name)
    if found is None:
        from importlib.util import find_spec

        return find_spec(name)
    return found


def execute(words: BootWords, endpoint: int, log: int) -> None:
    """Replace this process.  The endpoint becomes IPC_FD; nothing else is inherited.  Raises OSError."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    _place({0: null, 1: log, 2: log, IPC_FD: endpoint})
    os.execve(sys.executable, words.arguments(), words.environment())  # noqa: S606 - our own interpreter, fixed words


def _place(wanted: dict[int, int]) -> None:
    """Put descriptors in their places, inheritable, whatever numbers they have now."""
    above = {target: os.dup(fd) for target, fd in wanted.items()}
    high = {target: _raise_above(fd, max(wanted)) for target, fd in above.items()}
    for target, fd in high.items():
        os.dup2(fd, target, inheritable=True)


def _raise_above(fd: int, floor: int) -> int:
    """A duplicate with a number above `floor`, close-on-exec."""
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, floor + 1)


def spawn(words: BootWords, endpoint: int, log: int) -> int:
    """Start a fresh interpreter as a child of the calling thread; returns its pid.  Raises OSError."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)  # here, so that an error names it
    high = [_raise_above(fd, IPC_FD) for fd in (endpoint, log, null)]
    os.close(null)
    try:
        actions = [
            (os.POSIX_SPAWN_DUP2, high[2], 0),
            (os.POSIX_SPAWN_DUP2, high[1], 1),
            (os.POSIX_SPAWN_DUP2, high[1], 2),
            (os.POSIX_SPAWN_DUP2, high[0], IPC_FD),
        ]
        # A session of its own: Ctrl-C at the terminal is the parent's to handle.
        return os.posix_spawn(sys.executable, words.arguments(), words.environment(), file_actions=actions, setsid=True)
    finally:
        for fd in high:
            os.close(fd)


def main(role: str, family: str, emulate: str, when: str, ids: str, path: list[str]) -> None:
    """First code of ours in a fresh interpreter."""
    os.closerange(IPC_FD + 1, _HIGHEST_FD)  # what the caller made inheritable is none of ours
    os.set_inheritable(IPC_FD, False)
    os.environ.pop("LD_PRELOAD", None)  # it has had its effect
    if when == "when-asked":
        _wait_for_word()
    ordered.load("msgspec")
    loading.load_msgspec()
    words = BootWords(role, family, emulate, tuple(path), ids=ids)
    if role == "starter":
        from foxden.launch import starter

        starter.main(words)
    else:
        ordered.load("server")
        from foxden.launch import forkserver

        forkserver.main(words)


def _wait_for_word() -> None:
    """Sleep until the parent has sent something, or is gone.  Nothing is loaded, and so nothing is spent, before."""
    from select import POLLIN, poll

    poller = poll()
    poller.register(IPC_FD, POLLIN)
    poller.poll()
