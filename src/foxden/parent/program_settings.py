"""What preferences, the environment, build settings and calls of a policy file change in the plugin policy.

Runs in: the parent, and the `foxden run` command where one of them is set at all.  Trusts: the parent's environment.
Flow: the compiled policy → Prefs → the same, hardened, or none → sandbox/program.
Source: MozillaWiki Security/Sandbox, "Environment variables", "Local Build Options"; model/environment.
"""

from __future__ import annotations

import platform

import msgspec

from foxden.model.process_types import BY_NAME
from foxden.parent.prefs import Prefs
from foxden.sandbox.plan import SandboxPlan
from foxden.sandbox.program import ProgramBase
from foxden.sandbox.program_base import compile_base, load_base
from foxden.sandbox.syscalls import Call

ROW = BY_NAME["plugin"]


def base_with(name: str, prefs: Prefs, calls: tuple[Call, ...] = ()) -> ProgramBase:
    """The plugin policy of this name, as these preferences have it, with these calls allowed.  Raises PolicyError."""
    arch = platform.machine()
    if prefs.level_of(ROW) == 0:
        return msgspec.structs.replace(load_base(name, arch), plan=SandboxPlan(policy="plugin", level=0, programs=True))
    wishes = msgspec.structs.replace(prefs.wishes(ROW), granted=calls)
    base = compile_base(name, arch, wishes) if wishes else load_base(name, arch)
    plan = msgspec.structs.replace(base.plan, spec_allow=prefs.spec_allow())
    return msgspec.structs.replace(base, plan=plan)
