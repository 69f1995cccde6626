"""The starter: a small process made before anything else, which executes the fork servers.

Runs in: a process of its own.  Trusts: the parent.  Reads no input but the parent's messages.
Flow: PStarter.StartFamily → fork as a child of the parent → exec a fresh interpreter (its own address layout).
Source: core-feasibility facts section 9: one fork server a family, exec'd, never forked from another.
"""

from __future__ import annotations

import gc
import os
import sys

from foxden.ipc.actor import Actor
from foxden.ipc.blocking import BlockingLoop, BlockingPipe
from foxden.ipc.fields import PidFd
from foxden.ipc.pipe import bind
from foxden.ipc.schema import Side
from foxden.launch import emulate, interpreter
from foxden.protocols.forkserver import PStarter
from foxden.sandbox import linux


class StarterChild(Actor, protocol=PStarter, side=Side.CHILD):
    def __init__(self, words: interpreter.BootWords) -> None:
        self._words = words

    def recv_start_family(self, message: PStarter.StartFamily) -> PStarter.StartFamily.Returns:
        endpoint, log = message.endpoint.fileno(), message.log.fileno()
        try:
            pid, pidfd = linux.fork_into(0)
        except OSError as error:
            return PStarter.StartFamily.Returns(pid=0, errno=error.errno or 0)
        if pid == 0:
            _execute(self._words.for_family(message.family), endpoint, log)
        return PStarter.StartFamily.Returns(pid=pid, errno=0, pidfd=PidFd(pidfd))


def _execute(words: interpreter.BootWords, endpoint: int, log: int) -> None:
    """Become the fork server.  Never returns."""
    try:
        interpreter.execute(words, endpoint, log)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(interpreter.EXIT_NOT_STARTED)


def main(words: interpreter.BootWords) -> None:
    linux.die_with_parent()
    linux.set_process_name("foxden-starter")
    emulate.apply(words.emulate)
    pipe = BlockingPipe(
        bind(interpreter.IPC_FD), StarterChild(words), peer="the parent"
    )
    loop = BlockingLoop()
    loop.add(pipe)
    gc.enable()
    loop.run()
    os._exit(0)
