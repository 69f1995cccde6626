"""One child, as the broker keeps it: its listener, its view and rules, what was told of it.

Runs in: the broker.  Trusts: who attached it; the child's pipe of stacks is read with bounds.
Flow: Broker.attach → Client → Job works for it → close.
Source: protocols/broker, Attach.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import msgspec

from foxden.broker.loops import Loop
from foxden.broker.notify import Listener, Notification
from foxden.broker.records import Act, Ask, Detached, Refused
from foxden.broker.rules import CHANGE, Rules
from foxden.broker.tasks import Tasks, Who
from foxden.broker.telling import Stacks, Teller
from foxden.broker.view import View

RuleList = tuple[tuple[str, int], ...]
ProtectedList = tuple[tuple[str, tuple[str, ...]], ...]


class StackWait(msgspec.Struct, frozen=True):
    """A thread was asked for its stack and will make its call again, until `deadline`."""

    key: tuple[int, ...]
    note: Notification
    refusal: Refused
    operation: str
    deadline: float


class Pending(msgspec.Struct, frozen=True):
    """A call whose answer comes later.  `refusal` None: a helper is at it; else the parent was asked."""

    client: Client
    note: Notification
    operation: str
    refusal: Refused | None
    stack: tuple[str, ...]
    deadline: float


class Client:
    """Closes what it holds."""

    def __init__(
        self,
        child_id: int,
        listener: Listener,
        stacks: int,
        sink: Callable[[Act | Ask | Detached], None],
        errnos: dict[int, int],
        *,
        loop: Loop,
        is_child: bool,
        ask: bool,
        ask_timeout_s: float,
        everything: bool,
        show_ancestors: bool,
    ) -> None:
        self.child_id, self.listener, self.errnos = child_id, listener, errnos
        self.is_child, self.ask, self.everything = is_child, ask, everything
        self.ask_timeout_s, self._show_ancestors = ask_timeout_s, show_ancestors
        self.stacks = Stacks(stacks) if stacks >= 0 else None
        self.tasks = Tasks()
        self.rules = Rules()
        self.view: View | None = None  # of a program: taken from the first thread that asks
        self.folder = ""  # where it stands: see standing; empty: wherever the kernel says
        self.shared_memory = ""  # the folder that /dev/shm is to it
        self.teller = Teller(sink)
        self.received = self.refused = 0  # notifications that Python took, calls that were refused
        self.stack_wait: StackWait | None = None
        self.is_quick = not everything  # may its plain calls be answered the short way?
        self._loop, self._has_ids = loop, False
        self.descriptors = loop.descriptors
        self._without_stack: tuple[int, ...] = ()
        self._given: tuple[RuleList, ProtectedList] = ((), ())
        loop.set_rules(self)

    def set_rules(self, rules: RuleList, protected: ProtectedList) -> None:
        self._given = (rules, protected)
        if self.view is not None:
            self.rules = resolved_rules(self.view, rules, protected, show_ancestors=self._show_ancestors)
            self._loop.set_rules(self)

    def take_view(self, view: View) -> None:
        self.view = view
        self.rules = resolved_rules(view, *self._given, show_ancestors=self._show_ancestors)
        self._loop.set_rules(self)

    @property
    def served(self) -> int:
        return self.received + self._loop.served(self)

    @property
    def quick_view(self) -> View | None:
        """The view, if plain calls may be answered the short way."""
        if not self._has_ids and self.tasks.maps is not None:
            self._has_ids = self._loop.set_ids(self)
        return self.view if self.is_quick else None

    def have_view(self) -> View:
        if self.view is None:
            raise OSError(2, "no view yet")
        return self.view

    def read_stack(self) -> tuple[str, ...]:
        return self.stacks.read() if self.stacks is not None else ()

    def go_without_stack(self, key: tuple[int, ...]) -> None:
        """It was asked for once, and did not come: the same call is not asked for it again."""
        self._without_stack = key

    def is_without_stack(self, key: tuple[int, ...]) -> bool:
        return self._without_stack == key

    def close(self, *, keep: View) -> None:
        """`keep`: the view that all children of foxden's own share."""
        self.teller.flush()
        self.listener.close()
        if self.stacks is not None:
            self.stacks.close()
        if self.view is not None and self.view is not keep:
            self.view.close()


def resolved_rules(view: View, rules: RuleList, protected: ProtectedList, *, show_ancestors: bool) -> Rules:
    """Rules by canonical path: what a rule's own links lead to has it as well.

    A link in a place that may be written to is the child's, not whoever wrote the rule's: it is not followed.
    """
    canonical: dict[str, str] = {}
    written = Rules(rules)
    for path, _ in rules:
        target = _target(view, written, path)
        if target:
            canonical[path] = target
    trees = [(_target(view, written, tree) or tree, names) for tree, names in protected]
    led = [each for tree, names in trees for each in _through_links(view, tree, names)]
    made = Rules(rules, [*protected, *trees, *led], show_ancestors=show_ancestors)
    made.add_names_of(canonical, show_ancestors=show_ancestors)
    return made


def _target(view: View, written: Rules, path: str) -> str:
    """Where a rule's path leads; empty where it leads nowhere yet."""
    try:
        place = view.find(path, follow=True, parent=False, who=_nobody, passes=lambda folder: True)
    except OSError:
        return ""
    try:
        theirs = any(written.access(linked.rpartition("/")[0] or "/") & CHANGE for linked in place.linked)
        return "" if theirs or (not place.exists and not place.linked) else place.path
    finally:
        place.close()


def _through_links(view: View, tree: str, names: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Where a protected name begins with a link, as `.git -> other`: what it leads to is protected as well."""
    rest_of: dict[str, list[str]] = {}
    for name in names:
        first, _, rest = name.strip("/").partition("/")
        rest_of.setdefault(first, []).append(rest)
    try:
        folder = view.find(tree, follow=True, parent=False, who=_nobody, passes=lambda folder: True)
    except OSError:
        return
    try:
        links = [first for first in rest_of if _is_link(folder.fd, first)] if folder.exists else []
    finally:
        folder.close()
    for first in links:
        try:
            place = view.find(
                f"{tree}/{first}", follow=True, parent=False, who=_nobody, passes=lambda folder: True
            )
        except OSError:
            continue  # it leads nowhere in this view
        place.close()
        inner = tuple(rest for rest in rest_of[first] if rest)
        if inner:
            yield place.path, inner
        if "" in rest_of[first]:
            above, _, last = place.path.rpartition("/")
            yield above or "/", (last,)


def _is_link(folder: int, name: str) -> bool:
    try:
        return bool(os.readlink(name, dir_fd=folder))
    except OSError:
        return False


def _nobody() -> Who:
    return Who(os.getpid(), os.getpid(), 0, 0)
