"""The guides on functions in a box: every piece of Python in them is run as a program of its own."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest
from tests.support.users import needs_userns

pytestmark = needs_userns

GUIDES = pathlib.Path(__file__).resolve().parents[2] / "docs" / "guides"
PIECES = [
    (name, place, piece)
    for name in ("run-a-models-code.md", "parse-uploads.md")
    for place, piece in enumerate(re.findall(r"^```python\n(.*?)^```", (GUIDES / name).read_text(), re.M | re.S))
]


@pytest.mark.parametrize(("name", "place", "piece"), PIECES, ids=[f"{name} {place}" for name, place, _ in PIECES])
def test_a_piece_of_a_guide_does_what_it_says(name: str, place: int, piece: str, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "piece.py"
    script.write_text(piece)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_the_guides_have_pieces() -> None:
    assert len(PIECES) >= 6
