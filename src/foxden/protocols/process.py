"""What every child speaks with the parent: launch, ready, ping, self-test, shutdown.

Ends: parent ↔ any child.  Trusts: the parent checks all that a child says; a child obeys its parent.
Source: GeckoChildProcessHost's launch phases; SandboxTestingChild for the probes.
"""

from typing import Annotated

from msgspec import Meta

from foxden.ipc.fields import ChildId, Errno, Listener, LongText, Name, ShortText, StackPipe, Token
from foxden.ipc.schema import Protocol, Reply, ToChild, ToParent
from foxden.model.enforcement import Enforcement
from foxden.sandbox.plan import SandboxPlan


class PChildProcess(Protocol, number=1, ends=("default", "any")):
    """The common part of every child's top-level protocol; a type with work of its own adds to it."""

    class Launch(ToChild, once=True):
        """Who you are, and the sandbox to put on before anything else is read."""

        child_id: ChildId
        process_type: Name
        remote_type: Name
        plan: SandboxPlan
        namespaces_given: bool  # False: the kernel refused the clone flags; the child says what is lost
        landlock_abi_limit: Annotated[int, Meta(ge=0, le=1000)] = 1000  # lower: act as on an older kernel
        temporary: ShortText = ""  # where the child's temporary files go; empty: it can make none
        steps: Annotated[bytes, Meta(max_length=16_384)] = b""  # the same as system calls, for the extension in C …
        steps_text: Annotated[bytes, Meta(max_length=4096)] = b""  # … and what they point to (sandbox/sequence)

    class Prepare(ToChild, once=True):
        """Before it is known what you will be: begin the root that every program of this user has.  Launch follows."""

        plan: SandboxPlan
        landlock_abi_limit: Annotated[int, Meta(ge=0, le=1000)] = 1000

    class Ready(ToParent, once=True, after=Launch):
        """The sandbox is on; this is what the kernel gave."""

        enforcement: Enforcement
        listener: Listener | None = None  # the filter's notifications; the parent gives it to the broker
        stacks: StackPipe | None = None  # the Python stacks that the broker asks for

    class LaunchFailed(ToParent, once=True, after=Launch):
        """A step of the launch failed; the child ends."""

        step: Name
        errno: Errno
        reason: ShortText

    class Ping(ToChild):
        """Are you there?  A child that does not answer in time is hung, and is ended."""

        token: Token

        class Returns(Reply):
            token: Token

    class RunProbe(ToChild):
        """Try one act of `launch/probes`, from inside the sandbox, and say what it got."""

        probe: Name
        argument: LongText = ""  # of what the act is tried on: a path, an address, a pid

        class Returns(Reply):
            succeeded: bool
            errno: Errno
            detail: ShortText

    class ReportBadPeer(ToParent):
        """Another child broke the protocol on an endpoint that this child holds.  The parent ends it."""

        child_id: ChildId
        error: ShortText

    class Shutdown(ToChild, once=True):
        """Finish and exit.  The end of the pipe says the same."""
