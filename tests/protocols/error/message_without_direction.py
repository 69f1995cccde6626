# error: PBad.Say: expected a base of ToParent, ToChild or Both
from __future__ import annotations

from foxden.ipc.schema import Message, Protocol


class PBad(Protocol, number=1, ends=("default", "any")):
    class Say(Message):
        pass
