"""Preferences and environment of one den.  Only the parent's environment counts: a child can turn nothing off.

Runs in: parent.  Trusts: its caller and its own environment.
Flow: defaults of model/preferences → what the caller gave → levels, settings of children.
Source: MozillaWiki Security/Sandbox, "Preferences" and "Environment variables".
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from foxden.model.preferences import BY_NAME, Value, checked
from foxden.model.process_types import ProcessType

# A single file of authorities, where the systems we know keep it; SSL_CERT_FILE comes before them.
_AUTHORITY_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # others
)


class Prefs:
    """Values by name; unknown names and wrong values are errors when given, not when used."""

    def __init__(self, given: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._given = {name: checked(name, value) for name, value in (given or {}).items()}
        self._environment = os.environ if environment is None else environment

    def _value(self, name: str) -> Value:
        return self._given.get(name, BY_NAME[name].default)

    def get_int(self, name: str) -> int:
        value = self._value(name)
        assert isinstance(value, int)  # noqa: S101 - `checked` has seen to it
        return value

    def get_bool(self, name: str) -> bool:
        return bool(self._value(name))

    def get_str(self, name: str) -> str:
        return str(self._value(name))

    def get_list(self, name: str) -> tuple[str, ...]:
        return tuple(item.strip() for item in self.get_str(name).split(",") if item.strip())

    def level_of(self, row: ProcessType) -> int:
        """The sandbox level that this type's children get: 0 where the environment switches it off."""
        disabled = self._environment.get(row.disable_env, "") if row.disable_env else ""
        if disabled not in ("", "0"):
            return 0
        return self.get_int(row.level_pref) if row.level_pref else 1

    def switched_off(self, row: ProcessType) -> bool:
        return self.level_of(row) == 0

    def authorities(self) -> str:
        """Path of the file of certificate authorities; empty when there is none."""
        named = self._environment.get("SSL_CERT_FILE", "")
        if named:
            return os.path.abspath(named)
        return next((path for path in _AUTHORITY_FILES if os.path.isfile(path)), "")

    def landlock_abi_limit(self) -> int:
        """For tests: act as on a kernel with this Landlock ABI at most."""
        return int(self._environment.get("FOXDEN_TEST_LANDLOCK_ABI", "1000"))
