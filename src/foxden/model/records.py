"""Records that users read: processes, as in `foxden ps --json`.

Runs in: parent and command; pure.
Source: interface.md "Records".
"""

from __future__ import annotations

import msgspec

from foxden.model.enforcement import Enforcement


class ProcessRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One process.  `memory_bytes`: proportional set size where the kernel tells, else resident size."""

    pid: int
    process_type: str
    remote_type: str | None = None
    level: int
    enforcement: Enforcement | None = None
    memory_bytes: int
    uptime_s: float
    name: str = ""
