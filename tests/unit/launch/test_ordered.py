"""Modules loaded in a known order are those that importlib would make; what is not as expected is left to it."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foxden.launch import ordered
from foxden.launch.load_order import ORDER

# What a fork server of functions has loaded, and who was asked where it lies.
_SERVER = """
import sys
from importlib.machinery import PathFinder
sought = []
class Listener:
    def find_spec(name, path, target=None):
        sought.append(name)
sys.meta_path.insert(0, Listener)
from foxden.launch import late, ordered
if sys.argv[1] == "plain":
    ordered.ORDER.clear()
del sought[:]
late.load_typing()
from foxden.launch import interpreter, loading
ordered.load("msgspec")
loading.load_msgspec()
ordered.load("server")
from foxden.launch import forkserver
from foxden.launch.warmth import Warmth
warmth = Warmth(["foxden.children.utility.process"])
warmth.ready_for("foxden.children.utility.process", whole=True, late=True)
def told(module):
    spec = module.__spec__
    return (module.__name__, getattr(module, "__file__", None), getattr(module, "__cached__", None),
            module.__package__, list(getattr(module, "__path__", ())), type(module.__loader__).__name__,
            spec and (spec.name, spec.origin, spec.cached, spec.parent, spec.has_location,
                      list(spec.submodule_search_locations or ())))
modules = [module for name, module in sorted(sys.modules.items()) if type(module) is type(sys) and name != "__main__"]
print(repr((sought, [told(module) for module in modules])))
"""


def _server(word: str) -> tuple[list[str], list[object]]:
    path = f"import sys; sys.path += {sys.path!r}\n"
    words = [sys.executable, "-I", "-S", "-c", path + _SERVER, word]
    told = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    sought, loaded = eval(told)
    return sought, loaded


def test_a_fork_server_has_the_modules_that_importlib_would_have_made_and_seeks_few() -> None:
    sought_plain, loaded_plain = _server("plain")  # first: it compiles what is not, as in a tree that nobody has used
    sought, loaded = _server("ordered")
    assert loaded == loaded_plain
    assert len(sought) < len(sought_plain) - 90, sought


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the order is of Python 3.11")
def test_the_order_is_that_of_the_tree() -> None:
    from tools import make_load_order

    assert make_load_order.OUTPUT.read_text() == make_load_order.text(), "run `make load-order`"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A standard library of one's own, with one module and one package."""
    (tmp_path / "ordered_lone.py").write_text("WHERE = __file__\ndef fail(): raise KeyError\n")
    (tmp_path / "ordered_pack").mkdir()
    (tmp_path / "ordered_pack/__init__.py").write_text("")
    (tmp_path / "ordered_pack/part.py").write_text("import ordered_pack\nWHERE = __file__\n")
    (tmp_path / "ordered_bad.py").write_text("raise OSError\n")
    for name in ("ordered_lone.py", "ordered_pack/__init__.py", "ordered_pack/part.py", "ordered_bad.py"):
        py_compile.compile(str(tmp_path / name))
    monkeypatch.setattr(ordered, "_SPEC", importlib.util.spec_from_file_location("ordered", ordered.__file__))
    monkeypatch.setattr(ordered, "LIES_IN_A_FOLDER", True)
    monkeypatch.setattr(ordered, "STANDARD", f"{tmp_path}/")
    places = ("ordered_bad", "ordered_lone", "ordered_pack/part", "ordered_pack/__init__", "ordered_pack/part", "gone")
    monkeypatch.setitem(ORDER, "of the test", places)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("ordered_")]:
        del sys.modules[name]


def _loaded() -> set[str]:
    return {name for name in sys.modules if name.startswith("ordered_")}


def test_a_part_waits_for_its_package_and_a_module_that_fails_or_is_not_there_is_passed_over(folder: Path) -> None:
    ordered.load("of the test")
    assert _loaded() == {"ordered_lone", "ordered_pack", "ordered_pack.part"}
    pack = sys.modules["ordered_pack"]
    assert pack.part is sys.modules["ordered_pack.part"]
    assert pack.part.__file__ == pack.part.WHERE == str(folder / "ordered_pack/part.py")
    with pytest.raises(OSError):  # noqa: PT011 - the module's own, when somebody names it
        importlib.import_module("ordered_bad")
    ordered.load("no such group")


def test_what_is_loaded_already_stays(folder: Path) -> None:
    before = importlib.import_module("ordered_lone")
    ordered.load("of the test")
    assert sys.modules["ordered_lone"] is before


@pytest.mark.parametrize("change", ["text", "time", "cut", "empty", "noise", "hash", "magic", "gone", "no code"])
def test_what_was_compiled_of_another_source_is_not_loaded(folder: Path, change: str) -> None:
    source = folder / "ordered_lone.py"
    compiled = Path(importlib.util.cache_from_source(str(source)))
    data = compiled.read_bytes()
    match change:
        case "text":
            stamp = source.stat().st_mtime
            source.write_text("WHERE = 1\n")
            os.utime(source, (stamp, stamp))
        case "time":
            os.utime(source, (1, 1))
        case "cut":
            compiled.write_bytes(data[:-20])
        case "empty":
            compiled.write_bytes(b"")
        case "noise":
            compiled.write_bytes(data[:16] + b"\xff" * 64)
        case "hash":
            py_compile.compile(str(source), invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH)
        case "magic":
            compiled.write_bytes(b"\0\0\r\n" + data[4:])
        case "gone":
            compiled.unlink()
        case "no code":
            compiled.write_bytes(data[:16] + b"N")
    ordered.load("of the test")
    assert "ordered_pack" in _loaded(), "what is as expected is"
    assert "ordered_lone" not in _loaded()


def test_a_traceback_names_the_file_and_not_where_it_was_compiled(folder: Path) -> None:
    source = folder / "ordered_lone.py"
    py_compile.compile(str(source), dfile="elsewhere/ordered_lone.py")
    ordered.load("of the test")
    assert sys.modules["ordered_lone"].fail.__code__.co_filename == str(source)
