"""The plugin process: its sandbox is on, now it becomes the init of one program.

Runs in: a child of the plugin fork server.  Trusts: the parent.
Flow: Launch → Ready → PPlugin.Start (it may wait there already) → launch/program.serve, to the program's end.
Source: protocols/plugin; architecture.md "Plugin (NPAPI's place)".
"""

from __future__ import annotations

import socket

from foxden.ipc.memory import read_payload
from foxden.ipc.schema import Side
from foxden.launch import program
from foxden.launch.child_main import ChildActor, ChildContext
from foxden.model.enforcement import Layer, missing_layers
from foxden.protocols.plugin import PPlugin


class PluginChild(ChildActor, protocol=PPlugin, side=Side.CHILD):
    """Root actor, until there is a program to serve."""

    def recv_start(self, message: PPlugin.Start) -> None:
        if missing_layers(self.process.enforcement, tuple(map(Layer, message.accepted))):
            return  # the parent has heard the same: it ends this process, and says why
        control = socket.socket(fileno=message.control.detach())
        control.setblocking(True)
        streams = (message.stdin.detach(), message.stdout.detach(), message.stderr.detach())
        environment = dict(item.split(b"=", 1) for item in _items(read_payload(message.environment)))
        call = program.Call(_items(read_payload(message.arguments)), environment, message.cwd, streams)
        program.prepare(call)
        program.serve(control, call)


def _items(text: bytes) -> list[bytes]:
    return text.split(b"\0")[:-1]


def prewarm() -> None:
    """What the init needs where nothing can be loaded any more."""
    program.warm()


def main(process: ChildContext) -> None:
    process.start(PluginChild())
    process.loop.run()
