"""What the fork server does once, so that no socket process has to: imports, and code that imports as it first runs.

Runs in: the network family's fork server, before any fork and without any secret.  Trusts: the installed packages.
Flow: import → one unused transfer, one unused loop → everything closed again: no thread, no descriptor is left.
Source: launch/forkserver's rule for prewarm; encodings and asyncio import lazily.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pycurl

from foxden.children.socket import engine, name_services
from foxden.children.socket.resolver import Resolver, query_system
from foxden.protocols.network import NetworkSettings


def prewarm() -> None:
    """Exercise what the socket process will use.  Opens no connection, and asks nobody outside this machine."""
    name_services.preload()
    "".encode("idna")
    with contextlib.suppress(OSError):  # answered from the hosts file; loads the C library's own modules for it
        socket.getaddrinfo(b"localhost", None, socket.AF_UNSPEC, socket.SOCK_STREAM)
    pycurl.version_info()
    asyncio.run(_run_once())


async def _run_once() -> None:
    warm = engine.Engine(NetworkSettings())
    warm.release(warm.transfer())
    warm.close()
    Resolver(threads=1, cache_s=0, query=query_system).close()
