"""How soon a sandboxed child is ready, cold from its fork server and from the pool."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time

from bench.figures import Figure, median
from bench.parts import BWRAP, SYSTEM_PYTHON, make_runtime, without_native
from foxden.model.process_types import RemoteType

_ROUNDS = 40


async def _child_ready(runtime: object, type_name: str, remote: RemoteType | None) -> float:
    start = time.perf_counter()
    host = await runtime.launch(type_name, remote)  # type: ignore[attr-defined]
    elapsed = time.perf_counter() - start
    host.kill("measured")
    await host.ended
    return elapsed


def _peer() -> float:
    start = time.perf_counter()
    subprocess.run([*BWRAP, SYSTEM_PYTHON, "-I", "-S", "-c", "pass"], check=True, capture_output=True)
    return time.perf_counter() - start


async def measure() -> list[Figure]:
    if shutil.which("bwrap") is None:
        return []
    found = await _against_peer("", 0.45)
    with without_native():
        return found + (await _against_peer(", without the extension", 0.6))[:2]


async def _against_peer(words: str, bound: float) -> list[Figure]:
    """In turns, so that a busy moment meets both alike."""
    runtime = make_runtime({"dom.ipc.processPrelaunch.fission.number": 0})
    try:
        ours: list[float] = []
        peers: list[float] = []
        for place in range(_ROUNDS + 3):
            web = await _child_ready(runtime, "content", RemoteType.WEB)
            await asyncio.sleep(0.02)  # what the kernel does after a death is not the next child's time
            peer = await asyncio.to_thread(_peer)
            if place >= 3:
                ours.append(web)
                peers.append(peer)
        ratio = median([a / b for a, b in zip(ours, peers, strict=True)])
        pool = await _pool(runtime)
    finally:
        await runtime.close()
    against = "bwrap --unshare-all … python3 -I -S -c pass"
    taken = f"{against}: {median(peers) * 1e3:.1f} ms"
    return [
        Figure(f"child ready, all layers{words}", median(ours) * 1e3, "ms", against=taken),
        Figure(f"child ready, all layers / peer{words}", ratio, "x", bound, against=against),
        Figure("ready child from the pool", pool * 1e3, "ms", 1.0, against="one ping to it included"),
    ]


async def _pool(runtime: object) -> float:
    """Take a ready child and have it answer once."""
    documents, processes = runtime.documents, runtime.processes  # type: ignore[attr-defined]
    taken = []
    for _ in range(15):
        processes.keep_ready(documents.make_root, "content", RemoteType.WEB, 1)
        await asyncio.sleep(0.06)
        start = time.perf_counter()
        host = processes.take_ready("content", RemoteType.WEB)
        assert host is not None
        await host.ping(5)
        taken.append(time.perf_counter() - start)
        host.kill("measured")
        await host.ended
    return median(taken)
