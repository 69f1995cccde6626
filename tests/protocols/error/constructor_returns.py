# error: PBad.Construct: a constructor or destructor returns nothing
from __future__ import annotations

from foxden.ipc.schema import Protocol, Reply, ToChild


class PTop(Protocol, number=1, ends=("default", "any")):
    pass


class PBad(Protocol, number=2, manager=PTop, ends=("default", "any")):
    class Construct(ToChild):
        class Returns(Reply):
            pass
