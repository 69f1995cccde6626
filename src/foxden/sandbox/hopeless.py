"""System calls that no option, no preference and no learnt policy ever allows, and why.

Runs in: command, parent and tools; pure.  Trusts: sets.toml.
Flow: the named sets of sets.toml → hopeless_calls → hints, `grants_text`, `learn`.
Source: sets.toml "what no child does"; io_uring and ptrace in the hostile cases.
"""

from __future__ import annotations

from collections.abc import Mapping

from foxden.sandbox.syscalls import Call

# Set of sets.toml → why nothing grants its calls.
HOPELESS_SETS: dict[str, str] = {
    "other-processes": "it reaches into other processes",
    "filter-bypass": "it has the kernel do work that no filter sees",
    "kernel-surface": "it is a known help of exploits, and programs do without it",
    "namespaces-and-mounts": "it would change the walls of the sandbox from inside",
    "administration": "it administers the machine",
    "host-names": "it names the machine",
    "unseen-flags": "its flags lie in memory, where no filter can judge them; libraries fall back to the older call",
}
NOTHING = "no option allows this: "


def hopeless_calls(sets: Mapping[str, tuple[Call, ...]]) -> dict[str, str]:
    """Name of a call → the hint that says why nothing allows it."""
    return {call.name: NOTHING + why for name, why in HOPELESS_SETS.items() for call in sets[name]}
