"""Tests that are marked `alone` run while no other test of the same run does, however many run beside each other.

Runs in: each worker of pytest-xdist.  Trusts: the other workers to ask for their turn, too.
Flow: a test → through the gate → into the room, with others or alone → the test → out.
Source: fcntl(2), "Advisory record locking": a process that ends holds nothing, and its children inherit nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

MARKER = "alone"


def place_of(config: pytest.Config) -> Path | None:
    """The folder that the workers of this run share; None: there are no others."""
    if not hasattr(config, "workerinput"):
        return None
    return Path(config.getoption("basetemp")).parent


@contextlib.contextmanager
def turn(place: Path, *, alone: bool) -> Iterator[None]:
    """Wait until this test may run, and have others wait while it needs to be alone."""
    # Whoever wants to be alone waits for the others inside the gate, so that none comes in after it.
    with _held(place / "gate", fcntl.LOCK_EX) as gate, _held(place / "room", fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
        fcntl.lockf(gate, fcntl.LOCK_UN)
        yield


@contextlib.contextmanager
def _held(path: Path, how: int) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(fd, how)
        yield fd
    finally:
        os.close(fd)
