"""The plugin policy that `foxden run` uses: the compiled one, unless something says otherwise.

Runs in: command.  Trusts: its own environment and the way the package was built, which is what they are for.
Flow: is any name of model/environment set? → parent/program_settings, and a warning where the sandbox is off.
Source: model/environment; nothing of it is loaded where nothing is set, which is every usual run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from foxden import build_settings
from foxden.sandbox.program_base import load_base

if TYPE_CHECKING:
    from foxden.sandbox.grants import Grants
    from foxden.sandbox.program import ProgramBase

_LEVEL = "dom.ipc.plugins.sandbox-level.default"  # on or off: a program has one level


def base_for(name: str, level: int | None, given: Mapping[str, str], grants: Grants) -> ProgramBase:
    """The base of a program's plan.  `level`, `given`: as --level and --pref say; of `grants`: the calls.

    Raises PolicyError, PreferenceError.
    """
    asked = bool(given) or any(variable.startswith("MOZ_") for variable in os.environ)
    if not asked and level is None and not grants.syscalls and not build_settings.DISABLE_SANDBOX:
        return load_base(name, os.uname().machine)
    return _with_settings(name, {**given, **({} if level is None else {_LEVEL: level > 0})}, grants)


def _with_settings(name: str, given: Mapping[str, object], grants: Grants) -> ProgramBase:
    from foxden.front.failures import warn
    from foxden.parent.prefs import Prefs
    from foxden.parent.program_settings import ROW, base_with
    from foxden.sandbox.grants_text import parsed_calls

    prefs = Prefs(given)
    if prefs.switched_off(ROW):
        why = prefs.switched_off_by(ROW) or f"{ROW.level_pref} is off"
        warn(f"SANDBOX OFF: the program runs without any protection ({why})")
    return base_with(name, prefs, parsed_calls(grants))
