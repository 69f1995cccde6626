# error: PBad.Ask: sync is for messages to the parent
from __future__ import annotations

from foxden.ipc.schema import Protocol, Reply, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Ask(ToChild, sync="a parent that waits for a child can be stopped by it"):
        class Returns(Reply):
            pass
