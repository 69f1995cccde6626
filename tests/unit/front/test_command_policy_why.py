"""`foxden policy why`: answers without running anything, by exit code, in words and as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import pytest

from foxden.front.command_policy_why import command, kind_of
from foxden.model.process_types import PROCESS_TYPES, RemoteType


def why(*words: str) -> int:
    code = command.main(list(words), standalone_mode=False)
    assert isinstance(code, int)
    return code


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    code = why(*words, "--json")
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == (0 if all(answer["verdict"] == "allowed" for answer in found["answers"]) else 1)
    return found


@pytest.mark.parametrize(
    ("words", "verdict", "rule"),
    [
        (("/etc/hosts", "--type", "socket"), "allowed", 'socket.toml: files "/etc/hosts" = "r"'),
        (("/etc/hosts", "--type", "socket", "--access", "w"), "refused", 'socket.toml: files "/etc/hosts" = "r"'),
        (("/etc/hosts", "--type", "content"), "refused", 'content.toml level 3: files "/" = "deny"'),
        (("/etc/hosts", "--type", "content", "--remote-type", "file"), "allowed", "files.when-remote-type.file"),
        (("/etc/hosts", "--type", "content", "--level", "1"), "allowed", "content.toml level 1: @path-reads = allow"),
        (("/etc/hosts", "--type", "content", "--level", "0"), "allowed", "no sandbox at all"),
        (("ptrace", "--type", "content"), "refused", "common.toml: @other-processes = notify.EPERM"),
        (("ptrace", "--type", "gmp"), "killed", "gmp.toml: @other-processes = kill"),
        (("read", "--type", "gmp"), "allowed", "gmp.toml: @own-descriptors = allow"),
        (("openat(flags=O_RDWR)", "--type", "content", "--level", "2"), "refused", "level 2: @path-writes"),
        (("openat(flags=O_RDONLY)", "--type", "content", "--level", "2"), "allowed", "level 1: @path-reads"),
        (("example.org:443", "--type", "content"), "refused", "content.toml level 4: @socket-calls"),
        (("example.org:443", "--type", "socket"), "allowed", "public addresses"),
        (("example.org:25", "--type", "socket"), "refused", "bad ports"),
        (("10.1.2.3", "--type", "socket"), "refused", "private address"),
    ],
)  # fmt: skip
def test_verdict_and_the_line_that_decides(
    words: tuple[str, ...], verdict: str, rule: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (answer,) = asked(capsys, *words)["answers"]
    assert answer["verdict"] == verdict
    assert rule in answer["rule"]
    assert ("hint" in answer) == (verdict != "allowed")


@pytest.mark.parametrize("row", [row for row in PROCESS_TYPES if row.child], ids=lambda row: row.name)
def test_every_type_answers_to_every_kind_of_question(row: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for remote in row.remote_types or (None,):
        more = ("--remote-type", remote.value) if isinstance(remote, RemoteType) else ()
        for what in ("/etc/shadow", "io_uring_setup", "example.org"):
            found = asked(capsys, what, "--type", row.name, *more)
            assert found["process_type"] == row.name
            assert found["remote_type"] == (remote.value if remote else None)
            assert all(answer["rule"] for answer in found["answers"])


def test_link_is_told_as_given_and_as_what_it_leads_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "link").symlink_to("/proc/version")
    found = asked(capsys, str(tmp_path / "link"), "--type", "content", "--remote-type", "file")
    real = os.path.realpath("/proc/version")
    assert [(answer["path"], answer["verdict"]) for answer in found["answers"]] == [
        (str(tmp_path / "link"), "allowed"), (real, "refused"),
    ]  # fmt: skip


def test_path_is_made_whole_as_the_broker_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    found = asked(capsys, "./a/../b", "--type", "utility")
    assert found["answers"][0]["path"] == os.path.join(os.path.realpath(tmp_path), "b")


def test_profile_is_part_of_the_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (str(tmp_path / "cookies"), "--type", "content", "--remote-type", "file")
    assert asked(capsys, *words)["answers"][0]["verdict"] == "allowed"
    (answer,) = asked(capsys, *words, "--profile", str(tmp_path))["answers"]
    assert answer["rule"] == 'content.toml level 3: files "{profile}" = "deny"'


def test_private_trees_of_a_program_do_not_have_the_hosts_files(capsys: pytest.CaptureFixture[str]) -> None:
    home = os.path.expanduser("~")
    (read,) = asked(capsys, f"{home}/data/x", "--type", "plugin")["answers"]
    assert (read["verdict"], read["errno"], read["hint"]) == ("refused", "ENOENT", f"--read {home}/data/x")
    assert read["rule"] == 'plugin.toml: files "{home}" = "rwcx": private to it; the host\'s file is not in there'
    (made,) = asked(capsys, "/tmp/new", "--type", "plugin", "--access", "c")["answers"]
    assert made["rule"] == 'plugin.toml: files "/tmp" = "rwcx": private to it, and gone when it ends'
    assert asked(capsys, "/usr/bin", "--type", "plugin")["answers"][0]["verdict"] == "allowed"


def test_words_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert why("/data/a\n\x1b[2Jb", "--type", "plugin") == 1
    out = capsys.readouterr().out
    assert out.splitlines()[0].startswith("refused with ENOENT  /data/a\\n\\x1b[2Jb  for plugin level ")
    assert "  hint  --read " in out


def test_exceptions_of_a_call_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert why("openat", "--type", "content", "--level", "2") == 0
    assert "  but   content.toml level 2: @path-writes: openat(flags" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("/x",), "Missing option '--type'"),
        (("/x", "--type", "browser"), "expected one of plugin, content"),
        (("/x", "--type", "default"), "expected one of plugin, content"),
        (("/x", "--type", "content", "--remote-type", "evil"), "expected one of web, file"),
        (("/x", "--type", "gmp", "--remote-type", "web"), "gmp has no remote types"),
        (("/x", "--type", "content", "--level", "9"), "expected 0 to 4, got 9"),
        (("/x", "--type", "content", "--access", "q"), "letters of 'rwcx'"),
        (("/x", "--type", "content", "--access", "deny"), "what is wanted of a path"),
        (("frobnicate", "--type", "content"), "expected a system call of"),
        (("openat(flags=O_NOPE)", "--type", "content"), "a constant or a number"),
        (("https://x.example/", "--type", "content"), "expected a host as x.example"),
        (("x.example:99999", "--type", "content"), "expected HOST or HOST:PORT"),
        (("/x", "--type", "content", "--pref", "nope"), "expected NAME=VALUE"),
        (("/x", "--type", "content", "--pref", "nope=1"), "the name of a preference"),
    ],
)
def test_wrong_question_is_wrong_usage(words: tuple[str, ...], text: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        why(*words)
    assert text in caught.value.format_message()
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("what", "kind"),
    [("/x", "path"), ("./x", "path"), ("~/x", "path"), ("a/b", "path"), (".", "path"), ("open", "call"),
     ("257", "call"), ("0x101", "call"), ("openat(flags=1)", "call"), ("nonsense", "call"), ("a.example", "host"),
     ("[::1]:80", "host"),
     ("localhost:80", "host"), ("https://a.example/x", "url")],
)  # fmt: skip
def test_kind_of_a_question(what: str, kind: str) -> None:
    assert kind_of(what) == kind
