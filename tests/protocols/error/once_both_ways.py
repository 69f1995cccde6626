# error: PBad.Greet: once is for one direction
from __future__ import annotations

from foxden.ipc.schema import Both, Protocol


class PBad(Protocol, number=1, ends=("default", "any")):
    class Greet(Both, once=True):
        pass
