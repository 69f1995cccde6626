# error: PBad.Take.pair.file: CustomType is not a type that messages may carry
from __future__ import annotations

import msgspec

from foxden.ipc.fields import RegularFile
from foxden.ipc.schema import Protocol, ToChild


class Pair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    file: RegularFile


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        pair: Pair
