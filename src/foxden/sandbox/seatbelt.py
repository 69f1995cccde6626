"""A macOS policy as the text of a Seatbelt profile, for `sandbox-exec -f` or sandbox_init_with_parameters.

Runs in: the parent, tools and tests; pure.  Trusts: the resolved policy.
Flow: MacPolicy → export → text; the same policy gives the same bytes.
Source: Apple's Sandbox Guide; Firefox's security/sandbox/mac/SandboxPolicyContent.h for the words in use.

Seatbelt looks at all rules and takes the last that matches.  So outer paths stand before inner ones, and each path
is first denied everything and then allowed what its line says: no line depends on the one above it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from foxden.sandbox.macos import MacPolicy, OperationRule, Service
from foxden.sandbox.paths import Access
from foxden.sandbox.platforms import Origin, Rule

# Access → the operations that it is.
_FILE_OPERATIONS: tuple[tuple[Access, str], ...] = (
    (Access.READ, "file-read*"),
    (Access.WRITE, "file-write-data"),
    (Access.CREATE, "file-write-create file-write-unlink"),
    (Access.EXECUTE, "file-map-executable"),
)
_OF_EVERY_FILE = "file-read* file-write* file-map-executable"
_FILTERS = {
    "signal": "target",
    "process-info-pidinfo": "target",
    "process-info-setcontrol": "target",
    "sysctl-read": "sysctl-name",
    "mach-lookup": "global-name",
    "iokit-open": "iokit-user-client-class",
}
_OPERATIONS: dict[str, tuple[str, ...]] = {
    "network-outbound": ("network-outbound",),
    "network-inbound": ("network-inbound", "network-bind"),
    "process-exec": ("process-exec*",),
    "process-fork": ("process-fork",),
    # There is no operation of printing: these are the ways to it.
    "print": (
        'mach-lookup (global-name "com.apple.printtool.agent") (global-name "com.apple.printuitool.agent")',
        'network-outbound (literal "/private/var/run/cupsd")',
    ),
}
# What `(deny default)` leaves out, as Firefox found.
_NOT_IN_DEFAULT = ("process-info*", "nvram*", "file-map-executable")


def export(policy: MacPolicy) -> str:
    """The profile's text.  Its paths are parameters: HOME, PROFILE, …, as far as the policy speaks of them."""
    lines = ["(version 1)", *_head(policy)]
    if policy.level == 0:
        return "\n".join([*lines, "(allow default)  ; level 0: no sandbox", ""])
    lines += ["(deny default)", *(f"(deny {word})" for word in _NOT_IN_DEFAULT), ""]
    for service in policy.services:
        lines += _service(service)
    for rule in policy.files:
        lines += _file(rule)
    for operation in policy.operations:
        lines += _operation(operation)
    return "\n".join([*lines, ""])


def parameters(policy: MacPolicy) -> tuple[str, ...]:
    """The names of places that whoever applies the profile must give, without braces."""
    return tuple(dict.fromkeys(name for rule in policy.files for name in re.findall(r"\{(\w+)\}", rule.path)))


def _head(policy: MacPolicy) -> Iterator[str]:
    kind = f" {policy.remote_type}" if policy.remote_type else ""
    yield f"; {policy.name}{kind}, level {policy.level}, as foxden's policies/macos/{policy.name}.toml says."
    yield "; Not enforced by foxden, which runs on Linux."
    given = " ".join(f"-D {name.upper()}=…" for name in parameters(policy))
    if given:
        yield f"; sandbox-exec {given} -f THIS_FILE PROGRAM"


def _comment(origin: Origin, words: str) -> str:
    return f"; {words}, from level {origin.level}: {origin.reason or 'no reason given'}".replace("\n", " ")


def _service(service: Service) -> Iterator[str]:
    yield _comment(service.origin, f"{service.operation} {service.name}")
    word = _FILTERS[service.operation]
    name = service.name if word == "target" else _quoted(service.name)
    yield f"(allow {service.operation})" if service.name == "*" else f"(allow {service.operation} ({word} {name}))"


def _file(rule: Rule) -> Iterator[str]:
    yield _comment(rule.origin, f"{rule.path} = {rule.access.word()}")
    place = f"({'literal' if rule.literal else 'subpath'} {_path(rule.path)})"
    yield f"(deny {_OF_EVERY_FILE} {place})"
    given = [words for access, words in _FILE_OPERATIONS if rule.access & access]
    if not rule.access & Access.READ and rule.access and not rule.access & Access.DENY:
        given.insert(0, "file-read-metadata")
    if given and not rule.access & Access.DENY:
        yield f"(allow {' '.join(given)} {place})"


def _operation(rule: OperationRule) -> Iterator[str]:
    verb = "allow" if rule.allow else "deny"
    yield _comment(rule.origin, f"{rule.operation} = {verb}")
    yield from (f"({verb} {words})" for words in _OPERATIONS[rule.operation])


def _path(path: str) -> str:
    found = re.fullmatch(r"\{(\w+)\}(.*)", path)
    if found is None:
        return _quoted(path)
    name = f'(param "{found[1].upper()}")'
    return f"(string-append {name} {_quoted(found[2])})" if found[2] else name


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
