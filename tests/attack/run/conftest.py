"""What hostile programs need: a ground of their own, and those of them that are written in C, compiled once."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.attack.run.ground import PROGRAMS, Ground
from tests.support.users import require


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    for feature in ("userns", "landlock", "seccomp"):
        require(feature)
    ground = Ground(tmp_path / "ground")
    yield ground
    ground.close()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The path of a program of programs/*.c."""
    folder = tmp_path_factory.mktemp("compiled")
    compiler = shutil.which("gcc")

    def build(name: str) -> str:
        if compiler is None:
            pytest.skip("needs a C compiler")
        target = folder / name
        if not target.exists():
            words = [compiler, "-O2", "-Wall", "-pthread", "-o", str(target), str(PROGRAMS / f"{name}.c")]
            subprocess.run(words, check=True, capture_output=True)
        return str(target)

    return build
