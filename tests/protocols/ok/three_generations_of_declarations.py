# a protocol adds to one that adds to one: numbers stay what they were
from __future__ import annotations

from foxden.ipc.schema import Protocol, ToChild, ToParent


class PBase(Protocol, number=1, ends=("default", "any")):
    class One(ToChild):
        pass


class PMiddle(PBase, number=2, ends=("default", "any")):
    class Two(ToParent):
        pass


class PLast(PMiddle, number=3, ends=("default", "any")):
    class Three(ToChild, after=PBase.One):
        pass
