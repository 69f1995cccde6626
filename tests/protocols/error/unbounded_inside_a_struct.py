# error: PBad.Take.inner.text: expected a length bound
from __future__ import annotations

import msgspec

from foxden.ipc.schema import Protocol, ToChild


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str


class PBad(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        inner: Inner | None = None
