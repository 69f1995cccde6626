"""The command guesses which fork servers it will want, and what it begins is taken over or ends with it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from foxden.front.cli import families_for
from foxden.launch import early, interpreter


def sleeps(pid: int) -> bool:
    """It was executed, and waits."""
    with open(f"/proc/{pid}/cmdline", "rb") as cmdline, open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        return b"when-asked" in cmdline.read() and stat.read().rpartition(")")[2].split()[0] == "S"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("words", "families"),
    [
        (["open", "https://a.example/"], ("network", "web")),
        (["open", "--json", "http://a.example/", "--timeout", "3"], ("network", "web")),
        (["open", "page.html"], ("file",)),
        (["fetch", "https://a.example/"], ("network",)),
        (["ps"], ()),
        ([], ()),
        (["--help"], ()),
    ],
)
def test_families_of_a_command_line(words: list[str], families: tuple[str, ...]) -> None:
    assert families_for(words) == families


def test_what_was_begun_is_taken_once_and_ends_at_the_end_of_its_pipe() -> None:
    early.begin("utility")
    begun = early.take("utility")
    assert begun is not None
    assert early.take("utility") is None
    try:
        begun.sock.close()  # as when the command ends before a den was made
        _, status = os.waitpid(begun.pid, 0)
    finally:
        begun.log.close()
    assert os.waitstatus_to_exitcode(status) == 0


def test_lazy_server_loads_nothing_before_its_first_word() -> None:
    words = interpreter.BootWords("starter", "", "", interpreter.library_path(), eager=False)
    begun = early.make(words)
    try:
        until(lambda: sleeps(begun.pid))
        with open(f"/proc/{begun.pid}/maps", encoding="utf-8") as maps:
            assert "msgspec" not in maps.read()
        begun.sock.send(b"x")  # not a packet of ours: it loads, refuses it and ends
        assert os.waitpid(begun.pid, 0)[0] == begun.pid
    except BaseException:
        os.kill(begun.pid, signal.SIGKILL)
        os.waitpid(begun.pid, 0)
        raise
    finally:
        begun.sock.close()
        begun.log.close()
