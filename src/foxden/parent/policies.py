"""Policy: what one caller gives its children, as a value: from a file, from text, or from arguments.

Runs in: the caller's thread, in the parent.  Trusts: the caller; of a file nothing.
Flow: Policy(read=…), Policy.from_file → Grants → SandboxExecutor, @sandboxed, Den.call, Den.run.
Source: docs/guides/write-a-policy.md; sandbox/grants_text, which alone reads such files.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Self, Unpack

import msgspec

from foxden.errors import PolicyError
from foxden.parent.grant_arguments import GrantArguments, StrPath, grants_of, real_path
from foxden.sandbox.grants import EXTENDED, Grants, file_rules
from foxden.sandbox.grants_text import parse_grants
from foxden.sandbox.policy_files import read_grants, read_policy
from foxden.sandbox.syscalls import policy_error


@dataclass(frozen=True, init=False, repr=False, slots=True)
class Policy:
    """What is given to a function or a program beyond what every one has.  A value: equal ones give the same.

    extends: "utility" for functions, "plugin" for programs; None: for either.
    read, write, deny: paths; files: path → `deny`, `stat`, `connect` or letters of `rwcx`.  Links are followed now.
    connect: nothing yet: there is no network.  env: {name: value, or None for the caller's own}, or names.
    syscalls: lines as `"mlock"`, `"kill(pid == 0)"`.
    memory, file_size, output (of programs): bytes, or sizes as "512 MiB".  timeout, cpu_time: seconds, of a function
    those of one call.  processes: a number.
    protect, unprotect: names that may not, or may after all, change below what is written.

    str() of it is the text of a policy file, which from_toml reads back.

    Raises: PolicyError: an unknown argument, a path that is not there, two answers for one path, a hopeless call.
    """

    grants: Grants

    def __init__(self, *, extends: str | None = None, **options: Unpack[GrantArguments]) -> None:
        known = tuple(GrantArguments.__annotations__)
        for name in options:
            if name not in known:
                raise policy_error("Policy", f"one of the arguments extends, {', '.join(known)}", name, known)
        if extends is not None and extends not in EXTENDED:
            raise policy_error("extends", " or ".join(map(repr, EXTENDED)), extends, EXTENDED)
        _set(self, msgspec.structs.replace(grants_of(options), extends=extends))

    @classmethod
    def from_file(cls, path: StrPath) -> Self:
        """Read a policy file.  Raises: PolicyError, naming file, key and value."""
        return cls._of(read_grants("policy", os.fsdecode(path), real_path, EXTENDED))

    @classmethod
    def from_toml(cls, text: str, *, where: str = "policy") -> Self:
        """Read the text of a policy file.  `where`: its name in errors.  Raises: PolicyError."""
        return cls._of(parse_grants(where, text, real=real_path, read=read_policy, extended=EXTENDED))

    @classmethod
    def _of(cls, grants: Grants) -> Self:
        made = cls.__new__(cls)
        _set(made, grants)
        return made

    @property
    def extends(self) -> str | None:
        """The policy that it adds to; None: whichever it is handed to."""
        return self.grants.extends

    def __str__(self) -> str:
        from foxden.sandbox.grants_toml import render_grants

        return render_grants(self.grants)

    def __repr__(self) -> str:
        text = str(self)
        return f"Policy.from_toml({text!r})" if text else "Policy()"


def _set(policy: Policy, grants: Grants) -> None:
    object.__setattr__(policy, "grants", _plain(grants))


def _plain(grants: Grants) -> Grants:
    """One spelling for what is the same: rules in the place of read and write, sorted."""
    environment = sorted(dict(grants.environment).items())
    return msgspec.structs.replace(grants, read=(), write=(), files=file_rules(grants), environment=tuple(environment))


def policy_grants(given: Any, extended: str) -> Grants:
    """Grants of a policy that was given by name, as a file, or as an object; None and the name itself add nothing.

    `extended`: the policy of the child that gets them, one of EXTENDED.
    Raises: PolicyError: no such policy, a wrong file, a policy that extends another one.
    """
    if given is None or given == extended:
        return Grants()
    if isinstance(given, Policy):
        return _fitting("policy", given.grants, extended)
    if isinstance(given, Grants):
        return given
    if not isinstance(given, str | os.PathLike):
        raise PolicyError(
            f"policy: expected a name, a file or a foxden.Policy, got {type(given).__name__}",
            hint=f"{extended!r}, 'my.toml', or Policy(read=[…])",
        )
    path = os.fsdecode(given)
    if "/" not in path and not os.path.exists(path):
        raise PolicyError(
            f"policy: expected {extended!r} or a policy file, got {path!r}",
            hint="no such file is here, and no other policy can be chosen by name",
        )
    return _fitting(path, read_grants("policy", path, real_path, EXTENDED), extended)


def _fitting(where: str, grants: Grants, extended: str) -> Grants:
    if grants.extends not in (None, extended):
        what = {"utility": "functions", "plugin": "programs"}
        raise PolicyError(
            f"{where}: extends: expected {extended!r}, got {grants.extends!r}",
            hint=f"it is for {what[grants.extends or extended]}; without 'extends' a policy is for both",
        )
    return _plain(grants)
