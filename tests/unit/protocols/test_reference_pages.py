"""The reference pages are made from the tables: the same each time, complete, and stale ones are told."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from tools import make_docs

from foxden.ipc.schema import Side
from foxden.model.process_types import PROCESS_TYPES
from foxden.protocols.registry import PROTOCOLS

with contextlib.suppress(ImportError):
    import foxden.dask  # noqa: F401 - a page is made from it; what it loads has threads of its own, from now on


def test_pages_are_the_same_each_time() -> None:
    assert make_docs.make_pages() == make_docs.make_pages()


def test_stale_page_is_told_with_its_first_differences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_docs, "REFERENCE", tmp_path / "reference")
    assert make_docs.main([]) == 0
    assert make_docs.main(["--check"]) == 0
    capsys.readouterr()
    page = tmp_path / "reference" / "errors.md"
    page.write_text(page.read_text().replace("BadMessage", "GoodMessage"))
    assert make_docs.main(["--check"]) == 1
    said = capsys.readouterr()
    assert "-├── GoodMessage" in said.out
    assert "+├── BadMessage" in said.out
    assert "make docs" in said.err


def test_audit_surface_names_all_that_the_parent_can_be_sent() -> None:
    page = make_docs.protocols_page()
    surface = page[page.index("## What the parent accepts") : page.index("## What the socket process accepts")]
    for protocol in PROTOCOLS:
        for message in protocol.messages.values():
            if protocol.ends[0] == "default" and Side.CHILD in message.senders:
                assert f"`{message.protocol.__name__}.{message.__name__}`" in surface
            if protocol.ends[0] == "default" and Side.PARENT in message.senders and message.Returns is not None:
                assert f"`{message.protocol.__name__}.{message.__name__}.Returns`" in surface


def test_every_type_and_protocol_has_its_place() -> None:
    pages = make_docs.make_pages()
    assert all(f"| `{row.name}` |" in pages["process-types.md"] for row in PROCESS_TYPES)
    assert all(f"\n## {protocol.__name__}\n" in pages["protocols.md"] for protocol in PROTOCOLS)
