"""Whether a process is under a filter, by the kernel's own word.

Runs in: parent.  Trusts: /proc.
Source: proc(5), `Seccomp:` in /proc/<pid>/status: 2 is SECCOMP_MODE_FILTER.
"""

from __future__ import annotations


def is_filtered(pid: int) -> bool:
    """True when the kernel says that a seccomp filter is on this process; False also when it is gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
            return any(line.split() == ["Seccomp:", "2"] for line in status)
    except OSError:
        return False
