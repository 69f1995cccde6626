# error: PBad.Ask.Returns: expected a subclass of Reply
from __future__ import annotations

from foxden.ipc.schema import Protocol, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Ask(ToChild):
        class Returns:
            pass
