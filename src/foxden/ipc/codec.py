"""Messages to packets and back: a fixed header of twelve bytes, then msgpack of one bounded struct.

Runs in: every process; pure.  Trusts: its own side's messages; nothing of a packet.
Flow: message → `encode` → (packet, descriptors);  packet → `parse_header` → `decode_body` → message or BadMessage.
Source: docs/concepts/ipc.md "A packet"; msgpack specification.

    offset  0  u32  actor      the actor that receives (for CONSTRUCT: the manager)
            4  u32  serial     CALL and REPLY: ties the two together; CONSTRUCT: the new actor's id
            8  u16  message    number of the message in its protocol (for CONSTRUCT: number of the protocol)
           10  u8   kind       Kind
           11  u8   descriptors riding along
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from functools import cache
from struct import Struct
from typing import Any

import msgspec

from foxden.errors import BadMessage, ProtocolMisuse
from foxden.ipc.fields import INLINE_MAX, MAX_DESCRIPTORS, Descriptor, Payload
from foxden.ipc.schema import Message, Reply

MAX_PACKET = 2 * INLINE_MAX  # bytes; the default socket buffer of Linux holds one such packet
_HEADER = Struct("<IIHBB")
HEADER_SIZE = _HEADER.size
SERIAL_OFFSET, MESSAGE_OFFSET, KIND_OFFSET = 4, 8, 10
_WORDS_MAX = 200  # characters of an error text that may come from the peer


class Kind(enum.IntEnum):
    SEND = 0
    CALL = 1
    REPLY = 2
    CONSTRUCT = 3


_KIND_MAX = int(max(Kind))


class Header(msgspec.Struct, frozen=True):
    actor: int
    serial: int
    message: int
    kind: int
    descriptors: int


def _to_wire(value: Any) -> Any:
    if isinstance(value, Descriptor):
        return value.index
    if isinstance(value, Payload):
        return value.data if value.memory is None else value.memory.index
    raise ProtocolMisuse(f"{type(value).__name__} is not a type that messages may carry")


def _from_wire(kind: type, value: Any) -> Any:
    if issubclass(kind, (Descriptor, Payload)):
        return kind.from_wire(value)
    raise ProtocolMisuse(f"{kind.__name__} is not a type that messages may carry")


_encoder = msgspec.msgpack.Encoder(enc_hook=_to_wire)
_encode = _encoder.encode


@cache
def _decoder(struct: type[msgspec.Struct]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(struct, dec_hook=_from_wire)


def encode(actor: int, serial: int, number: int, kind: int, body: Message | Reply) -> tuple[bytes, Sequence[int]]:
    """Return the packet and the descriptors that must be sent with it (still owned by the message)."""
    fds = _place_descriptors(body) if body.descriptor_fields else ()
    packet = _HEADER.pack(actor, serial, number, kind, len(fds)) + _encode(body)
    if len(packet) > MAX_PACKET:
        raise ProtocolMisuse(
            f"{describe(type(body))}: expected a packet of at most {MAX_PACKET} bytes, got {len(packet)}: "
            "send large fields as Payload"
        )
    return packet, fds


def _descriptors_of(body: Message | Reply) -> list[Descriptor]:
    found: list[Descriptor] = []
    for name in body.descriptor_fields:
        value = getattr(body, name)
        if isinstance(value, Payload):
            value = value.memory
        if value is not None:
            found.append(value)
    return found


def _place_descriptors(body: Message | Reply) -> list[int]:
    found = _descriptors_of(body)
    if len(found) > MAX_DESCRIPTORS:
        raise ProtocolMisuse(f"{describe(type(body))}: at most {MAX_DESCRIPTORS} descriptors, got {len(found)}")
    for place, descriptor in enumerate(found):
        descriptor.place(place)
    return [descriptor.fileno() for descriptor in found]


def parse_header(packet: memoryview, descriptors: int) -> Header:
    """Return the header.  Raises BadMessage when it is short, or does not tell the truth about descriptors."""
    if len(packet) < HEADER_SIZE:
        raise BadMessage(f"packet: expected a header of {HEADER_SIZE} bytes, got {len(packet)} bytes")
    header = Header(*_HEADER.unpack_from(packet))
    if header.kind > _KIND_MAX:
        raise BadMessage(f"packet: expected kind 0-3, got {header.kind} - at header.kind")
    if header.descriptors != descriptors:
        raise BadMessage(f"packet: announced {header.descriptors} descriptors, {descriptors} arrived")
    return header


def decode_body(struct: type[Message] | type[Reply], packet: memoryview, fds: list[int]) -> Any:
    """Return the checked body.  Takes `fds` over: each is attached to a field, or BadMessage is raised and the
    caller closes what is left in the list."""
    try:
        body = _decoder(struct).decode(packet[HEADER_SIZE:])
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadMessage(f"{describe(struct)}: {_name_field(struct, error)}") from None
    if fds or struct.descriptor_fields:
        _attach(body, fds)
    return body


def _attach(body: Message | Reply, fds: list[int]) -> None:
    """Give each descriptor of the packet to the one field that names it."""
    wanted = _descriptors_of(body)
    if sorted(d.index for d in wanted) != list(range(len(fds))):
        raise BadMessage(
            f"{describe(type(body))}: expected {len(wanted)} descriptors in distinct places, got {len(fds)}"
            f" - at `$.{', $.'.join(body.descriptor_fields)}`"
        )
    for descriptor in wanted:
        descriptor.attach(fds[descriptor.index])
    fds.clear()


def describe(struct: type) -> str:
    """`PHttpTransaction.OnStart`, or `PHttpTransaction.OnStart.Returns`."""
    protocol = getattr(struct, "protocol", None)
    return f"{protocol.__name__}.{struct.__name__}" if protocol is not None else struct.__qualname__


def _name_field(struct: type[msgspec.Struct], error: Exception) -> str:
    """msgspec counts the fields of an array; a reader wants their names: `$[1]` → `$.host`.

    What the peer sent is part of some texts (a wrong enum value): it is cut, and cannot steer a terminal.
    """
    words, _, path = str(error).rpartition(" - at ")
    if not words:
        words, path = path, "`$`"
    if len(words) > _WORDS_MAX:
        words = f"{words[:_WORDS_MAX]}…"
    words = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in words)

    before, is_field, rest = path.partition("$[")
    number, _, after = rest.partition("]")
    fields = struct.__struct_fields__
    if is_field and number.isdecimal() and int(number) < len(fields):
        path = f"{before}$.{fields[int(number)]}{after}"
    return f"{words} - at {path}"
