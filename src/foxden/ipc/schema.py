"""What a protocol is: messages with direction, order, bounds and descriptors, checked when declared.

Runs in: every process; pure.  Trusts: nothing; a declaration that leaves a hole is an error at import.
Flow: class statements in foxden.protocols → `Protocol.__init_subclass__` → tables for codec, actors, docs, fuzzers.
Source: IPDL (ipc/docs/ipdl.rst in Gecko's tree): async and sync, constructors, __delete__, managers, ends.

A protocol is a class; each message is a class inside it:

    class PEcho(Protocol, number=99, manager=PUnitTest, ends=("default", "ipdlunittest")):
        class Construct(ToChild):            # the constructor: its direction says who makes the actor
            label: Name
        class Say(ToParent):                 # an async message
            text: ShortText
        class Ask(ToParent, sync="the child cannot go on without it"):
            class Returns(Reply):
                text: ShortText
        class Delete(Both):                  # __delete__: ends the actor on both sides
            pass
"""

from __future__ import annotations

import enum
import re
from typing import Any, ClassVar, dataclass_transform, get_type_hints

import msgspec
from msgspec import inspect as shape

from foxden.errors import ProtocolMisuse
from foxden.ipc.fields import Descriptor, Payload


class Side(enum.Enum):
    """Which end of a protocol an actor stands on."""

    PARENT = "parent"
    CHILD = "child"

    @property
    def other(self) -> Side:
        return Side.CHILD if self is Side.PARENT else Side.PARENT


class DeclarationError(ProtocolMisuse):
    """A protocol declaration leaves something open: an unbounded field, a sync message to a child …"""


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class _FrozenMeta(msgspec.StructMeta):
    """Tells type checkers that subclasses are frozen too, as msgspec makes them."""


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class _MessageMeta(_FrozenMeta):
    """Takes the words that stand in a message's class line: once, after, sync."""

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        once: bool = False,
        after: type | None = None,
        sync: str = "",
        **options: Any,
    ) -> Any:
        made = super().__new__(mcls, name, bases, namespace, **options)
        for word, value in (("once", once), ("after", after), ("sync", sync)):
            setattr(made, word, value)
        return made


class Message(
    msgspec.Struct, metaclass=_MessageMeta, frozen=True, array_like=True, forbid_unknown_fields=True
):
    """Base of all messages.  Class attributes are the declaration; instances are what travels."""

    once: ClassVar[bool] = False  # may be sent at most once in an actor's life
    after: ClassVar[type | None] = None  # only once this other message has passed, either way
    sync: ClassVar[str] = ""  # why the sender must block for the reply; child → parent only
    senders: ClassVar[frozenset[Side]] = frozenset()
    protocol: ClassVar[type[Protocol]]
    number: ClassVar[int]
    stem: ClassVar[str]  # snake case; the handler is recv_<stem>
    Returns: ClassVar[type[Reply] | None] = None
    bit: ClassVar[int]
    after_bit: ClassVar[int]
    descriptor_fields: ClassVar[tuple[str, ...]]


class ToParent(Message):
    senders: ClassVar[frozenset[Side]] = frozenset({Side.CHILD})


class ToChild(Message):
    senders: ClassVar[frozenset[Side]] = frozenset({Side.PARENT})


class Both(Message):
    senders: ClassVar[frozenset[Side]] = frozenset(Side)


class Reply(msgspec.Struct, metaclass=_FrozenMeta, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of what a message returns.  Bounds are checked as for messages."""

    descriptor_fields: ClassVar[tuple[str, ...]] = ()


class Protocol:
    """Base of all protocols; subclasses are tables and are never instantiated."""

    number: ClassVar[int]
    manager: ClassVar[type[Protocol] | None] = None
    ends: ClassVar[tuple[str, str]]  # process types on the parent side and on the child side; "any" allowed
    max_live: ClassVar[int] = 1024  # actors of this protocol under one manager
    messages: ClassVar[dict[int, type[Message]]]
    construct: ClassVar[type[Message] | None]
    managed: ClassVar[dict[int, type[Protocol]]]
    stem: ClassVar[str]

    def __init_subclass__(
        cls,
        *,
        number: int,
        ends: tuple[str, str],
        manager: type[Protocol] | None = None,
        max_live: int = 1024,
    ) -> None:
        super().__init_subclass__()
        if not re.fullmatch(r"P[A-Z]\w+", cls.__name__):
            raise DeclarationError(f"{cls.__name__}: expected a protocol name of the form PName")
        cls.number, cls.ends, cls.manager, cls.max_live = number, ends, manager, max_live
        cls.stem = snake_case(cls.__name__[1:])
        cls.managed = {}
        inherited = [m for base in reversed(cls.__mro__[1:]) for m in vars(base).get("messages", {}).values()]
        own = [value for value in vars(cls).values() if isinstance(value, type) and issubclass(value, Message)]
        cls.messages = {}
        cls.construct = None
        for place, message in enumerate([*inherited, *own], start=1):
            if message in own:
                _declare(cls, message, place)
            cls.messages[place] = message
            if message.__name__ == "Construct":
                cls.construct = message
        _check_management(cls)

    @classmethod
    def managed_protocol(cls, number: int) -> type[Protocol] | None:
        """The protocol with this number, if actors of this one may manage it."""
        for owner in cls.__mro__:
            found: type[Protocol] | None = vars(owner).get("managed", {}).get(number)
            if found is not None:
                return found
        return None


def snake_case(name: str) -> str:
    """`OnDataAvailable` → `on_data_available`; `IPDLUnitTest` → `ipdl_unit_test`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _declare(protocol: type[Protocol], message: type[Message], place: int) -> None:
    """Fill in the class attributes of one message, and refuse what is left open."""
    where = f"{protocol.__name__}.{message.__name__}"
    if not message.senders:
        raise DeclarationError(f"{where}: expected a base of ToParent, ToChild or Both, got Message itself")
    returns = vars(message).get("Returns")
    if returns is not None and not (isinstance(returns, type) and issubclass(returns, Reply)):
        raise DeclarationError(f"{where}.Returns: expected a subclass of Reply, got {returns!r}")
    if message.sync and (message.senders != {Side.CHILD} or returns is None):
        raise DeclarationError(f"{where}: sync is for messages to the parent that return something")
    if message.__name__ in ("Construct", "Delete") and returns is not None:
        raise DeclarationError(f"{where}: a constructor or destructor returns nothing")
    after = message.after
    if after is not None and not hasattr(after, "bit"):
        # Declared above it in the same class body, so it has no bit yet only if it is of another protocol.
        names = {m.__name__: m for m in protocol.messages.values()}
        if after.__name__ not in names:
            raise DeclarationError(f"{where}: after={after.__name__} is not a message declared before it")
    message.protocol = protocol
    message.number = place
    message.stem = snake_case(message.__name__)
    message.bit = 1 << place
    message.after_bit = getattr(after, "bit", 0)
    message.Returns = returns
    message.descriptor_fields = _check_fields(message, where)
    if returns is not None:
        returns.descriptor_fields = _check_fields(returns, f"{where}.Returns")


def _check_management(protocol: type[Protocol]) -> None:
    manager = protocol.manager
    if manager is None:
        if protocol.construct is not None:
            raise DeclarationError(f"{protocol.__name__}: a top-level protocol has no constructor")
        return
    if protocol.construct is None:
        raise DeclarationError(f"{protocol.__name__}: a managed protocol needs a Construct message")
    if protocol.number in manager.managed:
        other = manager.managed[protocol.number].__name__
        raise DeclarationError(f"{protocol.__name__}: number {protocol.number} is {other}'s")
    manager.managed[protocol.number] = protocol


def _check_fields(struct: type[msgspec.Struct], where: str) -> tuple[str, ...]:
    """Every field is bounded; descriptors stand at the top.  Returns the names of the descriptor fields."""
    found = []
    get_type_hints(struct)  # a name that does not resolve fails here, with its own message
    for field in shape.type_info(struct).fields:  # type: ignore[attr-defined]
        if _is_descriptor(field.type):
            found.append(field.name)
        else:
            _check_bounded(field.type, f"{where}.{field.name}", frozenset())
    return tuple(found)


def _is_descriptor(kind: shape.Type) -> bool:
    if isinstance(kind, shape.Metadata):
        return _is_descriptor(kind.type)
    if isinstance(kind, shape.UnionType):
        return any(_is_descriptor(t) for t in kind.types)
    return isinstance(kind, shape.CustomType) and issubclass(kind.cls, (Descriptor, Payload))


_CLOSED = (shape.NoneType, shape.BoolType, shape.EnumType, shape.LiteralType, shape.FloatType)


def _check_bounded(kind: shape.Type, where: str, seen: frozenset[type]) -> None:
    """Refuse types by which a sender could make the receiver build something of any size."""
    if isinstance(kind, shape.Metadata):
        _check_bounded(kind.type, where, seen)
    elif isinstance(kind, _CLOSED):
        return
    elif isinstance(kind, shape.IntType):
        if (kind.ge is None and kind.gt is None) or (kind.le is None and kind.lt is None):
            raise DeclarationError(f"{where}: expected bounds on an int, got none (Meta(ge=…, le=…))")
    elif isinstance(kind, (shape.StrType, shape.BytesType)):
        if kind.max_length is None:
            raise DeclarationError(f"{where}: expected a length bound (Meta(max_length=…)), got none")
    elif isinstance(kind, (shape.ListType, shape.VarTupleType, shape.SetType, shape.FrozenSetType)):
        if kind.max_length is None:
            raise DeclarationError(f"{where}: expected a bound on the number of items, got none")
        _check_bounded(kind.item_type, f"{where}[]", seen)
    elif isinstance(kind, shape.DictType):
        if kind.max_length is None:
            raise DeclarationError(f"{where}: expected a bound on the number of keys, got none")
        _check_bounded(kind.key_type, f"{where} keys", seen)
        _check_bounded(kind.value_type, f"{where} values", seen)
    elif isinstance(kind, shape.TupleType):
        for item in kind.item_types:
            _check_bounded(item, f"{where}[]", seen)
    elif isinstance(kind, shape.UnionType):
        for option in kind.types:
            _check_bounded(option, where, seen)
    elif isinstance(kind, shape.StructType):
        if kind.cls in seen:
            raise DeclarationError(f"{where}: a struct that contains itself has no bound")
        for field in kind.fields:
            _check_bounded(field.type, f"{where}.{field.name}", seen | {kind.cls})
    else:
        raise DeclarationError(f"{where}: {type(kind).__name__} is not a type that messages may carry")
