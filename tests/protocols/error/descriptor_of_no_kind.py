# error: PBad.Take.thing: expected a kind of descriptor, got Descriptor itself
from __future__ import annotations

from foxden.ipc.fields import Descriptor
from foxden.ipc.schema import Protocol, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        thing: Descriptor | None = None
