"""What `foxden run` says when its program has ended.

Runs in: command.  Trusts: nothing of the program: text of it is escaped, or stands in JSON.
Flow: Outcome, what the broker told → lines on standard error; with --json one object on standard output.
Source: interface.md "Records".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from foxden.front.running import Run
from foxden.launch.own_broker import Told
from foxden.launch.supervise import Outcome


def report(run: Run, outcome: Outcome, told: Sequence[Told]) -> None:
    for each in told:
        if not each.granted:
            sys.stderr.write(f"refused {each}\n")
    if outcome.errno:
        sys.stderr.write(f"error: {run.options.arguments[0]}: {os.strerror(outcome.errno)}\n")
