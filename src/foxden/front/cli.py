"""The `foxden` command: its door, as light as can be.

Runs in: command.  Trusts: its command line.
Flow: argv → front.group → exit code.
Source: interface.md "Command".
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    try:
        # Here and not above, so that Ctrl-C is quiet while all of it is loaded, too.
        from foxden.front.group import run

        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        return _INTERRUPTED
