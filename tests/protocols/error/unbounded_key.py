# error: PBad.Take.value keys: expected a length bound
from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from foxden.ipc.schema import Protocol, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        value: Annotated[dict[str, bool], Meta(max_length=4)]
