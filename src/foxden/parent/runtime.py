"""One den at work: everything that lives on its loop, made in the right order and taken down in the reverse.

Runs in: parent, on the den's loop.  Trusts: its caller.
Flow: start (starter, fork servers, lock) → open, fetch, … → close (children, servers, endpoints).
Source: architecture.md "Where the parent lives".
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from foxden.errors import FoxdenError, LoadError, NetworkError
from foxden.ipc.fields import Listener, StackPipe
from foxden.ipc.schema import Side
from foxden.launch import early
from foxden.launch.launcher import Launcher
from foxden.model.enforcement import Layer
from foxden.model.hops import Request
from foxden.model.origins import Url, parse_url, url_of_path
from foxden.model.process_types import BY_NAME, Family, ProcessType, RemoteType, family_of
from foxden.model.records import ProcessRecord
from foxden.observe import violation_line
from foxden.parent.broker import AskRecord, BrokerParent, Brokers
from foxden.parent.channel import HttpChannel, Response, network_error
from foxden.parent.denials import Denials
from foxden.parent.documents import Documents, Shown
from foxden.parent.hosts import ChildHost, ChildParent
from foxden.parent.network import OWN_CHILD_ID, Network, SocketProcessParent
from foxden.parent.plans import Plans, parent_plan, server_plan
from foxden.parent.prefs import Prefs
from foxden.parent.processes import ProcessManager
from foxden.parent.programs import ProgramParent, Programs
from foxden.parent.report_file import ReportFile
from foxden.parent.roster import Roster
from foxden.parent.violations import Violations
from foxden.protocols.broker import PBroker
from foxden.protocols.network import LoadSink, PHttpTransaction
from foxden.protocols.process import PChildProcess
from foxden.sandbox import parent_lock

if TYPE_CHECKING:
    from foxden.parent.answers import Reply

T = TypeVar("T")
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) foxden/0.1"
_GRACE_S = 2.0  # beyond a deadline, for the process that should have said so itself


def _checked_text(text: object) -> str:
    """A caller's URL or path.  Raises FoxdenError, LoadError."""
    if not isinstance(text, str) or not text:
        got = f"{type(text).__name__}" if text else "nothing"
        raise FoxdenError(f"expected a URL or a path as text, got {got}", hint="foxden open https://example.org/")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise LoadError(
            f"expected a URL or a path, got {ascii(text)[:120]}: it is not UTF-8",
            code="NS_ERROR_MALFORMED_URI",
            hint="percent-encode a URL; give a file a name that is UTF-8",
        ) from None
    return text


def _checked_seconds(timeout_s: float) -> float:
    """A caller's time limit; beyond a day it makes no difference.  Raises FoxdenError."""
    if not timeout_s > 0:  # this way round for nan
        raise FoxdenError(f"timeout: expected more than 0 seconds, got {timeout_s}")
    return min(timeout_s, 86_400.0)


class IdleParent(ChildParent, protocol=PChildProcess, side=Side.PARENT):
    """A child whose work comes in a later version."""


class Runtime:
    """All parts of one den.  Everything here is called on its loop."""

    def __init__(
        self,
        *,
        profile: Path | None,
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
        profile: Path | None,
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
        self.programs = Programs(self.processes, self.brokers, self.denials, self.prefs)
        self.network = Network(self.processes, self.prefs)
        self._channel = HttpChannel(
            self.network, self.prefs, lambda outcome, url: self.denials.network(self.network.host, outcome, url)
        )
        self.documents = Documents(self.processes, self.network, self._channel, self.plans, self.prefs)
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
        """Begin what the first call waits for.  It goes by value or imports its module, as nearly all do: then it asks
        the broker at once, and would wait for that one's start as long as for its worker's."""
        self.launcher.prepare(BY_NAME["utility"].family)
        if with_broker:
            self.brokers.start()

    # ---- loads

    def url_of(self, text: str) -> Url:
        """What the caller means: a URL, or the path of a file that exists."""
        text = _checked_text(text)
        if text.startswith(("/", "./", "../")) or ("://" not in text and os.path.exists(text)):
            return url_of_path(os.path.abspath(text))
        return parse_url(text)

    async def open(
        self,
        text: str,
        *,
        timeout_s: float,
        sink: LoadSink = LoadSink.DOCUMENT,
        headers: Mapping[str, str] | None = None,
    ) -> Shown:
        """Load and show one document.  Raises: see Documents.open."""
        url, timeout_s = self.url_of(text), _checked_seconds(timeout_s)
        if url.is_network:
            self.launcher.prepare(family_of(BY_NAME["content"], RemoteType.WEB))
        deadline = asyncio.get_running_loop().time() + timeout_s
        sent = self._headers({"Accept-Encoding": "gzip, deflate", **(headers or {})})
        return await self._within(self.documents.open(url, sink, sent, deadline), timeout_s, url)

    async def fetch(
        self,
        text: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        follow: bool = True,
        timeout_s: float,
        sink: Callable[[bytes | memoryview], object] | None = None,
        on_head: Callable[[Response], object] | None = None,
    ) -> Reply:
        """One exchange (redirects followed if asked); the body to `sink`, or returned.  `on_head` comes before it.

        Raises: NetworkError, LoadError, and what starting the socket process raises.
        """
        url, timeout_s = parse_url(_checked_text(text)), _checked_seconds(timeout_s)
        if not isinstance(body, bytes):
            raise FoxdenError(f"data: expected bytes, got {type(body).__name__}", hint="text has .encode()")
        if not url.is_network:
            raise NetworkError(
                f"{url.href}: expected http or https to fetch", code="NS_ERROR_UNKNOWN_PROTOCOL", url=url.href,
                hint="`foxden open` reads files",
            )  # fmt: skip
        request = Request(method, url, self._headers(headers or {}), body)
        return await self._within(self._fetch(request, follow, timeout_s, sink, on_head), timeout_s, url)

    async def _fetch(
        self,
        request: Request,
        follow: bool,
        timeout_s: float,
        sink: Callable[[bytes | memoryview], object] | None,
        on_head: Callable[[Response], object] | None,
    ) -> Reply:
        from foxden.parent.answers import Reply

        response = await self._channel.open(request, timeout_s=timeout_s, follow=follow)
        parts: list[bytes] = []
        take = sink or (lambda view: parts.append(bytes(view)))
        try:
            head = response.head
            if on_head is not None:
                on_head(response)
            if head.inline:
                take(head.inline)
            if head.finished is None:
                done = self.network.expect_body(response.channel_id, take)
                response.transaction.send(PHttpTransaction.StartDelivery(child_id=OWN_CHILD_ID))
                await done
            stop = await response.transaction.stop
            if stop is None or not stop.outcome.ok:
                raise network_error(response.transaction.outcome, response.url)
        finally:
            self.network.forget_body(response.channel_id)
            response.transaction.end()
        return Reply(
            url=response.url.href, status=head.status, http_version=head.http_version, headers=head.headers,
            body=b"".join(parts), received_bytes=stop.received_bytes, redirects=response.redirects,
            remote=head.remote,
        )  # fmt: skip

    def _headers(self, given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        agent = self.prefs.get_str("general.useragent.override") or USER_AGENT
        names = {name.lower() for name in given}
        base = [("User-Agent", agent)] if "user-agent" not in names else []
        base += [("Accept", "*/*")] if "accept" not in names else []
        return (*base, *given.items())

    async def _within(self, work: Coroutine[object, object, T], timeout_s: float, url: Url) -> T:
        """Wait for work that keeps its own deadline; when even that fails, find and end who hangs."""
        try:
            async with asyncio.timeout(timeout_s + _GRACE_S):
                return await work
        except TimeoutError:
            await self.network.end_if_hung()
            raise NetworkError(
                f"{url.href}: no answer within {timeout_s:g} s",
                code="NS_ERROR_NET_TIMEOUT",
                url=url.href,
                hint="--timeout gives it longer",
            ) from None

    # ---- processes

    def root_for(self, row: ProcessType) -> ChildParent:
        """A root actor of the protocol that this type speaks."""
        if row.name == "content":
            return self.documents.make_root()
        if row.name == "socket":
            return SocketProcessParent()
        if row.name == "broker":
            return BrokerParent(self.brokers)
        if row.name == "plugin":
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
        rules = self.plans.rules(row, remote, self.processes.temporary_of(host))
        self.brokers.attach(host, listener, stacks, rules=rules, errnos=self.plans.errnos(row, remote))
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

    def records(self) -> list[ProcessRecord]:
        return self.processes.records()

    async def close(self) -> None:
        self._roster.close()
        self.network.close()
        self.brokers.close()
        await self.processes.close()
        await self.launcher.close()
        self.violations.close()

