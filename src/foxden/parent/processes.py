"""All children of one den: launched, counted, kept ready, pinged, ended.

Runs in: parent.  Trusts: the process table, the plans; judges what each child reports of its sandbox.
Flow: launch(type) → plan → fork → Ready → every asked layer FULL, or accepted by name → host.
Source: architecture.md laws 1 and 5.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from foxden import native
from foxden.errors import FoxdenError, LaunchFailed, SandboxUnavailable
from foxden.launch.launcher import Forked, Launcher, NamespacesRefused, ServerGone
from foxden.model.enforcement import GONE_WITH_NAMESPACES, Enforcement, Layer, LayerStatus, Status, accepting
from foxden.model.process_types import BY_NAME, ProcessType, RemoteType, family_of
from foxden.model.records import ProcessRecord
from foxden.observe.filters import filters_on
from foxden.observe.memory import memory_bytes
from foxden.parent.hosts import ChildHost, ChildParent, OnListener, State
from foxden.parent.own_ids import OwnIds
from foxden.parent.plans import Plans
from foxden.parent.prefs import Prefs
from foxden.parent.temporaries import Temporaries
from foxden.protocols.process import PChildProcess
from foxden.sandbox import landlock, linux
from foxden.sandbox.losses import loss
from foxden.sandbox.plan import SandboxPlan
from foxden.sandbox.program import continues
from foxden.sandbox.sequence import Sequence
from foxden.sandbox.steps import sequence_of

if TYPE_CHECKING:
    from foxden.parent.denials import Denials

_READY_TIMEOUT_S = 20.0
_TOLD_WITHIN_S = 5.0


ThenTell = Callable[[ChildHost], object]


class ProcessManager:
    """The children of one den."""

    def __init__(self, launcher: Launcher, plans: Plans, prefs: Prefs, accepted: Iterable[Layer]) -> None:
        self._launcher, self._plans, self._prefs = launcher, plans, prefs
        self._accepted = frozenset(accepted)
        self._uids = OwnIds()
        self._hosts: dict[int, ChildHost] = {}
        self._late: dict[int, ChildHost] = {}
        self._next_id = 1
        self._pools: dict[tuple[str, RemoteType | None], list[asyncio.Task[ChildHost]]] = {}
        self._closing = False
        self._begun: dict[str, list[tuple[SandboxPlan, asyncio.Task[ChildHost]]]] = {}
        self._temporaries = Temporaries()
        self.on_listener: OnListener = lambda host, listener, stacks: None  # the den's broker, once there is a den
        self.denials: Denials | None = None  # set by the runtime: hears of every child's wrongs

    def hosts(self) -> list[ChildHost]:
        return [host for host in self._hosts.values() if host.alive]

    @property
    def accepted(self) -> frozenset[Layer]:
        """Layers whose loss the caller accepts."""
        return self._accepted

    def host(self, child_id: int) -> ChildHost | None:
        """One that lives, or has just ended: the broker may still be telling of it."""
        return self._hosts.get(child_id) or self._late.get(child_id)

    def forget(self, child_id: int) -> None:
        """Nothing more will be told of one that has ended."""
        self._late.pop(child_id, None)

    def child_id(self, pid: int) -> int:
        """The child whose pid this is.  Raises FoxdenError."""
        found = next((host for host in self.hosts() if host.pid == pid), None)
        if found is None:
            raise FoxdenError(f"expected the pid of a child of this den, got {pid}", hint="den.processes() lists them")
        return found.child_id

    async def launch(
        self,
        type_name: str,
        root: ChildParent,
        *,
        remote_type: RemoteType | None = None,
        name: str = "",
        judge: bool = True,
        plan: SandboxPlan | None = None,
        on_listener: OnListener | None = None,
        then: ThenTell = lambda host: None,
        sees_libraries: bool = False,
        wants_late: bool = False,
        imports: bool = False,
    ) -> ChildHost:
        """Start a child of this type.  `judge=False`: only to look at what it got; it is never given work.

        `plan`, `on_listener`: of a child that has another than its type's, and another who has its calls answered.
        It may have been forked beforehand, with a root of its own: `host.root`.
        `then`: called once the child can be told what to do when its sandbox is on.  It hears it before this side has
        judged what it got, so it is told what is `accepted`, too.  Called again, with another, if that one ends before
        it is ready.
        `sees_libraries`: its plan lets it load by itself what its fork server may not have loaded yet.  `wants_late`:
        it will want that at once, and so waits for its fork server, which is quicker.  `imports`: modules, at once.
        Raises SandboxUnavailable, LaunchFailed.
        """
        row = BY_NAME[type_name]
        plan = plan or self._plans.plan(row, remote_type)
        on_listener = on_listener or self.on_listener
        kept = self._take_begun(type_name, plan)
        if kept is not None and await self._finish(kept, plan, name, on_listener, then):
            return kept
        host = self._make_host(row, remote_type, root, plan)
        host.name, host.on_listener = name, on_listener
        try:
            warmth = {"sees_libraries": sees_libraries, "wants_late": wants_late, "imports": imports}
            await self._fork(host, plan, judge, **warmth)
        except BaseException:
            host.abandon()
            raise
        _tell_what_to_do(host, then)
        enforcement = await host.wait_ready(_READY_TIMEOUT_S)
        if judge:
            self._judge(host, enforcement)
        return host

    async def _finish(
        self, host: ChildHost, plan: SandboxPlan, name: str, on_listener: OnListener, then: ThenTell
    ) -> bool:
        """Make a child that was begun what it is to be.  False: it ended instead; a fresh one will say why."""
        host.name, host.on_listener = name, on_listener
        host.root.send(self._launch_message(host, plan, namespaces_given=True))
        _tell_what_to_do(host, then)
        try:
            enforcement = await host.wait_ready(_READY_TIMEOUT_S)
        except LaunchFailed:
            return False
        self._judge(host, enforcement)
        return True

    def _make_host(
        self, row: ProcessType, remote_type: RemoteType | None, root: ChildParent, plan: SandboxPlan
    ) -> ChildHost:
        host = ChildHost(
            self._take_id(), row, remote_type, root, level=plan.level, on_bad_peer=self._end_bad_peer
        )
        host.denials = self.denials
        self._hosts[host.child_id] = host
        host.ended.add_done_callback(lambda _: self._ended(host))
        return host

    # ---- children begun beforehand: in their namespaces and their root, and nothing else decided yet

    def keep_begun(self, type_name: str, make: Callable[[], ChildParent], plan: SandboxPlan, count: int) -> None:
        """Have `count` children begun, for whoever launches one of this type with a plan that continues this one."""
        kept = self._begun.setdefault(type_name, [])
        kept[:] = [(begun, task) for begun, task in kept if not task.done() or _is_alive(task)]
        while len(kept) < count and not self._closing:
            kept.append((plan, asyncio.create_task(self._begin(type_name, make(), plan))))

    async def _begin(self, type_name: str, root: ChildParent, plan: SandboxPlan) -> ChildHost:
        row = BY_NAME[type_name]
        host = self._make_host(row, None, root, plan)
        try:
            endpoint = host.begin(None)
            host.root.send(PChildProcess.Prepare(plan=plan, landlock_abi_limit=self._prefs.landlock_abi_limit()))
            uid = self._uids.take(host, plan, row.family)
            forked = await self._launcher.fork(row.family, type_name, endpoint, flags=plan.namespaces, uid=uid)
            host.kept_ids = host.kept_ids or forked.kept_ids
            host.attach(forked)
        except BaseException:
            host.abandon()
            raise
        return host

    def _take_begun(self, type_name: str, plan: SandboxPlan) -> ChildHost | None:
        """One that this plan continues, if there is one now."""
        kept = self._begun.get(type_name, [])
        for place, (begun, task) in enumerate(kept):
            if _is_alive(task) and continues(plan, begun):
                del kept[place]
                return task.result()
        return None

    async def _fork(self, host: ChildHost, plan: SandboxPlan, judge: bool, **warmth: bool) -> None:
        """Fork into the plan's namespaces, or without them where that loss is accepted.  `warmth`: see `launch`."""
        family = family_of(host.row, host.remote_type)
        uid = self._uids.take(host, plan, family)

        async def fork(flags: int, uid: int) -> Forked:
            endpoint = host.begin(self._launch_message(host, plan, namespaces_given=bool(flags) or not plan.namespaces))
            return await self._launcher.fork(family, host.row.name, endpoint, flags=flags, uid=uid, **warmth)

        try:
            try:
                forked = await fork(plan.namespaces, uid)
            except ServerGone:
                forked = await fork(plan.namespaces, uid)  # the next one; on a pipe that nobody had before
        except NamespacesRefused as error:
            if judge and not self._accepted.issuperset(_LOST_WITHOUT_NAMESPACES):
                raise _not_accepted(error, self._accepted) from None
            host.lost[Layer.NAMESPACES] = loss("namespaces-refused", error.errno)
            forked = await fork(0, 0)
            host.kept_ids = "it has no user namespace"
        host.kept_ids = host.kept_ids or forked.kept_ids
        host.attach(forked)

    def _launch_message(self, host: ChildHost, plan: SandboxPlan, *, namespaces_given: bool) -> PChildProcess.Launch:
        abi = self._prefs.landlock_abi_limit()
        steps = self._sequence(plan, abi) if namespaces_given else Sequence()
        return PChildProcess.Launch(
            child_id=host.child_id,
            process_type=host.row.name,
            remote_type=host.remote_type.value if host.remote_type else "",
            plan=plan,
            namespaces_given=namespaces_given,
            landlock_abi_limit=abi,
            temporary=self._temporary(host, plan),
            steps=steps.steps,
            steps_text=steps.text,
        )

    def _sequence(self, plan: SandboxPlan, abi_limit: int) -> Sequence:
        """The plan as system calls, where children have the extension that makes them."""
        if native.load() is None:
            return Sequence()
        return sequence_of(plan, linux.ARCH, min(landlock.kernel_abi(), abi_limit))

    def _temporary(self, host: ChildHost, plan: SandboxPlan) -> str:
        """Where it will be; made when the child first asks for anything."""
        if not plan.notify or not self._plans.has_temporary(host.row, host.remote_type):
            return ""
        try:
            return self._temporaries.of(host.child_id)
        except FileNotFoundError:
            return ""  # a container in which nothing can be written: its children write nothing either

    def make_temporary(self, child_id: int) -> None:
        """Raises OSError."""
        self._temporaries.make(child_id)

    def temporary_of(self, host: ChildHost) -> str:
        """Where this child's temporary files are; empty: it has none."""
        return self._temporaries.path(host.child_id)

    def _ended(self, host: ChildHost) -> None:
        self._hosts.pop(host.child_id, None)
        if not self._closing:
            self._late[host.child_id] = host
            asyncio.get_running_loop().call_later(_TOLD_WITHIN_S, self._late.pop, host.child_id, None)
        self._temporaries.forget(host.child_id)

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _judge(self, host: ChildHost, enforcement: Enforcement) -> None:
        """Refuse a child that got less than its policy asks, unless the caller accepted the loss by name."""
        missing = [layer for layer in enforcement.missing() if layer not in self._accepted]
        if not missing:
            return
        reasons = {layer: status.reason for layer, status in enforcement.items()}
        text = "; ".join(f"{layer.value}: {reasons[layer]}" for layer in missing)
        everything = [layer for layer in Layer if layer in missing or layer in self._accepted]
        host.kill("its sandbox is not whole")
        raise SandboxUnavailable(
            f"{host}: the sandbox is not whole: {text}",
            layers=tuple(layer.value for layer in missing),
            hint=f"`foxden support` says what to change; {accepting(everything)} accepts the loss",
        )

    def _end_bad_peer(self, child_id: int, error: str) -> None:
        host = self._hosts.get(child_id)
        if host is not None:
            host.broke_protocol(error, f"{host} broke the protocol with another child: {error}")

    # ---- children kept ready

    def keep_ready(self, make: Callable[[], ChildParent], type_name: str, remote_type: RemoteType, count: int) -> None:
        """Have `count` children of this type ready, sandboxed and unspecialised, for `take_ready`."""
        pool = self._pools.setdefault((type_name, remote_type), [])
        while len(pool) < count and not self._closing:
            pool.append(asyncio.create_task(self._launch_ready(type_name, make(), remote_type)))

    async def _launch_ready(self, type_name: str, root: ChildParent, remote_type: RemoteType) -> ChildHost:
        """Launch a child that will wait.  It answers once now: a first answer costs more, and is not its user's."""
        host = await self.launch(type_name, root, remote_type=remote_type)
        await host.ping(_READY_TIMEOUT_S)
        return host

    def take_ready(self, type_name: str, remote_type: RemoteType) -> ChildHost | None:
        """A ready child of this type, if there is one now."""
        pool = self._pools.get((type_name, remote_type), [])
        for task in list(pool):
            if task.done():
                pool.remove(task)
                if not task.cancelled() and task.exception() is None and task.result().state is State.READY:
                    return task.result()
        return None

    # ---- looking, and ending

    def records(self) -> list[ProcessRecord]:
        """One record a process: the parent, servers, children."""
        own = _plain_record(os.getpid(), "default", "parent", _STARTED)
        servers = [
            _plain_record(server.pid, "forkserver", server.name, server.started_at)
            for server in self._launcher.processes()
        ]
        return [own, *servers, *(_record(host) for host in self.hosts() if host.pid)]

    async def close(self) -> None:
        """End all children and wait until they are reaped."""
        self._closing = True
        tasks = [task for pool in self._pools.values() for task in pool]
        tasks += [task for pool in self._begun.values() for _, task in pool]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        hosts = list(self._hosts.values())
        for host in hosts:
            host.kill("the den is closed")
        if hosts:
            await asyncio.wait([host.ended for host in hosts], timeout=5)
        self._temporaries.close()


def _is_alive(task: asyncio.Task[ChildHost]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None and task.result().alive


_STARTED = time.monotonic()
_FILTERS_AROUND = filters_on(os.getpid())  # a container's; ours come later


def _plain_record(pid: int, process_type: str, name: str, started_at: float) -> ProcessRecord:
    """A process that reports nothing of itself: the kernel tells whether its filter, all it asks for, is on it."""
    own_filter = filters_on(pid) > _FILTERS_AROUND
    locked = Enforcement(seccomp=LayerStatus(Status.FULL)) if own_filter else None
    return ProcessRecord(
        pid=pid,
        process_type=process_type,
        level=1 if locked else 0,
        enforcement=locked,
        memory_bytes=memory_bytes(pid),
        uptime_s=round(time.monotonic() - started_at, 3),
        name=name,
    )


def _record(host: ChildHost) -> ProcessRecord:
    return ProcessRecord(
        pid=host.pid,
        process_type=host.row.name,
        remote_type=host.remote_type.value if host.remote_type else None,
        level=host.level,
        enforcement=host.enforcement,
        memory_bytes=memory_bytes(host.pid),
        uptime_s=round(time.monotonic() - host.started_at, 3),
        name=host.name,
    )


_LOST_WITHOUT_NAMESPACES = frozenset({Layer.NAMESPACES, Layer.ROOT})


def _tell_what_to_do(host: ChildHost, then: ThenTell) -> None:
    try:
        then(host)
    except BaseException:
        host.kill("it could not be told what to do")
        raise


def _not_accepted(error: SandboxUnavailable, accepted: frozenset[Layer]) -> SandboxUnavailable:
    lost = [layer.value for layer in Layer if layer in _LOST_WITHOUT_NAMESPACES and layer not in accepted]
    return SandboxUnavailable(
        str(error),
        layers=tuple(lost),
        hint="allow unprivileged user namespaces (`foxden support` says how), or accept the loss with "
        + accepting(GONE_WITH_NAMESPACES),
    )
