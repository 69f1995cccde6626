"""typing and msgspec are loaded without re, which is there, whole and the only one, for whoever names it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BOOT = """
import sys
sys.path += {path!r}
from foxden.launch import late
late.load_typing()
from foxden.launch import interpreter, loading, ordered
ordered.load("msgspec")
loading.load_msgspec()
"""

TYPING = """
assert "re" not in sys.modules, "what takes as long as typing"
import typing
assert "re" not in sys.modules
word = typing.Pattern[str], typing.Match[bytes]
import re
assert re.__spec__.origin.endswith("re/__init__.py") and type(re).__name__ == "module"
assert typing.Pattern.__origin__ is re.Pattern is type(re.compile("a"))
assert typing.Match.__origin__ is re.Match is type(re.match("a", "a"))
assert word[0].__origin__ is re.Pattern
import copy, pickle
assert pickle.loads(pickle.dumps(re.compile("a+"))) == re.compile("a+") == copy.copy(re.compile("a+"))
"""

# Its name in typing, of Python 3.11 and 3.12, is what it was: more of it is had by asking.
ITS_NAME_IN_TYPING = """
import typing
inside = getattr(typing, "stdlib_re", None)
if inside is not None:
    assert inside.sub("a", "b", "aa") == "bb" and "re" in sys.modules
    import re
    assert inside.compile is re.compile and inside.Pattern is re.Pattern
"""

MSGSPEC = """
import msgspec
from typing import Annotated
class Name(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(pattern="^a+$")]
assert msgspec.json.decode(b'{"name": "aa"}', type=Name).name == "aa"
try:
    msgspec.json.decode(b'{"name": "ab"}', type=Name)
except msgspec.ValidationError as error:
    assert "regex" in str(error), error
else:
    raise AssertionError("not checked")
"""

# A Python that knows other codes of patterns has it loaded as always.
OTHER_CODES = """
import sys
sys.path += {path!r}
from foxden.launch import late
late._MATCHES_NOTHING = [1 << 20]
late.load_typing()
import typing
import re as real
assert type(real).__name__ == "module" and typing.Pattern.__origin__ is real.Pattern
"""


FAILS = """
import sys
sys.path += {path!r}
from foxden.launch import late
try:
    with late.WithoutRe():
        assert type(sys.modules["re"]).__name__ == "LateModule"
        raise KeyError
except KeyError:
    assert "re" not in sys.modules
else:
    raise AssertionError("not raised")
"""


def run(program: str) -> None:
    path = [entry for entry in sys.path if entry]
    words = [sys.executable, "-I", "-S", "-X", "utf8", "-c", program.replace("{path!r}", repr(path))]
    subprocess.run(words, check=True, timeout=60, cwd=Path(__file__).parent)


@pytest.mark.parametrize("then", [TYPING, ITS_NAME_IN_TYPING, MSGSPEC])
def test_re_is_loaded_by_whoever_names_it(then: str) -> None:
    run(BOOT + then)


def test_where_patterns_are_made_in_another_way_it_is_loaded_at_once() -> None:
    run(OTHER_CODES)


def test_what_was_loaded_before_stays() -> None:
    run("import re\nwas = re" + BOOT + "assert sys.modules['re'] is was and type(was).__name__ == 'module'")


def test_whoever_fails_while_it_is_away_leaves_none_behind() -> None:
    run(FAILS)
