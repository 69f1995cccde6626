# error: PBad.Take.value: DateTimeType is not a type that messages may carry
from __future__ import annotations

from datetime import datetime

from foxden.ipc.schema import Protocol, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        value: datetime
