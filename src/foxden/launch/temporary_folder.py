"""Where a child's temporary files go, told to the module tempfile: now if it is loaded, else when it will be.

Runs in: children, before their sandbox is on.  Trusts: the parent, which names the folder.
Flow: PChildProcess.Launch.temporary → use → tempfile.tempdir.
Source: tempfile.gettempdir.  A variable TMPDIR would be seen by functions, which have the variables they were given.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, cast

_NAME = "tempfile"


def use(folder: str) -> None:
    """Loading it here would take as long as the whole sandbox; a call that wants no file never does."""
    if _NAME in sys.modules:
        sys.modules[_NAME].tempdir = folder  # type: ignore[attr-defined]
    else:
        sys.meta_path.insert(0, _WhenLoaded(folder))


class _WhenLoaded:
    """Finds that one module where it is, and sets its folder as soon as it is there."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _NAME:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = cast("Any", _Loader(spec.loader, self._folder))
        return spec


class _Loader:
    def __init__(self, usual: Any, folder: str) -> None:
        self._usual, self._folder = usual, folder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._usual.create_module(spec)
        return made

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._usual
        self._usual.exec_module(module)
        module.tempdir = self._folder
