"""The user's terminal and a program's own, and the bytes between them.

Runs in: the `foxden run` command.  Trusts: what the program writes goes to the user's terminal as it is, as that of any
program; what it reads is what the user types, and nothing can be typed in the user's name.
Flow: keyboard → raw mode → the program's terminal, whose line discipline makes signals of it; screen ← its output.
Source: termios(3), tty_ioctl(4); sudo's use_pty and openssh for what users expect of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import termios
import tty
from typing import Any

_BUFFER = 65_536


class Relay:
    """Between the terminal that the command has and the outer end of the program's."""

    def __init__(self, outer: int) -> None:
        self.outer = outer
        self.keyboard = 0 if os.isatty(0) else -1
        self.screen = next((fd for fd in (1, 2, 0) if os.isatty(fd)), -1)
        self._saved: list[Any] | None = None
        self._typed = b""
        os.set_blocking(outer, False)
        self.copy_size()

    def copy_size(self) -> None:
        """Make the program's terminal as large as the user's."""
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(self.screen, termios.TIOCGWINSZ, bytes(8))
            fcntl.ioctl(self.outer, termios.TIOCSWINSZ, size)

    def begin(self) -> None:
        """Let every key through, unless this command is in the background: then it has no say over the terminal."""
        if self.keyboard < 0 or self._saved is not None or not self._in_foreground():
            return
        self._saved = termios.tcgetattr(self.keyboard)
        tty.setraw(self.keyboard, termios.TCSADRAIN)

    def end(self) -> None:
        """Give the terminal back as it was."""
        saved, self._saved = self._saved, None
        if saved is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self.keyboard, termios.TCSADRAIN, saved)

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self.keyboard) == os.getpgrp()
        except OSError:
            return False

    @property
    def wants_keys(self) -> bool:
        return self._saved is not None and not self._typed

    @property
    def has_keys(self) -> bool:
        return bool(self._typed)

    def take_keys(self) -> None:
        """What the user typed."""
        self._typed = os.read(self.keyboard, _BUFFER)
        if not self._typed:
            self.keyboard = -1  # the terminal is gone; the program hears of it by SIGHUP
            self._saved = None
        self.give_keys()

    def give_keys(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._typed = self._typed[os.write(self.outer, self._typed) :]

    def show(self) -> bool:
        """What the program wrote, as far as it is there.  False: nobody has its terminal open any more."""
        try:
            data = os.read(self.outer, _BUFFER)
        except BlockingIOError:
            return True
        except OSError:
            return False
        while data and self.screen >= 0:
            data = data[os.write(self.screen, data) :]
        return True

    def suspend(self) -> None:
        """The program was stopped: stop as well, as the user's shell expects; come back when it continues us."""
        self.end()
        signal.raise_signal(signal.SIGSTOP)
        self.begin()
