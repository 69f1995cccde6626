"""What an exception's traceback says of a function of a script: as if the script had called it itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.users import needs_userns

pytestmark = needs_userns

PROGRAM = """SECRET = "of the script, and of no function"
import json, sys, time, traceback
import foxden
from foxden import SandboxExecutor

class Odd(Exception):
    pass

def inner(by):
    return 1 / by

def outer(by):
    if by == "odd":
        raise Odd("an odd one")
    return inner(by)

def forged(line):
    exec(compile("\\n" * (line - 1) + "1 / 0", outer.__code__.co_filename, "exec"))

def begin():
    raise OSError("not today")

told = {}
with SandboxExecutor(1) as pool:
    for by in (0, "odd"):
        try:
            pool.submit(outer, by).result(60)
        except Exception as error:
            told[str(by)] = "".join(traceback.format_exception(error))
            told[f"remote {by}"] = getattr(error, "remote_traceback", "")
    for line in (1, inner.__code__.co_firstlineno):
        try:
            pool.submit(forged, line).result(60)
        except ZeroDivisionError as error:
            told[f"forged {line == 1}"] = str(error.__cause__)
    pool.submit(len, "").result(60)
    time.sleep(1.1)  # what is told once a second
    told["refused"] = [violation.path for violation in pool.violations()]
with SandboxExecutor(1, initializer=begin) as pool:
    try:
        pool.submit(len, "").result(60)
    except foxden.WorkersBroken as error:
        told["begin"] = "".join(traceback.format_exception(error))
print(json.dumps(told))
"""


def test_functions_of_a_script_are_told_with_their_lines_and_nothing_is_refused_for_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    ran = subprocess.run([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, timeout=120, check=True)
    told = json.loads(ran.stdout)
    for text, lines in (
        (told["0"], ("return inner(by)", "return 1 / by")),
        (told["odd"], ('raise Odd("an odd one")',)),
        (told["remote odd"], ('raise Odd("an odd one")',)),
        (told["begin"], ('raise OSError("not today")',)),
    ):
        for line in lines:
            assert f"\n    {line}\n" in text, text
        remote = text.partition("\n\nThe above exception")[0]
        assert "children/utility" not in remote, "our own frames are not the caller's"
        assert remote.count("Traceback (most recent call last)") == 1
    assert told["refused"] == []
    assert "def inner(by):" in told["forged False"], "a line of a function that the worker has"
    assert "line 1, in" in told["forged True"]
    assert "SECRET" not in told["forged True"], "a line of the same file that it has not"
