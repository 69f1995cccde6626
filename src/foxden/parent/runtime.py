"""One den at work: everything that lives on its loop, made in the right order and taken down in the reverse.

Runs in: parent, on the den's loop.  Trusts: its caller.
Flow: start (starter, fork servers, lock) → open, fetch, … → close (children, servers, endpoints).
Source: architecture.md "Where the parent lives".
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from foxden.ipc.fields import Listener, StackPipe
from foxden.ipc.schema import Side
from foxden.launch import early
from foxden.launch.launcher import Launcher
from foxden.model.enforcement import Layer
from foxden.model.process_types import BY_NAME, Family, ProcessType, RemoteType
from foxden.model.records import ProcessRecord, Violation
from foxden.observe import violation_line
from foxden.parent.broker import AskRecord, BrokerParent, Brokers
from foxden.parent.denials import Denials
from foxden.parent.hosts import ChildHost, ChildParent
from foxden.parent.plans import Plans, parent_plan, server_plan
from foxden.parent.prefs import Prefs
from foxden.parent.processes import ProcessManager
from foxden.parent.report_file import ReportFile
from foxden.parent.roster import Roster
from foxden.parent.violations import Violations
from foxden.protocols.broker import PBroker
from foxden.protocols.process import PChildProcess
from foxden.sandbox import parent_lock

if TYPE_CHECKING:
    from foxden.parent.documents import Documents
    from foxden.parent.loads import Loads
    from foxden.parent.network import Network
    from foxden.parent.programs import Programs

T = TypeVar("T")

_BROKER_S = 0.1  # after a pool was made that nobody has called: when a first call's worker has started


class IdleParent(ChildParent, protocol=PChildProcess, side=Side.PARENT):
    """A child whose work comes in a later version."""


class Runtime:
    """All parts of one den.  Everything here is called on its loop."""

    def __init__(
        self,
        *,
        profile: str | None,
        prefs: Mapping[str, object],
        lock_parent: bool,
        accept_partial: Iterable[Layer],
        level: int | None = None,
        warm: Iterable[str] = (),
        ask: Callable[[AskRecord], bool] | None = None,
        report: str | None = None,
    ) -> None:
        self._warm = tuple(Family(name) for name in warm)
        given = dict(prefs)
        if level is not None:
            given["security.sandbox.content.level"] = level
        self.prefs = Prefs(given)
        self._lock_parent = lock_parent
        self.launcher = Launcher(server_plan, emulate=early.emulated_kernel(), locks=lock_parent)
        self.launcher.start(self._warm)  # first of all: it loads while the rest is made
        try:
            self._make_parts(profile, accept_partial, ask, report)
        except BaseException:
            for server in self.launcher.processes():
                server.end()
            raise

    def _make_parts(
        self,
        profile: str | None,
        accept_partial: Iterable[Layer],
        ask: Callable[[AskRecord], bool] | None,
        report: str | None,
    ) -> None:
        self.plans = Plans(self.prefs, profile)
        self.processes = ProcessManager(self.launcher, self.plans, self.prefs, accept_partial)
        self.brokers = Brokers(self.processes, self.prefs)
        self.brokers.ask = ask
        self.processes.on_listener = self._serve
        self.violations = Violations()
        self.denials = Denials(self.plans, self.violations)
        self.brokers.on_act.append(self._told)
        self.brokers.on_detached.append(self._detached)
        self.processes.denials = self.denials
        self._making = threading.Lock()
        self._programs: Programs | None = None
        self._loads: Loads | None = None
        self._roster = Roster(self.processes)
        if self.prefs.logs_violations():
            self.violations.listen(violation_line.say)
        if report is not None:
            self.violations.report_to(ReportFile(report, violation_line.warn))

    def start(self) -> None:
        """Be found by others, and then, if asked, lock this process: what makes processes is there."""
        self._roster.open()
        if self._lock_parent:
            parent_lock.lock(parent_plan())
            self.launcher.can_spawn = False

    def prepare_functions(self, *, with_broker: bool) -> None:
        """Begin what the first call waits for: its fork server.  The broker begins with the first call that may import
        something (parent/utility), as nearly all do; and if none comes, a moment later, to be there when it does."""
        self.launcher.prepare(BY_NAME["utility"].family)
        if with_broker:
            asyncio.get_running_loop().call_later(_BROKER_S, self.brokers.start)

    # ---- loads, and programs: not every den has any

    @property
    def loads(self) -> Loads:
        """Asked for on the loop alone."""
        if self._loads is None:
            from foxden.parent.loads import Loads

            self._loads = Loads(self.processes, self.launcher, self.plans, self.prefs, self.denials)
        return self._loads

    @property
    def documents(self) -> Documents:
        return self.loads.documents

    @property
    def network(self) -> Network:
        return self.loads.network

    async def loading(self, work: Callable[[Loads], Coroutine[Any, Any, T]]) -> T:
        """Have something loaded: on the loop, which alone may ask for `loads`."""
        return await work(self.loads)

    @property
    def programs(self) -> Programs:
        """Asked for on the loop, and by callers on their own threads."""
        with self._making:
            if self._programs is None:
                from foxden.parent.programs import Programs

                self._programs = Programs(self.processes, self.brokers, self.denials, self.prefs)
            return self._programs

    # ---- processes

    def root_for(self, row: ProcessType) -> ChildParent:
        """A root actor of the protocol that this type speaks."""
        if row.name == "content":
            return self.documents.make_root()
        if row.name == "socket":
            from foxden.parent.network import SocketProcessParent

            return SocketProcessParent()
        if row.name == "broker":
            return BrokerParent(self.brokers)
        if row.name == "plugin":
            from foxden.parent.programs import ProgramParent

            return ProgramParent()
        if row.name == "utility":
            from foxden.parent.utility import UtilityParent

            return UtilityParent()
        if row.name == "ipdlunittest":
            from foxden.parent.unit_test import UnitTestParent

            return UnitTestParent()
        return IdleParent()

    def _serve(self, host: ChildHost, listener: Listener, stacks: StackPipe | None) -> None:
        """Have a child of ours answered by the rules of its policy."""
        row, remote = host.row, host.remote_type
        if row.name == "plugin":
            return self.programs.serve_alone(host, listener, stacks)
        own = self.processes.temporary_of(host)
        rules = self.plans.rules(row, remote, own)
        if self.plans.resolved(row, remote).reads != "broker":
            own = ""  # it reads its files by itself, on the disk
        self.brokers.attach(host, listener, stacks, rules=rules, errnos=self.plans.errnos(row, remote), temporary=own)
        return None

    def _told(self, child_id: int, act: PBroker.OnAct) -> None:
        host = self.processes.host(child_id)
        if host is not None:
            self.denials.act(host, act)

    def _detached(self, message: PBroker.OnDetached) -> None:
        host = self.processes.host(message.child_id)
        if host is not None:
            self.denials.untold(host, message.untold)
            host.ended.add_done_callback(lambda _: self._forget(message.child_id))  # that was the broker's last word

    def _forget(self, child_id: int) -> None:
        self.processes.forget(child_id)
        self.denials.forget(child_id)

    async def launch(self, type_name: str, remote_type: RemoteType | None = None) -> ChildHost:
        """Start a child of any type, to be looked at and probed; it is given no work."""
        return await self.processes.launch(type_name, self.root_for(BY_NAME[type_name]), remote_type=remote_type)

    async def grant(self, child: int, path: str, word: str) -> None:
        """See Den.grant."""
        await self.brokers.grant(self.processes.child_id(child), path, word)

    async def revoke(self, child: int, path: str) -> None:
        """See Den.revoke."""
        await self.brokers.revoke(self.processes.child_id(child), path)

    async def refused(self, pid: int | None) -> list[Violation]:
        """See Den.violations."""
        await self.brokers.have_told()
        return self.violations.records(pid)

    def records(self) -> list[ProcessRecord]:
        return self.processes.records()

    async def close(self) -> None:
        self._roster.close()
        if self._loads is not None:
            self._loads.network.close()
        self.brokers.close()
        await self.processes.close()
        await self.launcher.close()
        self.violations.close()

