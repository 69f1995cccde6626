"""Which of Landlock's rights a file rule means.

Runs in: the parent, tools and tests; pure.
Source: sandbox/landlock_bits.
"""

from __future__ import annotations

import functools

from foxden.sandbox import landlock_bits as bits
from foxden.sandbox.paths import Access

# Device nodes are made by nobody: MAKE_CHAR and MAKE_BLOCK stand in no row.
_RIGHTS: dict[Access, int] = {
    Access.READ: bits.READ_FILE | bits.READ_DIR,
    Access.EXECUTE: bits.EXECUTE,
    Access.WRITE: bits.WRITE_FILE | bits.TRUNCATE | bits.IOCTL_DEV,
    Access.CREATE: (
        bits.REMOVE_DIR | bits.REMOVE_FILE | bits.MAKE_DIR | bits.MAKE_REG | bits.MAKE_SOCK | bits.MAKE_FIFO
        | bits.MAKE_SYM | bits.REFER
    ),
}


@functools.cache  # a program has some eighty rules of a handful of kinds
def landlock_rights(access: Access) -> int:
    """What Landlock grants where a file rule gives this."""
    rights = 0
    for bit, right in _RIGHTS.items():
        if access & bit:
            rights |= right
    return rights
