"""MOZ_LOG's syntax, and where its words lead."""

from __future__ import annotations

import pytest

from foxden.front import log
from foxden.launch import childlog
from foxden.parent import hosts


@pytest.fixture(autouse=True)
def _no_listeners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(childlog, "listener", None)
    monkeypatch.setattr(hosts, "listener", None)


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("child:5", {"child": 5}),
        ("child:5,process:3", {"child": 5, "process": 3}),
        ("child:Debug, process:verbose", {"child": 4, "process": 5}),
        ("child", {"child": 4}),
        ("timestamp,sync,nsHttp:9,rotate:200", {"nsHttp": 5}),
        ("all:1", {"all": 1}),
        ("", {}),
        (",,", {}),
    ],
)
def test_words_of_moz_log_are_read(text: str, levels: dict[str, int]) -> None:
    assert log.parse(text) == levels


@pytest.mark.parametrize("text", ["child:loud", ":5", "child:", "child:-1", "child:5:5", "child:²"])
def test_wrong_words_are_an_error(text: str) -> None:
    with pytest.raises(log.LogSyntaxError, match="expected"):
        log.parse(text)


def test_nothing_is_logged_unasked() -> None:
    log.start(["child:2", "process:0", "unknown:5"])
    assert childlog.listener is None
    assert hosts.listener is None


def test_all_means_every_module() -> None:
    log.start(["all:5"])
    assert childlog.listener is not None
    assert hosts.listener is not None


def test_child_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    log.start(["child:5"])
    assert childlog.listener is not None
    childlog.listener("content web child 7", childlog.escape(b"hello\n12:00:00 process: forged \x1b[2J"))
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.endswith(" child: content web child 7: hello\\n12:00:00 process: forged \\x1b[2J\n")
