"""What a fork server has loaded for its children: at once what the first one needs, the rest when nothing waits.

Runs in: fork servers.  Trusts: nothing is read here.
Flow: a fork is asked for → ready_for its module → …; nothing waits → add, part by part, until it is full.
Source: the figure "first result of a cold executor": half of what a worker may want is not wanted by its first call.
"""

from __future__ import annotations

import _socket
import gc
import importlib
from collections.abc import Callable, Iterable
from select import POLLIN, poll

from foxden.launch import child_main, ordered
from foxden.sandbox import linux, seccomp

_OFTEN_IMPORTED = ("re",)


class Warmth:
    """A child module's `prewarm` loads all that its children cannot be without; its `prewarm_late`, where it has one,
    what they may want.  A child that sees no libraries is forked with both, one that does may be forked between them.

    It sees them through the broker, which sees them as its user does; so where a listener may not be to be had (no
    filters, or somebody's filter on us already), every child is forked with both.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        self._cold = sorted(set(modules))
        self._late: dict[str, Callable[[], None]] = {"": child_main.prewarm_late}  # by module
        child_main.prewarm()
        self._has_broker = seccomp.is_available() and linux.prctl(linux.PR_GET_SECCOMP) == 0

    @property
    def is_full(self) -> bool:
        return not self._cold and not self._late

    def ready_for(self, name: str, *, whole: bool, late: bool = False, imports: bool = False) -> None:
        """Load what a child of this module needs before it is forked.  `late`: and what of its module it may want;
        `imports`: and what modules often import, which takes it longer by itself; `whole`: and what all may want."""
        if self.is_full:
            return
        self._load(name)
        for each in _OFTEN_IMPORTED if imports else ():
            importlib.import_module(each)
        if late and name in self._late:
            self._load_late(name)
        while (whole or not self._has_broker) and self._late:
            self._load_late(next(reversed(self._late)))
        gc.freeze()  # children never walk, and so never copy, what is here now

    def add(self) -> None:
        """Load one part more."""
        if self._cold:
            self._load(self._cold[0])
        else:
            self._load_late(next(reversed(self._late)))
        gc.freeze()

    def _load(self, name: str) -> None:
        ordered.load(name)
        module = importlib.import_module(name)
        if name in self._cold:
            self._cold.remove(name)
            module.prewarm()
            if hasattr(module, "prewarm_late"):
                self._late[name] = module.prewarm_late

    def _load_late(self, name: str) -> None:
        ordered.load(f"late {name}")
        self._late.pop(name)()


def nothing_waits(sock: _socket.socket, ms: int) -> bool:
    """Neither a message nor its end, for so long."""
    poller = poll()
    poller.register(sock, POLLIN)
    return not poller.poll(ms)
