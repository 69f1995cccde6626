# error: expected bounds on an int, got none
from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from foxden.ipc.schema import Protocol, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        value: Annotated[int, Meta(ge=0)]
