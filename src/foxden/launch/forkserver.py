"""A fork server: warm, single-threaded, forks the children of one family and nothing else.

Runs in: a process of its own, one a family, exec'd before the parent reads any secret.  Trusts: the parent.
Flow: warm what the first child needs → PForkServer.Fork → clone into namespaces → child_main in the child → the rest.
Source: core-feasibility facts sections 1 and 9; Gecko's ForkServer.cpp.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from foxden.ipc.actor import Actor
from foxden.ipc.blocking import BlockingLoop, BlockingPipe
from foxden.ipc.fields import PidFd
from foxden.ipc.pipe import bind
from foxden.ipc.schema import Side
from foxden.launch import child_main, interpreter
from foxden.launch.warmth import Warmth, nothing_waits
from foxden.model.process_types import KEEP_CALLERS_IDS, Family, RemoteType, child_rows, family_of
from foxden.protocols.forkserver import PForkServer
from foxden.sandbox import capabilities, linux, namespaces, seccomp

if TYPE_CHECKING:
    from foxden.launch import own_ids, private_folders

# After a child was forked: that it has the processors to itself for its own start, and its first work.
_REST_MS = 100


class ForkServerChild(Actor, protocol=PForkServer, side=Side.CHILD):
    def __init__(
        self,
        modules: dict[str, str],
        warmth: Warmth,
        entering: own_ids.Entering | None = None,
        no_ids: str = "",
        in_child: Callable[[int], None] = lambda flags: None,
        folders: private_folders.Making | None = None,
    ) -> None:
        self._modules = modules  # process type → child module
        self._warmth = warmth
        self._entered = entering is not None  # in a user namespace of its own: children without one inherit rights
        self._in_child = in_child  # called in each, with the namespaces that it was forked into
        self._no_ids = entering.finish() if entering is not None else no_ids
        self._folders = folders

    def recv_init(self, message: PForkServer.Init) -> None:
        """Take the family's filter: every child inherits it below its own."""
        if message.plan.filter and seccomp.is_available():  # without filters no child is whole: each says so itself
            linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
            seccomp.load(message.plan.filter, spec_allow=message.plan.spec_allow)

    def recv_fork(self, message: PForkServer.Fork) -> PForkServer.Fork.Returns:
        module = self._modules.get(message.process_type)
        if module is None:
            return PForkServer.Fork.Returns(pid=0, errno=22)  # EINVAL: not of this family
        whole = not message.sees_libraries
        if self._folders is not None:
            child_main.KEPT.extend(self._folders.finish())
            self._folders = None
        self._warmth.ready_for(module, whole=whole, late=message.wants_late, imports=message.imports)
        wanted = bool(message.uid) and bool(message.flags & namespaces.CLONE_NEWUSER)
        gate = os.pipe() if wanted and not self._no_ids else None
        try:
            pid, pidfd = linux.fork_into(message.flags)
        except OSError as error:
            _close(gate)
            return PForkServer.Fork.Returns(pid=0, errno=error.errno or 0)
        if pid == 0:
            self._be_child(module, message, gate)
        kept = _open_gate(gate, pid, message.uid) if gate is not None else self._no_ids if wanted else ""
        return PForkServer.Fork.Returns(pid=pid, errno=0, pidfd=PidFd(pidfd), kept_ids=kept)

    def _be_child(self, module: str, message: PForkServer.Fork, gate: tuple[int, int] | None) -> NoReturn:
        uid = _pass_gate(gate, message.uid) if gate is not None else -1
        if self._entered and not message.flags & namespaces.CLONE_NEWUSER:
            capabilities.give_up()  # rights over the range of ids are this server's, not its children's
        self._in_child(message.flags)
        gc.enable()
        child_main.run(module, message.endpoint.detach(), message.log.detach(), own_uid=uid)


def _open_gate(gate: tuple[int, int], pid: int, uid: int) -> str:
    """Map the child's ids, which only who has rights over them may do and only from outside, and let it go on.

    Returns why it keeps ours, where such ids are not to be had; empty: it has its own.
    """
    reader, writer = gate
    os.close(reader)
    try:
        namespaces.map_ids_of(pid, uid)
        os.write(writer, b"m")
    except OSError as error:
        os.write(writer, b"-")
        return f"mapping id {uid}: {error.strerror}"
    finally:
        os.close(writer)
    return ""


def _pass_gate(gate: tuple[int, int], uid: int) -> int:
    reader, writer = gate
    os.close(writer)
    mapped = os.read(reader, 1) == b"m"
    os.close(reader)
    return uid if mapped else -1


def _close(gate: tuple[int, int] | None) -> None:
    for fd in gate or ():
        os.close(fd)


def _enter(ids: str, family: Family) -> tuple[own_ids.Entering | None, str]:
    """Begin to take the range of ids; or why not."""
    if not ids or family in KEEP_CALLERS_IDS:
        return None, ""
    from foxden.launch import own_ids
    from foxden.sandbox.subordinate import parse_word

    try:
        return own_ids.Entering(parse_word(ids)), ""
    except OSError as error:
        return None, str(error)


def _folders(family: Family) -> private_folders.Making | None:
    """Begin to make what children's temporary files are kept in."""
    if family is not Family.BROKER:
        return None
    from foxden.launch import private_folders

    return private_folders.Making()


def _emulated(words: str) -> Callable[[int], None]:
    """Be the lesser kernel's; returns what its children do."""
    if not words:
        return lambda flags: None
    from foxden.launch import emulate

    emulate.apply(words)
    return emulate.in_child


def modules_of(family: Family) -> dict[str, str]:
    """Process type → child module, of all types that this family may fork."""
    remotes: tuple[RemoteType | None, ...] = (None,)
    return {
        row.name: row.child
        for row in child_rows()
        if any(family_of(row, remote) is family for remote in (row.remote_types or remotes))
    }


def main(words: interpreter.BootWords) -> None:
    linux.die_with_parent()
    linux.set_process_name(f"foxden-{words.family}")
    in_child = _emulated(words.emulate)
    namespaces.remember_ids()
    family = Family(words.family)
    entering, no_ids = _enter(words.ids, family)
    folders = _folders(family)
    modules = modules_of(family)
    warmth = Warmth(modules.values())
    sock = bind(interpreter.IPC_FD)
    pipe = BlockingPipe(sock, ForkServerChild(modules, warmth, entering, no_ids, in_child, folders), peer="the parent")
    loop = BlockingLoop()
    loop.add(pipe)
    rest_ms = 0
    while not warmth.is_full and not pipe.closed:
        if nothing_waits(sock, rest_ms):
            warmth.add()
        else:
            loop.step()
            rest_ms = _REST_MS
    gc.enable()
    loop.run()
    os._exit(0)


