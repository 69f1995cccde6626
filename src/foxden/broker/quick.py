"""The calls that make up nearly all traffic, the short way: open for reading, and stat, of a plain granted path; and
any open of the null device, which every shell script writes to.

Runs in: the broker.  Trusts: the same as the long way, and judges by the same means, in the same order.
Flow: registers → path copied once → rules → openat2 without links → what was found → answered, or refused.
Source: figures: a brokered open in Python costs a context switch there and back, and every call in between.

Whatever is not plain, a link, a device, a fifo or of /proc is left to the long way: False.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import sys
from typing import Protocol

import msgspec

from foxden.broker import kernel
from foxden.broker.forms import AT_SYMLINK_NOFOLLOW, FORMS, O_LARGEFILE, open_need
from foxden.broker.notify import Listener, Notification
from foxden.broker.records import Refused
from foxden.broker.rules import CREATE, READ, STAT, Rules
from foxden.broker.tasks import Tasks
from foxden.broker.view import STRICT, View, is_plain
from foxden.sandbox import linux
from foxden.sandbox.syscall_numbers import NUMBERS

_LARGE = O_LARGEFILE.get(linux.ARCH, 0)
_OPEN_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_NONBLOCK | os.O_NOCTTY | _LARGE
_FOUND = os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW
_ALWAYS = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
NULL, _NULL_DEVICE = "/dev/null", os.makedev(1, 3)
_NULL_ONLY = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND  # it is there, and is never longer than nothing
_SHOWN = (stat.S_IFREG, stat.S_IFDIR)
_MISSING = (2, 20)  # ENOENT, ENOTDIR: of a path that is granted these may be known
_ENCODING, _ERRORS = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()  # as os.fsdecode
_IDS = struct.Struct("=II")
_INT = 0xFFFF_FFFF

_numbers = NUMBERS.get(linux.ARCH, {})


class Call(msgspec.Struct, frozen=True):
    """Registers, -1: none; and what is done with such a call here."""

    operation: str
    path: int
    flags: int
    buffer: int  # of struct stat; -1: an open
    fixed: int  # flags that it implies
    known: int  # flags that are answered here
    need: int  # what the rules must give


CALLS = {
    _numbers[name]: Call(form.operation, form.path, form.flags, form.buffer, form.fixed, *rest)
    for name, form in FORMS.items()
    for rest in [(_OPEN_FLAGS, READ) if form.operation == "open" else (AT_SYMLINK_NOFOLLOW, STAT)]
    if name in ("open", "openat", "stat", "lstat", "newfstatat") and name in _numbers
}


class Client(Protocol):
    listener: Listener
    tasks: Tasks
    rules: Rules
    descriptors: int  # /proc/self/fd


def answer(client: Client, view: View, note: Notification, copies: dict[int, str]) -> bool:
    """Answer, if it is one of those.  Raises Refused; OSError: the call's own failure, to be answered.

    `copies`: texts that were read already; gets what is read here, for the long way: nothing is read twice.
    """
    call = CALLS.get(note.number)
    if call is None:
        return False
    pointer = note.args[call.path]
    flags = (note.args[call.flags] & _INT if call.flags >= 0 else 0) | call.fixed
    beyond = flags & ~call.known
    if (beyond and (call.buffer >= 0 or beyond & ~_NULL_ONLY)) or not pointer:
        return False
    path = copies.get(pointer)
    if path is None:
        try:
            path = kernel.read_text(note.tid, pointer).decode(_ENCODING, _ERRORS)
        except OSError:
            return False
        copies[pointer] = path
    if path == NULL and call.buffer < 0:
        return _give_null(client, view, note, flags)
    if beyond or not is_plain(path) or path.startswith(("/proc/", "/dev/")):
        return False
    if view.folder is not None and view.folder.has(path):
        return False
    granted = client.rules.allows(path, call.need)
    if not client.listener.is_valid(note.id):
        return False
    try:
        fd = kernel.openat2(view.root, path.encode(_ENCODING, _ERRORS), _FOUND, STRICT)
    except OSError as error:
        if error.errno not in _MISSING:
            return False
        if not granted:
            raise Refused(path, call.need) from None
        return client.listener.fail(note.id, error.errno or 2)
    try:
        if not granted:
            return _refuse(path, call, fd, flags)
        if call.buffer < 0:
            return _give(client, note, fd, flags)
        return _tell(client, note, fd, note.args[call.buffer], flags)
    finally:
        os.close(fd)


def _refuse(path: str, call: Call, found: int, flags: int) -> bool:
    """No link lies on the way, so it is the canonical path that is not granted.  Where one lies at the end: False."""
    follows = not flags & (os.O_NOFOLLOW if call.buffer < 0 else AT_SYMLINK_NOFOLLOW)
    if follows and stat.S_ISLNK(os.fstat(found).st_mode):
        return False
    raise Refused(path, call.need)


def _give(client: Client, note: Notification, found: int, flags: int) -> bool:
    if stat.S_IFMT(os.fstat(found).st_mode) not in _SHOWN:
        return False
    try:
        fd = os.open(str(found), flags & (os.O_DIRECTORY | os.O_NONBLOCK) | _ALWAYS, dir_fd=client.descriptors)
    except BlockingIOError:
        return False  # a lease: that takes long
    try:
        if not flags & os.O_NONBLOCK:
            fcntl.fcntl(fd, fcntl.F_SETFL, 0)
        client.listener.give(note.id, fd, close_on_exec=bool(flags & os.O_CLOEXEC))
    finally:
        os.close(fd)
    return True


def _give_null(client: Client, view: View, note: Notification, flags: int) -> bool:
    need = open_need(flags) | (CREATE if flags & os.O_CREAT and not view.is_child else 0)
    if flags & os.O_ACCMODE == os.O_ACCMODE or flags & os.O_DIRECTORY or not client.rules.allows(NULL, need):
        return False
    if not client.listener.is_valid(note.id):
        return False
    try:
        found = kernel.openat2(view.root, NULL.encode(), _FOUND, STRICT)
    except OSError:
        return False
    try:
        status = os.fstat(found)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != _NULL_DEVICE:
            return False
        kept = flags & (os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK)
        fd = os.open(str(found), kept | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=client.descriptors)
    finally:
        os.close(found)
    try:
        client.listener.give(note.id, fd, close_on_exec=bool(flags & os.O_CLOEXEC))
    finally:
        os.close(fd)
    return True


def _tell(client: Client, note: Notification, found: int, buffer: int, flags: int) -> bool:
    words = kernel.stat_bytes(found)
    if stat.S_ISLNK(kernel.mode_of(words)) and not flags & AT_SYMLINK_NOFOLLOW:
        return False
    uids, gids = client.tasks.ids(note.tid)
    if not (uids.is_identity and gids.is_identity):
        uid, gid = _IDS.unpack_from(words, kernel.STAT_IDS)
        _IDS.pack_into(words, kernel.STAT_IDS, uids.inside(uid), gids.inside(gid))
    if client.listener.is_valid(note.id):
        kernel.write(note.tid, buffer, bytes(words))
        client.listener.succeed(note.id, 0)
    return True
