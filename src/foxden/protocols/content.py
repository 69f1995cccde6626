"""Content processes: the parent asks for a document, the content process asks for each load it needs.

Ends: parent ↔ content process.  Trusts: the parent checks every word; the origin of a load is what the parent
launched this process for, never what the process says.
Source: Gecko's PContent, PDocumentChannel; the mission's "every load is one sentence".
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from foxden.ipc.fields import (
    ChannelId,
    Endpoint,
    HttpStatus,
    InlineBytes,
    LargePayload,
    LongText,
    Name,
    RegularFile,
    ShortText,
    Size,
    UrlText,
)
from foxden.ipc.schema import Both, Protocol, ToChild, ToParent
from foxden.model.sinks import LoadSink
from foxden.protocols.process import PChildProcess

DocumentId = Annotated[int, Meta(ge=1, le=(1 << 53) - 1)]


class ContentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Preferences that a content process needs."""

    max_document_bytes: Size = 64 << 20  # after decompression
    max_measure_bytes: Size = 1 << 34


class PContent(PChildProcess, number=8, ends=("default", "content")):
    """One content process: one site, or file://, for life."""

    class Init(ToChild, once=True):
        settings: ContentSettings

    class InitBridge(ToChild):
        """The end of a bridge over which the socket process sends bodies; a new one when that process was
        restarted.  File processes that load nothing remote never get one."""

        endpoint: Endpoint


class PDocument(Protocol, number=9, manager=PContent, ends=("default", "content"), max_live=64):
    """One document: asked for by the parent, shown by the content process."""

    class Construct(ToChild):
        document_id: DocumentId
        url: UrlText
        sink: LoadSink = LoadSink.DOCUMENT

    class OnLoaded(ToParent, once=True, after=Construct):
        """`content`: msgpack of model.page.PageContent, decoded by the parent within its bounds."""

        content: LargePayload
        received_bytes: Size
        sha256: Annotated[str, Meta(max_length=64, pattern=r"^[0-9a-f]*\Z")] = ""  # with LoadSink.MEASURE

    class OnFailed(ToParent, once=True, after=Construct):
        """The content process could not make a document of what came."""

        code: Name
        detail: ShortText

    class Delete(ToChild):
        """The parent has what it wanted, or gives up."""


class PDocumentChannel(Protocol, number=10, manager=PContent, ends=("default", "content"), max_live=256):
    """One load that a content process asks for.  The parent decides, and answers with a head or a refusal."""

    class Construct(ToParent):
        document_id: DocumentId
        url: UrlText

    class OnStart(ToChild, once=True, after=Construct):
        """Where it came from in the end, and how its bytes come: inline, by bridge, or in a file."""

        channel_id: ChannelId  # names the PBackgroundData that will follow when not `complete` and no file
        final_url: UrlText
        status: HttpStatus
        content_type: LongText  # "": none was sent
        content_encoding: ShortText
        nosniff: bool
        inline: InlineBytes = b""
        complete: bool = False
        file: RegularFile | None = None

    class OnFailed(ToChild, once=True, after=Construct):
        """It may not be loaded, or could not be.  The parent knows why; the content process need not."""

        code: Name

    class Delete(Both):
        """Either side is done with it."""
