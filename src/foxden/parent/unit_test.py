"""The parent's end of an IPDLUnitTest process: answers what it is asked, and remembers what it is told.

Runs in: parent.  Trusts: nothing, as for any child.
Source: protocols/unittest.
"""

from __future__ import annotations

from foxden.ipc.actor import Actor, Why
from foxden.ipc.schema import Side
from foxden.parent.hosts import ChildParent
from foxden.protocols.unittest import PIPDLUnitTest, PTestActor, PTestLeaf

_MASK = (1 << 63) - 1


class UnitTestParent(ChildParent, protocol=PIPDLUnitTest, side=Side.PARENT):
    """Answers Compute with the next number; `told` counts what Tell brought."""

    def __init__(self) -> None:
        self.told = 0
        self.last_text = ""
        self.actors: list[TestActorParent] = []

    def recv_compute(self, message: PIPDLUnitTest.Compute) -> PIPDLUnitTest.Compute.Returns:
        return PIPDLUnitTest.Compute.Returns(value=(message.value + 1) & _MASK)

    def recv_tell(self, message: PIPDLUnitTest.Tell) -> None:
        self.told += 1
        self.last_text = message.text

    def alloc_test_actor(self, message: PTestActor.Construct) -> TestActorParent:
        self.actors.append(TestActorParent(message.label))
        return self.actors[-1]


class TestActorParent(Actor, protocol=PTestActor, side=Side.PARENT):
    __test__ = False  # its name is the protocol's, not a test's

    def __init__(self, label: str) -> None:
        self.label = label
        self.said: list[str] = []
        self.leaves: list[TestLeafParent] = []
        self.ended: Why | None = None

    def recv_say(self, message: PTestActor.Say) -> None:
        self.said.append(message.text)

    def alloc_test_leaf(self, message: PTestLeaf.Construct) -> TestLeafParent:
        self.leaves.append(TestLeafParent(message.label))
        return self.leaves[-1]

    def actor_destroy(self, why: Why) -> None:
        self.ended = why


class TestLeafParent(Actor, protocol=PTestLeaf, side=Side.PARENT):
    __test__ = False

    def __init__(self, label: str) -> None:
        self.label = label
        self.ended: Why | None = None

    def actor_destroy(self, why: Why) -> None:
        self.ended = why
