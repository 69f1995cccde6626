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
assert given or "typing_extensions" not in sys.modules
assert given or "inspect" not in sys.modules, "half a compiler"
import typing_extensions
load_msgspec()
assert sys.modules["typing_extensions"] is typing_extensions
"""


def test_neither_typing_extensions_nor_inspect_is_loaded_and_both_can_be() -> None:
    pytest.importorskip("typing_extensions")
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)
