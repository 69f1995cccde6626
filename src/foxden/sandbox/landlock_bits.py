"""Landlock's rights over files, as bits.

Runs in: the parent, children; pure.
Source: linux/landlock.h, LANDLOCK_ACCESS_FS_*; ABI 5 has them all.
"""

from __future__ import annotations

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << bit for bit in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in range(6, 13))
REFER, TRUNCATE, IOCTL_DEV = (1 << bit for bit in range(13, 16))
