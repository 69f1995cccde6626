# each type that a message may carry, bounded
from __future__ import annotations

import enum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from foxden.ipc.fields import Endpoint, LargePayload, Payload, PidFd, RegularFile, SharedMemory
from foxden.ipc.schema import Protocol, ToChild


class Colour(enum.Enum):
    RED = "red"


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    level: Annotated[int, Meta(gt=0, lt=9)]


class PFields(Protocol, number=1, ends=("default", "any")):
    class Take(ToChild):
        yes: bool
        colour: Colour
        word: Literal["a", "b"]
        ratio: float
        text: Annotated[str, Meta(max_length=9, pattern=r"^[a-z]*\Z")]
        raw: Annotated[bytes, Meta(max_length=9)]
        inner: Inner | None
        items: Annotated[tuple[Inner, ...], Meta(max_length=2)]
        pair: tuple[bool, Inner]
        table: Annotated[dict[Annotated[str, Meta(max_length=2)], bool], Meta(max_length=2)]
        endpoint: Endpoint
        file: RegularFile
        pid: PidFd | None
        memory: SharedMemory
        body: Payload
        content: LargePayload | None = None
