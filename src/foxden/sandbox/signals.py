"""A filter that lets a process signal itself alone, for where no process namespace hides the others.

Runs in: children that were given no namespaces.  Trusts: nothing, it is a constant but for the process's own number.
Flow: own pid → BPF → loaded below the policy's filter, which would let tgkill pass: there it reaches nobody else.
Source: seccomp(2); Landlock scopes signals too, from version 6 on (Linux 6.12).
"""

from __future__ import annotations

import struct

from foxden.sandbox import linux
from foxden.sandbox.syscall_numbers import NUMBERS

_LOAD, _JUMP_EQUAL, _ANSWER = 0x20, 0x15, 0x06
_ALLOW, _EPERM = 0x7FFF_0000, 0x0005_0001
_NUMBER, _FIRST_ARGUMENT = 0, 16  # in struct seccomp_data; the low half: both architectures are little-endian
# These name a process first; the others name a thread or a descriptor, which no filter can tell from someone else's.
_BY_PROCESS = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
_NEVER = ("tkill", "pidfd_send_signal")


def own_only(pid: int) -> bytes:
    """The program for a process of this number."""
    numbers = NUMBERS[linux.ARCH]
    rows = [(_LOAD, 0, 0, _NUMBER)]
    calls = [(numbers[name], name in _NEVER) for name in (*_NEVER, *_BY_PROCESS)]
    # After the comparisons stand: allow, look at the argument (2 rows), allow, refuse.
    for place, (number, never) in enumerate(calls):
        left = len(calls) - place - 1
        rows.append((_JUMP_EQUAL, left + (4 if never else 1), 0, number))
    rows += [
        (_ANSWER, 0, 0, _ALLOW),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_EQUAL, 0, 1, pid),
        (_ANSWER, 0, 0, _ALLOW),
        (_ANSWER, 0, 0, _EPERM),
    ]
    return b"".join(struct.pack("=HBBI", *row) for row in rows)
