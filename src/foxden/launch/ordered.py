"""Modules loaded one after the other, in an order that is known, instead of each being searched for when it is named.

Runs in: starter, fork servers; before anything else of ours.  Trusts: what importlib trusts, the same files.
Flow: load(group) → its modules of launch/load_order: compiled file → module; who names one later finds it loaded.
Source: importlib.machinery.SourceFileLoader; "Cached bytecode invalidation" of Python's import system (PEP 3147, 552).

An import takes some 70 us beyond what its module does, and a fork server has more than a hundred.  Whatever is not as
expected (no compiled file, or one of another source; a module that fails) is left to the import of who names it.
"""

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib_external import MAGIC_NUMBER
from _imp import _fix_co_filename  # type: ignore[attr-defined]

from foxden.launch.load_order import ORDER

TYPE_CHECKING = False  # nothing may be loaded here that the order has
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

_SPEC: Any = globals()["__spec__"]  # of this module, made by who makes them
LIES_IN_A_FOLDER = type(_SPEC.loader).__name__ == "SourceFileLoader"
_INIT = "/__init__"
_HEADER = 16  # bytes: of a compiled file, what it was made of
_OURS = __file__[: -len("foxden/launch/ordered.py")]
STANDARD = os.__file__[: -len("os.py")]
_SUFFIX = f".{sys.implementation.cache_tag}.pyc"


def load(group: str) -> None:
    """Load what this group has in launch/load_order; nothing where it has nothing, or where we lie in no folder."""
    if not LIES_IN_A_FOLDER:
        return
    for place in ORDER.get(group, ()):
        name = place.removesuffix(_INIT).replace("/", ".")
        package = name.rpartition(".")[0]
        if name not in sys.modules and (not package or package in sys.modules):
            root = _OURS if place.startswith("foxden/") else STANDARD
            code = _compiled(root + place)
            if code is not None:
                _execute(name, root + place, code)


def _compiled(place: str) -> CodeType | None:
    """What lies compiled of this source, if it is of this very one."""
    folder, _, base = place.rpartition("/")
    try:
        source = os.stat(f"{place}.py")
        fd = os.open(f"{folder}/__pycache__/{base}{_SUFFIX}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            data = os.read(fd, os.fstat(fd).st_size)
        finally:
            os.close(fd)
        if data[:_HEADER] != _header(source):
            return None
        code = marshal.loads(memoryview(data)[_HEADER:])  # noqa: S302 - as importlib does, of the same files
    except (OSError, EOFError, ValueError, TypeError):
        return None
    if type(code) is not type(load.__code__):
        return None
    _fix_co_filename(code, f"{place}.py")  # it may have been compiled elsewhere: tracebacks show where it is
    return code


def _header(source: os.stat_result) -> bytes:
    """By time and size; one that is by hash is read by who knows how."""
    known = (0, int(source.st_mtime) & 0xFFFF_FFFF, source.st_size & 0xFFFF_FFFF)
    return bytes(MAGIC_NUMBER) + b"".join([number.to_bytes(4, "little") for number in known])


def _execute(name: str, place: str, code: CodeType) -> None:
    module = sys.modules[name] = make_module(name, place)
    try:
        exec(code, module.__dict__)  # noqa: S102 - as importlib does
    except Exception:
        sys.modules.pop(name, None)
    else:
        package, _, last = name.rpartition(".")
        if package:
            setattr(sys.modules[package], last, sys.modules[name])


def make_module(name: str, place: str) -> ModuleType:
    """As importlib would make it, with nothing in it.  `place`: the file's, without `.py`."""
    is_package = place.endswith(_INIT)
    loader = type(_SPEC.loader)(name, f"{place}.py")
    spec = type(_SPEC)(name, loader, origin=f"{place}.py", is_package=is_package)
    spec.has_location = True
    module = type(sys)(name)
    module.__spec__, module.__loader__, module.__file__ = spec, loader, spec.origin
    module.__package__ = name if is_package else name.rpartition(".")[0]
    module.__dict__["__cached__"] = spec.cached
    if is_package:
        spec.submodule_search_locations = module.__path__ = [place.removesuffix(_INIT)]
    return module
