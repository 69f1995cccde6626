"""The content process: takes a document's bytes as they come, undoes their encoding, parses, tells the parent.

Runs in: content child (web, file, privileged, extension).  Trusts: the parent; never a byte of a page.
Flow: PDocument → PDocumentChannel → head → inline bytes, a bridge's ring, or a file → show → OnLoaded.
Source: architecture.md "The content process"; the mission's row "Content: web".
"""

from __future__ import annotations

import hashlib
import os

import msgspec

from foxden.children.content import prewarm as content_prewarm
from foxden.children.content.decode_body import BodyDecoder
from foxden.children.content.document import show
from foxden.errors import BadMessage, LoadError
from foxden.ipc.actor import Actor, Why
from foxden.ipc.blocking import BlockingPipe
from foxden.ipc.fields import LargePayload, RegularFile
from foxden.ipc.memory import RingReader, make_payload
from foxden.ipc.pipe import bind_endpoint
from foxden.ipc.schema import Side
from foxden.launch.child_main import ChildActor, ChildContext
from foxden.model.sinks import LoadSink
from foxden.protocols.content import ContentSettings, PContent, PDocument, PDocumentChannel
from foxden.protocols.network import NetOutcome, PBackgroundData, PSocketProcessBridge
from foxden.protocols.process import PChildProcess

_encode_page = msgspec.msgpack.Encoder().encode
_FILE_CHUNK = 1 << 20


class Body:
    """Where the bytes of one load go."""

    def __init__(self, sink: LoadSink, encodings: str, limit: int) -> None:
        self.received = 0
        self._hash = hashlib.sha256() if sink is LoadSink.MEASURE else None
        self._limit = limit
        self._decoder = BodyDecoder(encodings, limit) if self._hash is None else None
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes | memoryview) -> None:
        """Raises LoadError: too large, or not what its Content-Encoding says."""
        self.received += len(chunk)
        if self._hash is not None:
            self._hash.update(chunk)
        elif self._decoder is not None:
            self._parts.append(self._decoder.feed(bytes(chunk)))

    def finish(self) -> bytes:
        """The whole body, decoded; empty when it was only measured.  Raises LoadError."""
        if self._decoder is not None:
            self._parts.append(self._decoder.finish())
        return b"".join(self._parts)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest() if self._hash is not None else ""


class DocumentChild(Actor, protocol=PDocument, side=Side.CHILD):
    """One document that the parent wants shown."""

    def __init__(self, message: PDocument.Construct) -> None:
        self.request = message
        self.channel: DocumentChannelChild | None = None

    def recv_construct(self, message: PDocument.Construct) -> None:
        assert isinstance(self.manager, ContentChild)  # noqa: S101 - declared manager
        self.channel = DocumentChannelChild(self)
        self.manager.construct(
            self.channel, PDocumentChannel.Construct(document_id=message.document_id, url=message.url)
        )

    def loaded(self, body: Body, start: PDocumentChannel.OnStart) -> None:
        """All bytes are here."""
        try:
            data = body.finish()
            page = show(
                data, content_type=start.content_type or None, nosniff=start.nosniff, url=start.final_url
            )
            payload = make_payload(LargePayload, _encode_page(page))
        except LoadError as error:
            return self.failed(error.code, str(error))
        except MemoryError:
            return self.failed("NS_ERROR_OUT_OF_MEMORY", "the document needs more memory than its process may have")
        self.send(PDocument.OnLoaded(content=payload, received_bytes=body.received, sha256=body.digest))
        return None

    def failed(self, code: str, detail: str) -> None:
        self.send(PDocument.OnFailed(code=code, detail=detail[:1024]))

    def actor_destroy(self, why: Why) -> None:
        if self.channel is not None:
            self.channel.end()


class DocumentChannelChild(Actor, protocol=PDocumentChannel, side=Side.CHILD):
    """The load of one document's bytes."""

    def __init__(self, document: DocumentChild) -> None:
        self._document = document
        self._start: PDocumentChannel.OnStart | None = None
        self._body: Body | None = None

    def recv_on_start(self, message: PDocumentChannel.OnStart) -> None:
        content = self._document.manager
        assert isinstance(content, ContentChild)  # noqa: S101 - declared manager
        measure = self._document.request.sink is LoadSink.MEASURE
        limit = content.settings.max_measure_bytes if measure else content.settings.max_document_bytes
        self._start = message
        try:
            self._body = Body(self._document.request.sink, message.content_encoding, limit)
            self._body.feed(message.inline)
            if message.file is not None:
                _read_file(message.file, self._body)
        except LoadError as error:
            self._fail(error.code, str(error))
            return
        except OSError as error:
            self._fail("NS_ERROR_FILE_CORRUPTED", f"reading it failed: {error.strerror}")
            return
        if message.complete or message.file is not None:
            self._finish()
        else:
            content.expect(message.channel_id, self)

    def recv_on_failed(self, message: PDocumentChannel.OnFailed) -> None:
        self._fail(message.code, "the parent refused the load")

    def on_bytes(self, views: tuple[memoryview, ...]) -> bool:
        """False: no more is wanted."""
        if self._body is None:
            return False
        try:
            for view in views:
                self._body.feed(view)
        except LoadError as error:
            self._fail(error.code, str(error))
            return False
        return True

    def on_stop(self, outcome: NetOutcome) -> None:
        if outcome.ok:
            self._finish()
        else:
            self._fail(outcome.code, outcome.detail)

    def _finish(self) -> None:
        if self._body is not None and self._start is not None:
            self._document.loaded(self._body, self._start)
        self.end()

    def _fail(self, code: str, detail: str) -> None:
        self._document.failed(code, detail)
        self.end()

    def end(self) -> None:
        """Let go of the load; bytes that still come for it are not wanted."""
        content, start = self._document.manager, self._start
        if isinstance(content, ContentChild) and start is not None:
            content.forget(start.channel_id)
        self._body = None
        self.delete(PDocumentChannel.Delete())


def _read_file(file: RegularFile, body: Body) -> None:
    """Read to the end; a file that grows without end meets the document's limit."""
    fd = file.fileno()
    try:
        while chunk := os.read(fd, _FILE_CHUNK):
            body.feed(chunk)
    finally:
        file.close()


class BackgroundDataChild(Actor, protocol=PBackgroundData, side=Side.CHILD):
    """One body in a ring that the socket process writes."""

    def __init__(self, content: ContentChild, message: PBackgroundData.Construct) -> None:
        self._content = content
        self.channel_id = message.channel_id
        self._ring = RingReader(message.ring)

    def recv_on_data(self, message: PBackgroundData.OnData) -> None:
        try:
            views = self._ring.read(message.count)
        except ValueError as error:
            raise BadMessage(f"PBackgroundData.OnData: {error} - at $.count") from None
        channel = self._content.awaited.get(self.channel_id)
        wanted = channel is not None and channel.on_bytes(views)
        for view in views:
            view.release()
        if not wanted:
            self.delete(PBackgroundData.Delete())
            return
        self.send(PBackgroundData.Consumed(count=message.count))

    def recv_on_stop(self, message: PBackgroundData.OnStop) -> None:
        channel = self._content.awaited.get(self.channel_id)
        if channel is not None:
            channel.on_stop(message.outcome)
        self.delete(PBackgroundData.Delete())

    def actor_destroy(self, why: Why) -> None:
        self._ring.close()
        channel = self._content.awaited.get(self.channel_id)
        if channel is not None and why is not Why.DELETION:
            channel.on_stop(NetOutcome(code="NS_ERROR_SOCKET_PROCESS_GONE", detail="the socket process ended"))


class BridgeChild(Actor, protocol=PSocketProcessBridge, side=Side.CHILD):
    """This process's end of a bridge from the socket process."""

    def __init__(self, content: ContentChild) -> None:
        self._content = content

    def alloc_background_data(self, message: PBackgroundData.Construct) -> BackgroundDataChild:
        return BackgroundDataChild(self._content, message)

    def actor_destroy(self, why: Why) -> None:
        # Bodies that were promised on this bridge and never began will not come any more.
        self._content.bridge_lost(self)


class ContentChild(ChildActor, protocol=PContent, side=Side.CHILD):
    """Root actor: one site, for life."""

    def __init__(self) -> None:
        self.settings = ContentSettings()
        self.awaited: dict[int, DocumentChannelChild] = {}
        self._bridge: BridgeChild | None = None

    def recv_init(self, message: PContent.Init) -> None:
        self.settings = message.settings

    def recv_init_bridge(self, message: PContent.InitBridge) -> None:
        self._bridge = BridgeChild(self)
        pipe = BlockingPipe(
            bind_endpoint(message.endpoint), self._bridge, peer="the socket process", on_closed=self._bridge_closed
        )
        self.process.loop.add(pipe)

    def _bridge_closed(self, pipe: BlockingPipe, why: Why, error: Exception | None) -> None:
        if why is Why.BAD_MESSAGE:
            self.send(PChildProcess.ReportBadPeer(child_id=0, error=str(error)[:1024]))

    def alloc_document(self, message: PDocument.Construct) -> DocumentChild:
        return DocumentChild(message)

    def expect(self, channel_id: int, channel: DocumentChannelChild) -> None:
        self.awaited[channel_id] = channel

    def forget(self, channel_id: int) -> None:
        self.awaited.pop(channel_id, None)

    def bridge_lost(self, bridge: BridgeChild) -> None:
        if bridge is not self._bridge:
            return
        lost = NetOutcome(code="NS_ERROR_SOCKET_PROCESS_GONE", detail="the socket process ended")
        for channel in list(self.awaited.values()):
            channel.on_stop(lost)


def prewarm() -> None:
    """Exercise everything that imports late: there is no file system in here."""
    content_prewarm.prewarm()
    hashlib.sha256(b"").hexdigest()
    _encode_page(show(b"<title>x</title>", content_type="text/html", nosniff=False, url="http://x.example/"))


def main(process: ChildContext) -> None:
    process.start(ContentChild())
    process.loop.run()
