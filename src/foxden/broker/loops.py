"""Waiting for what comes: the loop of Python, and that of the extension, which answers the plain calls by itself.

Runs in: the broker.  Trusts: nothing of a child; the extension is told what to grant by the rules that Python has.
Flow: descriptors → wait → Ready: an event, or a notification that is for Python → Broker.
Source: src/native/broker.c; broker/quick, whose table of calls both have.

Both give the same answers, by the same checks in the same order.  Whatever is not quick comes to Python, with its path
as it was read.
"""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Iterable
from typing import Protocol

import msgspec

from foxden import native
from foxden.broker import quick
from foxden.broker.notify import Listener, Notification
from foxden.broker.rules import CREATE, DENY, STAT, Rules
from foxden.broker.tasks import Tasks
from foxden.broker.view import OwnFolder, View

_ROUND_MAX = 64
_CALL, _RULE = struct.Struct("=4i3I"), struct.Struct("=IIiI")  # struct call, struct rule of src/native/broker.c
_AS_OUTSIDE = (0, 0, 0)
_ENCODABLE_SIZE = 80  # of a notification, as the extension knows it


class Ready(msgspec.Struct, frozen=True):
    """`note`: taken from the listener already, and not answered; `copies`: the texts that were read of it."""

    fd: int
    event: int
    note: Notification | None = None
    copies: dict[int, str] | None = None


class Client(Protocol):
    listener: Listener
    view: View | None
    rules: Rules
    tasks: Tasks
    is_quick: bool


class Loop:
    """In Python: Ready is an event, and the Broker does the rest."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.descriptors = os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def wait(self, timeout: float) -> Iterable[Ready]:
        return [Ready(fd, event) for fd, event in self.epoll.poll(timeout, _ROUND_MAX)]

    def set_rules(self, client: Client) -> None:
        """The client's view or rules are others now."""

    def set_ids(self, client: Client) -> bool:
        """The client's maps of ids are known now.  Can calls be answered by them here?"""
        return False

    def hold(self, client: Client, *, on: bool) -> None:
        """While on, all of its calls are for Python."""

    def served(self, client: Client) -> int:
        """How many of its calls were taken here."""
        return 0

    def remove(self, client: Client) -> None:
        """It is answered no more."""

    def close(self) -> None:
        self.epoll.close()
        os.close(self.descriptors)


class NativeLoop(Loop):
    """In C: one event at a time, and only what is not quick."""

    def __init__(self, extension: native.Native) -> None:
        super().__init__()
        rows = b"".join(_CALL.pack(number, *msgspec.structs.astuple(call)[1:]) for number, call in quick.CALLS.items())
        self._loop = extension.Loop(rows, self.descriptors)

    def wait(self, timeout: float) -> Iterable[Ready]:
        found = self._loop.serve(self.epoll.fileno(), timeout)
        if found is None:
            return ()
        if len(found) == 2:
            return (Ready(*found),)
        fd, event, number_id, tid, number, ip, args, path = found
        copies = {} if path is None else {args[quick.CALLS[number].path]: os.fsdecode(path)}
        return (Ready(fd, event, Notification(number_id, tid, number, ip, args), copies),)

    def set_rules(self, client: Client) -> None:
        root = client.view.root if client.view is not None and client.is_quick else -1
        is_child = client.view is not None and client.view.is_child
        own = client.view.folder if client.view is not None else None
        rules = packed_rules(client.rules, is_child=is_child, without=own)
        self._loop.set_rules(client.listener.fd, root, *rules)

    def set_ids(self, client: Client) -> bool:
        """Maps of one line each, or of all ids: others are Python's."""
        maps = client.tasks.maps
        if maps is None:
            return False
        if all(each.is_identity for each in maps):
            self._loop.set_ids(client.listener.fd, _AS_OUTSIDE, _AS_OUTSIDE)
            return True
        if any(len(each.lines) != 1 for each in maps):
            return False
        uids, gids = (each.lines[0] for each in maps)
        self._loop.set_ids(client.listener.fd, uids, gids)
        return True

    def hold(self, client: Client, *, on: bool) -> None:
        self._loop.hold(client.listener.fd, on)

    def served(self, client: Client) -> int:
        return self._loop.served(client.listener.fd)

    def remove(self, client: Client) -> None:
        self._loop.remove(client.listener.fd)


def make_loop(size: int) -> Loop:
    """`size`: of a notification, by the kernel's word."""
    extension = native.load() if size == _ENCODABLE_SIZE else None
    return Loop() if extension is None else NativeLoop(extension)


def packed_rules(rules: Rules, *, is_child: bool = False, without: OwnFolder | None = None) -> tuple[bytes, bytes]:
    """Rows and text for the extension, in the order of their paths.

    A row gives all that may be done by it, so that no word of rules need be known there: what is given anything may be
    looked at; what is denied is given nothing; what lies above something given may be looked at.  `is_child`: in a
    view of a child's own O_CREAT asks nothing of what is there, as the null device is.  `without`: what the extension
    would look for in another place; it is left to Python.
    """
    paths = {raw: path for path in (*rules.by_path, *rules.ancestors) if (raw := _raw(path))}
    rows, text = [], b""
    for raw, path in sorted(paths.items()):
        access = DENY if without is not None and without.has(path) else rules.by_path.get(path, -1)
        given = 0 if access > 0 and access & DENY else access | STAT if access > 0 else access
        if is_child and path == quick.NULL and given > 0:
            given |= CREATE
        rows.append(_RULE.pack(len(text), len(raw), given, STAT if path in rules.ancestors else 0))
        text += raw
    return b"".join(rows), text


def _raw(path: str) -> bytes:
    """As a child writes it; empty where no child can."""
    try:
        raw = os.fsencode(path)
    except UnicodeEncodeError:
        return b""
    return raw if os.fsdecode(raw) == path else b""
