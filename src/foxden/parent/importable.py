"""What of the caller's modules a worker can import by name, and what goes by value instead.

Runs in: parent, on the caller's thread.  Trusts: the caller's modules.
Flow: parent/functions → View → parent/arguments, parent/by_value.
Source: the folders that a pool's workers may read (parent/function_view).
"""

from __future__ import annotations

import functools
import operator
import sys
import types
from collections.abc import Sequence
from typing import Any

from foxden.parent.source_lines import SentCode

MAIN = b"__main__"  # the caller's; a worker has another one


class View:
    """What of the caller's modules a worker can import by name, told from the folders that it may read."""

    def __init__(self, folders: Sequence[str], by_value: Sequence[str] = ()) -> None:
        """`by_value`: names of modules that are sent along although a worker could import them."""
        self._by_value = frozenset(by_value)
        self.sent = SentCode()  # what went by value all the same
        self._folders = tuple(folder.rstrip("/") + "/" for folder in folders)
        self._known = functools.lru_cache(maxsize=1024)(self._look)
        self._seen: tuple[list[object], list[types.ModuleType]] = [], []
        self._hidden_names: tuple[bytes, ...] = (MAIN,)

    def is_importable(self, name: str) -> bool:
        return name != "__main__" and name not in self._by_value and self._known(name)

    def _look(self, name: str) -> bool:
        module = sys.modules.get(name)
        if module is None:
            return False
        if name in sys.builtin_module_names:
            return True
        path = getattr(module, "__file__", None)
        if path is None:  # a namespace package, a frozen module, or one that was made by hand
            spec = getattr(module, "__spec__", None)
            return spec is not None and (spec.origin in ("frozen", "built-in") or bool(spec.submodule_search_locations))
        return any(f"{path}/".startswith(folder) for folder in self._folders)

    def modules_by_value(self) -> list[types.ModuleType]:
        """Modules of the caller's that lie where no worker looks: what is defined in them is sent along."""
        # To look at each takes longer than the rest of a call, and there are seldom others than the last time.
        there: list[object] = list(sys.modules.values())
        seen, hidden = self._seen
        if len(seen) != len(there) or not all(map(operator.is_, seen, there)):
            hidden = [module for name, module in list(sys.modules.items()) if self._is_hidden(name, module)]
            self._seen, self._hidden_names = (there, hidden), (MAIN, *(module.__name__.encode() for module in hidden))
        return hidden

    def names_what_is_hidden(self, work: bytes) -> bool:
        """May a pickle name something by a name that no worker can import?"""
        self.modules_by_value()
        return any(name in work for name in self._hidden_names)

    def has_name(self, value: Any) -> bool:
        """Is it what its own name says, in a module that workers can import?"""
        module = getattr(value, "__module__", None)
        if module is None or not self.is_importable(module):
            return False
        try:
            return operator.attrgetter(value.__qualname__)(sys.modules[module]) is value
        except (AttributeError, KeyError):
            return False

    def _is_hidden(self, name: str, module: object) -> bool:
        if name == "__main__" or not isinstance(module, types.ModuleType) or module.__name__ != name:
            return False
        return getattr(module, "__file__", None) is not None and not self.is_importable(name)
