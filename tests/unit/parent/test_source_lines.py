"""A worker's traceback gets the lines of the functions that were sent to it, and no others."""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foxden.parent import by_value
from foxden.parent.importable import View
from foxden.parent.source_lines import SentCode

TEXT = f"""SECRET = "of the file, and of no function"

def one():
    def inner():
        return  1 / 0
    x = {'1' * 2000}
    return inner

OTHER = "as well"
"""


@pytest.fixture
def script(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "a script"
    path.write_text(TEXT)
    yield str(path)
    linecache.clearcache()


def sent_of(path: str) -> SentCode:
    """Of a pool to which the function of this file was sent."""
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(TEXT, path, "exec"), names)
    view = View([folder for folder in sys.path if folder])
    by_value.dump(names["one"], None, view)
    return view.sent


def frame(path: str, line: int, lead: str = "  ") -> str:
    return f'{lead}File "{path}", line {line}, in one'


def test_a_frame_without_a_line_gets_it(script: str) -> None:
    trace = f"Traceback (most recent call last):\n{frame(script, 5)}\n{frame(script, 5)}\nZeroDivisionError: x\n"
    told = trace.replace(frame(script, 5), f"{frame(script, 5)}\n    return  1 / 0")
    with_source = sent_of(script).with_source
    assert with_source(trace) == told
    assert with_source(told) == told, "none is told twice"


def test_frames_of_a_group_get_theirs_where_they_stand(script: str) -> None:
    lead = "  | " * 2 + "  "
    told = f"{frame(script, 5, lead)}\n{lead}  return  1 / 0"
    assert sent_of(script).with_source(frame(script, 5, lead)) == told


def test_a_line_is_cut(script: str) -> None:
    assert len(sent_of(script).with_source(frame(script, 6)).splitlines()[1]) == 500 + 4


def test_a_worker_that_names_other_lines_is_shown_none(script: str) -> None:
    """Who has written the function may be who reads the traceback in the end."""
    sent = sent_of(script)
    for line in (0, 1, 2, 8, 9, 10, 9_999_999):
        assert sent.with_source(frame(script, line)) == frame(script, line)
    assert SentCode().with_source(frame(script, 5)) == frame(script, 5), "sent to another pool"
    for path in (f"{script}.bak", "/etc/passwd", __file__, "<string>", "a\0b"):
        assert sent.with_source(frame(path, 5)) == frame(path, 5)


def test_a_script_that_came_out_of_a_pipe_is_not_read_again(tmp_path: Path) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    assert sent_of(pipe).with_source(frame(pipe, 5)) == frame(pipe, 5), "to read it would never end"


def test_what_a_notebook_has_run_is_known() -> None:
    linecache.cache["<cell 1>"] = (len(TEXT), None, TEXT.splitlines(True), "<cell 1>")
    try:
        assert sent_of("<cell 1>").with_source(frame("<cell 1>", 3)).endswith("\n    def one():")
    finally:
        del linecache.cache["<cell 1>"]


NO_FRAMES = ("", "\n", "…", '  File "', '  File "a", line x, in', " " * 300 + 'File "a", line 1, in')


@pytest.mark.parametrize("trace", NO_FRAMES)
def test_what_is_no_traceback_stays_as_it_is(trace: str, script: str) -> None:
    assert sent_of(script).with_source(trace) == trace
