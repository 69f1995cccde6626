"""The one exception of foxden that is one of concurrent.futures as well, whose import takes longer than all of errors.

Runs in: the parent.  Source: concurrent.futures.BrokenExecutor.
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

from foxden.errors import FoxdenError


class WorkersBroken(FoxdenError, BrokenExecutor):
    """The executor cannot go on: its initializer failed, or its workers cannot be started."""
