"""Policy texts as files: those committed in the package, and the one that a user names for a program.

Runs in: the parent, the `foxden run` command, tools, tests.  Trusts: the installation; of a user's file nothing.
Flow: name → text, which policy_text parses; path → Grants.
Source: sandbox/policies/*.toml.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from foxden.errors import PolicyError

if TYPE_CHECKING:
    from foxden.sandbox.grants import Grants, RealPath

_FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "policies")


def read_policy(name: str) -> str:
    """Return the text of policies/<name>.toml.  Raises PolicyError when there is none."""
    try:
        with open(os.path.join(_FOLDER, f"{name}.toml"), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        raise PolicyError(f"expected a policy file, found no policies/{name}.toml") from None


def policy_names() -> tuple[str, ...]:
    """Names of all policy files, included ones too."""
    return tuple(sorted(name.removesuffix(".toml") for name in os.listdir(_FOLDER) if name.endswith(".toml")))


def read_grants(where: str, path: str, real: RealPath, extended: tuple[str, ...] = ("plugin",)) -> Grants:
    """Grants of a user's policy file.  `where`: the option that names it; `extended`: see `parse_grants`.

    Raises PolicyError.
    """
    from foxden.sandbox.grants_text import parse_grants

    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{where} {path}: {getattr(error, 'strerror', None) or error}") from None
    return parse_grants(path, text, real=real, read=read_policy, extended=extended)
