"""Preferences and environment of one den.  Only the parent's environment counts: a child can turn nothing off.

Runs in: parent.  Trusts: its caller and its own environment.
Flow: defaults of model/preferences → what the caller gave → levels, settings of children.
Source: MozillaWiki Security/Sandbox, "Preferences" and "Environment variables".
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping

from foxden import build_settings
from foxden.errors import FoxdenError
from foxden.model import environment as names
from foxden.model.preferences import BY_NAME, Value, checked
from foxden.model.process_types import ProcessType
from foxden.sandbox import customise

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
        self._content_wishes = self._read_content_wishes()
        if self.is_on("MOZ_PERMISSIVE_CONTENT_SANDBOX"):
            raise FoxdenError(
                "MOZ_PERMISSIVE_CONTENT_SANDBOX is set: foxden has no permissive mode",
                hint="MOZ_DISABLE_CONTENT_SANDBOX=1 runs without a sandbox; MOZ_SANDBOX_LOGGING=1 shows refusals",
            )

    def is_on(self, name: str) -> bool:
        """Is this name of model/environment set to more than `0`?"""
        return names.is_on(self._environment, name)

    def variable(self, name: str) -> str:
        """The value of this name of model/environment, empty when it is not set."""
        return names.value_of(self._environment, name)

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
        if self.switched_off_by(row):
            return 0
        return int(self._value(row.level_pref)) if row.level_pref else 1

    def switched_off(self, row: ProcessType) -> bool:
        return self.level_of(row) == 0

    def switched_off_by(self, row: ProcessType) -> str:
        """What turns the sandbox of this type off, whatever its level: a build setting, or an environment name."""
        if build_settings.DISABLE_SANDBOX:
            return "build setting disable-sandbox"
        if build_settings.DISABLE_CONTENT_SANDBOX and row.name == "content":
            return "build setting disable-content-sandbox"
        if self.is_on("MOZ_FAKE_NO_SANDBOX"):
            return "MOZ_FAKE_NO_SANDBOX"
        return row.disable_env if row.disable_env and self._is_disabled(row) else ""

    def _is_disabled(self, row: ProcessType) -> bool:
        value = self.variable(row.disable_env)
        if row.name == "utility" and ":" in value:  # a list of kinds, as in Gecko's UtilityProcessSandboxing.cpp
            return "utility:0" in value.split(",")
        return self.is_on(row.disable_env)

    # ---- what they change in a policy

    def _read_content_wishes(self) -> customise.Wishes:
        """Raises PreferenceError: a path or a call of a list is wrong."""
        reads, writes, calls = customise.READ_PATHS, customise.WRITE_PATHS, customise.CALLS
        return customise.Wishes(
            read=customise.parse_paths(reads, self.get_list(reads), write=False),
            write=customise.parse_paths(writes, self.get_list(writes), write=True),
            calls=customise.parse_calls(calls, self.get_list(calls), platform.machine()),
            crash_on_error=self.is_on(customise.CRASH_ON_ERROR),
        )

    def wishes(self, row: ProcessType) -> customise.Wishes:
        """What is added to the policy of this type."""
        wishes = self._content_wishes
        if row.name == "content":
            return wishes
        # The broker is foxden's own code, and every child waits for it.
        return customise.Wishes(crash_on_error=wishes.crash_on_error and row.name != "broker")

    def widens_content(self) -> bool:
        """Is anything added to what content may do?"""
        return bool(self._content_wishes)

    def also_included(self, row: ProcessType) -> tuple[str, ...]:
        """Policy files that speak after the one of this type."""
        if row.name != "content":
            return ()
        display = () if self.get_bool("security.sandbox.content.headless") else ("content-display",)
        forced = self.get_bool("security.sandbox.content.force-namespace")
        return (*display, *(("content-namespaces",) if forced else ()))

    def spec_allow(self) -> bool:
        """Filters leave the mitigations of speculative execution as they are."""
        return not self.is_on("MOZ_SANDBOX_NO_SPEC_ALLOW")

    def logs_violations(self) -> bool:
        """Violations are printed on standard error."""
        asked = self.is_on("MOZ_SANDBOX_LOGGING") or self.is_on("MOZ_SANDBOX_LOGGING_FOR_TESTS")
        return asked or self.get_bool("security.sandbox.logging.enabled")

    # ---- paths

    def authorities(self) -> str:
        """Path of the file of certificate authorities; empty when there is none."""
        named = self.variable("SSL_CERT_FILE")
        if named:
            return os.path.abspath(named)
        return next((path for path in _AUTHORITY_FILES if os.path.isfile(path)), "")

    def landlock_abi_limit(self) -> int:
        """For tests: act as on a kernel with this Landlock ABI at most."""
        return int(self.variable("FOXDEN_TEST_LANDLOCK_ABI") or "1000")

    def user_folders(self) -> Mapping[str, str | list[str]]:
        """What policies call {home}, {config}, {runtime}, {xauthority} and {fonts}, as far as they are known."""
        home = os.path.expanduser("~")
        at_home = os.path.isabs(home) and home != "/"
        found = {
            "home": home if at_home else "",
            "config": self.variable("XDG_CONFIG_HOME") or (f"{home}/.config" if at_home else ""),
            "runtime": self.variable("XDG_RUNTIME_DIR"),
            "xauthority": self.variable("XAUTHORITY") or (f"{home}/.Xauthority" if at_home else ""),
        }
        data = self.variable("XDG_DATA_HOME") or (f"{home}/.local/share" if at_home else "")
        shared = self.variable("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        fonts = [f"{folder}/fonts" for folder in (data, *shared.split(":"))]
        usable = {name: os.path.normpath(path) for name, path in found.items() if os.path.isabs(path)}
        return {**usable, "fonts": sorted({os.path.normpath(path) for path in fonts if os.path.isabs(path)})}
