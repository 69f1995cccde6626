"""Whatever a child makes the broker tell becomes a record with a rule, and one line for a terminal or a report."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foxden.front.violations_view import lines
from foxden.model.escaped import json_line
from foxden.model.records import Violation
from foxden.observe.violation_line import line
from foxden.sandbox.explain import Explainer
from foxden.sandbox.explain_hints import Hints
from foxden.sandbox.grants_text import parse_grants
from foxden.sandbox.learn import learn
from foxden.sandbox.paths import Access
from foxden.sandbox.policy import load, resolve
from foxden.sandbox.policy_files import read_policy

ANY_TEXT = st.text(st.characters(), max_size=40)  # lone surrogates too
PATHS = st.one_of(ANY_TEXT, ANY_TEXT.map(lambda text: "/" + text), st.lists(ANY_TEXT, max_size=4).map("/".join))
ARGUMENTS = st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=6).map(tuple)


@pytest.fixture(scope="module", params=["plugin", "content", "gmp"])
def judge(request: pytest.FixtureRequest) -> Explainer:
    name = request.param
    resolved = resolve(load(name, read_policy), level=1, remote_type=None, variables={})
    return Explainer(resolved, Hints(name, read_policy), arch="x86_64")


@settings(max_examples=150, deadline=None)
@given(path=PATHS, access=st.integers(0, 255), number=st.integers(0, 0xFFFF), args=ARGUMENTS)
def test_every_act_has_an_answer(judge: Explainer, path: str, access: int, number: int, args: tuple[int, ...]) -> None:
    for answer in (judge.file(path, Access(access)), judge.call(number, args)):
        assert answer.rule
        assert answer.allowed != bool(answer.errno or answer.kills)


@settings(max_examples=150, deadline=None)
@given(text=ANY_TEXT, path=PATHS, host=ANY_TEXT, stack=st.lists(ANY_TEXT, max_size=3).map(tuple))
@pytest.mark.parametrize("kind", ["file", "syscall", "network", "ipc", "limit"])
def test_every_record_is_one_line(kind: str, text: str, path: str, host: str, stack: tuple[str, ...]) -> None:
    record = Violation(
        time=1.0, pid=7, process_type="content", kind=kind, operation=text, syscall=text, path=path, host=host,
        rule=text, hint=text, stack=stack,
    )  # type: ignore[arg-type]  # fmt: skip
    assert len(line(record).splitlines()) == len(str(record).splitlines()) == 1
    assert "\x1b" not in str(record)
    assert all(len(shown.splitlines()) <= 1 and "\x1b" not in shown for shown in lines([record]))
    told = json_line({"path": path})
    assert told.isascii()
    assert json.loads(told) == {"path": path}


@settings(max_examples=150, deadline=None)
@given(
    paths=st.lists(PATHS, max_size=8), access=st.sampled_from(["r", "rw", "rwc", "stat", "x"]), hosts=st.lists(ANY_TEXT)
)
def test_whatever_is_learnt_is_a_policy_that_can_be_read(paths: list[str], access: str, hosts: list[str]) -> None:
    acts = [
        Violation(time=1.0, pid=7, process_type="plugin", kind="file", operation="open", path=path, access=access)
        for path in paths
    ]
    acts += [
        Violation(time=1.0, pid=7, process_type="plugin", kind="network", operation="connect", host=host)
        for host in hosts
    ]
    text = learn(acts, real=_plain, home="/home/me", read=read_policy)
    assert set(tomllib.loads(text)) <= {"extends", "files", "network"}
    grants = parse_grants("x", text, real=_plain, read=read_policy)
    assert "/" not in dict(grants.files)


def _plain(path: str) -> str:
    """A disk where every path is there, and leads to itself."""
    return "/" + "/".join(part for part in path.split("/") if part not in ("", ".", ".."))
