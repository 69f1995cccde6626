"""Imports from folders that may not be listed: what in them may be read is told by name.

Runs in: utility.  Trusts: the parent; the broker decides what is read, whatever is looked for here.
Flow: PUtility.Init.names → find_by_name → sys.path_hooks → Finder, for these folders of sys.path only.
Source: importlib's FileFinder, which lists a folder first; PEP 420 for packages without __init__.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES, ModuleSpec
from importlib.util import spec_from_file_location
from typing import Any

_SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)  # in the order of FileFinder


def find_by_name(names: Mapping[str, Sequence[str]]) -> None:
    """Have imports find these names, and no others, in these folders of sys.path."""
    if not names:
        return

    def hook(folder: str) -> Finder:
        if folder not in names:
            raise ImportError
        return Finder(folder, names[folder])

    sys.path_hooks.insert(0, hook)
    for folder in names:
        sys.path_importer_cache.pop(folder, None)


class Finder:
    """Of one folder."""

    def __init__(self, folder: str, names: Sequence[str]) -> None:
        self._folder, self._names = folder, frozenset(names)

    def find_spec(self, fullname: str, target: Any = None) -> ModuleSpec | None:
        name = fullname.rpartition(".")[2]
        package = os.path.join(self._folder, name)
        is_folder = name in self._names and os.path.isdir(package)
        if is_folder:
            for place in (os.path.join(package, f"__init__{suffix}") for suffix in _SUFFIXES):
                if os.path.isfile(place):
                    return spec_from_file_location(fullname, place, submodule_search_locations=[package])
        for suffix in _SUFFIXES:
            if name + suffix in self._names and os.path.isfile(package + suffix):
                return spec_from_file_location(fullname, package + suffix)
        if not is_folder:
            return None
        portion = ModuleSpec(fullname, None, is_package=True)
        portion.submodule_search_locations = [package]
        return portion

    def invalidate_caches(self) -> None:
        """There are none."""
