"""The report file: appended to, the user's own, never through a link; a disk that is full loses lines and no more."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from foxden.errors import FoxdenError
from foxden.model.records import Violation
from foxden.parent.report_file import ReportFile

HOSTILE = 'a"b\\\n{"forged":1}\r\x1b[2J\x7f\x9b\u202e\u2028ü\U0001f600\udcff'


def refused(path: str) -> Violation:
    return Violation(time=1.5, pid=7, process_type="content", kind="file", operation="open", path=path)


def test_records_are_appended_one_a_line_and_to_oneself_only(tmp_path: Path) -> None:
    path = tmp_path / "r"
    for name in ("/a", "/b"):
        report = ReportFile(str(path), _never)
        report.write(refused(name))
        report.close()
    assert [json.loads(line)["path"] for line in path.read_text().splitlines()] == ["/a", "/b"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_hostile_text_is_exact_on_one_line_of_plain_ascii(tmp_path: Path) -> None:
    report = ReportFile(str(tmp_path / "r"), _never)
    report.write(refused(HOSTILE))
    report.close()
    data = (tmp_path / "r").read_bytes()
    assert data.count(b"\n") == 1
    assert all(0x20 <= byte < 0x7F for byte in data[:-1])
    assert json.loads(data)["path"] == HOSTILE


def test_link_at_the_path_is_refused_and_what_it_leads_to_untouched(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "r").symlink_to(tmp_path / "precious")
    with pytest.raises(FoxdenError, match="it is a symbolic link"):
        ReportFile(str(tmp_path / "r"), _never)
    assert (tmp_path / "precious").read_text() == "mine"


def test_file_with_a_second_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    os.link(tmp_path / "precious", tmp_path / "r")
    with pytest.raises(FoxdenError, match="a second name"):
        ReportFile(str(tmp_path / "r"), _never)


def test_what_is_no_plain_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    held = os.open(tmp_path / "fifo", os.O_RDWR)
    for name, words in (("", "Is a directory"), ("fifo", "a fifo"), ("none/r", "No such file or directory")):
        with pytest.raises(FoxdenError, match=words):
            ReportFile(str(tmp_path / name), _never)
    os.close(held)
    with pytest.raises(FoxdenError, match="No such device"):  # a fifo that nobody reads
        ReportFile(str(tmp_path / "fifo"), _never)


@pytest.mark.needs_root
def test_file_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "r").write_text("")
    os.chown(tmp_path / "r", 12_345, 12_345)
    with pytest.raises(FoxdenError, match="one of user 12345"):
        ReportFile(str(tmp_path / "r"), _never)


def test_full_disk_is_told_once_and_stops_nothing() -> None:
    told: list[str] = []
    report = ReportFile("/dev/full", told.append)
    for _ in range(3):
        report.write(refused("/x"))
    report.close()
    report.write(refused("/x"))
    assert report.lost == 3
    assert told == ["/dev/full: No space left on device; violations are missing from this report from here on"]


_LIMITED = """
import sys
from foxden.model.records import Violation
from foxden.parent.report_file import ReportFile
report = ReportFile(sys.argv[1], lambda text: print(text))
for number in range(40):
    report.write(Violation(time=1.0, pid=7, process_type="content", kind="file", operation="open", path=f"/{number}"))
print(report.lost)
"""


def test_file_that_may_not_grow_keeps_whole_lines(tmp_path: Path) -> None:
    """RLIMIT_FSIZE cuts a line in two: that is told, and what comes after it is not glued to the half."""
    command = [sys.executable, "-c", _LIMITED, str(tmp_path / "r")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = subprocess.run(command, env=environment, preexec_fn=limit, capture_output=True, text=True, check=True)
    assert done.stdout.count("violations are missing from this report") == 1
    lines = (tmp_path / "r").read_text().splitlines()
    assert int(done.stdout.splitlines()[-1]) == 40 - (len(lines) - 1)
    assert [json.loads(line)["path"] for line in lines[:-1]] == [f"/{number}" for number in range(len(lines) - 1)]


def _never(text: str) -> None:
    raise AssertionError(text)
