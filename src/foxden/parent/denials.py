"""Denials as they happen, made into records: of the broker, the kernel, a broken protocol, a limit, the network.

Runs in: parent, on the den's loop.  Trusts: the broker's word on what was asked for, within its protocol's bounds.
Flow: PBroker.OnAct, a child's end, an outcome of the network → sandbox/explain for rule and hint → Violations.
Source: interface.md "Records"; model/records.
"""

from __future__ import annotations

import asyncio
import functools
import platform
import re
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

from foxden.model.process_types import BY_NAME, RemoteType
from foxden.model.records import Act, Violation, ViolationKind
from foxden.parent.plans import Plans
from foxden.parent.violations import Violations
from foxden.protocols.broker import PBroker
from foxden.sandbox.policy import ResolvedPolicy

if TYPE_CHECKING:
    from foxden.model.origins import Url
    from foxden.parent.hosts import ChildHost, End
    from foxden.protocols.network import NetOutcome
    from foxden.sandbox.explain import Explainer

# Outcomes of the network that are a refusal of ours, not a failure of theirs.
REFUSALS = {
    "NS_ERROR_PORT_ACCESS_NOT_ALLOWED": "model/ports: the port is on the list of bad ports",
    "NS_ERROR_LOCAL_NETWORK_ACCESS_DENIED": "a name or redirect that leads to a private address is refused; "
    "the caller may type the address itself",
}
# Signals by which the kernel ends a process that is over one of its limits.
_LIMIT_SIGNALS = {
    signal.SIGXCPU: ("processor time", "--cpu-time SECONDS"),
    signal.SIGXFSZ: ("size of a file", "a [limits] file_size of its policy"),
}


_TOLD_WITHIN_S = 5.0


class ToldAct(Protocol):
    """What a broker tells, whoever reads it: PBroker.OnAct, launch/own_broker.Told."""

    @property
    def granted(self) -> bool: ...
    @property
    def operation(self) -> str: ...
    @property
    def syscall(self) -> int: ...
    @property
    def args(self) -> tuple[int, ...]: ...
    @property
    def path(self) -> str: ...
    @property
    def access(self) -> int: ...
    @property
    def errno(self) -> int: ...
    @property
    def stack(self) -> tuple[str, ...]: ...
    @property
    def count(self) -> int: ...
    @property
    def detail(self) -> str: ...


class Who(msgspec.Struct, frozen=True):
    """Whose act it was."""

    pid: int
    process_type: str
    remote_type: str | None
    level: int


def act_record(told: ToldAct, explainer: Explainer, who: Who) -> Act:
    """One act as a record, with the line that says no and the one that would say yes."""
    from foxden.sandbox.explain import errno_name, name_of
    from foxden.sandbox.paths import Access

    access = Access(told.access)
    name = name_of(told.syscall, explainer.arch)
    to_host = _PEER.match(told.path) if told.operation == "connect" else None
    if to_host is not None:
        return _network_record(told, explainer, who, to_host[1], int(to_host[2]))
    of_file = bool(told.operation and told.path)
    answer = explainer.file(told.path, access) if of_file else explainer.call(told.syscall, told.args)
    # Where the rules would allow it, it was something else that said no: the broker's own reason.
    rule = f"{told.detail} ({answer.rule})" if told.detail else answer.rule
    return Act(
        time=time.time(),
        pid=who.pid,
        process_type=who.process_type,
        remote_type=who.remote_type,
        level=who.level,
        kind="file" if of_file else "syscall",
        operation=told.operation or name or f"call {told.syscall}",
        syscall=name or str(told.syscall),
        args=told.args,
        path=told.path or None,
        access=access.word() if of_file else None,
        errno=errno_name(told.errno),
        rule=rule,
        hint=(answer.hint or _own_reason(told, in_python=explainer.hints.in_python)) if not told.granted else "",
        stack=told.stack,
        count=told.count,
        granted=told.granted,
    )


def _own_reason(told: ToldAct, *, in_python: bool) -> str:
    """The hint where the rules would allow it and the broker does not: a protected name, or nothing that is given."""
    from foxden.sandbox.hopeless import NOTHING
    from foxden.sandbox.program import protecting

    if "a protected name" in told.detail:
        names = protecting(told.path)
        option = "unprotect=[{!r}]" if in_python else "--unprotect {!r}"
        return " ".join(option.format(name) for name in names) or "the caller's own protect names it"
    return NOTHING + told.detail if told.detail else ""


_PEER = re.compile(r"inet:(.+):(\d+)\Z")  # as broker/loopback tells an internet address


def _network_record(told: ToldAct, explainer: Explainer, who: Who, host: str, port: int) -> Act:
    """A program that tried to connect somewhere."""
    from foxden.sandbox.explain import errno_name, name_of

    looks_up = port == 53
    return Act(
        time=time.time(),
        pid=who.pid,
        process_type=who.process_type,
        remote_type=who.remote_type,
        level=who.level,
        kind="network",
        operation=told.operation,
        syscall=name_of(told.syscall, explainer.arch) or str(told.syscall),
        args=told.args,
        host=host,
        port=port,
        errno=errno_name(told.errno),
        rule=f"{told.detail} ({explainer.call(told.syscall, told.args).rule})",
        hint=explainer.hints.for_host("HOST" if looks_up else host, None if looks_up else port, ""),
        stack=told.stack,
        count=told.count,
        granted=told.granted,
    )


def violation_of(act: Act) -> Violation:
    """The record of a refused act, as it is kept and reported."""
    return Violation(**{name: getattr(act, name) for name in Violation.__struct_fields__})


class Denials:
    """Turns denials into records of `violations`."""

    def __init__(self, plans: Plans, violations: Violations) -> None:
        self._plans, self.violations = plans, violations
        self._explainers: dict[tuple[str, str | None], Explainer] = {}
        self._own: dict[int, Callable[[], Explainer]] = {}  # by child: those whose policy is not their type's
        self._acts: dict[int, Callable[[Act], None]] = {}

    # ---- children with a policy of their own

    def explain_by(self, host: ChildHost, rules: tuple[tuple[str, int], ...], *, explain: bool) -> None:
        """Explain this program's denials by these file rules.  Nothing is loaded before there is one to explain."""

        @functools.cache
        def explainer() -> Explainer:
            from foxden.parent.program_policy import policy_of
            from foxden.sandbox.explain_hints import PROGRAM_OF_DEN

            return explainer_of(PROGRAM_OF_DEN, policy_of(rules, explain=explain))

        self._own[host.child_id] = explainer
        host.ended.add_done_callback(lambda _: self._forget_later(host.child_id))

    def _forget_later(self, child_id: int) -> None:
        """The broker may tell of a child a moment after its end; no last word of it may ever come."""
        asyncio.get_running_loop().call_later(_TOLD_WITHIN_S, self.forget, child_id)

    def forget(self, child_id: int) -> None:
        """Nothing more will be told of one that has ended."""
        for kept in (self._own, self._acts):
            kept.pop(child_id, None)

    def tell_acts(self, host: ChildHost, listener: Callable[[Act], None]) -> None:
        """Have everything that this child asks the broker for told, granted or not (`Attach.everything`)."""
        self._acts[host.child_id] = listener
        host.ended.add_done_callback(lambda _: self._forget_later(host.child_id))

    # ---- what happens

    def act(self, host: ChildHost, told: PBroker.OnAct) -> None:
        """The broker tells what a child tried."""
        record = self._act(host, told)
        listener = self._acts.get(host.child_id)
        if listener is not None:
            listener(record)
        if not told.granted:
            self.violations.add(host.child_id, violation_of(record))

    def _act(self, host: ChildHost, told: PBroker.OnAct) -> Act:
        remote = host.remote_type.value if host.remote_type else None
        who = Who(told.pid or host.pid, host.row.name, remote, host.level)
        return act_record(told, self._explainer(host), who)

    def untold(self, host: ChildHost, count: int) -> None:
        """The broker refused so many acts more than it may tell of in a second (`OnDetached.untold`)."""
        if count:
            self._add(
                host, kind="limit", operation="more violations", count=count,
                rule="the broker tells of so many acts a second; the rest is counted here",
            )  # fmt: skip

    def broke_protocol(self, host: ChildHost, error: str) -> None:
        """A child was ended for a message that it must not send."""
        rule = f"a message outside of its protocol ends the sender: {error}"
        self._add(host, kind="ipc", operation="bad message", rule=rule)

    def ended(self, host: ChildHost, end: End) -> None:
        """A child has ended: by its filter, or by a limit?"""
        if end.signal == signal.SIGSYS:
            resolved = self._explainer(host).resolved
            rule = f"{resolved.name}.toml level {resolved.level}: kill: the kernel ends who makes such a call"
            hint = "the kernel does not tell which call it was; `foxden policy show` lists what is killed"
            self._add(host, kind="syscall", operation="killed", rule=rule, hint=hint)
        elif end.signal in _LIMIT_SIGNALS and not end.reason:
            what, option = _LIMIT_SIGNALS[signal.Signals(end.signal)]
            self.limit(host, what, rule=f"limit on {what} ({signal.Signals(end.signal).name})", hint=option)

    def limit(self, host: ChildHost, what: str, *, rule: str, hint: str) -> None:
        """A child was ended, or held up, by a limit."""
        self._add(host, kind="limit", operation=what, rule=rule, hint=hint)

    def network(self, host: ChildHost | None, outcome: NetOutcome, url: Url) -> None:
        """The socket process refused, or failed, an exchange; only refusals are records."""
        if outcome.code not in REFUSALS:
            return
        from foxden.model.network_errors import BY_CODE
        from foxden.sandbox.explain_hints import Hints
        from foxden.sandbox.policy_files import read_policy

        meaning = BY_CODE[outcome.code].meaning
        detail = f" ({outcome.detail})" if outcome.detail else ""
        violation = Violation(
            time=time.time(),
            pid=host.pid if host is not None else 0,
            process_type="socket",
            level=host.level if host is not None else 0,
            kind="network",
            operation="connect",
            host=url.host,
            port=url.port,
            errno=outcome.code,
            rule=f"{REFUSALS[outcome.code]}: {meaning}{detail}",
            hint=Hints("socket", read_policy).for_host(url.host, url.port, outcome.code),
        )
        self.violations.add(host.child_id if host is not None else 0, violation)

    def file_page(self, path: str) -> None:
        """The parent did not open a file for a file page."""
        from foxden.sandbox.paths import Access

        row, remote = BY_NAME["content"], RemoteType.FILE
        answer = self._explainer_of(row.name, remote).file(path, Access.READ)
        violation = Violation(
            time=time.time(), pid=0, process_type=row.name, remote_type=remote.value,
            level=self._plans.resolved(row, remote).level, kind="file", operation="open", path=path, access="r",
            errno="EACCES", rule=answer.rule, hint=answer.hint,
        )  # fmt: skip
        self.violations.add(0, violation)

    # ---- how

    def _add(
        self, host: ChildHost, *, kind: ViolationKind, operation: str, rule: str, hint: str = "", count: int = 1
    ) -> None:
        violation = Violation(
            time=time.time(),
            pid=host.pid,
            process_type=host.row.name,
            remote_type=host.remote_type.value if host.remote_type else None,
            level=host.level,
            kind=kind,
            operation=operation,
            rule=rule,
            hint=hint,
            count=count,
        )
        self.violations.add(host.child_id, violation)

    def _explainer(self, host: ChildHost) -> Explainer:
        own = self._own.get(host.child_id)
        return own() if own is not None else self._explainer_of(host.row.name, host.remote_type)

    def _explainer_of(self, type_name: str, remote_type: RemoteType | None) -> Explainer:
        key = (type_name, remote_type.value if remote_type else None)
        if key not in self._explainers:
            self._explainers[key] = explainer_of(type_name, self._plans.resolved(BY_NAME[type_name], remote_type))
        return self._explainers[key]


def explainer_of(type_name: str, resolved: ResolvedPolicy) -> Explainer:
    """Loads what explains, which nobody needs before the first denial."""
    from foxden.sandbox.explain import Explainer
    from foxden.sandbox.explain_hints import Hints
    from foxden.sandbox.policy_files import read_policy

    return Explainer(resolved, Hints(type_name, read_policy), arch=platform.machine())
