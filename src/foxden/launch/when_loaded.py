"""What is to be done to a module of Python's in a child: at once if it is loaded, else as soon as it is.

Runs in: children, before their sandbox is on and when they are told what to run.  Trusts: whoever loads it afterwards.
Flow: then("tempfile", act) → the module is imported → act(module).
Source: importlib's meta path.  Loading them here would take as long as the whole sandbox; most calls want none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, cast

_Act = Callable[[Any], None]


def then(name: str, act: _Act) -> None:
    if name in sys.modules:
        act(sys.modules[name])
        return
    finder = next((each for each in sys.meta_path if type(each) is _Finder), None)
    if finder is None:
        finder = _Finder()
        sys.meta_path.insert(0, finder)
    finder.acts[name] = act


class _Finder:
    """Finds those modules where they are."""

    def __init__(self) -> None:
        self.acts: dict[str, _Act] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self.acts:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = cast("Any", _Loader(spec.loader, self.acts[name]))
        return spec


class _Loader:
    def __init__(self, usual: Any, act: _Act) -> None:
        self._usual, self._act = usual, act

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._usual.create_module(spec)
        return made

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._usual
        self._usual.exec_module(module)
        self._act(module)
