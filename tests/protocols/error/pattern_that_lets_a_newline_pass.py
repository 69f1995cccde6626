# error: expected a pattern that ends in \Z
from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from foxden.ipc.schema import Protocol, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        value: Annotated[str, Meta(max_length=4, pattern="^[a-z]*$")]
