"""The committed policy texts, as files of the package.

Runs in: the parent, tools, tests.  Trusts: the installation.
Flow: name → text; policy_text parses it.
Source: sandbox/policies/*.toml.
"""

from __future__ import annotations

import os

from foxden.errors import PolicyError

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
