"""The broker: the parent says whose calls it answers and by which rules; it says what it refused.

Ends: parent ↔ broker.  Trusts: the parent checks all that the broker says, for it reads hostile memory all day; the
broker believes its parent, and no child.
Source: Gecko's SandboxBroker (operations, permissions); seccomp_unotify(2).
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from foxden.ipc.fields import ChildId, Errno, Listener, Name, Seconds, ShortText, Size, StackPipe, Token
from foxden.ipc.schema import Reply, ToChild, ToParent
from foxden.protocols.process import PChildProcess

PathText = Annotated[str, Meta(min_length=1, max_length=4096)]  # surrogateescape: a path is bytes
Pid = Annotated[int, Meta(ge=0, le=0x7FFF_FFFF)]
CallNumber = Annotated[int, Meta(ge=0, le=0xFFFF)]
AccessBits = Annotated[int, Meta(ge=0, le=255)]  # paths.Access
Argument = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]  # 64 bits, as a signed number
_Frame = Annotated[str, Meta(max_length=512)]


class Rule(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`paths.FileRule`, on its way."""

    path: PathText
    access: AccessBits


class Protected(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Names below `tree` that may be read and never made, changed, removed or replaced, whether they exist or not."""

    tree: PathText
    names: Annotated[tuple[PathText, ...], Meta(max_length=64)]  # relative, of one component or several; `*` within one


Rules = Annotated[tuple[Rule, ...], Meta(max_length=1024)]
ProtectedTrees = Annotated[tuple[Protected, ...], Meta(max_length=64)]


class PBroker(PChildProcess, number=15, ends=("default", "broker")):
    """The broker process: one for all children of a den."""

    class Attach(ToChild):
        """Answer the calls of one more child, until its last thread has ended or Detach comes."""

        child_id: ChildId
        listener: Listener
        # Call number → errno for what is refused.  What is not here is refused with ENOSYS.
        errnos: Annotated[dict[CallNumber, Errno], Meta(max_length=1024)]
        stacks: StackPipe | None = None
        view: Literal["host", "child"] = "host"  # whose paths the rules speak of: see docs/concepts/broker.md
        rules: Rules = ()
        protected: ProtectedTrees = ()
        ask: bool = False  # ask the parent before a file is refused
        ask_timeout_s: Seconds = 30.0  # no answer within it is a no
        everything: bool = False  # tell of what is granted, too
        show_ancestors: bool = False  # directories above what is granted may be looked at: they, not what lies in them
        folder: Annotated[str, Meta(max_length=4096)] = ""  # that it begins in; empty: where the kernel says
        temporary: Annotated[str, Meta(max_length=4096)] = ""  # its own folder of temporary files; empty: it has none
        shared_memory: Annotated[str, Meta(max_length=4096)] = ""  # what /dev/shm is to it; empty: what it is

    class SetRules(ToChild):
        """These rules and no others, from the reply on.  What a child has open stays open."""

        child_id: ChildId
        rules: Rules
        protected: ProtectedTrees = ()

        class Returns(Reply):
            served: bool  # False: this child is gone

    class Detach(ToChild):
        """Answer this child no more: all it asks for gets ENOSYS from the kernel."""

        child_id: ChildId

    class Answer(ToChild):
        """The parent's decision on an OnAsk."""

        token: Token
        allow: bool

    class OnAct(ToParent):
        """Something that a child tried: refused, or granted where everything is told.  Text is the child's own."""

        child_id: ChildId
        pid: Pid
        granted: bool
        operation: Name  # open, stat …; empty: not an operation on a file
        syscall: CallNumber
        args: Annotated[tuple[Argument, ...], Meta(max_length=6)]
        path: Annotated[str, Meta(max_length=4096)] = ""
        access: AccessBits = 0  # what the operation needs
        errno: Errno = 0
        stack: Annotated[tuple[_Frame, ...], Meta(max_length=64)] = ()
        count: Annotated[int, Meta(ge=1, le=(1 << 53) - 1)] = 1
        detail: ShortText = ""  # why, where it is not the rules that say no

    class OnAsk(ToParent):
        """May this child do this?  It waits; no answer within a bound is a no."""

        token: Token
        child_id: ChildId
        pid: Pid
        operation: Name
        path: PathText
        access: AccessBits

    class OnDetached(ToParent):
        """All threads of this child have ended, or Detach was heard: what was counted, and not told one by one."""

        child_id: ChildId
        served: Size
        refused: Size
        untold: Size  # refused beyond what may be told in a second

    class Tell(ToChild):
        """Tell now what is told late: equal refusals are counted for a second.  The reply comes after them."""

        class Returns(Reply):
            """Nothing."""
