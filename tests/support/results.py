"""Results there and back in one process, as worker and parent would make them of each other."""

from __future__ import annotations

from typing import Any

from foxden.ipc.value_decode import decode_value
from foxden.ipc.value_encode import Encoded, encode_value
from foxden.ipc.values import ALIGNMENT


def memory_of(encoded: Encoded) -> bytearray:
    memory, place = bytearray(encoded.size), 0
    for part in encoded.buffers:
        memory[place : place + part.nbytes] = part.cast("B")
        place += -(-part.nbytes // ALIGNMENT) * ALIGNMENT
    return memory


def back(value: Any, limit: int = 1 << 28) -> Any:
    encoded = encode_value(value, limit=limit)
    return decode_value(encoded.data, memoryview(memory_of(encoded)), {})
