"""The environment names that foxden reads: each with what it does and who reads it.  Firefox's where Firefox has one.

Runs in: every process may import it; only the parent reads values, for children are started with none; pure.
Flow: this table → parent/prefs, front, docs/reference/env.md.
Source: MozillaWiki Security/Sandbox, "Environment variables"; Gecko's SandboxInfo.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Variable(msgspec.Struct, frozen=True):
    """One name.  A switch is on when it is set to anything but `0` and nothing."""

    name: str
    doc: str
    reader: str  # the module of foxden that reads it; empty: nobody does, and `doc` says why
    elsewhere: str = ""  # what Firefox does with it on a platform or in a way that foxden does not


_OFF = "runs {} without their sandbox, for debugging; every command says so"
_PREFS = "parent/prefs"

ENVIRONMENT: tuple[Variable, ...] = (
    # ---- switches of sandboxes
    Variable("MOZ_DISABLE_CONTENT_SANDBOX", _OFF.format("content processes"), _PREFS),
    Variable("MOZ_DISABLE_GMP_SANDBOX", _OFF.format("media plugins"), _PREFS),
    Variable("MOZ_DISABLE_RDD_SANDBOX", _OFF.format("media decoders"), _PREFS),
    Variable("MOZ_DISABLE_SOCKET_PROCESS_SANDBOX", _OFF.format("socket processes"), _PREFS),
    Variable(
        "MOZ_DISABLE_UTILITY_SANDBOX",
        _OFF.format("utility processes") + "; or a comma list of kinds: foxden has `utility:0`, the generic one",
        _PREFS,
    ),
    Variable("MOZ_DISABLE_GPU_SANDBOX", _OFF.format("compositors"), _PREFS, "Windows only"),
    Variable("MOZ_DISABLE_NPAPI_SANDBOX", _OFF.format("plugin processes"), _PREFS, "Windows only"),
    Variable(
        "MOZ_FAKE_NO_SANDBOX",
        "acts as Firefox does where the kernel takes no filters: " + _OFF.format("all child processes"),
        _PREFS,
    ),
    Variable(
        "MOZ_PERMISSIVE_CONTENT_SANDBOX",
        "is refused with an error: foxden's broker has no mode in which it grants what it would deny",
        _PREFS,
        "the broker performs and logs what it would deny",
    ),
    Variable(
        "MOZ_SANDBOX_CRASH_ON_ERROR",
        "a system call that would be refused and recorded ends its process; files are refused as ever",
        _PREFS,
    ),
    # ---- what is said of violations
    Variable("MOZ_SANDBOX_LOGGING", "prints every violation on standard error", _PREFS),
    Variable("MOZ_SANDBOX_LOGGING_FOR_TESTS", "the same", _PREFS),
    # ---- what the kernel is taken to give
    Variable(
        "MOZ_ASSUME_USER_NS",
        "`0`: acts as where no user namespace is to be had; anything else: no effect, since nothing is probed "
        "before it is needed",
        "launch/early",
        "keeps the answer of a probe",
    ),
    Variable("MOZ_SANDBOX_NO_SPEC_ALLOW", "filters bring the mitigations of speculative execution with them", _PREFS),
    Variable(
        "MOZ_FAKE_NO_SECCOMP_TSYNC",
        "no effect: a child puts its filter on while it has one thread, so nothing need be synchronised",
        "",
        "sends a signal to each thread instead",
    ),
    Variable(
        "FOXDEN_NO_NATIVE",
        "all processes do without the extension in C, as where it could not be built: the same outcome, slower",
        "native",
    ),
    # ---- paths
    Variable("SSL_CERT_FILE", "the certificate authorities to trust, before the system's", _PREFS),
    Variable("XDG_CONFIG_HOME", "`{config}` of policies; else `~/.config`", _PREFS),
    Variable("XDG_DATA_HOME", "its `fonts` is one of `{fonts}` of policies; else `~/.local/share`", _PREFS),
    Variable("XDG_DATA_DIRS", "likewise, of each; else `/usr/local/share:/usr/share`", _PREFS),
    Variable("XDG_RUNTIME_DIR", "`{runtime}` of policies", _PREFS),
    Variable("XAUTHORITY", "`{xauthority}` of policies; else `~/.Xauthority`", _PREFS),
    # ---- of the command
    Variable("MOZ_LOG", "what to log, as `--log`", "front/options"),
    Variable("NO_COLOR", "no colours", "front/terminal"),
    Variable("TERM", "`dumb`: no colours", "front/terminal"),
    Variable("PATH", "where `foxden demo` looks for programs to make its certificate with", "front/demo_site"),
    # ---- for tests
    Variable("FOXDEN_TEST_NO_USERNS", "`1`: acts as where no user namespace is to be had", "launch/early"),
    Variable("FOXDEN_TEST_EMULATE", "kernels with less, as launch/emulate names them; comma list", "launch/early"),
    Variable("FOXDEN_TEST_LANDLOCK_ABI", "acts as on a kernel with this version of Landlock at most", _PREFS),
)

BY_NAME: dict[str, Variable] = {row.name: row for row in ENVIRONMENT}


def value_of(environment: Mapping[str, str], name: str) -> str:
    """The value, empty when it is not set.  `name`: of the table; another is a mistake of the caller (KeyError)."""
    return environment.get(BY_NAME[name].name, "")


def is_on(environment: Mapping[str, str], name: str) -> bool:
    return value_of(environment, name) not in ("", "0")
