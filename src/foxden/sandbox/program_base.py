"""The policies that every start needs, compiled: made by tools/compile_policies.py.

Runs in: the parent, the `foxden run` command, tools, tests.  Trusts: the installation.
Flow: a policy's text → compile_base → policies/<name>.<arch>.bin, committed → load_base → ProgramBase.
Source: the policy compiler takes 100 ms to load and 15 to run, which a command that starts one program would pay each
time, and a den before its first call; tests/unit/sandbox/test_program_base.py holds the files to the texts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from foxden.errors import PolicyError
from foxden.sandbox.program import HOME, ProgramBase

if TYPE_CHECKING:
    from foxden.sandbox.customise import Wishes

POLICIES = ("plugin", "plugin-explain")
# What no preference and no grant changes: what the parent, the broker and the fork servers lock themselves with.
LOCKS = ("parent", "broker", "forkserver", "forkserver-plugin", "forkserver-broker")
_ASK_NOBODY = ("parent", "broker")  # nobody answers what their filters might ask
_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "policies")
_decoder = msgspec.msgpack.Decoder(ProgramBase)


def path_of(name: str, arch: str) -> str:
    return os.path.join(_FOLDER, f"{name}.{arch}.bin")


def load_base(name: str, arch: str) -> ProgramBase:
    """Raises PolicyError for an architecture that foxden does not know."""
    try:
        with open(path_of(name, arch), "rb") as file:
            return _decoder.decode(file.read())
    except FileNotFoundError:
        raise PolicyError(f"expected a machine that the policies are compiled for, got {arch!r}") from None


def encode_base(base: ProgramBase) -> bytes:
    return msgspec.msgpack.encode(base)


def compile_base(name: str, arch: str, wishes: Wishes | None = None) -> ProgramBase:
    """From the texts, with what preferences add.  Loads the policy compiler."""
    from foxden.sandbox.build import build_plan
    from foxden.sandbox.customise import customise
    from foxden.sandbox.filter import notified_errnos, verdicts
    from foxden.sandbox.policy import SETS, load, resolve
    from foxden.sandbox.policy_files import read_policy
    from foxden.sandbox.policy_text import parse_sets

    resolved = resolve(load(name, read_policy), level=1, remote_type=None, variables={"home": _HOME_STAND_IN})
    if wishes is not None:
        resolved = customise(resolved, wishes, parse_sets(SETS, read_policy(SETS)))
    plan = build_plan(resolved, arch=arch, listener=name not in _ASK_NOBODY)
    landlock = None if plan.landlock is None else msgspec.structs.replace(plan.landlock, rules=())
    files = tuple(
        (str(rule.path).replace(_HOME_STAND_IN, HOME), int(rule.access)) for rule in resolved.files.rules()
    )
    table = verdicts(resolved, arch)
    plan = msgspec.structs.replace(plan, binds=(), landlock=landlock)
    return ProgramBase(plan=plan, files=files, errnos=notified_errnos(table))


_HOME_STAND_IN = "/\x01home"
