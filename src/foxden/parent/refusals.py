"""What a child tells of its own refusals, where no listener is to be had: read with bounds, believed in nothing.

Runs in: the parent, on the den's loop.  Trusts: nothing; the records are the child's own word, and may be false.
Flow: child's SIGSYS → struct record of src/native/sigsys.c on its pipe → here → Denials.act, equal ones counted.
Source: docs/design/decisions/013-a-native-extension-that-may-be-absent.md; broker/telling for how often is told.
"""

from __future__ import annotations

import asyncio
import os
import struct
from typing import TYPE_CHECKING

import msgspec

from foxden.broker.forms import decode, forms_of, need_of, signed_64
from foxden.broker.records import Act, carried
from foxden.broker.telling import Teller
from foxden.protocols.broker import PBroker
from foxden.sandbox import linux

if TYPE_CHECKING:
    from foxden.parent.denials import Denials
    from foxden.parent.hosts import ChildHost

_RECORD = struct.Struct("=4I6Q")  # number, errno, bytes of path, reserved, args
_PATH_MAX, _ERRNO_MAX, _NUMBER_MAX = 255, 4095, 1 << 16
_BYTES_A_TURN = 16 * (_RECORD.size + _PATH_MAX)
_PAUSE_S = 0.1  # between turns: what comes faster fills the pipe, and the child drops it
_FLUSH_S = 1.0
_FORMS = forms_of(linux.ARCH)
_OWN_WORD = "by the process's own word"


class Refusals:
    """One child's pipe; closes it at its end, or at the first record that is none."""

    def __init__(self, fd: int, host: ChildHost, denials: Denials) -> None:
        os.set_blocking(fd, False)
        self._fd, self._host, self._denials = fd, host, denials
        self._rest = b""
        self._teller = Teller(self._tell)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._readable)
        self._flushing: asyncio.TimerHandle | None = None
        host.ended.add_done_callback(lambda _: self._close())

    def _readable(self) -> None:
        self._loop.remove_reader(self._fd)
        if self._take():
            self._loop.call_later(_PAUSE_S, self._listen)
        else:
            self._close()

    def _listen(self) -> None:
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._readable)

    def _take(self) -> bool:
        """Read what is there, up to a bound.  False: it has ended, or is not what it should be."""
        try:
            data = os.read(self._fd, _BYTES_A_TURN)
        except BlockingIOError:
            return True
        self._rest += data
        while len(self._rest) >= _RECORD.size:
            number, code, size, _, *args = _RECORD.unpack_from(self._rest)
            if size > _PATH_MAX or code > _ERRNO_MAX or number >= _NUMBER_MAX:
                return False
            end = _RECORD.size + size
            if len(self._rest) < end:
                break
            path = self._rest[_RECORD.size : end].partition(b"\0")[0]
            self._rest = self._rest[end:]
            self._one(number, code, os.fsdecode(path), args)
        if self._flushing is None:
            self._flushing = self._loop.call_later(_FLUSH_S, self._flush)
        return bool(data)

    def _one(self, number: int, code: int, path: str, args: list[int]) -> None:
        key = (number, path, False)
        if self._teller.is_first(key):
            name, form = _FORMS.get(number, ("", None))
            request = decode(name, form, tuple(args)) if form is not None and path else None
            act = Act(
                self._host.child_id, self._host.pid, False, request.operation if request else "", number,
                tuple(map(signed_64, args)), carried(path), need_of(request) if request else 0, code, (), 1, _OWN_WORD,
            )  # fmt: skip
            self._teller.tell(key, act)

    def _tell(self, act: Act) -> None:
        fields = msgspec.structs.asdict(act)
        fields["count"] = fields.pop("times")
        self._denials.act(self._host, PBroker.OnAct(**fields))

    def _flush(self) -> None:
        self._flushing = None
        self._teller.flush()

    def _close(self) -> None:
        if self._fd < 0:
            return
        self._take_last()
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._fd = -1
        if self._flushing is not None:
            self._flushing.cancel()
        self._flush()
        self._denials.untold(self._host, self._teller.untold)

    def _take_last(self) -> None:
        """What a child said just before its end: as much as a pipe holds at most, once more a turn."""
        try:
            self._take()
        except OSError:
            return

