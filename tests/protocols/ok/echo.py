# the example of schema's docstring: every kind of message once
from __future__ import annotations

from foxden.ipc.fields import Name, ShortText
from foxden.ipc.schema import Both, Protocol, Reply, ToChild, ToParent


class PTop(Protocol, number=1, ends=("default", "any")):
    pass


class PEcho(Protocol, number=99, manager=PTop, ends=("default", "any"), max_live=3):
    class Construct(ToChild):
        label: Name

    class Say(ToParent, once=True, after=Construct):
        text: ShortText

    class Ask(ToParent, sync="the child cannot go on without it"):
        class Returns(Reply):
            text: ShortText

    class Delete(Both):
        pass
