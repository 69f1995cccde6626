"""Who may connect where: by space, by name, and never by accident."""

from __future__ import annotations

import pytest

from foxden.children.socket.connect_policy import MAX_CANDIDATES, choose, may_connect
from foxden.model.addresses import AddressSpace
from foxden.protocols.network import Access

NOWHERE = Access(spaces=())


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0", "::ffff:10.0.0.1"]
)
def test_default_access_is_the_public_internet_and_no_more(address: str) -> None:
    assert may_connect("8.8.8.8", Access())
    assert may_connect("2606:4700::1", Access())
    assert not may_connect(address, Access())


def test_no_space_and_no_name_is_nowhere() -> None:
    assert not may_connect("8.8.8.8", NOWHERE)


@pytest.mark.parametrize("space", list(AddressSpace))
def test_never_is_not_granted_as_a_space(space: AddressSpace) -> None:
    assert not may_connect("0.0.0.0", Access(spaces=(space,)))
    assert not may_connect("255.255.255.255", Access(spaces=tuple(AddressSpace)))


def test_named_address_counts_in_any_spelling_of_itself() -> None:
    named = Access(spaces=(), addresses=("10.0.0.7", "2606:4700:0:0::1"))
    assert may_connect("10.0.0.7", named)
    assert may_connect("::ffff:10.0.0.7", named)
    assert may_connect("2606:4700::1", named)
    assert not may_connect("10.0.0.8", named)


@pytest.mark.parametrize("address", ["", "localhost", "127.1", "[::1]", "fe80::1%lo", "8.8.8.8 "])
def test_what_is_no_plain_address_is_refused(address: str) -> None:
    assert not may_connect(address, Access(spaces=tuple(AddressSpace)))


def test_broken_name_refuses_and_does_not_raise() -> None:
    assert not may_connect("10.0.0.1", Access(addresses=("nonsense",)))


def test_choice_keeps_order_drops_doubles_and_is_bounded() -> None:
    assert choose(("8.8.8.8", "10.0.0.1", "1.1.1.1", "8.8.8.8"), Access()) == ("8.8.8.8", "1.1.1.1")
    many = tuple(f"8.8.{n}.8" for n in range(100))
    assert choose(many, Access()) == many[:MAX_CANDIDATES]
