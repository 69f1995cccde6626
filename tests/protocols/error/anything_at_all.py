# error: PBad.Take.value: AnyType is not a type that messages may carry
from __future__ import annotations

from typing import Any

from foxden.ipc.schema import Protocol, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        value: Any
