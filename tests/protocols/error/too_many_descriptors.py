# error: PBad.Take: expected at most 8 descriptors, got 9
from __future__ import annotations

from foxden.ipc.fields import PidFd, RegularFile
from foxden.ipc.schema import Protocol, ToChild


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        one: RegularFile
        two: RegularFile
        three: RegularFile
        four: RegularFile
        five: RegularFile
        six: RegularFile
        seven: RegularFile
        eight: RegularFile
        nine: PidFd | None = None
