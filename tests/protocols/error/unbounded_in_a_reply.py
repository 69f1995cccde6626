# error: PBad.Ask.Returns.text: expected a length bound
from __future__ import annotations

from foxden.ipc.schema import Protocol, Reply, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Ask(ToChild):
        class Returns(Reply):
            text: str
