"""Which of Landlock's rights a file rule means.

Runs in: the parent, tools and tests; pure.
Source: linux/landlock.h, LANDLOCK_ACCESS_FS_*; ABI 5 has them all.
"""

from __future__ import annotations

import functools

from foxden.sandbox.paths import Access

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(13, 16))

# Device nodes are made by nobody: MAKE_CHAR and MAKE_BLOCK stand in no row.
_RIGHTS: dict[Access, int] = {
    Access.READ: READ_FILE | READ_DIR,
    Access.EXECUTE: EXECUTE,
    Access.WRITE: WRITE_FILE | TRUNCATE | IOCTL_DEV,
    Access.CREATE: REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM | REFER,
}


@functools.cache  # a program has some eighty rules of a handful of kinds
def landlock_rights(access: Access) -> int:
    """What Landlock grants where a file rule gives this."""
    rights = 0
    for bit, right in _RIGHTS.items():
        if access & bit:
            rights |= right
    return rights
