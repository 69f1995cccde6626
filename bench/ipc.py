"""A message and its reply between two processes, against the socket under them."""

from __future__ import annotations

import os
import socket
import time

from bench.figures import Figure, median
from bench.parts import make_runtime
from foxden.ipc.aio import call
from foxden.ipc.pipe import make_endpoints, make_pair
from foxden.protocols.unittest import PIPDLUnitTest

_TIMES = 10_000
_ROUNDS = 7
_SIZE = 32  # bytes: what a small message of ours takes


def _floor() -> float:
    """Microseconds of one raw round trip between two Python processes."""
    ours, theirs = make_pair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _echo(theirs)
    theirs.close()
    data = bytes(_SIZE)
    start = time.perf_counter()
    for _ in range(_TIMES):
        ours.send(data)
        ours.recv(4096)
    elapsed = time.perf_counter() - start
    ours.close()
    os.waitpid(pid, 0)
    return elapsed / _TIMES * 1e6


def _echo(sock: socket.socket) -> None:
    while data := sock.recv(4096):
        sock.send(data)
    os._exit(0)


async def measure() -> list[Figure]:
    runtime = make_runtime({"dom.ipc.processPrelaunch.fission.number": 0})
    try:
        first = await runtime.launch("ipdlunittest")
        second = await runtime.launch("ipdlunittest")
        one, other = make_endpoints()
        first.root.send(PIPDLUnitTest.ConnectPeer(endpoint=one, side="parent"))
        second.root.send(PIPDLUnitTest.ConnectPeer(endpoint=other, side="child"))
        one.close()
        other.close()
        floors, peers, parents = [], [], []
        for _ in range(_ROUNDS):
            floors.append(_floor())
            reply = await call(first.root, PIPDLUnitTest.PingPeer(times=_TIMES))
            peers.append(reply.elapsed_ns / reply.answered / 1e3)
            asked = await call(first.root, PIPDLUnitTest.AskParent(times=_TIMES))
            parents.append(asked.elapsed_ns / _TIMES / 1e3)
    finally:
        await runtime.close()
    floor = median(floors)
    against = f"raw SEQPACKET between two Python processes: {floor:.1f} µs"
    return [
        Figure("round trip, child to child / floor", median(peers) / floor, "x", 2.0, against=against),
        Figure("sync message, child to parent's loop / floor", median(parents) / floor, "x", 2.0, against=against),
    ]
