# error: PBad.Take.inner: expected forbid_unknown_fields on Inner
from __future__ import annotations

import msgspec

from foxden.ipc.schema import Protocol, ToChild


class Inner(msgspec.Struct, frozen=True):
    given: bool


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        inner: Inner
