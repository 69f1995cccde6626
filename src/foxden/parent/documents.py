"""Documents: which content process shows one, what that process may load, and what came of it.

Runs in: parent.  Trusts: nothing a content process says; it gets the load that was decided, or a refusal.
Flow: open(url) → head (channel) → content process of the final site → PDocument → PDocumentChannel → bytes → Page.
Source: shapes.md section 4; Gecko's DocumentLoadListener (the parent leads, the process is chosen by the answer).
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import msgspec

from foxden.errors import BadMessage, ChildCrashed, ChildTimeout, LoadError, NetworkError
from foxden.ipc.actor import Actor, Why
from foxden.ipc.fields import RegularFile
from foxden.ipc.memory import read_payload
from foxden.ipc.schema import Side
from foxden.model.hops import Request
from foxden.model.origins import Url, file_path
from foxden.model.page import PageContent
from foxden.model.process_types import BY_NAME, RemoteType
from foxden.model.sinks import LoadSink
from foxden.parent.channel import HttpChannel, Response, network_error
from foxden.parent.files import Unreadable, open_for_content
from foxden.parent.hosts import ChildHost, ChildParent
from foxden.parent.network import GONE, Network
from foxden.parent.plans import Plans
from foxden.parent.prefs import Prefs
from foxden.parent.processes import ProcessManager
from foxden.protocols.content import ContentSettings, PContent, PDocument, PDocumentChannel
from foxden.protocols.network import PHttpTransaction
from foxden.sandbox.paths import PathRules

_PING_S = 1.0  # after a deadline that has passed already
FIRST_LEVEL_WITH_FILE_RULES = 2  # below it, Firefox's levels take no file away
_PAGE_DECODER = msgspec.msgpack.Decoder(PageContent)


class Load(msgspec.Struct):
    """One load, decided and waiting for its content process to ask for it."""

    url: Url
    sink: LoadSink
    response: Response | None = None
    file: RegularFile | None = None
    asked_for: bool = False  # a content process has asked for it, and may have got bytes

    def let_go(self) -> None:
        if self.response is not None:
            self.response.transaction.end()
        if self.file is not None:
            self.file.close()


class Shown(msgspec.Struct, frozen=True):
    """What came of a document."""

    content: PageContent
    url: Url
    status: int
    received_bytes: int
    sha256: str
    pid: int
    remote_type: str
    name: str
    redirects: tuple[str, ...]
    timing: dict[str, float] = msgspec.field(default_factory=dict)


class ContentParent(ChildParent, protocol=PContent, side=Side.PARENT):
    """A content process, seen from here."""

    def __init__(self, bridge: Callable[[ChildHost], None]) -> None:
        self.loads: dict[int, Load] = {}  # document id → the load that this process may ask for
        self.bridge = bridge
        self.room = asyncio.Semaphore(PDocument.max_live)  # documents beyond these wait for their turn

    def alloc_document_channel(self, message: PDocumentChannel.Construct) -> DocumentChannelParent:
        return DocumentChannelParent(self)


class DocumentChannelParent(Actor, protocol=PDocumentChannel, side=Side.PARENT):
    """One load that a content process asked for.  Only what was decided for one of its documents is given."""

    def __init__(self, content: ContentParent) -> None:
        self._content = content

    def recv_construct(self, message: PDocumentChannel.Construct) -> None:
        load = self._content.loads.get(message.document_id)
        if load is None or message.url != load.url.href:
            # Sub-resources come with scripts and styles; until then a document may load itself and nothing else.
            self.send(PDocumentChannel.OnFailed(code="NS_ERROR_DOM_BAD_URI"))
            return
        del self._content.loads[message.document_id]
        load.asked_for = True
        if load.file is not None:
            self._start_file(load, load.file)
        elif load.response is not None:
            self._start_response(load, load.response)

    def _start_file(self, load: Load, file: RegularFile) -> None:
        self.send(
            PDocumentChannel.OnStart(
                channel_id=1, final_url=load.url.href, status=0, content_type="", content_encoding="",
                nosniff=False, complete=False, file=file,
            )
        )  # fmt: skip
        file.close()

    def _start_response(self, load: Load, response: Response) -> None:
        head = response.head
        if head.finished is None:
            self._content.bridge(self._content.host)
        self.send(
            PDocumentChannel.OnStart(
                channel_id=response.channel_id,
                final_url=load.url.href,
                status=head.status,
                content_type=(response.header("content-type") or "")[:8192],
                content_encoding=response.joined_encodings[:1024],
                nosniff=(response.header("x-content-type-options") or "").strip().lower() == "nosniff",
                inline=head.inline,
                complete=head.finished is not None,
            )
        )
        if head.finished is None:
            response.transaction.send(PHttpTransaction.StartDelivery(child_id=self._content.host.child_id))


class DocumentParent(Actor, protocol=PDocument, side=Side.PARENT):
    """One document.  `result`: what the content process made of it; None when the process ended first."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.result: asyncio.Future[PDocument.OnLoaded | PDocument.OnFailed | None] = loop.create_future()

    def recv_on_loaded(self, message: PDocument.OnLoaded) -> None:
        if not self.result.done():
            self.result.set_result(message)

    def recv_on_failed(self, message: PDocument.OnFailed) -> None:
        if not self.result.done():
            self.result.set_result(message)

    def actor_destroy(self, why: Why) -> None:
        if not self.result.done():
            self.result.set_result(None)


class Documents:
    """All documents of one den."""

    def __init__(
        self, processes: ProcessManager, network: Network, channel: HttpChannel, plans: Plans, prefs: Prefs
    ) -> None:
        self._processes, self._network, self._channel = processes, network, channel
        self._plans, self._prefs = plans, prefs
        self._sites: dict[str, list[ChildHost]] = {}
        self._starting: dict[str, asyncio.Task[ChildHost]] = {}
        self._wanted: Counter[str] = Counter()  # site → loads that are, or may come to be, its processes' work
        self._document_ids = itertools.count(1)

    # ---- content processes

    async def content_host(self, site: str, remote_type: RemoteType) -> ChildHost:
        """A live content process of this site: the one there is, a ready one, or a new one."""
        for host in self._sites.get(site, []):
            if host.alive:
                return host
        task = self._starting.get(site)
        if task is None:
            task = asyncio.create_task(self._start(site, remote_type))
            self._starting[site] = task
            task.add_done_callback(lambda done: self._started(site, done))
        return await asyncio.shield(task)

    def _started(self, site: str, task: asyncio.Task[ChildHost]) -> None:
        self._starting.pop(site, None)
        if not task.cancelled():
            task.exception()

    async def _start(self, site: str, remote_type: RemoteType) -> ChildHost:
        host = self._processes.take_ready("content", remote_type)
        if host is None:
            host = await self._processes.launch("content", self.make_root(), remote_type=remote_type, name=site)
        host.name = site
        host.root.send(PContent.Init(settings=self._settings()))
        self._sites.setdefault(site, []).append(host)
        host.ended.add_done_callback(lambda _: self._forget(site, host))
        self._end_surplus()
        self.keep_ready()
        return host

    def make_root(self) -> ContentParent:
        """The root actor of a content process."""
        return ContentParent(self._bridge)

    def _bridge(self, host: ChildHost) -> None:
        if self._network.host is not None:
            self._network.bridge_to(host, self._network.host)

    def keep_ready(self) -> None:
        """Have the next web content process sandboxed and waiting.  It may never become a file process."""
        count = self._prefs.get_int("dom.ipc.processPrelaunch.fission.number")
        self._processes.keep_ready(self.make_root, "content", RemoteType.WEB, count)

    def _settings(self) -> ContentSettings:
        return ContentSettings(max_document_bytes=self._prefs.get_int("foxden.content.max-document-bytes"))

    def _forget(self, site: str, host: ChildHost) -> None:
        hosts = self._sites.get(site, [])
        if host in hosts:
            hosts.remove(host)
        if not hosts:
            self._sites.pop(site, None)

    def _end_surplus(self) -> None:
        """Keep only so many content processes that no load wants, the newest."""
        keep = self._prefs.get_int("dom.ipc.keepProcessesAlive.web")
        idle = [h for site, hosts in self._sites.items() for h in hosts if h.alive and not self._wanted[site]]
        idle.sort(key=lambda host: host.child_id)
        for host in idle[: max(0, len(idle) - keep)]:
            host.close()

    @contextmanager
    def _want(self, site: str) -> Iterator[None]:
        """While it lasts, the processes of this site are not ended as idle."""
        self._wanted[site] += 1
        try:
            yield
        finally:
            self._wanted[site] -= 1
            if not self._wanted[site]:
                del self._wanted[site]

    # ---- documents

    async def open(self, url: Url, sink: LoadSink, headers: tuple[tuple[str, str], ...], deadline: float) -> Shown:
        """Load and show one document.  `deadline`: on the loop's clock.

        Raises: NetworkError, LoadError, ChildCrashed, ChildTimeout, SandboxUnavailable.
        """
        started = time.monotonic()
        with self._want(url.site):
            load = await self._decide(url, sink, headers, deadline)
        try:
            head_at = time.monotonic()
            with self._want(load.url.site):
                result, host = await self._show(load, deadline)
            timing = {"head_ms": _ms(started, head_at), "document_ms": _ms(head_at, time.monotonic())}
            return _shown(result, load, host, timing)
        finally:
            load.let_go()

    async def _decide(self, url: Url, sink: LoadSink, headers: tuple[tuple[str, str], ...], deadline: float) -> Load:
        """The load, with its file open or its final head here.  Nothing of it has been delivered."""
        if not url.is_network:
            return Load(url, sink, file=self._open_file(file_path(url)))
        # The process for the site that was asked for starts while the network is asked; a redirect may need another.
        early = asyncio.ensure_future(self.content_host(url.site, RemoteType.WEB))
        early.add_done_callback(_ignore)
        timeout_s = max(0.001, deadline - asyncio.get_running_loop().time())
        response = await self._channel.open(Request("GET", url, headers), timeout_s=timeout_s)
        return Load(response.url, sink, response)

    def _open_file(self, path: str) -> RegularFile:
        rules = self._file_rules()
        try:
            return open_for_content(path, rules)[0]
        except Unreadable as error:
            if self._processes.denials is not None:
                self._processes.denials.file_page(error.path)
            raise

    def _file_rules(self) -> PathRules | None:
        """What file pages may read; None at the levels whose children read what the user may read."""
        resolved = self._plans.resolved(BY_NAME["content"], RemoteType.FILE)
        return resolved.files if resolved.level >= FIRST_LEVEL_WITH_FILE_RULES else None

    async def _show(self, load: Load, deadline: float) -> tuple[PDocument.OnLoaded, ChildHost]:
        """Have a content process of the load's site show it.  One that dies before it asked for the load had
        nothing of it, and another takes its place once."""
        remote_type = RemoteType.WEB if load.url.is_network else RemoteType.FILE
        for attempt in (1, 2):
            host = await self.content_host(load.url.site, remote_type)
            document = DocumentParent()
            async with self._work(host, load) as document_id:
                if host.root.alive:
                    message = PDocument.Construct(document_id=document_id, url=load.url.href, sink=load.sink)
                    host.root.construct(document, message)
                    try:
                        result = await self._wait(document, host, load, deadline)
                    finally:
                        document.delete(PDocument.Delete())
                    if isinstance(result, PDocument.OnFailed):
                        raise self._failure(result, load)
                    if result is not None:
                        return result, host
            if attempt == 2 or load.asked_for:
                break
        await asyncio.wait([host.ended], timeout=2)  # the kernel says how, a moment after the pipe closed
        raise host.crash(f"loading {load.url.href}")

    @asynccontextmanager
    async def _work(self, host: ChildHost, load: Load) -> AsyncIterator[int]:
        """While it lasts, `host` may ask for `load` by this document id."""
        root = host.root
        assert isinstance(root, ContentParent)  # noqa: S101 - only content hosts are in _sites
        document_id = next(self._document_ids)
        try:
            async with root.room:
                root.loads[document_id] = load
                yield document_id
        finally:
            root.loads.pop(document_id, None)

    async def _wait(
        self, document: DocumentParent, host: ChildHost, load: Load, deadline: float
    ) -> PDocument.OnLoaded | PDocument.OnFailed | None:
        """What the content process made of it; None when it ended first."""
        remaining = deadline - asyncio.get_running_loop().time()
        try:
            return await asyncio.wait_for(document.result, max(0.001, remaining))
        except TimeoutError:
            raise await self._timed_out(host, load) from None

    async def _timed_out(self, host: ChildHost, load: Load) -> Exception:
        """The deadline has passed: is it the network that is slow, or the content process that hangs?

        The socket process has the same deadline, and its word may come just before ours: a body that it gave up is no
        more the reader's fault than one that it still waits for.
        """
        response = load.response
        late = response is not None and (not response.transaction.stop.done() or not response.transaction.outcome.ok)
        if late and await _answers(host):
            return _told_by_the_network(load) or NetworkError(
                f"{load.url.href}: the body did not arrive in time", code="NS_ERROR_NET_TIMEOUT", url=load.url.href,
                hint="--timeout gives it longer",
            )  # fmt: skip
        host.kill("it did not finish a document before its deadline")
        return ChildTimeout(
            f"{host} did not finish {load.url.href} before its deadline, and was ended",
            hint="--timeout gives it longer",
        )

    def _failure(self, result: PDocument.OnFailed, load: Load) -> Exception:
        """Why there is no document: the network's word where it has one, else the content process's."""
        told = _told_by_the_network(load)
        if told is not None:
            return told
        if result.code == GONE.code:  # it saw the bridge end before we saw the process end
            return network_error(GONE, load.url)
        return LoadError(f"{load.url.href}: {result.code}: {result.detail}", code=result.code, url=load.url.href)


def _told_by_the_network(load: Load) -> NetworkError | None:
    """Why a body ended early, where the socket process said so; None while it goes on, ended well, or was let go."""
    if load.response is None or not load.response.transaction.stop.done():
        return None
    outcome = load.response.transaction.outcome
    return None if outcome.ok or outcome.code == "NS_BINDING_ABORTED" else network_error(outcome, load.url)


async def _answers(host: ChildHost) -> bool:
    """Is this child there?  A body may be slow because its reader does not read."""
    try:
        await host.ping(_PING_S)
    except (ChildCrashed, ChildTimeout):
        return False
    return True


def _ignore(task: asyncio.Future[ChildHost]) -> None:
    if not task.cancelled():
        task.exception()


def _ms(start: float, end: float) -> float:
    return round((end - start) * 1000, 3)


def _shown(result: PDocument.OnLoaded, load: Load, host: ChildHost, timing: dict[str, float]) -> Shown:
    try:
        content = _PAGE_DECODER.decode(read_payload(result.content))
    except msgspec.DecodeError as error:
        host.broke_protocol(
            f"PDocument.OnLoaded: {error}", f"{host} broke the protocol: PDocument.OnLoaded: {error}"
        )
        raise BadMessage(f"PDocument.OnLoaded: {error} - at $.content; {host} killed") from None
    response = load.response
    return Shown(
        content=content,
        url=load.url,
        status=response.head.status if response else 0,
        received_bytes=result.received_bytes,
        sha256=result.sha256,
        pid=host.pid,
        remote_type=host.remote_type.value if host.remote_type else "",
        name=host.name,
        redirects=response.redirects if response else (),
        timing=timing,
    )
