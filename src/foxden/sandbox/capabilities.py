"""Giving up every Linux capability, for good.

Runs in: children, before no_new_privs.  Trusts: nothing.
Source: capabilities(7), capset(2) version 3.
"""

from __future__ import annotations

import struct

from foxden.sandbox import linux

_VERSION_3 = 0x2008_0522
NOTHING = (struct.pack("=Ii", _VERSION_3, 0), bytes(24))  # of capset(2): no capability in any set


def drop_all() -> None:
    """Empty the bounding, ambient, effective, permitted and inheritable sets.  Raises OSError."""
    linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)
    drop_bounding()
    give_up()


def drop_bounding() -> None:
    """Empty the bounding set: what is executed from now on gets no capability.  Raises OSError."""
    for capability in range(64):
        try:
            linux.prctl(linux.PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno == 22:  # EINVAL: beyond the last one this kernel knows
                break
            if error.errno != 1:  # EPERM: not in a namespace of its own; the bounding set of others stays
                raise
            break


def give_up() -> None:
    """Empty the effective, permitted and inheritable sets, and leave the bounding set.  Raises OSError."""
    linux.syscall("capset", *NOTHING)


def keep_only(*kept: int) -> None:
    """Give up all but these, by number, in the effective and permitted sets.  Raises OSError."""
    bits = sum(1 << number for number in kept)
    linux.syscall("capset", struct.pack("=Ii", _VERSION_3, 0), struct.pack("=6I", bits, bits, 0, 0, 0, 0))


def held() -> int:
    """The effective, permitted and bounding sets, or-ed: 0 when nothing is left."""
    with open("/proc/self/status", encoding="ascii") as status:
        rows = dict(line.split(":\t") for line in status if line.startswith("Cap"))
    return int(rows["CapEff"], 16) | int(rows["CapPrm"], 16) | int(rows["CapBnd"], 16)
