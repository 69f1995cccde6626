"""Making processes: the starter makes fork servers, a fork server makes children.

Ends: parent ↔ starter, parent ↔ fork server.  Both run no untrusted input and read no secret: what a child must
know travels over the child's own endpoint after the fork, never through these.
Source: Gecko's ForkServer.cpp (split of fork and exec info); clone3(2) CLONE_PARENT, CLONE_PIDFD.
"""

from typing import Annotated

from msgspec import Meta

from foxden.ipc.fields import Endpoint, Errno, Name, PidFd, Stream
from foxden.ipc.schema import Protocol, Reply, ToChild
from foxden.sandbox.plan import SandboxPlan

Pid = Annotated[int, Meta(ge=0, le=0x7FFF_FFFF)]
Uid = Annotated[int, Meta(ge=0, le=0x7FFF_FFFF)]
CloneFlags = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]


class PStarter(Protocol, number=2, ends=("default", "forkserver")):
    """The starter: a small process made before anything else, which executes the fork servers."""

    class StartFamily(ToChild):
        """Execute a fork server of this family; it speaks PForkServer on `endpoint`."""

        family: Name
        endpoint: Endpoint
        log: Stream  # what the fork server writes to its standard output and error

        class Returns(Reply):
            pid: Pid
            errno: Errno
            pidfd: PidFd | None = None


class PForkServer(Protocol, number=3, ends=("default", "forkserver")):
    """One family's fork server."""

    class Init(ToChild, once=True):
        """The filter that this server puts on itself; all its children inherit it."""

        plan: SandboxPlan

    class Fork(ToChild, after=Init):
        """Fork a child into new namespaces; it speaks its own protocol on `endpoint`."""

        process_type: Name  # whose child module runs; the fork server takes only types of its family
        flags: CloneFlags  # CLONE_NEW* bits; 0: none
        endpoint: Endpoint
        log: Stream  # what the child writes to its standard output and error
        uid: Uid = 0  # a uid and gid for this child alone; 0: keep ours
        sees_libraries: bool = False  # it can load by itself what a child may want, so it need not wait for that …
        wants_late: bool = False  # … but of its own module's it will want it at once
        imports: bool = False  # … or will import modules at once, which want things themselves

        class Returns(Reply):
            pid: Pid  # 0: the kernel refused, see errno
            errno: Errno
            pidfd: PidFd | None = None
            kept_ids: Annotated[str, Meta(max_length=512)] = ""  # why the child keeps our ids, where others were asked
