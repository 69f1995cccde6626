# error: PBad.Take.things[]: CustomType is not a type that messages may carry
from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from foxden.ipc.fields import RegularFile
from foxden.ipc.schema import Protocol, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        things: Annotated[tuple[RegularFile, ...], Meta(max_length=2)] = ()
