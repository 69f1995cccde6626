# error: PBad.Say: is POther.Say: declare one of its own
from __future__ import annotations

from foxden.ipc.schema import Protocol, ToChild


class POther(Protocol, number=1, ends=("default", "any")):
    class Say(ToChild):
        pass


class PBad(Protocol, number=2, ends=("default", "any")):
    Say = POther.Say
