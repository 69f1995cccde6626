"""Process types whose work comes in a later version: they start locked, answer pings and probes, and stop.

Runs in: plugin, gmp, gpu, vr, rdd, broker.  Trusts: the parent.
Source: model/process_types, `working=False`.
"""

from __future__ import annotations

from foxden.ipc.schema import Side
from foxden.launch.child_main import ChildActor, ChildContext
from foxden.protocols.process import PChildProcess


class IdleChild(ChildActor, protocol=PChildProcess, side=Side.CHILD):
    """Nothing but what every child does."""


def prewarm() -> None:
    """Nothing is imported late."""


def main(process: ChildContext) -> None:
    process.start(IdleChild())
    process.loop.run()
