"""The compiled policies are the texts, for both architectures, and a command reads them without the compiler."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from foxden.errors import PolicyError
from foxden.sandbox import read_policies
from foxden.sandbox.build import build_plan
from foxden.sandbox.constants import ARCHES
from foxden.sandbox.policy import load, resolve
from foxden.sandbox.policy_files import read_policy
from foxden.sandbox.program_base import LOCKS, POLICIES, compile_base, encode_base, load_base, path_of
from foxden.sandbox.read_policies import READ, compile_read, load_read

COMPILED = [(name, arch) for name in (*POLICIES, *LOCKS) for arch in ARCHES]
COMPILER = ("tomllib", "foxden.sandbox.policy", "foxden.sandbox.filter", "foxden.sandbox.build", "foxden.sandbox.bpf")
MEASURE = """
import sys, time
from foxden.sandbox import program_base
start = time.perf_counter()
for name in ("plugin", "plugin-explain"):
    program_base.load_base(name, sys.argv[1])
took = time.perf_counter() - start
print(took, *(name for name in sys.argv[2:] if name in sys.modules))
"""


@pytest.mark.parametrize(("name", "arch"), COMPILED)
def test_compiled_policy_is_its_text(name: str, arch: str) -> None:
    assert Path(path_of(name, arch)).read_bytes() == encode_base(compile_base(name, arch)), "run `make policies`"


@pytest.mark.parametrize(("name", "arch"), COMPILED)
def test_compiled_policy_is_read_as_it_was_written(name: str, arch: str) -> None:
    assert load_base(name, arch) == compile_base(name, arch)


@pytest.mark.parametrize("name", READ)
def test_read_policy_is_its_text(name: str) -> None:
    assert Path(read_policies.path_of(name)).read_bytes() == compile_read(name), "run `make policies`"
    assert load_read(name) == load(name, read_policy)


@pytest.mark.parametrize("arch", ARCHES)
def test_explaining_policy_asks_about_reads_that_the_usual_one_leaves_to_the_kernel(arch: str) -> None:
    usual, explaining = load_base("plugin", arch), load_base("plugin-explain", arch)
    assert usual.files == explaining.files
    assert usual.errnos.keys() < explaining.errnos.keys()


def test_compiled_policies_differ_between_architectures() -> None:
    filters = {load_base("plugin", arch).plan.filter for arch in ARCHES}
    assert len(filters) == len(ARCHES)


def test_unknown_architecture_is_a_policy_error() -> None:
    with pytest.raises(PolicyError, match="got 'vax'"):
        load_base("plugin", "vax")


@pytest.mark.parametrize("arch", ARCHES)
def test_loading_is_quick_and_leaves_the_compiler_alone(arch: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, arch, *COMPILER], capture_output=True, text=True, timeout=30, check=True
    )
    took, *loaded = done.stdout.split()
    assert loaded == []
    assert float(took) < 0.05  # compiling takes over 0.1 s, most of it to load the compiler; a busy machine has room


def test_measurement_would_see_the_compiler() -> None:
    compiling = MEASURE.replace("load_base", "compile_base")
    done = subprocess.run(
        [sys.executable, "-c", compiling, ARCHES[0], *COMPILER], capture_output=True, text=True, timeout=30, check=True
    )
    assert set(done.stdout.split()[1:]) >= {"foxden.sandbox.policy", "foxden.sandbox.filter", "foxden.sandbox.build"}


@pytest.mark.parametrize("name", LOCKS)
def test_what_is_locked_by_a_compiled_policy_is_what_its_text_builds(name: str) -> None:
    """Nothing of it depends on a variable, so nothing of it is left out."""
    resolved = resolve(load(name, read_policy), level=1, remote_type=None, variables={})
    for arch in ARCHES:
        assert load_base(name, arch).plan == build_plan(resolved, arch=arch, listener=name not in ("parent", "broker"))
