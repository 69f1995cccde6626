# error: PBad.Tell: sync is for messages to the parent that return something
from __future__ import annotations

from foxden.ipc.schema import Protocol, ToParent


class PBad(Protocol, number=1, ends=("default", "any")):
    class Tell(ToParent, sync="there is nothing to wait for"):
        pass
