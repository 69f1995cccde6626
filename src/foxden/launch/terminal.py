"""The user's terminal and a program's own, and the bytes between them.

Runs in: the `foxden run` command.  Trusts: what the program writes goes to the user's terminal as it is, as that of any
program; what it reads is what the user types, and nothing can be typed in the user's name.
Flow: keyboard → raw mode → the program's terminal, whose line discipline makes signals of it; screen ← its output.
Source: termios(3), tty_ioctl(4); sudo's use_pty and openssh for what users expect of it.

A command that is in the background, or one part of a pipeline, has no say over the terminal: others may read from it.
Its program begins in the background of its own terminal, and the kernel stops it when it wants to read from there.
Only then this command takes the keyboard, or stops as well, as the user's shell expects.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import termios
import tty
from typing import Any

_BUFFER = 65_536


def begins_in_front() -> bool:
    """May the program have the keyboard from the first moment on?"""
    return os.isatty(0) and os.isatty(1) and _is_in_front(0)


def _is_in_front(fd: int) -> bool:
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


class Relay:
    """Between the terminal that the command has and the outer end of the program's."""

    def __init__(self, outer: int) -> None:
        self.outer = outer
        self.keyboard = 0 if os.isatty(0) else _open_terminal()
        self.screen = next((fd for fd in (1, 2, 0) if os.isatty(fd)), self.keyboard)
        self._saved: list[Any] | None = None
        self._typed = b""
        os.set_blocking(outer, False)
        self.copy_size()

    def copy_size(self) -> None:
        """Make the program's terminal as large as the user's."""
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(self.screen, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self.outer, termios.TIOCSWINSZ, size)

    def begin(self) -> bool:
        """Take the keyboard, and let every key through.  False: this command is in the background."""
        if self.keyboard < 0 or not _is_in_front(self.keyboard):
            self._saved = None
            return False
        with contextlib.suppress(termios.error):
            if self._saved is None:
                self._saved = termios.tcgetattr(self.keyboard)
            tty.setraw(self.keyboard, termios.TCSADRAIN)
            if not os.isatty(1):  # others of a pipeline write there, who know nothing of raw terminals
                raw = termios.tcgetattr(self.keyboard)
                raw[1] = self._saved[1]
                termios.tcsetattr(self.keyboard, termios.TCSADRAIN, raw)
        self.copy_size()
        return self._saved is not None

    def again(self) -> None:
        """This command was stopped, and continues: its shell has used the terminal meanwhile."""
        if self._saved is not None:
            self.begin()

    def end(self) -> None:
        """Give the terminal back as it was."""
        saved, self._saved = self._saved, None
        if saved is not None and _is_in_front(self.keyboard):
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.keyboard, termios.TCSADRAIN, saved)

    def close(self) -> None:
        """Give back what it opened itself."""
        if self.keyboard > 2:
            os.close(self.keyboard)
            self.keyboard = -1

    @property
    def has_keyboard(self) -> bool:
        return self._saved is not None

    @property
    def wants_keys(self) -> bool:
        return self._saved is not None and not self._typed

    @property
    def has_keys(self) -> bool:
        return bool(self._typed)

    def take_keys(self) -> None:
        """What the user typed."""
        try:
            self._typed = os.read(self.keyboard, _BUFFER)
        except OSError:
            self._typed = b""
        if not self._typed:
            self._saved = None  # the terminal is gone; the program hears of it by SIGHUP
        self.give_keys()

    def give_keys(self) -> None:
        try:
            self._typed = self._typed[os.write(self.outer, self._typed) :]
        except BlockingIOError:
            return  # its terminal holds as much as it can
        except OSError:
            self._typed = b""  # nobody has it open any more

    def show(self) -> bool:
        """What the program wrote, as far as it is there.  False: nobody has its terminal open any more."""
        try:
            data = os.read(self.outer, _BUFFER)
        except BlockingIOError:
            return True
        except OSError:
            return False
        while data and self.screen >= 0:
            data = data[self._put(data) :]
        return True

    def _put(self, data: bytes) -> int:
        try:
            return os.write(self.screen, data)
        except BlockingIOError:  # another program made the user's terminal so
            poller = select.poll()
            poller.register(self.screen, select.POLLOUT)
            poller.poll()
            return 0
        except OSError:
            self.screen = -1  # it is gone
            return len(data)


def _open_terminal() -> int:
    """The terminal of this session, where no standard input is one; -1: there is none."""
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1
