# error: Bad: expected a protocol name of the form PName
from __future__ import annotations

from foxden.ipc.schema import Protocol


class Bad(Protocol, number=1, ends=("default", "any")):
    pass
