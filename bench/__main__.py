"""`make bench`: measure, print the table, write results.json.  Exit 1 when a bound is missed."""

from __future__ import annotations

import asyncio
import inspect
import sys

from bench import broker, cold, executor, figures, ipc, launch, memory, network, run, soak, warm

_PARTS = {
    "launch": launch, "warm": warm, "broker": broker, "ipc": ipc, "network": network, "cold": cold, "memory": memory,
    "run": run, "executor": executor, "soak": soak,
}  # fmt: skip


def main(names: list[str]) -> int:
    """Measure the named parts, all by default."""
    found: list[figures.Figure] = []
    for name in names or list(_PARTS):
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        measure = _PARTS[name].measure
        found += asyncio.run(measure()) if inspect.iscoroutinefunction(measure) else measure()  # type: ignore[operator]
    print(figures.table(found))
    if not names:
        figures.write(found)
    return 1 if any(figure.holds is False for figure in found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
