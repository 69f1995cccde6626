"""How much memory a process takes.

Runs in: parent.  Trusts: /proc.
Source: proc(5): smaps_rollup needs the right to trace, statm does not.
"""

from __future__ import annotations

import os

_PAGE = os.sysconf("SC_PAGESIZE")


def memory_bytes(pid: int) -> int:
    """Proportional set size; resident size where the kernel does not tell; 0 when the process is gone."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:
            for line in rollup:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not ours to trace, or gone: statm tells the second best
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * _PAGE
    except OSError:
        return 0
