"""The plugin policy with one caller's grants in it, as rules that explain and answer.

Runs in: the parent, the `foxden run` command once something was refused.  Trusts: the committed policies.
Flow: rules of a ProgramPlan + plugin.toml → ResolvedPolicy → sandbox/explain.
Source: sandbox/program, which made the rules; here each learns again which line it comes from.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from foxden.launch.program_view import caller
from foxden.sandbox.paths import AbsPath, Access, FileRule, PathRules
from foxden.sandbox.policy import ResolvedPolicy, load, resolve
from foxden.sandbox.policy_files import read_policy


def policy_of(rules: Iterable[tuple[str, int]], *, explain: bool = False) -> ResolvedPolicy:
    """What a program with these rules has."""
    name = "plugin-explain" if explain else "plugin"
    policy = resolve(load(name, read_policy), level=1, remote_type=None, variables={"home": caller().home})
    given = PathRules.of(FileRule(AbsPath(path), Access(access)) for path, access in rules)
    origins = {
        path: policy.origins[path] if _is_base(policy, AbsPath(path), access) else _granted(path, access)
        for path, access in given.by_path.items()
    }
    return msgspec.structs.replace(policy, files=given, origins=origins)


def _is_base(policy: ResolvedPolicy, path: str, access: Access) -> bool:
    """Its own sockets, which sandbox/program adds in private folders, are of the policy too."""
    base = policy.files.by_path.get(AbsPath(path))
    return base is not None and base | Access.CONNECT == access | Access.CONNECT


def _granted(path: str, access: Access) -> str:
    if access & Access.DENY:
        return f'policy file: files "{path}" = "deny"'
    option = "--write" if access & Access.WRITE else "--read"
    return f"granted: {option} {path}"
