"""How long a program takes that a den runs, while the den is warm: against bwrap, which starts the same program."""

from __future__ import annotations

import shutil
import subprocess
import time

import foxden
from bench.figures import Figure, median
from bench.parts import BWRAP

_ROUNDS = 60
_TRUE = "/bin/true"


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def measure() -> list[Figure]:
    """Interleaved, so that a busy moment meets both alike; a pause lets the pool fill, as between a user's calls."""
    if shutil.which("bwrap") is None:
        return []
    ours: list[float] = []
    peers: list[float] = []
    with foxden.Den(warm=("plugin", "broker")) as den:
        for place in range(_ROUNDS + 5):
            start = time.perf_counter()
            den.run([_TRUE]).check_returncode()
            elapsed = time.perf_counter() - start
            time.sleep(0.03)
            peer = _seconds([*BWRAP, _TRUE])
            if place >= 5:
                ours.append(elapsed)
                peers.append(peer)
    ratio = median([a / b for a, b in zip(ours, peers, strict=True)])
    against = "bwrap --unshare-all … /bin/true"
    return [
        Figure("run /bin/true, warm den", median(ours) * 1e3, "ms", against=f"{against}: {median(peers) * 1e3:.1f} ms"),
        Figure("run /bin/true, warm den / peer", ratio, "x", 1.0, against=against),
    ]
