"""A real terminal with a real shell in it, looked at as a person would: tmux.

Runs in: the test process.  Flow: a server of its own → keys → what the screen shows, waited for.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROMPT = "OUTSIDE> "
_WAIT_S = 10.0


class Screen:
    """One terminal of 100 by 30."""

    def __init__(self, socket: Path) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", os.devnull]

    def _run(self, *words: str) -> str:
        return subprocess.run([*self._tmux, *words], check=True, capture_output=True, text=True, timeout=20).stdout

    def keys(self, *keys: str) -> None:
        """Keys by tmux's names: C-c, Enter; anything else as it is typed."""
        self._run("send-keys", *keys)

    def line(self, text: str) -> None:
        self.keys(text, "Enter")

    def fresh(self, text: str) -> None:
        """Type a line at the prompt of an empty screen: what is waited for then is not what an earlier line left."""
        self.line("clear")
        deadline = time.monotonic() + _WAIT_S
        while (shown := self.text()) != PROMPT.strip():
            assert time.monotonic() < deadline, f"expected nothing but the prompt on the screen:\n{shown}"
            time.sleep(0.03)
        self.line(text)

    def text(self, *, colours: bool = False) -> str:
        lines = self._run("capture-pane", "-p", *(["-e"] if colours else [])).splitlines()
        return "\n".join(line.rstrip() for line in lines if line.strip())

    def wait(self, wanted: str, *, colours: bool = False) -> str:
        """Until it shows this.  Returns all that it shows."""
        deadline = time.monotonic() + _WAIT_S
        while wanted not in (shown := self.text(colours=colours)):
            assert time.monotonic() < deadline, f"expected {wanted!r} on the screen:\n{shown}"
            time.sleep(0.03)
        return shown

    def resize(self, columns: int, rows: int) -> None:
        self._run("resize-window", "-x", str(columns), "-y", str(rows))

    def begin(self, environment: dict[str, str]) -> None:
        variables = " ".join(shlex.quote(f"{name}={value}") for name, value in environment.items())
        self._run("new-session", "-d", "-x", "100", "-y", "30", f"exec env {variables} bash --norc --noprofile")
        self.line(f"PS1='{PROMPT}'; clear")
        self.wait(PROMPT.strip())

    def end(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True, timeout=20)


@contextmanager
def screen(environment: dict[str, str]) -> Iterator[Screen]:
    with tempfile.TemporaryDirectory(prefix="fxt-") as folder:  # short: it is a socket's path
        one = Screen(Path(folder) / "s")
        try:
            one.begin(environment)
            yield one
        finally:
            one.end()
