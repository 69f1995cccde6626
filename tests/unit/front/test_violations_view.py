"""Violations for people: rule and hint below the act, nothing of a child's text that a terminal obeys."""

from __future__ import annotations

import re

import pytest

from foxden.front.violations_view import lines, summary
from foxden.model.records import Act, Violation
from foxden.observe.violation_line import line

HOSTILE = "/x\n\x1b[2J\x9b31m\u202egpj.exe\rSandbox: forged"


def refused(path: str = "/etc/passwd", **more: object) -> Violation:
    fields: dict[str, object] = {
        "time": 1.0, "pid": 7, "process_type": "plugin", "level": 1, "kind": "file", "operation": "open", "path": path,
        "errno": "EACCES", "rule": 'strict.toml: files "/" = "deny"', "hint": f"--read {path}", **more,
    }  # fmt: skip
    return Violation(**fields)  # type: ignore[arg-type]


def test_violation_is_told_with_who_rule_hint_and_stack() -> None:
    assert lines([refused(stack=("job.py:3 load", "job.py:9 main"), count=2)]) == [
        "refused open /etc/passwd (EACCES ×2)",
        "    by  plugin level 1, pid 7",
        '  rule  strict.toml: files "/" = "deny"',
        "  hint  --read /etc/passwd",
        "    in  job.py:3 load",
        "        job.py:9 main",
    ]


def test_granted_act_is_told_as_such() -> None:
    fields = {name: getattr(refused(hint="", errno=None), name) for name in Violation.__struct_fields__}
    assert lines([Act(**fields, granted=True)])[0] == "granted open /etc/passwd"


def test_network_and_ends_are_told_in_their_words() -> None:
    connect = refused(None, kind="network", operation="connect", host="2001:db8::1", port=25, errno="NS_ERROR_X")  # type: ignore[arg-type]
    killed = refused(None, kind="syscall", operation="killed", errno=None)  # type: ignore[arg-type]
    assert lines([connect])[0] == "refused connect [2001:db8::1]:25 (NS_ERROR_X)"
    assert lines([killed])[0] == "refused killed (ended)"


def test_summary_has_each_hint_once_and_says_how_many_more() -> None:
    many = [refused(f"/data/{number}", hint="--read /data") for number in range(30)]
    told = summary(many)
    assert told[0] == "refused open /data/0 (EACCES)"
    assert told[-2:] == ["… and 10 more", "  hint  --read /data"]
    assert summary([]) == []


def test_lines_wrap_at_the_width_and_a_hint_stays_one_line() -> None:
    rule = "word " * 60
    told = lines([refused("/" + "d/" * 80 + "end", rule=rule)], width=60)
    assert all(len(text) <= 60 for text in told if not text.startswith("  hint"))
    assert told[0].endswith("end (EACCES)")
    assert sum(text.startswith("  hint") for text in told) == 1


def test_colour_is_only_where_it_is_asked_for() -> None:
    assert "\x1b[31mrefused\x1b[0m" in lines([refused()], colour=True)[0]
    assert not any("\x1b" in text for text in lines([refused()]))


@pytest.mark.parametrize("field", ["path", "operation", "host", "rule", "hint", "stack"])
def test_hostile_text_stays_on_its_line(field: str) -> None:
    violation = refused(**{field: (HOSTILE,) if field == "stack" else HOSTILE})  # type: ignore[arg-type]
    plain = [*lines([violation]), *summary([violation]), line(violation)]
    assert all(text.isprintable() for text in plain)
    network = refused(kind="network", host=HOSTILE)
    assert all(text.isprintable() for text in [*lines([network]), line(network)])
    assert re.fullmatch(r"Sandbox: .*", line(violation))


def test_line_is_in_the_words_of_firefox() -> None:
    call = refused(None, kind="syscall", operation="ptrace", syscall="ptrace", args=(16, 7), errno="EPERM")  # type: ignore[arg-type]
    assert line(call).startswith(
        "Sandbox: seccomp sandbox violation: pid 7, syscall ptrace, args 16 7.  [plugin level 1]"
    )
    assert line(refused(access="r")).startswith("Sandbox: denied op=open perms=r path=/etc/passwd for pid=7  [plugin")
