# error: PBad: number 2 is PFirst's
from __future__ import annotations

from foxden.ipc.schema import Protocol, ToChild


class PTop(Protocol, number=1, ends=("default", "any")):
    pass


class PFirst(Protocol, number=2, manager=PTop, ends=("default", "any")):
    class Construct(ToChild):
        pass


class PBad(Protocol, number=2, manager=PTop, ends=("default", "any")):
    class Construct(ToChild):
        pass
