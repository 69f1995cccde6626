"""Making processes: the starter makes fork servers, a fork server makes children.

Ends: parent ↔ starter, parent ↔ fork server.  Both run no untrusted input and read no secret: what a child must
know travels over the child's own endpoint after the fork, never through these.
Source: Gecko's ForkServer.cpp (split of fork and exec info); clone3(2) CLONE_PARENT, CLONE_PIDFD.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from foxden.ipc.fields import Endpoint, Errno, Name, PidFd
from foxden.ipc.schema import Protocol, Reply, ToChild, ToParent

Pid = Annotated[int, Meta(ge=0, le=0x7FFF_FFFF)]
CloneFlags = Annotated[int, Meta(ge=0, le=0xFFFF_FFFF)]


class PStarter(Protocol, number=2, ends=("default", "forkserver")):
    """The starter: a small process made before anything else, which executes the fork servers."""

    class StartFamily(ToChild):
        """Execute a fork server of this family; it speaks PForkServer on `endpoint`."""

        family: Name
        endpoint: Endpoint

        class Returns(Reply):
            pid: Pid
            errno: Errno
            pidfd: PidFd | None = None


class PForkServer(Protocol, number=3, ends=("default", "forkserver")):
    """One family's fork server."""

    class Warm(ToParent, once=True):
        """Everything the family's children need is imported."""

    class Fork(ToChild):
        """Fork a child into new namespaces; it speaks its own protocol on `endpoint`."""

        flags: CloneFlags
        endpoint: Endpoint
        log: Endpoint | None = None

        class Returns(Reply):
            pid: Pid  # 0: the kernel refused, see errno
            errno: Errno
            pidfd: PidFd | None = None
