"""msgspec is loaded without what only others need of it, and nothing else is kept from being loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Of a protocol and all it needs, in an interpreter that has every library of this one.
PROGRAM = """
import sys
from foxden.launch.loading import load_msgspec
given = "typing_extensions" in sys.modules
load_msgspec()
import foxden.protocols.forkserver
assert "textwrap" not in sys.modules, "parts of msgspec that nobody has asked for"
assert given or "typing_extensions" not in sys.modules
assert given or "inspect" not in sys.modules, "half a compiler"
import typing_extensions
load_msgspec()
assert sys.modules["typing_extensions"] is typing_extensions
"""


def test_neither_typing_extensions_nor_inspect_is_loaded_and_both_can_be() -> None:
    pytest.importorskip("typing_extensions")
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)


# Where code of users runs it understands types of typing_extensions as if it had been loaded with them.
OF_USERS = """
import sys
from foxden.launch.loading import load_msgspec
given = "typing_extensions" in sys.modules
load_msgspec()
assert given or not {"typing_extensions", "inspect", "platform"} & sys.modules.keys()
import msgspec, platform, uuid
assert platform.system() == "Linux" and uuid.uuid4()
from typing_extensions import Annotated, NotRequired, TypedDict
class Point(TypedDict):
    x: Annotated[int, msgspec.Meta(ge=1)]
    y: NotRequired[int]
assert msgspec.json.decode(b'{"x": 1}', type=Point) == {"x": 1}
try:
    msgspec.json.decode(b'{"x": 0}', type=Point)
except msgspec.ValidationError:
    pass
else:
    raise AssertionError("not checked")
"""


def test_msgspec_of_users_knows_types_of_typing_extensions() -> None:
    pytest.importorskip("typing_extensions")
    subprocess.run([sys.executable, "-c", OF_USERS], check=True, timeout=60)


# A part that was left out is loaded by whoever asks for it, under whatever name, and is the same for all.
LATE = """
import sys
from foxden.launch.loading import load_msgspec
load_msgspec()
import typing
assert typing.ForwardRef("int", is_class=True).__forward_arg__ == "int"
import msgspec
early = msgspec.json
assert not any(hasattr(module, "__warningregistry__") for module in (early, msgspec.inspect))
assert "textwrap" not in sys.modules
from msgspec.json import decode
from msgspec import inspect
assert early.decode is decode is msgspec.json.decode and early.encode([1]) == b"[1]"
assert isinstance(inspect.type_info(int), msgspec.inspect.IntType)
assert msgspec.json.schema(int) == {"type": "integer"}
try:
    msgspec.json.no_such_thing
except AttributeError:
    pass
else:
    raise AssertionError("made up")
assert sys.modules["msgspec.json"] is msgspec.json
"""


def test_parts_of_msgspec_are_loaded_when_they_are_asked_for() -> None:
    subprocess.run([sys.executable, "-c", LATE], check=True, timeout=60)


# The module in C under the name of the one in Python: the same classes, names, file and pickles.
_DATETIME = """
import json, pickle, sys
from foxden.launch.loading import load_msgspec
if sys.argv[1] == "ours":
    class Listener:
        def find_spec(name, path, target=None):
            sought.append(name)
    sought = []
    sys.meta_path.insert(0, Listener)
    assert "datetime" not in sys.modules
    load_msgspec()
    assert "_datetime" in sought and ("datetime" not in sought or sys.version_info >= (3, 12))
    sys.meta_path.remove(Listener)
import datetime
import _datetime, inspect, _strptime, time
assert datetime.datetime is _datetime.datetime and datetime.UTC is datetime.timezone.utc
now = datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.timezone(datetime.timedelta(hours=1)))
assert pickle.loads(pickle.dumps(now)) == now
assert datetime.datetime.strptime("2026", "%Y").year == 2026
import msgspec
assert msgspec.msgpack.decode(msgspec.msgpack.encode(now), type=datetime.datetime) == now
names = {name: None for name in sorted(vars(datetime)) if not name.startswith("_")}
assert "def utcoffset" in inspect.getsource(datetime) or sys.version_info >= (3, 12)
spec = datetime.__spec__
print(json.dumps([list(names), list(datetime.__all__), datetime.__doc__, datetime.__file__, spec.origin, spec.cached]))
exec("from datetime import *")
assert date is datetime.date or datetime is _datetime.datetime
"""


def test_datetime_is_what_it_is_for_everybody() -> None:
    told = [
        subprocess.run([sys.executable, "-c", _DATETIME, who], check=True, timeout=60, capture_output=True).stdout
        for who in ("ours", "theirs")
    ]
    assert told[0] == told[1]
    assert told[0]
