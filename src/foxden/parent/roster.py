"""Telling `foxden ps` what runs: each den answers on an abstract socket that only its user can read.

Runs in: parent (answers), command (asks).  Trusts: the kernel's word on who is at the other end, nothing they send.
Flow: den listens → `foxden ps` connects → one JSON text out → closed.  Nothing is read, and no file is left behind.
Source: unix(7) abstract names, SO_PEERCRED; /proc/net/unix lists them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import Protocol

import msgspec

from foxden.model.records import ProcessRecord

_NAME = "foxden-den"
_ANSWER_MAX = 4 << 20
_ASK_TIMEOUT_S = 2.0


class Recorder(Protocol):
    def records(self) -> list[ProcessRecord]: ...


class DenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One den of the user, as `ps` shows it."""

    pid: int
    processes: list[ProcessRecord]


class Roster:
    """The den's end."""

    def __init__(self, processes: Recorder) -> None:
        self._processes = processes
        self._listener: socket.socket | None = None

    def open(self) -> None:
        """Begin to answer.  A second den of the same process takes the next free name."""
        loop = asyncio.get_running_loop()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.setblocking(False)
        for place in range(64):
            with contextlib.suppress(OSError):
                listener.bind(f"\0{_NAME}.{os.getuid()}.{os.getpid()}.{place}")
                break
        else:
            listener.close()
            return  # the den works; it is only not listed
        listener.listen(8)
        loop.add_reader(listener.fileno(), self._answer)
        self._listener = listener

    def _answer(self) -> None:
        if self._listener is None:
            return
        try:
            asker, _ = self._listener.accept()
        except OSError:
            return
        with asker:
            if _peer_uid(asker) not in (os.getuid(), 0):
                return
            text = msgspec.json.encode(DenRecord(pid=os.getpid(), processes=self._processes.records()))
            # Blocking for a moment at most: the text fits the socket's buffer, or the asker does not get it whole.
            asker.settimeout(0.2)
            with contextlib.suppress(OSError):
                asker.sendall(text)

    def close(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None


def _peer_uid(sock: socket.socket) -> int:
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


def running_dens() -> list[DenRecord]:
    """All dens of this user that answer; as root, of every user."""
    dens = [den for name in _names() if (den := _ask(name)) is not None]
    return sorted(dens, key=lambda den: den.pid)


def _names() -> list[str]:
    wanted = f"@{_NAME}." if os.getuid() == 0 else f"@{_NAME}.{os.getuid()}."
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as table:
        names = (line.rsplit(" ", 1)[-1].strip() for line in table if f"@{_NAME}." in line)
        return sorted({name for name in names if name.startswith(wanted)})


def _ask(name: str) -> DenRecord | None:
    uid = int(name.split(".")[1]) if name.split(".")[1].isdigit() else -1
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(_ASK_TIMEOUT_S)
        try:
            sock.connect("\0" + name[1:])
            if _peer_uid(sock) != uid:
                return None  # someone took this user's name: not a den of theirs
            text = b""
            while len(text) < _ANSWER_MAX and (part := sock.recv(65_536)):
                text += part
            return msgspec.json.decode(text, type=DenRecord)
        except (OSError, msgspec.DecodeError):
            return None
