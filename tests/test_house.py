"""The house rules that a machine can check, over every module of src/foxden.

Each check takes a tree of modules and returns what is wrong with it, in words; each has a test that it holds for
foxden, and one that it finds what is wrong in a small bad tree.  Source: docs/design/tour-of-the-house.md.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"

# --- the table: who may import whom -----------------------------------------------------------------------------
# From the top of the house to the bottom: a module imports from its own floor and from those below, never from one
# above.  The first row that matches a module's name is its row; `pure` rooms do nothing but compute.


@dataclass(frozen=True)
class Room:
    floor: int
    names: tuple[str, ...]  # patterns; a name also stands for everything inside it
    pure: bool = False
    apart: bool = False  # does not import from another room of its floor


ROOMS = (
    # 0, the ground: importing anything below a package runs the package, so packages are as low as their lowest module
    Room(0, ("foxden.errors", "foxden.workers_broken"), pure=True),
    # 1, what exists: tables
    Room(1, ("foxden.model", "foxden.build_settings"), pure=True),
    # 2, shapes of messages; sandboxes as data.  Reading the policies from the disk is not this floor's business
    Room(4, ("foxden.sandbox.policy_files",)),
    Room(2, ("foxden.sandbox.acts", "foxden.sandbox.simulate", "foxden.sandbox.platforms"), pure=True),
    Room(
        2,
        ("foxden.sandbox.macos", "foxden.sandbox.seatbelt", "foxden.sandbox.windows", "foxden.sandbox.win32"),
        pure=True,
    ),
    Room(2, ("foxden.ipc.schema", "foxden.ipc.fields", "foxden.ipc.header_fields", "foxden.ipc.codec"), pure=True),
    Room(2, ("foxden.sandbox.policy*", "foxden.sandbox.filter", "foxden.sandbox.bpf"), pure=True),
    Room(
        2,
        ("foxden.sandbox.rights", "foxden.sandbox.program", "foxden.sandbox.build", "foxden.sandbox.plan",
         "foxden.sandbox.syscall*", "foxden.sandbox.constants"),
        pure=True,
    ),
    Room(2, ("foxden.sandbox.rights", "foxden.sandbox.landlock_bits", "foxden.sandbox.paths"), pure=True),
    Room(2, ("foxden.sandbox.customise", "foxden.sandbox.same"), pure=True),
    Room(2, ("foxden.sandbox.grants*", "foxden.sandbox.hopeless", "foxden.sandbox.sensitive"), pure=True),
    Room(2, ("foxden.sandbox.explain*", "foxden.sandbox.learn*"), pure=True),
    # 3, declarations: who may say what to whom
    Room(3, ("foxden.protocols",), pure=True),
    # 4, the kernel: pipes, and sandboxes put on
    Room(4, ("foxden.ipc.*", "foxden.sandbox.*", "foxden.native")),
    # 5, what starts, serves and watches children
    Room(5, ("foxden.launch", "foxden.broker", "foxden.observe")),
    # 6, the processes.  Parent and children share no code of this floor: what both need is below
    Room(6, ("foxden.parent",), apart=True),
    Room(6, ("foxden.children.*",), apart=True),
    # 7, the doors
    Room(7, ("foxden.front", "foxden.executor", "foxden.dask", "foxden.testing", "foxden.__main__")),
)

# Packages that hold rooms of more than one floor: their own __init__ is run by all of them, so it has only words.
MIXED_PACKAGES = ("foxden.ipc", "foxden.sandbox", "foxden.children")
FRONT_DOOR = "foxden"  # src/foxden/__init__.py

IMPURE = frozenset({"socket", "ssl", "os", "subprocess", "threading", "asyncio", "time", "ctypes"})
NO_ROOMS_NAMES = frozenset({"utils", "util", "helpers", "helper", "misc", "common"})

MODULE_LINES = 500
TABLE_LINES = 800
TABLES = ("foxden.sandbox.syscall*", "foxden.sandbox.constants", "foxden.model.*")  # or generated
FUNCTION_LINES = 70
LONG_FUNCTIONS: frozenset[str] = frozenset()  # "foxden.room.module:function": tables that need to be functions


# --- reading a tree ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Module:
    name: str
    text: str
    tree: ast.Module
    is_package: bool

    @property
    def package(self) -> str:
        return self.name if self.is_package else self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Import:
    target: str  # full dotted name of what is imported: a module, or a name inside one
    line: int
    deferred: bool  # inside a function: not run when the module is imported


Tree = dict[str, Module]


def read_tree(source: Path) -> Tree:
    modules = (read_module(path, source) for path in sorted(source.rglob("*.py")))
    return {module.name: module for module in modules}


def read_module(path: Path, source: Path) -> Module:
    parts = path.relative_to(source).with_suffix("").parts
    is_package = parts[-1] == "__init__"
    text = path.read_text()
    return Module(".".join(parts[:-1] if is_package else parts), text, ast.parse(text, str(path)), is_package)


def imports_of(module: Module) -> Iterator[Import]:
    """Every import, those inside functions too, but not those that only a type checker sees."""
    yield from _imports_in(module.tree, module, deferred=False)


def _imports_in(node: ast.AST, module: Module, *, deferred: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and _is_type_checking(child.test):
            for other in child.orelse:
                yield from _imports_in(ast.Module([other], []), module, deferred=deferred)
        elif isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(child, module)
            yield from (Import(f"{base}.{alias.name}", child.lineno, deferred) for alias in child.names)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports_in(child, module, deferred=deferred or inside)


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _absolute(node: ast.ImportFrom, module: Module) -> str:
    if not node.level:
        return node.module or ""
    base = module.package.split(".")[: len(module.package.split(".")) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def module_named(target: str, tree: Tree) -> str:
    """The module that an imported name lies in: `foxden.errors.FoxdenError` is in `foxden.errors`."""
    if target.endswith(".*"):
        target = target[:-2]
    while target not in tree and not any(target == name for room in ROOMS for name in room.names) and "." in target:
        target = target.rpartition(".")[0]
    return target


def is_ours(target: str) -> bool:
    return target == "foxden" or target.startswith("foxden.")


def matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*") for pattern in patterns)


def room_of(name: str) -> Room | None:
    if name in MIXED_PACKAGES:
        return ROOMS[0]
    found = next((room for room in ROOMS if matches(name, room.names)), None)
    if found is None and name.count(".") == 1:  # a module right under foxden is a door
        return ROOMS[-1]
    return found


# --- checks -----------------------------------------------------------------------------------------------------


def modules_without_a_room(tree: Tree) -> list[str]:
    homeless = [name for name, module in tree.items() if name != FRONT_DOOR and not _has_a_room(module)]
    return [f"{name}: in no room of ROOMS; give it a row" for name in homeless]


def _has_a_room(module: Module) -> bool:
    """A new module right under foxden is a door by itself; a new package there is a decision, and gets a row."""
    if module.is_package and module.name not in MIXED_PACKAGES:
        return any(matches(module.name, room.names) for room in ROOMS)
    return room_of(module.name) is not None


def imports_from_above(tree: Tree) -> list[str]:
    found = []
    for module in tree.values():
        own = room_of(module.name)
        if module.name == FRONT_DOOR or own is None:
            continue
        for each in imports_of(module):
            other = room_of(module_named(each.target, tree)) if is_ours(each.target) else None
            if module_named(each.target, tree) == FRONT_DOOR and own.floor < ROOMS[-1].floor:
                found.append(f"{module.name}:{each.line}: imports the front door ({each.target})")
            elif other is not None and other.floor > own.floor:
                found.append(f"{module.name}:{each.line}: floor {own.floor} imports {each.target} of {other.floor}")
    return found


def imports_next_door(tree: Tree) -> list[str]:
    """The parent and each kind of child are apart: none imports another."""
    return [
        f"{module.name}:{each.line}: imports {each.target}, which runs in another process"
        for module in tree.values()
        for each in imports_of(module)
        if (own := island_of(module.name)) and (other := island_of(module_named(each.target, tree))) and own != other
    ]


def island_of(name: str) -> str:
    """`foxden.parent`, `foxden.children.socket` …; empty for a module that is no one process's own."""
    room = room_of(name) if is_ours(name) else None
    if room is None or not room.apart:
        return ""
    return ".".join(name.split(".")[: 3 if name.startswith("foxden.children.") else 2])


def impure_imports(tree: Tree) -> list[str]:
    return [
        f"{module.name}:{each.line}: a pure room imports {each.target}"
        for module in tree.values()
        if (room := room_of(module.name)) is not None and room.pure and module.name != FRONT_DOOR
        for each in imports_of(module)
        if each.target.partition(".")[0] in IMPURE
    ]


def front_door_is_heavy(tree: Tree) -> list[str]:
    """Every process imports the package `foxden`, a sandboxed child too: what it offers must come when asked for."""
    door = tree.get(FRONT_DOOR)
    return [
        f"{FRONT_DOOR}:{each.line}: imports {each.target} at once; do it in __getattr__"
        for each in (imports_of(door) if door else ())
        if is_ours(each.target) and not each.deferred and not is_light(module_named(each.target, tree))
    ]


def is_light(name: str) -> bool:
    room = room_of(name)
    return room is not None and room.floor <= 1 and name != FRONT_DOOR


def private_imports(tree: Tree) -> list[str]:
    """A leading underscore says: not for other rooms.  Doors are the names without."""
    return [
        f"{module.name}:{each.line}: {each.target} is private to its package"
        for module in tree.values()
        for each in imports_of(module)
        if is_ours(each.target)
        and (owner := _owner_of_private(each.target, tree))
        and not f"{module.name}.".startswith(f"{owner}.")
    ]


def _owner_of_private(target: str, tree: Tree) -> str:
    """The package whose modules may import `target`, or empty when all may."""
    parts = target.split(".")
    for position, part in enumerate(parts[1:], start=1):
        if part.startswith("_") and not part.startswith("__"):
            holder = ".".join(parts[:position])
            package = tree[holder].package if holder in tree else holder
            return holder if package == FRONT_DOOR and holder != FRONT_DOOR else package
    return ""


def packages_without_door(source: Path) -> list[str]:
    """Of the rooms; without the front door itself nothing works, and every test of it says so."""
    folders = sorted({path.parent for path in (source / "foxden").glob("*/**/*.py")})
    closed = [folder for folder in folders if not (folder / "__init__.py").exists()]
    return [f"{folder.relative_to(source)}: no __init__.py" for folder in closed]


def names_that_say_nothing(tree: Tree) -> list[str]:
    return [f"{name}: say what is in it" for name in tree if name.rpartition(".")[2].strip("_") in NO_ROOMS_NAMES]


def modules_without_docstring(tree: Tree) -> list[str]:
    silent = [name for name, module in tree.items() if module.tree.body and not ast.get_docstring(module.tree)]
    return [f"{name}: no docstring" for name in silent]


def long_modules(tree: Tree) -> list[str]:
    sizes = ((name, len(module.text.splitlines()), line_limit(name)) for name, module in tree.items())
    return [f"{name}: {lines} lines, {limit} at most" for name, lines, limit in sizes if lines > limit]


def line_limit(name: str) -> int:
    return TABLE_LINES if matches(name, TABLES) else MODULE_LINES


def long_functions(tree: Tree) -> list[str]:
    return [
        f"{module.name}:{node.name}: {lines} lines, {FUNCTION_LINES} at most"
        for module in tree.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES
        and f"{module.name}:{node.name}" not in LONG_FUNCTIONS
    ]


CHECKS = (
    modules_without_a_room, imports_from_above, imports_next_door, impure_imports, front_door_is_heavy,
    private_imports, names_that_say_nothing, modules_without_docstring, long_modules, long_functions,
)  # fmt: skip


# --- they hold for foxden ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def foxden() -> Tree:
    return read_tree(SOURCE)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_foxden_has_none_of(check: object, foxden: Tree) -> None:
    assert callable(check)
    assert check(foxden) == []


def test_foxden_has_a_door_in_every_package() -> None:
    assert packages_without_door(SOURCE) == []


def test_foxden_was_read_whole(foxden: Tree) -> None:
    assert {"foxden.errors", "foxden.model.process_types", "foxden.sandbox"} <= foxden.keys()


# --- each can fail ----------------------------------------------------------------------------------------------

DOC = '"""What it is."""\n'


def tree_of(directory: Path, modules: dict[str, str]) -> Tree:
    """A tree with the text of these modules; `foxden.model.__init__` for a package's own."""
    for name, text in modules.items():
        path = directory.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_tree(directory)


def test_import_from_a_higher_floor_is_found(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path, {"foxden.model.a": "from foxden.parent import x", "foxden.parent.b": "import foxden.model.a"}
    )
    assert imports_from_above(tree) == ["foxden.model.a:1: floor 1 imports foxden.parent.x of 6"]


@pytest.mark.parametrize(
    "text",
    [
        "def f():\n    import foxden.launch.fork",
        "from ..launch import fork",
        "from foxden.launch.fork import Server",
        "if True:\n    import foxden.launch.fork",
    ],
)
def test_no_way_of_importing_escapes(tmp_path: Path, text: str) -> None:
    tree = tree_of(tmp_path, {"foxden.ipc.pipe": text, "foxden.launch.fork": DOC})
    assert len(imports_from_above(tree)) == 1


def test_import_for_the_type_checker_alone_is_free(tmp_path: Path) -> None:
    text = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import foxden.parent.x, socket\nelse:\n    import ssl"
    )
    tree = tree_of(tmp_path, {"foxden.model.a": text})
    assert imports_from_above(tree) == []
    assert impure_imports(tree) == ["foxden.model.a:5: a pure room imports ssl"]


def test_import_of_the_front_door_from_inside_is_found(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path, {"foxden.__init__": "", "foxden.parent.a": "import foxden", "foxden.front.b": "from foxden import x"}
    )
    assert imports_from_above(tree) == ["foxden.parent.a:1: imports the front door (foxden)"]


@pytest.mark.parametrize(
    ("importer", "text"),
    [
        ("foxden.children.socket.a", "import foxden.children.content.b"),
        ("foxden.children.socket.a", "from foxden.parent import grants"),
        ("foxden.parent.a", "from foxden.children.content import b"),
    ],
)
def test_import_of_another_process_is_found(tmp_path: Path, importer: str, text: str) -> None:
    tree = tree_of(tmp_path, {importer: text, "foxden.children.content.b": DOC, "foxden.parent.grants": DOC})
    assert len(imports_next_door(tree)) == 1


def test_import_inside_one_process_is_free(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path, {"foxden.children.socket.a": "from foxden.children.socket import b", "foxden.children.socket.b": DOC}
    )
    assert imports_next_door(tree) == []


@pytest.mark.parametrize("name", sorted(IMPURE))
def test_impure_import_is_found(tmp_path: Path, name: str) -> None:
    tree = tree_of(
        tmp_path, {"foxden.sandbox.policy": f"def f():\n    import {name}", "foxden.sandbox.enforce": f"import {name}"}
    )
    assert impure_imports(tree) == [f"foxden.sandbox.policy:2: a pure room imports {name}"]


def test_heavy_front_door_is_found(tmp_path: Path) -> None:
    text = "from foxden.errors import A\nfrom foxden.den import Den\ndef __getattr__(name):\n    import foxden.den"
    tree = tree_of(tmp_path, {"foxden.__init__": text, "foxden.errors": DOC, "foxden.den": DOC})
    assert front_door_is_heavy(tree) == ["foxden:2: imports foxden.den.Den at once; do it in __getattr__"]


def test_module_without_a_room_is_found(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"foxden.attic.__init__": "", "foxden.attic.box": DOC, "foxden.den": DOC})
    assert [line.partition(":")[0] for line in modules_without_a_room(tree)] == ["foxden.attic", "foxden.attic.box"]


@pytest.mark.parametrize(
    "text", ["from foxden.ipc.pipe import _send", "import foxden.ipc._wire", "from foxden.ipc import _wire"]
)
def test_private_import_is_found(tmp_path: Path, text: str) -> None:
    tree = tree_of(
        tmp_path, {"foxden.parent.a": text, "foxden.ipc.b": "from foxden.ipc import _wire", "foxden.ipc._wire": DOC}
    )
    assert len(private_imports(tree)) == 1


def test_package_without_a_door_is_found(tmp_path: Path) -> None:
    tree_of(tmp_path, {"foxden.model.a": DOC, "foxden.__init__": DOC})
    assert packages_without_door(tmp_path) == ["foxden/model: no __init__.py"]


def test_empty_name_is_found(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path, {"foxden.parent._utils": DOC, "foxden.parent.misc.__init__": DOC, "foxden.parent.cookies": DOC}
    )
    assert len(names_that_say_nothing(tree)) == 2


def test_missing_docstring_is_found(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, {"foxden.parent.a": "x = 1", "foxden.parent.b": DOC, "foxden.parent.__init__": ""})
    assert modules_without_docstring(tree) == ["foxden.parent.a: no docstring"]


def test_long_module_is_found(tmp_path: Path) -> None:
    long = "x = 1\n" * (MODULE_LINES + 1)
    tree = tree_of(
        tmp_path, {"foxden.parent.a": long, "foxden.model.b": long, "foxden.model.c": "x = 1\n" * (TABLE_LINES + 1)}
    )
    assert [line.partition(":")[0] for line in long_modules(tree)] == ["foxden.model.c", "foxden.parent.a"]


def test_long_function_is_found(tmp_path: Path) -> None:
    def function(lines: int) -> str:
        return "async def f():\n" + "    pass\n" * (lines - 1)

    tree = tree_of(
        tmp_path, {"foxden.parent.a": function(FUNCTION_LINES), "foxden.parent.b": function(FUNCTION_LINES + 1)}
    )
    assert long_functions(tree) == ["foxden.parent.b:f: 71 lines, 70 at most"]
