"""Warnings of tests in boxes: which filters go down with a test, and what it says that was raised under them.

Runs in: pytest's process, once a marked test runs.  Trusts: the filters in force here; nothing that a worker says.
Flow: warnings.filters → rows in the test's pickle;  rows of the answer → checked → warnings.showwarning → pytest.
Source: `warnings`, "The Warnings Filter"; pytest's `catch_warnings_for_item`, which records what is shown here.
"""

from __future__ import annotations

import builtins
import re
import sys
import types
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import pytest

from foxden.children.utility.boxed_test import WARNING_SIZES, WARNINGS_MAX
from foxden.model.escaped import one_line
from foxden.parent.importable import View

Category = type[Warning] | tuple[str, str]  # itself, or module and name where a worker can import it
Filter = tuple[str, str, Category, str, int]  # as warnings.filterwarnings takes it; the first one wins
_LINE_MAX = 1 << 31


class Warned(NamedTuple):
    """One warning, as a worker tells it."""

    category: str
    text: str
    filename: str
    line_number: int
    line: str


# ---- down


def filters_in_force(view: View) -> list[Filter]:
    """The filters of this moment: those of the ini file, of -W, of the test's markers and of its fixtures."""
    # Where Python has filters for each context (3.14, if told to), `warnings.filters` are not what is in force.
    current = getattr(warnings, "_get_filters", lambda: warnings.filters)()
    return [
        (action, _expression(message), _sendable(category, view), _expression(module), line)
        for action, message, category, module, line in current
    ]


def _expression(pattern: Any) -> str:
    """Filters of Python's own have a text where others have an expression: only that text is meant."""
    if isinstance(pattern, str):
        return re.escape(pattern) + r"\Z"
    return pattern.pattern if pattern is not None else ""


def _sendable(category: Any, view: View) -> Category:
    """Where the import of a name fails there, nothing there is of that category, and its filter is of no use."""
    module = category.__module__
    return (module, category.__qualname__) if view.is_importable(module) else category


# ---- up


def checked(value: object) -> tuple[Warned, ...] | None:
    """What a worker says it warned of; None: no worker of foxden's says that."""
    if not isinstance(value, list | tuple) or len(value) > WARNINGS_MAX:
        return None
    rows = [_row(each) for each in value]
    return tuple(row for row in rows if row is not None) if None not in rows else None


def _row(value: object) -> Warned | None:
    if not isinstance(value, list | tuple) or len(value) != len(Warned._fields):
        return None
    category, text, filename, number, line = value
    texts = (category, text, filename, line)
    if not all(isinstance(each, str) and len(each) <= most for each, most in zip(texts, WARNING_SIZES, strict=True)):
        return None
    return Warned(*value) if type(number) is int and 0 <= number < _LINE_MAX else None


def show(warned: Iterable[Warned], config: pytest.Config) -> None:
    """Have them recorded, or written, as if they had been raised here: past the filters, which have let them pass."""
    for each in warned:
        text = "\n".join(map(one_line, each.text.splitlines()))
        category = category_of(each.category, config)
        if category is None:
            category, text = UserWarning, f"{one_line(each.category)}: {text}"
        # The line is given even where there is none: it would be read from a file that the worker named.
        warnings.showwarning(
            _plain(category)(text), category, one_line(each.filename), each.line_number, line=one_line(each.line)
        )


def category_of(name: str, config: pytest.Config) -> type[Warning] | None:
    """The category of that name among those that are here already: nothing is imported, and nothing is run."""
    module_name, _, own_name = name.rpartition(".")
    # Workers of pytest-xdist hand a category on by its name, and who cannot import it there ends the whole run.
    if hasattr(config, "workerinput") and module_name != builtins.__name__:
        return None
    module = sys.modules.get(module_name)
    if not isinstance(module, types.ModuleType):
        return None
    # Not getattr: it would ask a module's own __getattr__, or load a lazy one.
    found = object.__getattribute__(module, "__dict__").get(own_name)
    return found if isinstance(found, type) and issubclass(found, Warning) else None


def _plain(category: type[Warning]) -> type[Warning]:
    """The built-in category that it is one of: one that somebody wrote may do anything when it is made or shown."""
    plain: type[Warning] = next(base for base in category.__mro__ if vars(builtins).get(base.__name__) is base)
    return plain
