"""Write src/foxden/launch/load_order.py: which modules a fork server loads, and in which order they are done.

Runs in: a developer's shell.  Trusts: the tree.
Flow: one fresh interpreter a child module, loading as its fork server does → what is done when → groups → one table.
Source: launch/interpreter.main, launch/warmth; importlib.abc.MetaPathFinder.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
OUTPUT = SOURCE / "foxden/launch/load_order.py"

_PROGRAM = """
import gc, sys
from importlib.machinery import FrozenImporter, PathFinder
module, *path = sys.argv[1:]
sys.path += path
for name in [name for name in sys.modules if name.partition(".")[0] in ("importlib", "warnings")]:
    del sys.modules[name]  # as if nobody had asked for them


class Recorder:
    def find_spec(name, path, target=None):
        spec = None if FrozenImporter.find_spec(name) else PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader).__name__ == "SourceFileLoader":
            loader, execute = spec.loader, spec.loader.exec_module
            loader.exec_module = lambda module: (execute(module), done.append((name, spec.origin)))
        return spec


done, groups = [], {}
sys.meta_path.insert(0, Recorder)
import foxden.launch
from foxden.launch import late, ordered
ordered.ORDER.clear()


def group(name):
    groups[name] = done[:]
    done.clear()


group("before")
late.load_typing()
from foxden.launch import interpreter, loading
group("first")
loading.load_msgspec()
group("msgspec")
from foxden.launch import forkserver
from foxden.launch.warmth import Warmth
warmth = Warmth([module])
group("server")
warmth.ready_for(module, whole=False)
group(module)
warmth.ready_for(module, whole=False, late=True)
group("late " + module)
warmth.ready_for(module, whole=True)
group("late ")
print(groups)
"""
# What msgspec is loaded with, and itself: launch/loading does that with care.
_BY_HAND = re.compile(r"uuid$|msgspec(\.|$)")


def place_of(origin: str) -> str:
    """Where a module lies below the standard library or our source, without `.py`; empty: elsewhere."""
    for root in (f"{SOURCE}/", ast.__file__.removesuffix("ast.py")):
        inside = origin.removeprefix(root)
        if inside != origin and "-packages/" not in inside:
            return inside.removesuffix(".py")
    return ""


def record(module: str) -> dict[str, list[str]]:
    """Group → places, in the order in which they are done, as one fork server of this child module loads them."""
    path = [str(SOURCE), *[entry for entry in sys.path if entry.endswith("-packages")]]
    words = [sys.executable, "-I", "-S", "-X", "utf8", "-c", _PROGRAM, module, *path]
    ran = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    done, groups = set[str](), dict[str, list[str]]()
    for group, loaded in ast.literal_eval(ran.stdout).items():
        groups[group] = []
        for name, origin in loaded:
            package = name.rpartition(".")[0]
            done.add(name)
            # What is done before its package is: that loads it, when it gets there.
            if place_of(origin) and not _BY_HAND.match(name) and (not package or package in done):
                groups[group].append(place_of(origin))
    return groups


def order() -> dict[str, list[str]]:
    from foxden.model.process_types import child_rows

    table: dict[str, list[str]] = {}
    late: list[str] = []
    for module in sorted({row.child for row in child_rows()}):
        groups = record(module)
        table |= {group: groups[group] for group in ("first", "msgspec", "server", module, f"late {module}")}
        late += [place for place in groups["late "] if place not in late]
    return {group: listed for group, listed in sorted((table | {"late ": late}).items()) if listed}


_HEAD = '''"""Which modules a fork server loads, by group, and in which order they are done: see launch/ordered.

Made by tools/make_load_order.py with Python 3.11; another Python loads what it has of them.
"""

ORDER: dict[str, tuple[str, ...]] = {'''


def text() -> str:
    lines = [_HEAD]
    for group, listed in order().items():
        lines.append(f'    "{group}": (')
        lines += [f'        "{place}",' for place in listed]
        lines.append("    ),")
    return "\n".join([*lines, "}", ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when the table is another")
    wanted = text()
    if parser.parse_args().check:
        if OUTPUT.read_text() != wanted:
            sys.stderr.write(f"error: expected {OUTPUT.name} as the tree loads, got another\nhint: make load-order\n")
            return 1
        return 0
    OUTPUT.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
