# error: expected a bound on the number of items, got none
from __future__ import annotations

from foxden.ipc.schema import Protocol, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        value: tuple[bool, ...]
