# error: PBad.Then: after=First is not a message declared before it
from __future__ import annotations

from foxden.ipc.schema import Protocol, ToChild


class First(ToChild):
    pass


class PBad(Protocol, number=1, ends=("default", "any")):
    class Then(ToChild, after=First):
        pass
