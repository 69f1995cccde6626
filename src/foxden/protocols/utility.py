"""The utility process: functions in a box.  Calls go down as pickle, results come up as data.

Ends: parent ↔ utility, twice: PUtility on the child's own pipe, for its life; PTasks on an endpoint of its own, for
calls, so that a thread of the executor can serve it without passing through the den's loop.
Trusts: the child unpickles what its parent sent, and nothing else does; the parent builds data only (ipc/values).
Source: PUtilityProcess of Gecko; concurrent.futures.
"""

from typing import Annotated

from msgspec import Meta

from foxden.ipc.fields import (
    Endpoint,
    FrozenMemory,
    InlineBytes,
    LargePayload,
    LentMemory,
    LongText,
    Name,
    Payload,
    ShortText,
    Size,
    Token,
)
from foxden.ipc.schema import Protocol, Reply, ToChild, ToParent
from foxden.protocols.process import PChildProcess

FolderName = Annotated[str, Meta(max_length=4096)]
FileNames = Annotated[tuple[Annotated[str, Meta(max_length=255)], ...], Meta(max_length=1024)]
TypeName = Annotated[str, Meta(max_length=1024)]
EnvironmentText = Annotated[str, Meta(max_length=32_768)]
Part = tuple[Size, Size, bool]  # place and length in the lent memory; may the function write there?
FunctionNumber = Annotated[int, Meta(ge=0, le=16)]  # 0: none
Chunk = tuple[Token, InlineBytes]  # the number of the call, and its pickle


class ResultTokens(Payload):
    """A result without its buffers."""

    limit = 256 << 20
    __slots__ = ()


class PUtility(PChildProcess, number=16, ends=("default", "utility")):
    """A worker's life: made ready once, then it serves PTasks."""

    class Init(ToChild, once=True):
        """What functions will find, and the endpoint that their calls come on.  Answered when the worker is ready.

        It may be sent before the child is ready: what it got is judged by itself, too.
        """

        tasks: Endpoint
        path: Annotated[tuple[FolderName, ...], Meta(max_length=1024)]  # sys.path
        names: Annotated[dict[FolderName, FileNames], Meta(max_length=1024)]  # in those that are not listed
        environment: Annotated[dict[EnvironmentText, EnvironmentText], Meta(max_length=1024)]
        preload: Annotated[tuple[Name, ...], Meta(max_length=256)]  # modules
        returns: Annotated[tuple[TypeName, ...], Meta(max_length=1024)]  # types that results may hold
        max_result: Size  # bytes
        initializer: LargePayload | None = None  # pickle of (function, arguments)
        accepted: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()  # layers that may be missing
        folder: FolderName = "/"  # that functions begin in

        class Returns(Reply):
            problem: LongText = ""  # empty: it is ready
            trace: LongText = ""


class PTasks(Protocol, number=18, ends=("default", "utility")):
    """Calls, one at a time."""

    class Lend(ToChild):
        """Memory that the buffers of the calls from now on lie in.  What was lent before is given back."""

        memory: LentMemory

    class Define(ToChild):
        """A pickle of the function of the Runs that say this number, until there is another with it."""

        function: FunctionNumber
        work: LargePayload

    class Run(ToChild):
        """Call a function: pickle of (function, arguments, keywords); with `each`, of (function, columns): one list
        of the first arguments of many calls, one of the second …  With the number of a function, that is the one, and
        it is not in the pickle.

        The pickle is `work`, or the first of the parts where it is long; the other parts are its buffers, in order.
        """

        call: Token
        work: InlineBytes
        parts: Annotated[tuple[Part, ...], Meta(max_length=4096)] = ()
        each: bool = False
        function: FunctionNumber = 0

    class RunChunks(ToChild):
        """Some Runs with `each`, one after the other; each is answered by itself, before the next begins."""

        chunks: Annotated[tuple[Chunk, ...], Meta(min_length=1, max_length=16)]
        function: FunctionNumber = 0

    class Returned(ToParent):
        """The function returned this, which is small.  No descriptor rides along: most calls end so."""

        call: Token
        value: InlineBytes
        kept: bool = False  # something still refers to the lent memory: it cannot be used again

    class Finished(ToParent):
        """The function returned this, which is large, or has buffers."""

        call: Token
        value: ResultTokens
        buffers: FrozenMemory | None = None
        kept: bool = False

    class Failed(ToParent):
        """The function raised this, or what it returned is no data."""

        call: Token
        error: ResultTokens
        kept: bool = False

    class Refused(ToParent):
        """The call could not be taken in: its pickle failed to load.  Nothing of the function has run."""

        call: Token
        error: ResultTokens
        reason: ShortText
        kept: bool = False
