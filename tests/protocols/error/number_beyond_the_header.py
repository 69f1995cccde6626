# error: PBad: expected a number that fits the header, 1-65535, got 65536
from __future__ import annotations

from foxden.ipc.schema import Protocol


class PBad(Protocol, number=65536, ends=("default", "any")):
    pass
