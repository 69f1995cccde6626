"""The module tempfile uses a child's folder, whether it was loaded before the child was told or is loaded later."""

from __future__ import annotations

import subprocess
import sys

import pytest

_LATER = """
import sys
from importlib.machinery import SourceFileLoader
from foxden.launch import temporary_folder
assert "tempfile" not in sys.modules
temporary_folder.use("/of-a-child")
import tempfile
"""
_BEFORE = """
import tempfile
from foxden.launch import temporary_folder
temporary_folder.use("/of-a-child")
"""
_HOLDS = """
assert tempfile.gettempdir() == "/of-a-child"
assert type(tempfile.__loader__).__name__ == type(tempfile.__spec__.loader).__name__ == "SourceFileLoader"
import shutil, fractions
assert fractions.Fraction(1, 2)
"""


@pytest.mark.parametrize("told", [_LATER, _BEFORE], ids=["loaded later", "loaded before"])
def test_tempfile_uses_the_folder(told: str) -> None:
    subprocess.run([sys.executable, "-I", "-S", "-c", _path() + told + _HOLDS], check=True, timeout=60)


def test_without_a_folder_it_finds_its_own() -> None:
    """The control: nothing else sets it."""
    program = "import tempfile; assert tempfile.tempdir is None"
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True, timeout=60)


def _path() -> str:
    return f"import sys; sys.path += {sys.path!r}\n"
