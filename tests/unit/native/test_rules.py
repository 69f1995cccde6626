"""The rules in C say what broker/rules and broker/view say in Python, of any rules and any path."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foxden import native
from foxden.broker.loops import packed_rules
from foxden.broker.rules import Rules
from foxden.broker.view import is_plain
from foxden.sandbox.paths import Access

pytestmark = [pytest.mark.needs("native"), pytest.mark.usefixtures("extension")]

LISTENER = 1_000_000  # nobody's: these tests only ask
NEEDS = [int(access) for access in Access]
components = st.sampled_from(["a", "b", "ab", "a b", ".a", "..a", "ä", "\udcff", "\ud800", "A"])
paths = st.lists(components, max_size=4).map(lambda names: "/" + "/".join(names))
accesses = st.integers(0, 255)
texts = st.lists(st.sampled_from(["/", "a", "b", ".", "ä", "\udcff"]), max_size=8).map("".join)


def loop_of(rules: Rules) -> Any:
    extension = native.load()
    assert extension is not None
    loop = extension.Loop(b"", -1)
    loop.set_rules(LISTENER, -1, *packed_rules(rules))
    return loop


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(paths, accesses), max_size=8), st.booleans(), st.lists(paths, min_size=1, max_size=6))
def test_every_decision_is_that_of_python(rows: list[tuple[str, int]], show: bool, asked: list[str]) -> None:
    rules = Rules(rows, show_ancestors=show)
    loop = loop_of(rules)
    inner = [path + "/b" if path != "/" else "/b" for path, _ in rows]
    for path in {*asked, *inner, *(path for path, _ in rows), "/a/b/c/d/e"}:
        try:
            raw = os.fsencode(path)
        except UnicodeEncodeError:
            continue  # no child can write it
        read = os.fsdecode(raw)
        for need in NEEDS:
            expected = is_plain(read) and rules.allows(read, need)
            assert loop.allows(LISTENER, raw, need) is expected, (read, need)


@given(texts)
def test_what_is_a_plain_path_is_so_to_both(text: str) -> None:
    loop = loop_of(Rules([("/", int(Access.READ))]))
    assert loop.allows(LISTENER, os.fsencode(text), int(Access.READ)) is is_plain(text)


def test_canonical_names_of_rules_go_along() -> None:
    rules = Rules([("/link", int(Access.READ))], show_ancestors=True)
    rules.add_names_of({"/link": "/x/target"}, show_ancestors=True)
    loop = loop_of(rules)
    assert loop.allows(LISTENER, b"/x/target/file", int(Access.READ))
    assert loop.allows(LISTENER, b"/x", int(Access.STAT))
    assert not loop.allows(LISTENER, b"/x", int(Access.READ))
    assert not loop.allows(LISTENER, b"/y", int(Access.STAT))
