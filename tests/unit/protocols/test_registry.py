"""The list of protocols is complete, its numbers are nobody else's, and what must be written about it is written."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import foxden.protocols
from foxden.ipc.schema import Message, Protocol, Side, ToParent
from foxden.model.process_types import PROCESS_TYPES
from foxden.protocols.registry import BY_NAME, PROTOCOLS

SYNC = Path(foxden.protocols.__file__).with_name("SYNC.md")
every_protocol = pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.__name__)


def declared() -> Iterator[type[Protocol]]:
    """Every protocol that a module of foxden.protocols declares."""
    for module in pkgutil.iter_modules(foxden.protocols.__path__):
        for value in vars(importlib.import_module(f"foxden.protocols.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Protocol) and value is not Protocol:
                yield value


def messages() -> Iterator[type[Message]]:
    for protocol in PROTOCOLS:
        for message in protocol.messages.values():
            if message.protocol is protocol:  # not its base's
                yield message


def test_registry_lists_every_declared_protocol_once() -> None:
    assert len(set(PROTOCOLS)) == len(PROTOCOLS)
    assert set(declared()) == set(PROTOCOLS)
    assert {protocol.__name__: protocol for protocol in PROTOCOLS} == BY_NAME


def test_numbers_of_protocols_are_unique() -> None:
    assert len({protocol.number for protocol in PROTOCOLS}) == len(PROTOCOLS)


def test_every_process_type_speaks_a_protocol_that_exists() -> None:
    assert {row.protocol for row in PROCESS_TYPES if row.protocol} <= set(BY_NAME)


@every_protocol
def test_ends_are_process_types(protocol: type[Protocol]) -> None:
    assert set(protocol.ends) <= {row.name for row in PROCESS_TYPES} | {"any"}


@every_protocol
def test_managed_protocol_has_the_ends_of_its_manager(protocol: type[Protocol]) -> None:
    assert protocol.manager is None or protocol.ends == protocol.manager.ends


@every_protocol
def test_protocol_says_what_it_is_for(protocol: type[Protocol]) -> None:
    assert (protocol.__doc__ or "").strip()


def test_sync_messages_go_from_child_to_parent_and_return_something() -> None:
    found = [message for message in messages() if message.sync]
    assert found, "positive control: there is one"
    for message in found:
        assert issubclass(message, ToParent)
        assert message.senders == {Side.CHILD}
        assert message.Returns is not None


def test_sync_md_lists_every_sync_message_with_its_reason_and_no_other() -> None:
    rows = re.findall(r"^\| `(P\w+\.\w+)` \| (.+) \|$", SYNC.read_text(), re.MULTILINE)
    assert rows == [(f"{m.protocol.__name__}.{m.__name__}", m.sync) for m in messages() if m.sync]
