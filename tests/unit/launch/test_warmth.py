"""A fork server loads for the first child what that cannot be without, and the rest when nothing waits."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

from foxden.launch.warmth import nothing_waits

# Of the family of functions, in an interpreter of its own.
_FUNCTIONS = """
import gc, sys
from foxden.launch.loading import load_msgspec
load_msgspec()
from foxden.launch.forkserver import modules_of
from foxden.launch.warmth import Warmth
from foxden.model.process_types import Family
modules = modules_of(Family.UTILITY)
warmth = Warmth(modules.values())
late = {"cloudpickle", "inspect", "tempfile", "traceback", "socket", "foxden.launch.probes", modules["ipdlunittest"]}
assert not late & sys.modules.keys(), late & sys.modules.keys()
"""
_OF_FUNCTIONS = """
warmth.ready_for(modules["utility"], whole=False)
assert modules["utility"] in sys.modules and not late & sys.modules.keys(), late & sys.modules.keys()
assert gc.get_freeze_count() > 10_000
while not warmth.is_full:
    warmth.add()
assert late <= sys.modules.keys()
warmth.ready_for(modules["utility"], whole=True)
"""
_IMPORTS = """
warmth.ready_for(modules["utility"], whole=False, imports=True)
assert "re" in sys.modules and not late & sys.modules.keys(), late & sys.modules.keys()
"""
_BY_VALUE = """
warmth.ready_for(modules["utility"], whole=False, late=True)
assert "cloudpickle" in sys.modules and not {"tempfile", modules["ipdlunittest"]} & sys.modules.keys()
while not warmth.is_full:
    warmth.add()
assert late <= sys.modules.keys()
"""
# A child that sees no file has everything before it is forked.
_OF_THE_TEST = """
warmth.ready_for(modules["ipdlunittest"], whole=True)
assert {modules["ipdlunittest"], "tempfile", "foxden.launch.probes"} <= sys.modules.keys()
assert not warmth.is_full and "cloudpickle" not in sys.modules, "what only another type needs"
"""


def test_first_function_waits_for_nothing_that_it_can_do_without() -> None:
    _run(_FUNCTIONS + _OF_FUNCTIONS)


def test_first_function_that_goes_by_value_finds_what_that_needs() -> None:
    _run(_FUNCTIONS + _BY_VALUE)


def test_first_function_that_imports_finds_what_modules_often_want() -> None:
    _run(_FUNCTIONS + _IMPORTS)


def test_child_that_sees_no_files_has_everything_from_the_start() -> None:
    _run(_FUNCTIONS + _OF_THE_TEST)


def test_a_message_and_its_end_are_waited_for_no_longer() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert nothing_waits(ours, 0)
        begun = time.monotonic()
        assert nothing_waits(ours, 50)
        assert time.monotonic() - begun >= 0.05, "whoever has just been forked has the processors to itself"
        theirs.send(b"x")
        assert not nothing_waits(ours, 60_000)
        ours.recv(1)
        assert nothing_waits(ours, 0)
        theirs.close()
        assert not nothing_waits(ours, 60_000)


def _run(program: str) -> None:
    """In an interpreter as a fork server's: nothing loaded, the same places to load from."""
    path = f"import sys; sys.path += {sys.path!r}\n"
    subprocess.run([sys.executable, "-I", "-S", "-c", path + program], check=True, timeout=60)
