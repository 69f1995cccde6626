"""`python -m foxden`: the same as the `foxden` command.

Runs in: command.  Trusts: its command line.
Flow: argv → front.cli.main → exit code.
Source: interface.md "Command".
"""

from __future__ import annotations

import sys

from foxden.front.cli import main

if __name__ == "__main__":
    sys.exit(main())
