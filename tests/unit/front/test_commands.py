"""The parts of the commands that need no process: rows, words, requests, receivers."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from foxden.front import demo_acts, demo_programs, demo_screen
from foxden.front.command_fetch import _ask
from foxden.front.command_ps import duration, enforcement_cell, records, size, table
from foxden.front.command_support import banner, verdict
from foxden.front.command_support import table as support_table
from foxden.front.demo_acts import ACTS, GRANTED, PARENT, REFUSED, SUCCEEDED, UNKNOWN, UNPROTECTED, Outcome
from foxden.front.demo_site import find_pages
from foxden.front.exchange import Head
from foxden.front.failures import CommandFailed
from foxden.front.receivers import JsonReceiver, TerminalReceiver
from foxden.launch.probes import PROBES
from foxden.model.enforcement import Enforcement, LayerStatus, Status
from foxden.model.process_types import BY_NAME, RemoteType
from foxden.model.records import ProcessRecord, Violation
from foxden.parent.programs import Done
from foxden.parent.roster import DenRecord
from foxden.parent.support import TypeReport

FULL = Enforcement(landlock=LayerStatus(Status.FULL), seccomp=LayerStatus(Status.FULL))
PARTIAL = Enforcement(landlock=LayerStatus(Status.NONE, "too old"), seccomp=LayerStatus(Status.FULL))


def process(**fields: Any) -> ProcessRecord:
    return ProcessRecord(**{"pid": 7, "process_type": "content", "level": 4, "memory_bytes": 1 << 20, "uptime_s": 1.0,
                            **fields})  # fmt: skip


# --- ps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("enforcement", "text", "style"),
    [
        (FULL, "FULL", "green"),
        (PARTIAL, "PARTIAL(landlock)", "yellow"),
        (Enforcement(), "NONE", "red"),
        (None, "-", "dim"),
    ],
)
def test_enforcement_has_its_colour(enforcement: Enforcement | None, text: str, style: str) -> None:
    cell = enforcement_cell(enforcement)
    assert (cell.text, cell.style) == (text, style)


def test_row_of_a_process_says_all_of_it() -> None:
    shown = table([process(remote_type="web", enforcement=FULL, name="https://a.example")])
    assert shown[0].split() == ["PID", "TYPE", "REMOTE", "TYPE", "LEVEL", "ENFORCEMENT", "MEMORY", "UPTIME", "NAME"]
    assert shown[1].split() == ["7", "content", "web", "4", "FULL", "1.0", "MB", "1.0", "s", "https://a.example"]


def test_name_of_a_process_cannot_break_the_table() -> None:
    assert len(table([process(name="a\nb\x1b[2J")])) == 2
    assert "\x1b" not in "".join(table([process(name="a\nb\x1b[2J")]))


def test_json_of_ps_is_a_flat_list_that_names_the_den() -> None:
    (row,) = records(DenRecord(pid=3, processes=[process(enforcement=PARTIAL)]))
    assert row == {
        "den": 3, "pid": 7, "process_type": "content", "remote_type": None, "level": 4, "memory_bytes": 1 << 20,
        "uptime_s": 1.0, "name": "",
        "enforcement": {
            "landlock": {"status": "NONE", "reason": "too old"}, "seccomp": {"status": "FULL", "reason": ""}
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("uptime_s", "text"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (3599.9, "59 min 59 s"),
                           (3600, "1 h 00 min"), (90_000, "25 h 00 min")]
)  # fmt: skip
def test_duration_is_for_people(uptime_s: float, text: str) -> None:
    assert duration(uptime_s) == text


def test_size_is_for_people() -> None:
    assert size(1_500_000) == "1.4 MB"
    assert size(3 << 30) == "3.00 GB"


# --- support ----------------------------------------------------------------------------------------------------

WHOLE = TypeReport(process_type="gmp", level=1, enforcement=FULL)
LESS = TypeReport(process_type="gmp", level=1, enforcement=PARTIAL)
OFF = TypeReport(process_type="gmp", level=0, enforcement=Enforcement(), switched_off_by="MOZ_DISABLE_GMP_SANDBOX")
BROKEN = TypeReport(process_type="gmp", level=1, error="it fell over")


def test_banner_is_for_switched_off_sandboxes_alone() -> None:
    assert banner([WHOLE, LESS, BROKEN]) == []
    assert "SANDBOX OFF  gmp: no protection at all (MOZ_DISABLE_GMP_SANDBOX)" in banner([WHOLE, OFF])[0]
    assert "level 0" in banner([TypeReport(process_type="content", level=0)])[0]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([WHOLE], "Every process gets everything"),
        ([WHOLE, LESS], "--allow-partial landlock"),
        ([WHOLE, OFF], "switched off"),
        ([WHOLE, LESS, OFF, BROKEN], "Not every type"),
    ],
)
def test_verdict_says_the_worst(entries: list[TypeReport], words: str) -> None:
    assert words in verdict(entries)


def test_table_tells_failed_off_and_not_asked_apart() -> None:
    _, whole, off, broken = support_table([WHOLE, OFF, BROKEN])
    assert whole.split() == ["gmp", "1", "-", "-", "-", "-", "-", "FULL", "FULL"]
    assert off.split() == ["gmp", "0", *["OFF"] * 7]
    assert broken.split() == ["gmp", "1", *["FAILED"] * 7]


# --- fetch ------------------------------------------------------------------------------------------------------

NOTHING: dict[str, Any] = {
    "method": None, "headers": (), "data": (), "data_binary": (), "location": False, "timeout": 1.0,
}  # fmt: skip


def test_data_makes_a_form_by_post() -> None:
    ask = _ask("u", **{**NOTHING, "data": ("a=1", "b=2")})
    assert (ask.method, ask.data) == ("POST", b"a=1&b=2")
    assert ask.headers == {"Content-Type": "application/x-www-form-urlencoded"}


def test_method_and_type_that_are_given_win() -> None:
    ask = _ask("u", **{**NOTHING, "data": ("x",), "method": "PUT", "headers": ("content-type: a/b",)})
    assert (ask.method, ask.headers) == ("PUT", {"content-type": "a/b"})


def test_repeated_header_is_joined() -> None:
    ask = _ask("u", **{**NOTHING, "headers": ("A: 1", "a: 2", "Cookie: x=1", "Cookie: y=2", "E:")})
    assert ask.headers == {"A": "1, 2", "Cookie": "x=1; y=2", "E": ""}


def test_data_from_a_file_loses_its_newlines_unless_binary(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"a\r\nb\0")
    name = f"@{tmp_path / 'f'}"
    assert _ask("u", **{**NOTHING, "data": (name,)}).data == b"ab"
    assert _ask("u", **{**NOTHING, "data_binary": (name,)}).data == b"a\r\nb\0"
    with pytest.raises(CommandFailed, match="cannot read"):
        _ask("u", **{**NOTHING, "data": (f"@{tmp_path / 'none'}",)})


@pytest.mark.parametrize("header", ["no colon", ": v", "a b: v", "a: b\nc: d", "ü: v"])
def test_header_that_is_none_is_wrong_usage(header: str) -> None:
    with pytest.raises(click.BadParameter):
        _ask("u", **{**NOTHING, "headers": (header,)})


HEAD = Head("http://a.example/", 200, "HTTP/1.1", (("A", "1"), ("a", "2")))


@pytest.mark.parametrize(
    ("body", "encoding", "text"), [(b"caf\xc3\xa9", "text", "café"), (b"\xff\x00", "base64", "/wA="), (b"", "text", "")]
)
def test_json_body_is_text_or_base64(
    capsys: pytest.CaptureFixture[str], body: bytes, encoding: str, text: str
) -> None:
    receiver = JsonReceiver()
    receiver.begin(HEAD)
    receiver.take(body[:1])
    receiver.take(body[1:])
    receiver.finish()
    shown = json.loads(capsys.readouterr().out)
    assert (shown["body_bytes"], shown["body_encoding"], shown["body"]) == (len(body), encoding, text)
    assert shown["headers"] == [["A", "1"], ["a", "2"]]


def test_terminal_gets_text_across_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    receiver = TerminalReceiver()
    receiver.take(b"caf\xc3")
    receiver.take(b"\xa9 \x1b[2J")
    assert sys.stdout.getvalue() == "café \\x1b[2J"  # type: ignore[attr-defined]


@pytest.mark.parametrize("body", [b"a\0b", b"\xff\xfe", b"text \xff"])
def test_terminal_gets_no_binary(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    with pytest.raises(CommandFailed, match="binary"):
        TerminalReceiver().take(body)


def test_length_is_a_number_or_unknown() -> None:
    assert Head("u", 200, "", (("content-length", "12"),)).length == 12
    assert Head("u", 200, "", (("Content-Length", "-1"),)).length is None
    assert HEAD.length is None


# --- demo -------------------------------------------------------------------------------------------------------


def outcome(process: str, what: str) -> Outcome:
    return Outcome(ACTS[0].words, process, what, "EACCES")


def test_every_act_is_a_probe_that_exists() -> None:
    assert [act.probe for act in ACTS if act.probe not in PROBES] == []


def test_acts_are_granted_to_known_processes_alone() -> None:
    columns = BY_NAME.keys() | {kind.value for kind in RemoteType}
    assert {name for act in ACTS for name in act.granted} <= columns


def test_sandboxes_hold_when_only_the_unprotected_process_succeeds() -> None:
    found = demo_acts.verdict(
        [outcome(UNPROTECTED, SUCCEEDED), outcome("web", REFUSED), outcome("socket", GRANTED), outcome(PARENT, REFUSED)]
    )
    assert found["ok"] is True
    assert (found["refused"], found["granted"], found["succeeded"], found["succeeded_unprotected"]) == (2, 1, 0, 1)


@pytest.mark.parametrize("what", [SUCCEEDED, UNKNOWN])
def test_one_act_that_is_not_refused_is_a_breach(what: str) -> None:
    found = demo_acts.verdict([outcome("web", REFUSED), outcome("file", what)])
    assert found["ok"] is False
    assert found["breaches"][0]["process"] == "file"


def tried(worked: bool) -> demo_programs.Tried:
    return demo_programs.Tried("an act", "what it got", "--read /x", worked)


def test_hostile_program_that_works_is_a_breach_and_so_is_a_useful_one_that_does_not() -> None:
    held = demo_programs.outcomes([tried(worked=False)], [tried(worked=True)])
    assert [each.outcome for each in held] == [REFUSED, GRANTED]
    assert demo_acts.verdict(held)["ok"] is True
    for hostile, useful in ((True, True), (False, False)):
        outcomes = demo_programs.outcomes([tried(worked=hostile)], [tried(worked=useful)])
        assert demo_acts.verdict(outcomes)["ok"] is False


def test_program_is_told_the_error_of_its_violation_or_its_own_last_words() -> None:
    def words(stderr: bytes, *violations: Violation, limit: str = "") -> str:
        return demo_programs._last_words(Done(("p",), 1, b"", stderr, violations, Enforcement(), limit=limit))

    refused = Violation(time=0, pid=1, process_type="plugin", level=1, kind="file", operation="open", errno="EACCES")
    assert words(b"sh: 1: cannot create /x: nonsense\n", refused) == "Permission denied"
    assert words(b"cat: /x: No such file or directory\nmore\n") == "No such file or directory"
    assert words(b"40C7:error:8000006F\nconnect:errno=111\n") == "Connection refused"
    assert words(b"", limit="timeout") == "ended: timeout"
    assert words(b"") == "exit code 1"


def test_nothing_tried_is_nothing_held() -> None:
    assert demo_acts.verdict([outcome(UNPROTECTED, SUCCEEDED)])["ok"] is False


def test_breach_is_shown_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = [outcome("web", SUCCEEDED)]
    demo_screen.acts(outcomes, colour=False)
    demo_screen.closing(demo_acts.verdict(outcomes), colour=False)
    text = capsys.readouterr().out
    assert "SUCCEEDED" in text
    assert "NOT HELD." in text
    assert "web: read a secret file" in text


def test_pages_are_found_by_their_real_path(tmp_path: Path) -> None:
    real = tmp_path / "real"
    (real / "library").mkdir(parents=True)
    (real / "index.html").touch()
    (real / "library" / "asyncio.html").touch()
    (tmp_path / "share" / "python3-doc").mkdir(parents=True)
    (tmp_path / "share" / "python3-doc" / "html").symlink_to(real)
    assert find_pages(tmp_path / "share") == (real.resolve(), ("index.html", "library/asyncio.html"))


def test_missing_documentation_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed) as caught:
        find_pages(tmp_path)
    assert "python3-doc" in caught.value.hint
