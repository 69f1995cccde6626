# error: PBad: a managed protocol needs a Construct message
from __future__ import annotations

from foxden.ipc.schema import Protocol


class PTop(Protocol, number=1, ends=("default", "any")):
    pass


class PBad(Protocol, number=2, manager=PTop, ends=("default", "any")):
    pass
