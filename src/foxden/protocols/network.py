"""The socket process: transactions of the parent's channels, look-ups, and bridges that carry bodies.

Ends: parent ↔ socket process; socket process ↔ content process (or the parent's own reader) over a bridge.
Trusts: the parent decides where a connection may go; the socket process has no opinion of its own, and there
is no message "open any connection".
Source: Gecko's PSocketProcess, PHttpTransaction, PBackgroundDataBridge; facts of the seed document.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from foxden.ipc.fields import (
    ChannelId,
    ChildId,
    Endpoint,
    HostName,
    HttpStatus,
    InlineBytes,
    IpText,
    Microseconds,
    Name,
    Payload,
    Port,
    Seconds,
    SharedMemory,
    ShortText,
    Size,
    UrlText,
)
from foxden.ipc.header_fields import Headers
from foxden.ipc.schema import Protocol, Reply, ToChild, ToParent
from foxden.model.addresses import AddressSpace
from foxden.protocols.process import PChildProcess

Method = Annotated[str, Meta(min_length=1, max_length=32, pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")]
DnsMilliseconds = Annotated[int, Meta(ge=0, le=86_400_000)]


class NetworkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Preferences that the socket process needs; the parent reads them, it never does."""

    dns_threads: Annotated[int, Meta(ge=1, le=64)] = 8
    dns_cache_s: Seconds = 60.0
    connect_timeout_s: Seconds = 30.0
    max_connections_per_host: Annotated[int, Meta(ge=1, le=256)] = 6
    max_connections: Annotated[int, Meta(ge=1, le=4096)] = 256
    http2: bool = True
    certificates: Annotated[str, Meta(max_length=4096)] = ""  # path of the authorities' file inside its root


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where one transaction may connect to.  Judged on the resolved address, for each connection it makes."""

    spaces: Annotated[tuple[AddressSpace, ...], Meta(max_length=8)] = (AddressSpace.PUBLIC,)
    addresses: Annotated[tuple[IpText, ...], Meta(max_length=8)] = ()  # allowed whatever their space: named


class NetOutcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an exchange ended.  `code`: NS_OK, or a name of `model/network_errors`."""

    code: Name
    detail: ShortText = ""

    @property
    def ok(self) -> bool:
        return self.code == "NS_OK"


class Timing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Microseconds since the transaction began; 0 where there was no such step (a reused connection)."""

    dns_us: Microseconds = 0
    connect_us: Microseconds = 0
    tls_us: Microseconds = 0
    first_byte_us: Microseconds = 0
    total_us: Microseconds = 0


class Finished(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be said of an exchange that ended well."""

    received_bytes: Size
    timing: Timing


class PSocketProcess(PChildProcess, number=4, ends=("default", "socket")):
    """The parent's hold on the network."""

    class Init(ToChild, once=True):
        settings: NetworkSettings

    class InitBridge(ToChild):
        """Give this process one end of a bridge; the child (0: the parent itself) has the other."""

        child_id: ChildId
        endpoint: Endpoint

    class Resolve(ToChild):
        """Look a name up for the parent: blocking look-ups run in the thread pool."""

        host: HostName

        class Returns(Reply):
            outcome: NetOutcome
            addresses: Annotated[tuple[IpText, ...], Meta(max_length=64)] = ()

    class GetSocketData(ToChild):
        """For `about:networking` and `ps`: what is open now."""

        class Returns(Reply):
            transactions: Size
            connections: Size
            received_bytes: Size


class PHttpTransaction(Protocol, number=5, manager=PSocketProcess, ends=("default", "socket"), max_live=4096):
    """One exchange on the network: request out, head and outcome back.  Bytes go inline, or by a bridge.

    One hop only: a redirect comes back as a head, and the parent makes another transaction or does not.
    """

    class Construct(ToChild):
        channel_id: ChannelId
        method: Method
        url: UrlText
        headers: Headers
        access: Access
        body: Payload | None = None
        timeout_s: Seconds = 60.0  # whole exchange; 0: none
        idle_timeout_s: Seconds = 30.0  # without a byte received
        max_header_bytes: Size = 262_144
        max_body_bytes: Size = 1 << 30

    class OnStart(ToParent, once=True, after=Construct):
        """The final response head (1xx are passed over), and the start of the body.

        `finished`: it ended well and `inline` is the whole body; the actor ends on both sides with this message, and
        there is no OnStop and no Delete.
        """

        status: HttpStatus
        http_version: Name
        headers: Headers
        remote: IpText
        remote_port: Port
        inline: InlineBytes = b""
        finished: Finished | None = None

    class StartDelivery(ToChild, once=True, after=OnStart):
        """What is not inline goes over the bridge of this child, as PBackgroundData of this channel."""

        child_id: ChildId

    class OnStop(ToParent, once=True, after=Construct):
        """The exchange has ended, well or not.  Without an OnStart before it, no head ever came."""

        outcome: NetOutcome
        received_bytes: Size
        timing: Timing

    class Delete(ToChild):
        """Cancel if it still runs; let go of it."""


class PSocketProcessBridge(Protocol, number=6, ends=("socket", "any")):
    """Top-level between the socket process and the one that reads bodies.  It can ask for nothing here."""


class PBackgroundData(Protocol, number=7, manager=PSocketProcessBridge, ends=("socket", "any"), max_live=4096):
    """One body.  Bytes lie in a ring that the reader maps read-only; positions travel in these messages."""

    class Construct(ToChild):
        channel_id: ChannelId
        ring: SharedMemory

    class OnData(ToChild):
        """The next `count` bytes are in the ring."""

        count: Annotated[int, Meta(ge=1, le=1 << 26)]

    class OnStop(ToChild, once=True):
        outcome: NetOutcome
        received_bytes: Size  # of the whole body, inline start included

    class Consumed(ToParent):
        """The reader is done with `count` bytes: they may be overwritten."""

        count: Annotated[int, Meta(ge=1, le=1 << 26)]

    class Delete(ToParent):
        """The reader is done, or wants no more."""
