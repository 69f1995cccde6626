# error: PBad.Ask: sync is for messages to the parent
from __future__ import annotations

from foxden.ipc.schema import Both, Protocol, Reply


class PBad(Protocol, number=1, ends=("default", "any")):
    class Ask(Both, sync="two that wait for each other wait for ever"):
        class Returns(Reply):
            pass
