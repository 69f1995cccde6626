"""What a program's init and whoever started it say to each other: a kind and a number, in packets of five bytes.

Runs in: the init of a program (pid 1 of its namespace); the parent or the `foxden run` command.
Trusts: the reader takes nothing but these kinds, in this size; a packet of any other shape ends the program.
Flow: init → STARTED → (STOPPED …) → ENDED or NOT_EXECUTED;  parent → SIGNAL, FRONT.
Source: docs/design/decisions/009-programs-init.md.
"""

from __future__ import annotations

import enum
import socket
import struct

import msgspec

from foxden.errors import BadMessage

_PACKET = struct.Struct("=Bi")


class Kind(enum.IntEnum):
    STARTED = 1  # the program runs; its pid in its own namespace
    STOPPED = 2  # … by this signal
    EXITED = 3  # … with this code
    SIGNALLED = 4  # … was ended by this signal
    NOT_EXECUTED = 5  # errno of what should have started it
    SIGNAL = 6  # parent → init: send this signal to the program's process group
    FRONT = 8  # parent → init: the program has the keyboard, and continues
    GO = 7  # parent → init: its sandbox is what was asked for; execute


class Word(msgspec.Struct, frozen=True):
    kind: Kind
    value: int


def send(sock: socket.socket, kind: Kind, value: int) -> None:
    """Raises OSError when the other side is gone."""
    sock.send(_PACKET.pack(kind, value), socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> Word | None:
    """One word; None at the end.  Raises BlockingIOError, BadMessage."""
    try:
        packet = sock.recv(_PACKET.size + 1)
    except ConnectionResetError:
        return None
    if not packet:
        return None
    if len(packet) != _PACKET.size or packet[0] not in _KINDS:
        raise BadMessage(f"control: expected a kind and a number in {_PACKET.size} bytes, got {len(packet)} bytes")
    kind, value = _PACKET.unpack(packet)
    return Word(Kind(kind), value)


_KINDS = frozenset(int(kind) for kind in Kind)
