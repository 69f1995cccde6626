"""Many children: 200 in a burst, then 10,000 one after the other; and a million calls of a function.

What is left of them is counted: nothing may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import NamedTuple

import foxden
from bench.figures import Figure
from foxden.model.process_types import RemoteType
from foxden.observe.memory import memory_bytes

_BURST, _SOAK, _WARM = 200, 10_000, 300
_CALLS, _CHUNK, _ROUND, _SINGLE = 1_000_000, 500, 50_000, 20_000


class Held(NamedTuple):
    """What this process and its children hold."""

    processes: int
    descriptors: int
    mounts: int
    files: int
    memory: int


def _held() -> Held:
    temporary = os.environ.get("TMPDIR", "/tmp")
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        mounts = len(table.readlines())
    own = [name for name in os.listdir(temporary) if name.startswith("foxden")]
    return Held(len(_children()), len(os.listdir("/proc/self/fd")), mounts, len(own), memory_bytes(os.getpid()))


def _children() -> list[str]:
    found = []
    for thread in os.listdir("/proc/self/task"):
        path = f"/proc/self/task/{thread}/children"
        with contextlib.suppress(FileNotFoundError), open(path, encoding="ascii") as file:  # it may end meanwhile
            found += file.read().split()
    return found


async def _burst(den: foxden.Den) -> float:
    runtime = den._runtime
    start = time.perf_counter()
    hosts = await asyncio.gather(*(runtime.launch("content", RemoteType.WEB) for _ in range(_BURST)))
    elapsed = time.perf_counter() - start
    for host in hosts:
        host.kill("measured")
    await asyncio.wait([host.ended for host in hosts])
    return elapsed


def _same(value: int) -> int:
    return value


def _call(pool: foxden.SandboxExecutor, calls: int, singly: int) -> None:
    for start in range(0, calls, _ROUND):
        for value, found in enumerate(pool.map(_same, range(start, start + _ROUND), chunksize=_CHUNK), start):
            assert value == found
    for value in range(singly):
        assert pool.submit(_same, value).result() == value


def _million_calls() -> list[Figure]:
    with foxden.SandboxExecutor(max_workers=2) as pool:
        _call(pool, 2 * _ROUND, 1000)
        time.sleep(1)
        before = _held()
        start = time.perf_counter()
        _call(pool, _CALLS, _SINGLE)
        took = time.perf_counter() - start
        time.sleep(1)
        after = _held()
    name = f"after {_CALLS + _SINGLE} calls"
    return [
        Figure(f"{_CALLS + _SINGLE} calls", took, "s", against=f"{_SINGLE} of them one by one"),
        Figure(f"processes more {name}", after.processes - before.processes, "", 0),
        Figure(f"descriptors more {name}", after.descriptors - before.descriptors, "", 0),
        Figure(f"files more {name}", after.files - before.files, "", 0),
        Figure(f"memory more {name}", (after.memory - before.memory) / (1 << 20), "MiB", 4),
    ]


def measure() -> list[Figure]:
    return [*_programs(), *_million_calls()]


def _programs() -> list[Figure]:
    begun = _held()  # other parts of the same run may have left something: multiprocessing its resource tracker
    with foxden.Den(warm=("plugin", "broker", "web")) as den:
        for _ in range(_WARM):
            den.run(["/bin/true"])
        den._run(_burst(den))  # what is made once, when the first child asks for it: the folder of temporary files
        time.sleep(1)
        before = _held()
        burst_s = den._run(_burst(den))
        start = time.perf_counter()
        for _ in range(_SOAK):
            den.run(["/bin/true"])
        each_ms = (time.perf_counter() - start) / _SOAK * 1e3
        time.sleep(6)  # what is remembered of a child for a moment after its end
        after = _held()
    left = _held()
    return [
        Figure(f"{_BURST} children in a burst", burst_s * 1e3 / _BURST, "ms", against="each"),
        Figure(f"{_SOAK} programs in a row", each_ms, "ms", against="each"),
        Figure("processes more after the soak", after.processes - before.processes, "", 0),
        Figure("descriptors more after the soak", after.descriptors - before.descriptors, "", 0),
        Figure("mounts more after the soak", after.mounts - before.mounts, "", 0),
        Figure("files more after the soak", after.files - before.files, "", 0),
        Figure("memory more after the soak", (after.memory - before.memory) / (1 << 20), "MiB", 4),
        Figure("processes left by the den", left.processes - begun.processes, "", 0),
    ]
