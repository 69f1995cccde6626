"""A child's layers as system calls in a row, as the extension in C takes them.

Runs in: the parent writes it (`steps`), the child has it done (`enforce`); pure.  Trusts: the plan.
Flow: SandboxPlan → steps.sequence_of → PChildProcess.Launch → _native.sequence → the group that failed.
Source: src/native/sequence.c.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

STEP = struct.Struct("=IBB6B2h6Q")  # struct step of src/native/sequence.c
_GROUP_AT = 4  # bytes into it


class Group:
    """Steps that are done or not done together, in enforce's order."""

    ROOT: Final = 0
    HOST_NAME: Final = 1
    CAPABILITIES: Final = 2
    NO_NEW_PRIVS: Final = 3
    LANDLOCK: Final = 4


class Sequence(msgspec.Struct, frozen=True):
    """As the extension takes it.  Empty: there is nothing that it could do of this plan."""

    steps: bytes = b""
    text: bytes = b""

    @property
    def groups(self) -> frozenset[int]:
        """Of which there are steps in it."""
        return frozenset(self.steps[_GROUP_AT :: STEP.size])
