# error: PBad.Say: recv_say is another message's
from __future__ import annotations

from foxden.ipc.schema import Protocol, ToChild


class PBase(Protocol, number=1, ends=("default", "any")):
    class Say(ToChild):
        pass


class PBad(PBase, number=2, ends=("default", "any")):
    class Say(ToChild):
        pass
