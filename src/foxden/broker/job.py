"""One notification at work: reads what the registers point at, finds the place, asks the rules.

Runs in: the broker.  Trusts: the rules; every word that it reads is copied once, and only the copy is used.
Flow: Broker → Job → operations → result, or Refused; the job's places are closed whatever happens.
Source: seccomp_unotify(2) "TOCTOU"; Gecko's SandboxBroker.
"""

from __future__ import annotations

import os
from typing import Protocol

from foxden.broker import held, kernel
from foxden.broker.forms import AT_EMPTY_PATH, AT_FDCWD, Request, need_of, proc_refuses
from foxden.broker.notify import Listener, Notification
from foxden.broker.records import Refused
from foxden.broker.rules import CHANGE, CREATE, STAT, WRITE, Rules
from foxden.broker.tasks import IdMap, Tasks, Who
from foxden.broker.view import NotFound, Place, View, own_descriptor

EPERM, ENOENT, EBADF, EACCES, EEXIST, ENOTDIR, EISDIR, EINVAL, ELOOP = 1, 2, 9, 13, 17, 20, 21, 22, 40
_SHARED_MEMORY = "/dev/shm/"  # noqa: S108 - where the C library keeps named semaphores: multiprocessing's locks
_GONE = (ENOENT, 3)  # ENOENT, ESRCH: of /proc/<tid>


class Gone(Exception):
    """Whoever asked does not wait any more: there is nobody to answer."""


class Client(Protocol):
    """What a job sees of the child that it works for."""

    listener: Listener
    tasks: Tasks
    rules: Rules
    errnos: dict[int, int]
    folder: str  # where it stands, if the broker keeps that
    shared_memory: str  # the folder that /dev/shm is to it; empty: what it is


class Job:
    """`allowed`: what the parent's answer allows in this one call, as (path, need)."""

    __slots__ = ("_copies", "_places", "allowed", "client", "last", "note", "request", "view")

    def __init__(
        self,
        client: Client,
        view: View,
        note: Notification,
        request: Request,
        copies: dict[int, str],
        allowed: tuple[str, int] | None = None,
    ) -> None:
        self.client, self.view, self.note, self.request = client, view, note, request
        self._copies = copies  # pointer → text: what was read of this call already
        self.allowed = allowed
        self.last: tuple[str, int] = ("", 0)  # what was decided on last, for whoever tells of it
        self._places: list[Place] = []

    # ---- words of the child

    def text(self, pointer: int, limit: int = kernel.PATH_MAX) -> str:
        """A path, or another text.  Raises OSError: EFAULT, ENAMETOOLONG."""
        if not pointer:
            raise OSError(14, "NULL")
        if pointer in self._copies:
            return self._copies[pointer]
        return os.fsdecode(self.memory(kernel.read_text, pointer, limit))

    def data(self, pointer: int, size: int) -> bytes:
        return self.memory(kernel.read_all, pointer, size)

    def memory(self, read: _Reader, pointer: int, size: int) -> bytes:
        try:
            return read(self.note.tid, pointer, size)
        except OSError as error:
            if error.errno == EPERM:
                raise Refused(errno=EACCES, detail="its memory cannot be read") from None
            raise self.gone_or(error) from None

    def write(self, pointer: int, words: bytes) -> None:
        """Into the child's memory, if it still is the child's.  Raises OSError: EFAULT."""
        self.check()
        kernel.write(self.note.tid, pointer, words)

    def check(self) -> None:
        """Raises Gone unless the thread still waits: its number could be another's by now."""
        if not self.client.listener.is_valid(self.note.id):
            raise Gone

    def gone_or(self, error: OSError) -> Exception:
        """/proc/<tid> that is not there means that nobody waits."""
        if error.errno in _GONE and not self.client.listener.is_valid(self.note.id):
            return Gone()
        return error

    def who(self) -> Who:
        try:
            return self.client.tasks.who(self.note.tid)
        except OSError as error:
            raise self.gone_or(error) from None

    # ---- places

    def place(self, at: int, pointer: int, *, follow: bool = True, parent: bool = False, flags: int = 0) -> Place:
        """What a path argument names.  Raises Refused, NotFound's errno where the rules let it be known, Gone."""
        path = "" if not pointer and flags & AT_EMPTY_PATH else self.text(pointer)
        if not path:
            if not flags & AT_EMPTY_PATH:
                raise OSError(ENOENT, "empty")
            return self._empty(at)
        return self.named(path, at, follow=follow, parent=parent)

    def named(self, path: str, at: int = AT_FDCWD, *, follow: bool = True, parent: bool = False) -> Place:
        written = path
        if not path.startswith("/"):
            path = self._base(at).rstrip("/") + "/" + path
        path = self._moved(path)
        number = own_descriptor(path, self.who) if follow else -1
        if number >= 0:
            return self.own(number)
        try:
            place = self.view.find(path, follow=follow, parent=parent, who=self.who, passes=self._passes)
        except NotFound as error:
            raise self._not_found(error, written) from None
        self._places.append(place)
        number = own_descriptor(place.last_link, self.who)
        if number >= 0:  # a link led to /proc/self/fd/N, as /dev/stdin does
            return self.own(number)
        self.check()
        return place

    def _moved(self, path: str) -> str:
        """What is not granted of /dev/shm is the child's own folder.  It is judged there, as any other path."""
        own = self.client.shared_memory
        if not own or not path.startswith(_SHARED_MEMORY) or self.client.rules.allows(path, STAT):
            return path
        return f"{own}/{path[len(_SHARED_MEMORY) :]}"

    def _passes(self, path: str) -> bool:
        """A program sees no directory but those of its own root: there is nothing that one could tell it."""
        return self.view.is_child or self.client.rules.passes(path)

    def _not_found(self, error: NotFound, written: str) -> Exception:
        gone = self.gone_or(error)
        if isinstance(gone, Gone):
            return gone
        need = need_of(self.request)
        if need & CHANGE and self.client.rules.guards(error.path):
            return Refused(error.path, need, EACCES, "a protected name")
        if error.path and self.client.rules.allows(error.path, need):
            self.last = (error.path, need)
            return OSError(error.errno or ENOENT, written)
        return Refused(error.path or written, need)

    def own(self, number: int) -> Place:
        """The child's own descriptor."""
        try:
            place = self.view.own(self.who, self.note.tid, number)
        except OSError as error:
            raise self.gone_or(error) from None
        self._places.append(place)
        self.check()
        return place

    def flags_of(self, place: Place) -> int:
        """What the child's own descriptor was opened with: the one that is held, whatever its number is by now."""
        if place.flags == held.UNKNOWN:
            try:
                place.flags = held.flags_of(self.note.tid, place.number, place.fd)
            except OSError as error:
                raise self.gone_or(error) from None
        self.check()
        return place.flags

    def _empty(self, at: int) -> Place:
        if at == AT_FDCWD:
            return self.named(".")
        return self.own(at)

    def _base(self, at: int) -> str:
        if at < 0 and at != AT_FDCWD:
            raise OSError(EBADF, "no such descriptor")
        if at == AT_FDCWD and self.client.folder:
            return self.client.folder
        try:
            path = self.view.base(self.who, self.note.tid, -1 if at == AT_FDCWD else at)
        except OSError as error:
            raise self.gone_or(error) from None
        self.check()
        return path

    # ---- decisions

    def allow(self, place: Place, need: int) -> None:
        """Raises Refused unless the rules give `need` on the canonical path, and no protected name forbids it."""
        self.last = (place.path, need)
        rules = self.client.rules
        if not place.path:
            raise Refused("", need, EACCES, "it has no path that rules could speak of")
        if not rules.allows(place.path, need) and self.allowed != self.last:
            raise Refused(place.path, need)
        if need & CHANGE and rules.guards(place.path):
            raise Refused(place.path, need, EACCES, "a protected name")
        if proc_refuses(place.path, self._own_pid(place), writes=bool(need & (WRITE | CREATE))) and need != STAT:
            raise Refused(place.path, need, EACCES, "not of this process")

    def _own_pid(self, place: Place) -> int:
        if not place.path.startswith("/proc/"):
            return 0
        who = self.who()
        return who.own_tgid if self.view.is_child else who.tgid

    def not_leading(self, place: Place, need: int) -> None:
        """Raises Refused where what is made here would be the way to a protected name."""
        if self.client.rules.leads_to_guarded(place.path):
            raise Refused(place.path, need, EACCES, "the beginning of a protected name")

    def not_holding(self, place: Place, need: int) -> None:
        """Raises Refused where rules speak of something below: it would be elsewhere afterwards."""
        if self.client.rules.holds(place.path):
            raise Refused(place.path, need, EACCES, "rules speak of what lies in it")

    def ids(self) -> tuple[IdMap, IdMap]:
        try:
            return self.client.tasks.ids(self.note.tid)
        except OSError as error:
            raise self.gone_or(error) from None

    def close(self) -> None:
        for place in self._places:
            place.close()
        self._places.clear()


class _Reader(Protocol):
    def __call__(self, tid: int, address: int, size: int, /) -> bytes: ...
