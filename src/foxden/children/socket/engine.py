"""libcurl's multi interface on the asyncio loop: every transfer of this process, without a thread.

Runs in: socket process.  Trusts: libcurl.
Flow: Transfer.prepare(request, addresses) → Engine.start → callbacks to its owner → owner.finished.
Source: libcurl-multi(3) "multi_socket"; net-feasibility sections 1 and 13.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import stat
from typing import Any

import pycurl

from foxden.children.socket.gate import HandshakeGate
from foxden.children.socket.transfer import Owner, Transfer, refuse_bytes
from foxden.protocols.network import NetworkSettings

_SPARE_MAX = 64  # easy handles kept for the next transfers
_EVENTS_MAX = 256
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_EPOLL_MASK = {pycurl.POLL_IN: _IN, pycurl.POLL_OUT: _OUT, pycurl.POLL_INOUT: _IN | _OUT}


class Engine:
    """One CurlMulti and its sockets.

    The sockets sit in an epoll of their own, which is one descriptor for the loop: libcurl lets go of a connection's
    socket after every answer and takes it up again, and the loop's own book-keeping costs ten times an epoll call.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        self.settings = settings
        self._loop = asyncio.get_running_loop()
        self._multi = pycurl.CurlMulti()
        self._epoll = select.epoll()
        self._watched: set[int] = set()
        self._parked: set[int] = set()  # still in the epoll, though libcurl does not wait for them
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: float | None = None
        self._live: dict[Any, Transfer] = {}
        self._spare: list[Transfer] = []
        self._touched: list[Owner] = []
        self._gate: HandshakeGate[Transfer] = HandshakeGate()
        self._opened: list[Transfer] = []  # in this turn
        self._passed: list[Transfer] = []  # need not wait any longer
        self._sockets: dict[int, int] = {}  # connections that were opened: descriptor, inode
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, settings.max_connections_per_host)
        self._multi.setopt(pycurl.M_MAX_TOTAL_CONNECTIONS, settings.max_connections)
        self._multi.setopt(pycurl.M_MAXCONNECTS, settings.max_connections)
        self._loop.add_reader(self._epoll.fileno(), self._ready)

    def transfer(self) -> Transfer:
        """A handle to prepare and start."""
        if self._spare:
            return self._spare.pop()
        made = Transfer(self.settings, self._opened_by)
        made.easy.setopt(pycurl.SOCKOPTFUNCTION, self._socket_made)
        return made

    def start(self, transfer: Transfer) -> None:
        """Begin now, or when the first handshake with its server is done."""
        if transfer.gate and self._gate.is_known(transfer.gate):
            transfer.gate = ""
        if not transfer.gate or self._gate.may_start(transfer.gate, transfer):
            self._begin(transfer)
            self._settle()

    def _begin(self, transfer: Transfer) -> None:
        transfer.running = True
        self._live[transfer.easy] = transfer
        self._multi.add_handle(transfer.easy)
        self._act(pycurl.SOCKET_TIMEOUT, 0)  # at once: libcurl's own wish would cost a turn of the loop

    def resume(self, transfer: Transfer) -> None:
        """Go on with a transfer whose owner had asked for a pause."""
        if transfer.running:
            transfer.easy.pause(pycurl.PAUSE_CONT)
            self._act(pycurl.SOCKET_TIMEOUT, 0)
            self._settle()

    def touch(self, owner: Owner) -> None:
        """Have `owner.settle` called at the end of this turn."""
        self._touched.append(owner)

    def release(self, transfer: Transfer) -> None:
        """Take a transfer back, also one that still runs: that ends its connection or stream."""
        if transfer.running:
            transfer.running = False
            del self._live[transfer.easy]
            self._multi.remove_handle(transfer.easy)
        transfer.owner = None
        if transfer in self._passed:
            self._passed.remove(transfer)
        if transfer.gate:
            self._pass_gate(transfer)
        if transfer.plain and len(self._spare) < _SPARE_MAX:
            transfer.easy.setopt(pycurl.HEADERFUNCTION, refuse_bytes)
            transfer.easy.setopt(pycurl.WRITEFUNCTION, refuse_bytes)
            self._spare.append(transfer)
        else:
            transfer.easy.close()

    def connections(self) -> int:
        """How many connections are open: those opened whose descriptor is still the same socket."""
        self._sockets = {fd: inode for fd, inode in self._sockets.items() if _socket_inode(fd) == inode}
        return len(self._sockets)

    def close(self) -> None:
        """End all transfers and connections, without telling their owners."""
        for transfer in [*self._live.values(), *self._spare]:
            if transfer.running:
                self._multi.remove_handle(transfer.easy)
            transfer.running, transfer.owner = False, None
            transfer.easy.close()
        self._live.clear()
        self._spare.clear()
        self._multi.close()
        if self._timer is not None:
            self._timer.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()

    # ---- called by libcurl

    def _opened_by(self, transfer: Transfer) -> None:
        self._opened.append(transfer)

    def _socket_made(self, fd: int, _purpose: int) -> int:
        if len(self._sockets) > 2 * self.settings.max_connections:
            self.connections()
        self._sockets[fd] = _socket_inode(fd)
        return int(pycurl.SOCKOPT_OK)

    def _watch(self, what: int, fd: int, _multi: Any, _data: Any) -> None:
        if what == pycurl.POLL_REMOVE:
            self._parked.add(fd)
            return
        mask = _EPOLL_MASK.get(what, 0)
        self._parked.discard(fd)
        if fd in self._watched:
            try:
                self._epoll.modify(fd, mask)
                return
            except FileNotFoundError:  # closed while parked; this is another socket of the same number
                pass
        self._epoll.register(fd, mask)
        self._watched.add(fd)

    def _set_timer(self, timeout_ms: int) -> None:
        """libcurl's one timer.  It moves with every step: a handle that fires early is cheaper than a new one."""
        if timeout_ms < 0:
            self._deadline = None
            return
        self._deadline = deadline = self._loop.time() + timeout_ms / 1000
        if self._timer is None or self._timer.when() > deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._timer_fired)

    # ---- called by the loop

    def _timer_fired(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline > self._loop.time():
            self._timer = self._loop.call_at(self._deadline, self._timer_fired)
            return
        self._deadline = None
        self._act(pycurl.SOCKET_TIMEOUT, 0)
        self._settle()

    def _ready(self) -> None:
        for fd, events in self._epoll.poll(0, _EVENTS_MAX):
            if fd in self._parked:  # the server closed an idle connection: libcurl will see when it wants it
                self._forget(fd)
                continue
            happened = pycurl.CSELECT_IN if events & ~_OUT else 0
            self._act(fd, happened | (pycurl.CSELECT_OUT if events & _OUT else 0))
        self._settle()

    def _forget(self, fd: int) -> None:
        self._parked.discard(fd)
        self._watched.discard(fd)
        with contextlib.suppress(OSError):  # closed earlier in this very turn
            self._epoll.unregister(fd)

    def _act(self, fd: int, events: int) -> None:
        _, running = self._multi.socket_action(fd, events)
        if running != len(self._live):
            self._collect()

    def _collect(self) -> None:
        waiting = 1
        while waiting:
            waiting, done, failed = self._multi.info_read()
            for easy in done:
                self._done(easy, 0, "")
            for easy, code, text in failed:
                self._done(easy, code, text)

    def _done(self, easy: Any, code: int, text: str) -> None:
        transfer = self._live.pop(easy, None)
        if transfer is None or transfer.owner is None:
            return
        self._multi.remove_handle(easy)
        transfer.running = False
        transfer.owner.finished(code, text)

    def _pass_gate(self, transfer: Transfer) -> None:
        """Let those go on that waited for this transfer's handshake: it is done, or will not be."""
        server, transfer.gate = transfer.gate, ""
        if transfer.opened:
            self._passed += self._gate.opened(server)
        else:
            self._passed += self._gate.ended(server, transfer)
        if self._passed:
            self._loop.call_soon(self._settle)

    def _settle(self) -> None:
        """The end of a turn: owners answer to what came, and who may start now does."""
        while self._touched or self._opened or self._passed:
            touched, self._touched = self._touched, []
            for owner in touched:
                owner.settle()
            opened, self._opened = self._opened, []
            for transfer in opened:
                if transfer.gate and transfer.opened:
                    self._pass_gate(transfer)
            passed, self._passed = self._passed, []
            for transfer in passed:
                if transfer.owner is not None and not transfer.running:
                    self.start(transfer)


def _socket_inode(fd: int) -> int:
    """The inode of a socket, 0 for anything else."""
    try:
        found = os.fstat(fd)
    except OSError:
        return 0
    return found.st_ino if stat.S_ISSOCK(found.st_mode) else 0
