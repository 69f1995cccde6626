# error: a struct that contains itself has no bound
from __future__ import annotations

import msgspec

from foxden.ipc.schema import Protocol, ToChild


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    inner: Node | None = None


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        node: Node
