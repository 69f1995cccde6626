"""What going through the socket process costs: a small page, and a large body on its way to a content process."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.support.pki import Pki
from tests.support.servers import Nginx

from bench.figures import Figure, median
from bench.parts import authority, make_runtime
from bench.peer_client import Client
from foxden.model.sinks import LoadSink

_SMALL, _LARGE = 1024, 256 << 20
_REQUESTS = 2000
_ROUNDS = 5


async def measure() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="foxden-bench-") as folder:
        root = Path(folder)
        (root / "small").write_bytes(b"x" * _SMALL)
        with (root / "large").open("wb") as large:
            large.truncate(_LARGE)
        root.chmod(0o755)
        (root / "pki").mkdir()
        pki = Pki(root / "pki")
        with Nginx(root, tls=pki.valid, http2=True) as server, authority(pki.authority_file):
            return [*await _small(server), *await _large(server, pki)]


async def _small(server: Nginx) -> list[Figure]:
    runtime = make_runtime({"dom.ipc.processPrelaunch.fission.number": 0})
    client = Client()
    overheads, direct_medians = [], []
    try:
        for _ in range(_ROUNDS):
            direct, mediated = [], []
            for _ in range(_REQUESTS // 100):
                direct += [await client.get(f"{server.http}/small") for _ in range(100)]
                for _ in range(100):
                    start = time.perf_counter()
                    reply = await runtime.loads.fetch(f"{server.http}/small", timeout_s=30)
                    mediated.append(time.perf_counter() - start)
                    assert len(reply.body) == _SMALL
            overheads.append((median(mediated) - median(direct)) * 1e6)
            direct_medians.append(median(direct) * 1e6)
    finally:
        client.close()
        await runtime.close()
    against = f"the same client in one process: {median(direct_medians):.0f} µs"
    return [Figure("1 KiB fetch, overhead of the socket process", median(overheads), "µs", 150, against=against)]


async def _large(server: Nginx, pki: Pki) -> list[Figure]:
    runtime = make_runtime({"dom.ipc.processPrelaunch.fission.number": 0})
    client = Client(pki.authority_file)
    ratios, speeds = [], []
    try:
        for place in range(_ROUNDS + 1):
            direct = await client.get(f"{server.https}/large")
            start = time.perf_counter()
            shown = await runtime.loads.open(f"{server.https}/large", timeout_s=120, sink=LoadSink.MEASURE)
            mediated = time.perf_counter() - start
            assert shown.received_bytes == _LARGE
            if place:  # the first round starts the processes
                ratios.append(direct / mediated)
                speeds.append(_LARGE / mediated / 1e6)
    finally:
        client.close()
        await runtime.close()
    against = "the same client in one process, body dropped"
    return [
        Figure("https 256 MiB body to content / one process", median(ratios), "x", 0.6, at_least=True, against=against),
        Figure("https 256 MiB body to content", median(speeds), "MB/s", against=against),
    ]
