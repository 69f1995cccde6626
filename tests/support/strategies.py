"""Hypothesis strategies for messages and replies, built from their declarations, and mutations of their packets.

Runs in: the test process.  Trusts: msgspec's own account of the types (msgspec.inspect).
Flow: message class → `bodies(cls)` → instance within all bounds, with real descriptors → encode → `mutated(packet)`.
"""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from functools import cache
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st
from msgspec import inspect as shape

from foxden.ipc.codec import HEADER_SIZE
from foxden.ipc.fields import (
    Descriptor,
    Endpoint,
    Listener,
    Payload,
    PidFd,
    RegularFile,
    SharedMemory,
    StackPipe,
    Stream,
)
from foxden.ipc.memory import make_memory
from foxden.ipc.schema import Message, Protocol, Reply
from foxden.sandbox import linux, seccomp

D = TypeVar("D", bound=Descriptor)
MAX_TEXT = 64  # longer texts and lists show nothing new and make a run slow
MAX_ITEMS = 4


# ---- descriptors: real ones, of the right kind


def make_descriptor(kind: type[D], data: bytes = b"x") -> D:
    """A fresh descriptor that passes `verify` as this kind."""
    if kind is Endpoint:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.close()
        return kind(ours.detach())
    if kind is RegularFile:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            return kind(os.dup(file.fileno()))
    if kind is PidFd:
        return kind(os.pidfd_open(os.getpid()))
    if issubclass(kind, SharedMemory):
        return kind(make_memory(data).detach())
    if kind in (StackPipe, Stream):
        reader, writer = os.pipe()
        os.close(writer)
        return kind(reader)
    if kind is Listener:
        return kind(os.dup(_LISTENER))
    raise TypeError(f"{kind.__name__}: say here how to make one")


def _make_listener() -> int:
    """The listener of a process that has ended."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if pid == 0:
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
            allow_all = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF_0000)
            socket.send_fds(theirs, [b"l"], [seccomp.load_with_listener(allow_all, killable=False)])
            os._exit(0)
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        os.waitpid(pid, 0)
    return fds[0]


_LISTENER = _make_listener()  # one for the whole run, made before any test counts descriptors: it takes a process


def _payload(kind: type[Payload]) -> st.SearchStrategy[Any]:
    inline = st.binary(max_size=MAX_TEXT).map(kind)
    return inline | st.binary(max_size=MAX_TEXT).map(lambda data: kind(memory=make_memory(data)))


# ---- values from types


@cache
def bodies(struct: type[Message] | type[Reply]) -> st.SearchStrategy[Any]:
    """Instances of a message or reply, within its bounds."""
    fields = shape.type_info(struct).fields  # type: ignore[attr-defined]
    return st.builds(struct, **{field.name: _of(field.type) for field in fields})


def _of(kind: shape.Type) -> st.SearchStrategy[Any]:
    match kind:
        case shape.Metadata():
            return _of(kind.type)
        case shape.NoneType():
            return st.none()
        case shape.BoolType():
            return st.booleans()
        case shape.IntType():
            return st.integers(_low(kind), _high(kind))
        case shape.FloatType():
            return st.floats(kind.ge, kind.le, allow_nan=False, allow_infinity=False)
        case shape.StrType():
            return _text(kind)
        case shape.BytesType():
            return st.binary(min_size=kind.min_length or 0, max_size=_length(kind, MAX_TEXT))
        case shape.EnumType():
            return st.sampled_from(list(kind.cls))
        case shape.LiteralType():
            return st.sampled_from(list(kind.values))
        case shape.UnionType():
            return st.one_of([_of(option) for option in kind.types])
        case shape.ListType() | shape.VarTupleType():
            items = st.lists(_of(kind.item_type), min_size=kind.min_length or 0, max_size=_length(kind, MAX_ITEMS))
            return items if isinstance(kind, shape.ListType) else items.map(tuple)
        case shape.TupleType():
            return st.tuples(*[_of(item) for item in kind.item_types])
        case shape.DictType():
            return st.dictionaries(_of(kind.key_type), _of(kind.value_type), max_size=_length(kind, MAX_ITEMS))
        case shape.StructType():
            return st.builds(kind.cls, **{field.name: _of(field.type) for field in kind.fields})
        case shape.CustomType() if issubclass(kind.cls, Payload):
            return _payload(kind.cls)
        case shape.CustomType() if issubclass(kind.cls, Descriptor):
            return st.builds(make_descriptor, st.just(kind.cls))
    raise TypeError(f"{type(kind).__name__}: say here how to make one")


def _low(kind: shape.IntType) -> int:
    return kind.ge if kind.ge is not None else (kind.gt or 0) + 1


def _high(kind: shape.IntType) -> int:
    return kind.le if kind.le is not None else (kind.lt or 0) - 1


def _length(kind: Any, at_most: int) -> int:
    longest: int = kind.max_length
    return max(min(longest, at_most), kind.min_length or 0)


def _text(kind: shape.StrType) -> st.SearchStrategy[str]:
    least, most = kind.min_length or 0, kind.max_length or 0
    if kind.pattern is None:
        return st.text(st.characters(exclude_categories=["Cs"]), min_size=least, max_size=_length(kind, MAX_TEXT))
    return st.from_regex(kind.pattern, fullmatch=True).filter(lambda text: bool(least <= len(text) <= most))


def declared(protocols: tuple[type[Protocol], ...]) -> list[type[Message] | type[Reply]]:
    """Every message and reply that these protocols declare, each once."""
    found: dict[type[Message] | type[Reply], None] = {}
    for protocol in protocols:
        for message in protocol.messages.values():
            found[message] = None
            if message.Returns is not None:
                found[message.Returns] = None
    return list(found)


# ---- wrong packets

_WRONG: tuple[Any, ...] = (
    None, True, -1, 0, 1 << 63, (1 << 64) - 1, -(1 << 63), float("nan"), float("inf"), "", "x" * 70_000, "\x00", "a\n",
    b"", b"\xff" * 70_000, [], {}, [[[]]], {"a": 1}, {1: 2}, list(range(600)), msgspec.msgpack.Ext(5, b"x"),
)  # fmt: skip

# Bodies that msgspec never makes: length prefixes that promise everything, deep nests, reserved codes, bad UTF-8.
RAW_BODIES: tuple[bytes, ...] = (
    b"", b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\x91\xdd\x7f\xff\xff\xff", b"\x92\x00\xdf\x7f\xff\xff\xff", b"\x91" * 60_000, b"\x81\xa1a" * 30_000,
    b"\x91\xa3\xff\xfe\xfd", b"\x91\xd7\xff" + b"\xff" * 8, b"\x91\x81\x90\x01", b"\x90\x90",
    b"\x91\xc7\x0c\xff" + b"\xff" * 12,
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """A packet that was valid before something happened to it."""
    how = draw(st.sampled_from(["cut", "flip", "noise", "retype", "grow", "shrink", "raw"]))
    head, body = valid[:HEADER_SIZE], valid[HEADER_SIZE:]
    if how == "cut":
        return valid[: draw(st.integers(0, max(len(valid) - 1, 0)))]
    if how == "flip":
        return _flip(draw, valid)
    if how == "noise":
        return head + draw(st.binary(max_size=200))
    if how == "raw":
        return head + draw(st.sampled_from(RAW_BODIES))
    values = msgspec.msgpack.decode(body)
    if how == "retype" and values:
        values = _replace(draw, values)
    elif how == "grow":
        values = [*values, draw(st.sampled_from(_WRONG))]
    elif values:
        values = values[:-1]
    return head + msgspec.msgpack.encode(values)


def _flip(draw: st.DrawFn, valid: bytes) -> bytes:
    raw = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(raw) - 1))
        raw[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(raw)


def _replace(draw: st.DrawFn, value: Any) -> Any:
    """Put something wrong in one place, at the top or further in."""
    if isinstance(value, list) and value and draw(st.integers(0, 3)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], _replace(draw, value[place]), *value[place + 1 :]]
    if isinstance(value, dict) and value and draw(st.integers(0, 3)):
        key = draw(st.sampled_from(list(value)))
        return {**value, key: _replace(draw, value[key])}
    return draw(st.sampled_from(_WRONG))
