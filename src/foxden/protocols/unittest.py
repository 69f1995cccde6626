"""The IPDLUnitTest process: exists to drive the IPC layer from both ends.

Ends: parent ↔ ipdlunittest; ipdlunittest ↔ ipdlunittest over an endpoint pair made by the parent.
Source: Gecko's process type of that name (ipc/ipdl/test).
"""

from typing import Annotated, Literal

from msgspec import Meta

from foxden.ipc.fields import Endpoint, LargePayload, Name, Payload, RegularFile, SharedMemory, ShortText, Size, Token
from foxden.ipc.schema import Both, Protocol, Reply, ToChild, ToParent
from foxden.protocols.process import PChildProcess

Crash = Literal["abort", "exit", "hang", "segv", "raise"]


class PIPDLUnitTest(PChildProcess, number=30, ends=("default", "ipdlunittest")):
    """Every kind of message once, each way."""

    class Echo(ToChild):
        """Async with a reply, to the child."""

        payload: LargePayload

        class Returns(Reply):
            payload: LargePayload

    class AskParent(ToChild):
        """Makes the child send `Compute` (sync) `times` times; returns the last answer."""

        times: Annotated[int, Meta(ge=0, le=10_000_000)]

        class Returns(Reply):
            total: Token
            elapsed_ns: Token

    class Compute(ToParent, sync="the test of sync messages: the child blocks until the parent has answered"):
        value: Token

        class Returns(Reply):
            value: Token

    class Tell(ToParent):
        """Async without a reply, to the parent."""

        text: ShortText

    class Repeat(ToChild):
        """Makes the child `Tell` this text `times` times."""

        text: ShortText
        times: Annotated[int, Meta(ge=0, le=1_000_000)]

    class First(ToChild, once=True):
        """May be sent once."""

    class Second(ToChild, after=First):
        """May be sent only after First."""

    class SendFile(ToChild):
        """A descriptor down: the child returns how much it could read."""

        file: RegularFile
        body: Payload | None = None

        class Returns(Reply):
            size: Size
            body_size: Size

    class GetMemory(ToChild):
        """A descriptor up: the child makes shared memory of this size, filled with its last byte."""

        size: Annotated[int, Meta(ge=1, le=1 << 28)]

        class Returns(Reply):
            memory: SharedMemory

    class ConnectPeer(ToChild):
        """One end of a pair whose other end another test process has; this one speaks as `side`."""

        endpoint: Endpoint
        side: Literal["parent", "child"]

    class PingPeer(ToChild):
        """Makes the child call its peer `times` times."""

        times: Annotated[int, Meta(ge=1, le=10_000_000)]

        class Returns(Reply):
            answered: Size
            elapsed_ns: Token

    class SendRaw(ToChild):
        """Makes the child put these bytes on its pipe as they are, with `descriptors` descriptors: for attacks."""

        packet: Payload
        descriptors: Annotated[int, Meta(ge=0, le=253)] = 0

    class Die(ToChild):
        """Makes the child end in this way."""

        how: Crash


class PTestActor(Protocol, number=31, manager=PIPDLUnitTest, ends=("default", "ipdlunittest"), max_live=100):
    """A managed actor that either side may construct, and that may itself manage."""

    class Construct(Both):
        label: Name

    class Say(Both):
        text: ShortText

    class Grow(ToChild):
        """Makes the child construct a PTestLeaf under this actor."""

        label: Name

    class Delete(Both):
        reason: ShortText = ""


class PTestLeaf(Protocol, number=32, manager=PTestActor, ends=("default", "ipdlunittest"), max_live=10):
    """An actor of the third generation: dies with its manager."""

    class Construct(Both):
        label: Name

    class Delete(Both):
        """Ends it."""


class PTestBridge(Protocol, number=33, ends=("ipdlunittest", "ipdlunittest")):
    """Top-level between two test processes."""

    class Ping(ToChild):
        token: Token

        class Returns(Reply):
            token: Token
