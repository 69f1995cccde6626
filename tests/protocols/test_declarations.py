"""Declarations that must be refused, with the words they are refused with, and declarations that must not be."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from foxden.ipc.schema import DeclarationError, Protocol, check_bounds, snake_case
from foxden.protocols.registry import PROTOCOLS

HERE = Path(__file__).resolve().parent
MARK = "# error: "


def declare(path: Path) -> ModuleType:
    """Run a file of declarations as a module, with the checks that only tests make."""
    spec = importlib.util.spec_from_file_location(f"declarations_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # annotations are resolved by the name of their module
    try:
        spec.loader.exec_module(module)
        for protocol in protocols_of(module):
            check_bounds(protocol)
    finally:
        del sys.modules[spec.name]
    return module


def protocols_of(module: ModuleType) -> list[type[Protocol]]:
    return [v for v in vars(module).values() if isinstance(v, type) and issubclass(v, Protocol) and v is not Protocol]


@pytest.mark.parametrize("path", sorted((HERE / "error").glob("*.py")), ids=lambda path: path.stem)
def test_declaration_with_a_hole_is_refused_in_these_words(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith(MARK), f"{path.name}: expected line 1 to be `{MARK}<part of the message>`"
    with pytest.raises(DeclarationError) as refused:
        declare(path)
    assert first.removeprefix(MARK) in str(refused.value)


@pytest.mark.parametrize("path", sorted((HERE / "ok").glob("*.py")), ids=lambda path: path.stem)
def test_sound_declaration_is_accepted(path: Path) -> None:
    assert protocols_of(declare(path))


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.__name__)
def test_every_field_of_every_protocol_is_bounded(protocol: type[Protocol]) -> None:
    check_bounds(protocol)


def test_numbers_of_messages_do_not_move_when_a_protocol_is_extended_twice() -> None:
    module = declare(HERE / "ok" / "three_generations_of_declarations.py")
    assert {n: m.__name__ for n, m in module.PLast.messages.items()} == {1: "One", 2: "Two", 3: "Three"}
    assert all(message.number == number for number, message in module.PLast.messages.items())


def test_words_of_a_declaration_become_its_tables() -> None:
    echo = declare(HERE / "ok" / "echo.py").PEcho
    assert echo.construct is echo.Construct
    assert echo.max_live == 3
    assert echo.stem == "echo"
    assert (echo.Say.once, echo.Say.after, echo.Say.after_bit) == (True, echo.Construct, echo.Construct.bit)
    assert echo.Ask.sync
    assert echo.Ask.Returns is not None
    assert not echo.Say.sync
    assert echo.Delete.senders > echo.Say.senders


def test_descriptor_fields_are_found_where_they_may_be_none() -> None:
    take = declare(HERE / "ok" / "every_kind_of_field.py").PFields.Take
    assert take.descriptor_fields == ("endpoint", "file", "pid", "memory", "body", "content")


@pytest.mark.parametrize("name", ["Echo", "P", "PA", "Pecho", "P1x", "P_x", "PÄcho", "QEcho"])
def test_protocols_are_named_like_gecko_s(name: str) -> None:
    with pytest.raises(DeclarationError, match="of the form PName"):
        type(name, (Protocol,), {}, number=65_000, ends=("default", "ipdlunittest"))


_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")  # what snake_case does without a pattern


@given(st.text("abzABZ019", min_size=1, max_size=20))
@example("OnDataAvailable")
@example("IPDLUnitTest")
def test_names_become_words_as_they_are_read(name: str) -> None:
    assert snake_case(name) == _WORDS.sub("_", name).lower()
