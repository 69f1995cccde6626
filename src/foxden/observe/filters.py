"""How many filters a process is under, by the kernel's own word.

Runs in: parent.  Trusts: /proc.
Source: proc(5), `Seccomp_filters:` in /proc/<pid>/status (Linux 5.9).
"""

from __future__ import annotations


def filters_on(pid: int) -> int:
    """How many seccomp filters are on this process, those of a container around it included; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            rows = dict(line.split(":", 1) for line in status if line.startswith("Seccomp"))
    except OSError:
        return 0
    return int(rows.get("Seccomp_filters", "0"))
