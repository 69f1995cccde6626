"""What a protocol is: messages with direction, order, bounds and descriptors, checked when declared.

Runs in: every process; pure.  Trusts: nothing; a declaration that leaves a hole is an error, at import or in the tests.
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

Modules of messages do not postpone the evaluation of annotations: msgspec would compile each again, in every process.
Direction, order and management are checked at import.  That every field is bounded takes a walk over all types,
too slow for each start of each process: `check_bounds` does it, called for every protocol by tests/protocols.
"""

from __future__ import annotations

import enum
import sys
import types
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Union, dataclass_transform, get_args, get_origin

import msgspec
from msgspec import inspect as shape

from foxden.errors import ProtocolMisuse
from foxden.ipc.fields import MAX_DESCRIPTORS, Descriptor, Payload


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

    if TYPE_CHECKING:
        once: ClassVar[bool]  # may be sent at most once in an actor's life
        after: ClassVar[type | None]  # only once this other message has passed, either way
        sync: ClassVar[str]  # why the sender must block for the reply; child → parent only
        senders: ClassVar[frozenset[Side]]
        protocol: ClassVar[type[Protocol]]
        number: ClassVar[int]
        stem: ClassVar[str]  # snake case
        handler: ClassVar[str]  # recv_<stem>
        Returns: ClassVar[type[Reply] | None]
        bit: ClassVar[int]
        after_bit: ClassVar[int]
        descriptor_fields: ClassVar[tuple[str, ...]]
    else:  # msgspec evaluates what is annotated, for each message anew
        once, after, sync, senders, Returns = False, None, "", frozenset(), None


class ToParent(Message):
    senders = frozenset({Side.CHILD})


class ToChild(Message):
    senders = frozenset({Side.PARENT})


class Both(Message):
    senders = frozenset(Side)


class Reply(msgspec.Struct, metaclass=_FrozenMeta, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of what a message returns.  Bounds are checked as for messages."""

    if TYPE_CHECKING:
        descriptor_fields: ClassVar[tuple[str, ...]]
    else:
        descriptor_fields = ()


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
        if cls.__name__[0] != "P" or not "A" <= cls.__name__[1:2] <= "Z" or not cls.__name__[2:]:
            raise DeclarationError(f"{cls.__name__}: expected a protocol name of the form PName")
        if not 0 < number <= 0xFFFF:
            raise DeclarationError(f"{cls.__name__}: expected a number that fits the header, 1-65535, got {number}")
        cls.number, cls.ends, cls.manager, cls.max_live = number, ends, manager, max_live
        cls.stem = snake_case(cls.__name__[1:])
        cls.managed = {}
        inherited = getattr(cls.__base__, "messages", {}).values()  # the base's own base is among them
        own = [value for value in vars(cls).values() if isinstance(value, type) and issubclass(value, Message)]
        cls.messages = {}
        cls.construct = None
        for place, message in enumerate([*inherited, *own], start=1):
            if message in own:
                _declare(cls, message, place)
            if message.stem in {m.stem for m in cls.messages.values()}:
                raise DeclarationError(f"{cls.__name__}.{message.__name__}: recv_{message.stem} is another message's")
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
    text = name[:1]
    # No pattern: to compile one takes longer than all of this, in each start.
    for before, letter, after in zip(name, name[1:], f"{name[2:]} ", strict=False):
        begins_word = letter.isupper() and (not before.isupper() or after.islower())
        text += f"_{letter}" if begins_word else letter
    return text.lower()


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
    if message.once and len(message.senders) > 1:
        raise DeclarationError(f"{where}: once is for one direction: two sent at the same moment would cross")
    if "protocol" in vars(message):
        raise DeclarationError(f"{where}: is {message.protocol.__name__}.{message.__name__}: declare one of its own")
    after = message.after
    if after is not None and after not in protocol.messages.values():
        raise DeclarationError(f"{where}: after={after.__name__} is not a message declared before it")
    message.protocol = protocol
    message.number = place
    message.stem = snake_case(message.__name__)
    message.handler = f"recv_{message.stem}"
    message.bit = 1 << place
    message.after_bit = getattr(after, "bit", 0)
    message.Returns = returns
    message.descriptor_fields = _find_descriptors(message, where)
    if returns is not None:
        returns.descriptor_fields = _find_descriptors(returns, f"{where}.Returns")


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


def _find_descriptors(struct: type[msgspec.Struct], where: str) -> tuple[str, ...]:
    """Return the names of the fields that hold a descriptor; they stand at the top of a message."""
    hints: dict[str, Any] = {}
    for base in reversed(struct.__mro__):
        if base.__module__ != __name__ and issubclass(base, msgspec.Struct):
            hints |= _own_hints(base)
    found = tuple(name for name in struct.__struct_fields__ if _holds_descriptor(hints[name], f"{where}.{name}"))
    if len(found) > MAX_DESCRIPTORS:
        raise DeclarationError(f"{where}: expected at most {MAX_DESCRIPTORS} descriptors, got {len(found)}")
    return found


def _own_hints(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """What it is itself annotated with, evaluated.  `inspect` would do it, at ten times what a start can pay for it."""
    scope, own = vars(sys.modules[struct.__module__]), dict(vars(struct))
    hints: dict[str, Any] = {}
    for name, hint in struct.__annotations__.items():
        if isinstance(hint, str):
            known = own if hint in own else scope
            hint = known[hint] if hint in known else eval(hint, scope, own)  # noqa: S307 - it is our own text
        hints[name] = hint
    return hints


def _holds_descriptor(hint: Any, where: str) -> bool:
    """Whether the type is a descriptor or a payload, or None instead of one."""
    if hint is Descriptor:
        raise DeclarationError(f"{where}: expected a kind of descriptor, got Descriptor itself")
    if type(hint) is type:  # as most are, and quickly told
        return issubclass(hint, (Descriptor, Payload))
    if get_origin(hint) in (Union, types.UnionType, Annotated):
        return any(_holds_descriptor(option, where) for option in get_args(hint))
    return isinstance(hint, type) and issubclass(hint, (Descriptor, Payload))


def check_bounds(protocol: type[Protocol]) -> None:
    """Refuse every message and reply by which a sender could make the receiver build something of any size.

    Raises: DeclarationError, naming the field.  Cost: about a millisecond a message.
    """
    for message in protocol.messages.values():
        where = f"{protocol.__name__}.{message.__name__}"
        _check_fields(message, where)
        if message.Returns is not None:
            _check_fields(message.Returns, f"{where}.Returns")


def _check_fields(struct: type[Message] | type[Reply], where: str) -> None:
    for field in shape.type_info(struct).fields:  # type: ignore[attr-defined]
        if field.name not in struct.descriptor_fields:
            _check_bounded(field.type, f"{where}.{field.name}", frozenset())


def _check_bounded(kind: shape.Type, where: str, seen: frozenset[type]) -> None:
    """Refuse types that are open: text, bytes and collections of any length, numbers of any size, anything at all."""
    match kind:
        case shape.NoneType() | shape.BoolType() | shape.EnumType() | shape.LiteralType() | shape.FloatType():
            pass
        case shape.Metadata():
            _check_bounded(kind.type, where, seen)
        case shape.IntType():
            if (kind.ge is None and kind.gt is None) or (kind.le is None and kind.lt is None):
                raise DeclarationError(f"{where}: expected bounds on an int, got none (Meta(ge=…, le=…))")
        case shape.StrType() | shape.BytesType():
            _check_text(kind, where)
        case shape.ListType() | shape.VarTupleType() | shape.SetType() | shape.FrozenSetType():
            if kind.max_length is None:
                raise DeclarationError(f"{where}: expected a bound on the number of items, got none")
            _check_bounded(kind.item_type, f"{where}[]", seen)
        case shape.DictType():
            if kind.max_length is None:
                raise DeclarationError(f"{where}: expected a bound on the number of keys, got none")
            _check_bounded(kind.key_type, f"{where} keys", seen)
            _check_bounded(kind.value_type, f"{where} values", seen)
        case shape.TupleType(item_types=options) | shape.UnionType(types=options):
            for option in options:
                _check_bounded(option, where, seen)
        case shape.StructType():
            _check_struct(kind, where, seen)
        case _:
            raise DeclarationError(f"{where}: {type(kind).__name__} is not a type that messages may carry")


def _check_text(kind: shape.StrType | shape.BytesType, where: str) -> None:
    if kind.max_length is None:
        raise DeclarationError(f"{where}: expected a length bound (Meta(max_length=…)), got none")
    if isinstance(kind, shape.StrType) and (kind.pattern or "").endswith("$"):
        raise DeclarationError(rf"{where}: expected a pattern that ends in \Z: `$` lets a newline pass at the end")


def _check_struct(kind: shape.StructType, where: str, seen: frozenset[type]) -> None:
    if kind.cls in seen:
        raise DeclarationError(f"{where}: a struct that contains itself has no bound")
    if not kind.forbid_unknown_fields:
        raise DeclarationError(f"{where}: expected forbid_unknown_fields on {kind.cls.__name__}")
    for field in kind.fields:
        _check_bounded(field.type, f"{where}.{field.name}", seen | {kind.cls})
