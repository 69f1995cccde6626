# error: PBad: a top-level protocol has no constructor
from __future__ import annotations

from foxden.ipc.schema import Protocol, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Construct(ToChild):
        pass
