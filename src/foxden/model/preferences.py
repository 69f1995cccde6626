"""The preferences: name, default, and what each is for.  Firefox's names where Firefox has one.

Runs in: every process may import it, only the parent reads values; pure.
Flow: this table → parent/prefs (defaults, then what the caller gave) → settings structs of children.
Source: Gecko's StaticPrefList.yaml and firefox.js for names and defaults; `foxden.*` are ours.
"""

from __future__ import annotations

import msgspec

from foxden.errors import FoxdenError

Value = bool | int | str


class Preference(msgspec.Struct, frozen=True):
    name: str
    default: Value
    doc: str
    least: int | None = None  # bounds of an int
    most: int | None = None


_CONTENT_LEVEL_DOC = (
    "level of content processes: 0 no sandbox, 1 system calls, 2 and writing files, 3 and reading files, "
    "4 and the machine's network, processes and root"
)
_GPU_LEVEL_DOC = "level of the compositor; 0: no sandbox (Firefox's default on Linux; this one paints in software)"
_READ_PATHS_DOC = "paths that content may read, with all below them; comma list of whole paths"
_WRITE_PATHS_DOC = (
    "paths that content may read and write, with all below them; comma list of whole paths; "
    "one that ends in / is a folder in which files may be made and removed"
)
_CALLS_DOC = (
    "system calls that content may make; comma list of numbers of this architecture, or names. "
    "`foxden support` warns of the dangerous ones; what the fork server's filter refuses stays refused"
)
_HEADLESS_DOC = "content has nothing to do with a display; false: it may connect to the user's display server"
_FORCE_NAMESPACE_DOC = "content has namespaces of its own below level 4 too (user, pid, ipc, uts, cgroup)"
_WARN_NAMESPACES_DOC = "`foxden support` says what to do where user namespaces are not to be had"
_BANNED_PORTS_DOC = "ports refused beside the standard list; comma list of numbers and ranges n-m"

PREFERENCES: tuple[Preference, ...] = (
    Preference("security.sandbox.content.level", 4, _CONTENT_LEVEL_DOC, 0, 4),
    Preference("security.sandbox.socket.process.level", 1, "level of the socket process; 0: no sandbox", 0, 1),
    Preference("security.sandbox.gpu.level", 1, _GPU_LEVEL_DOC, 0, 1),
    Preference("dom.ipc.plugins.sandbox-level.default", True, "plugin processes have their sandbox"),
    Preference("security.sandbox.content.read_path_whitelist", "", _READ_PATHS_DOC),
    Preference("security.sandbox.content.write_path_whitelist", "", _WRITE_PATHS_DOC),
    Preference("security.sandbox.content.syscall_whitelist", "", _CALLS_DOC),
    Preference("security.sandbox.content.headless", True, _HEADLESS_DOC),
    Preference("security.sandbox.content.force-namespace", False, _FORCE_NAMESPACE_DOC),
    Preference("security.sandbox.warn_unprivileged_namespaces", True, _WARN_NAMESPACES_DOC),
    Preference("security.sandbox.logging.enabled", False, "print every violation on standard error"),
    Preference("dom.ipc.processCount.webIsolated", 1, "content processes per site", 1, 8),
    Preference("dom.ipc.processCount.file", 1, "content processes for file:// pages", 1, 8),
    Preference("dom.ipc.processPrelaunch.fission.number", 1, "ready content processes kept for the next site", 0, 16),
    Preference("dom.ipc.keepProcessesAlive.web", 4, "content processes kept after their last document", 0, 64),
    Preference("network.http.connection-timeout", 30, "seconds to connect", 1, 3600),
    Preference("network.http.response.timeout", 60, "seconds without a byte before a load ends", 1, 3600),
    Preference("network.http.redirection-limit", 20, "redirects followed in one load", 0, 100),
    Preference("network.http.max-persistent-connections-per-server", 6, "connections to one server", 1, 256),
    Preference("network.http.max-connections", 256, "connections in all", 1, 4096),
    Preference("network.http.http2.enabled", True, "offer HTTP/2 over TLS"),
    Preference("network.dns.resolver-thread-extra-idle-time-seconds", 60, "seconds an answer is kept", 0, 3600),
    Preference("network.dns.max_any_priority_threads", 8, "look-ups that may block at once", 1, 64),
    Preference("network.security.ports.banned", "", _BANNED_PORTS_DOC),
    Preference("network.security.ports.banned.override", "", "ports taken from the refused ones; same form"),
    Preference("general.useragent.override", "", "User-Agent to send; empty: foxden's own"),
    Preference("foxden.network.private-hosts", "", "hosts that may resolve to private addresses; comma list"),
    Preference("foxden.content.max-document-bytes", 64 << 20, "largest document, after decompression", 1024, 256 << 20),
    Preference("foxden.network.max-body-bytes", 1 << 30, "largest response body", 1024, 1 << 40),
    Preference("foxden.network.max-header-bytes", 262_144, "largest response head", 1024, 4 << 20),
    Preference("foxden.broker.ask-timeout", 30, "seconds a child waits for the answer of Den(ask=...)", 1, 3600),
    Preference("foxden.hang.timeout", 10, "seconds a child may leave a ping unanswered", 1, 3600),
)

BY_NAME: dict[str, Preference] = {preference.name: preference for preference in PREFERENCES}


class PreferenceError(FoxdenError):
    """A preference name or value is wrong."""


def checked(name: str, value: object) -> Value:
    """Return `value` as this preference's type; a str is read as on a command line.

    Raises PreferenceError: unknown name, wrong type, out of bounds.
    """
    row = BY_NAME.get(name)
    if row is None:
        from difflib import get_close_matches

        close = get_close_matches(name, BY_NAME, 1)
        hint = f"did you mean {close[0]}?" if close else "docs/reference/prefs.md lists them"
        raise PreferenceError(f"expected the name of a preference, got {name!r}", hint=hint)
    if isinstance(value, str) and not isinstance(row.default, str):
        value = _parsed(row, value)
    if type(value) is not type(row.default):
        raise PreferenceError(f"{name}: expected {type(row.default).__name__}, got {value!r}")
    if isinstance(value, int) and not isinstance(value, bool):
        _check_bounds(row, value)
    if not isinstance(value, (bool, int, str)):
        raise PreferenceError(f"{name}: expected a bool, an int or a str, got {value!r}")
    return value


def _parsed(row: Preference, text: str) -> Value:
    if isinstance(row.default, bool):
        words = {"true": True, "false": False}
        if text.lower() not in words:
            raise PreferenceError(f"{row.name}: expected true or false, got {text!r}")
        return words[text.lower()]
    try:
        return int(text)
    except ValueError:
        raise PreferenceError(f"{row.name}: expected a whole number, got {text!r}") from None


def _check_bounds(row: Preference, value: int) -> None:
    if (row.least is not None and value < row.least) or (row.most is not None and value > row.most):
        raise PreferenceError(f"{row.name}: expected {row.least} to {row.most}, got {value}")
