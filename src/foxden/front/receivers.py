"""Where the body of a fetch goes: a file, a pipe, a terminal, or JSON.

Runs in: command.  Trusts: nothing of the body; a terminal gets text with its controls shown, and no binary.
Flow: begin(head) → take(bytes) … → finish() when all of it came | close() in any case.
Source: curl(1) -o, and its refusal of binary to a terminal.
"""

from __future__ import annotations

import base64
import codecs
import os
import sys
from abc import ABC, abstractmethod
from typing import Any, Self

from foxden.front.exchange import Head
from foxden.front.failures import CommandFailed
from foxden.front.terminal import is_terminal, json_text, say, shown
from foxden.front.whole_file import WholeFile

_BAR_FROM_BYTES = 1 << 20


class Receiver(ABC):
    """Takes one body.  Use with `with`."""

    def begin(self, head: Head) -> None:  # noqa: B027 - most have nothing to do then
        """The head has come."""

    @abstractmethod
    def take(self, data: bytes) -> None:
        """A piece of what is to be printed."""

    def finish(self) -> None:  # noqa: B027 - likewise
        """All of it has come."""

    def close(self) -> None:  # noqa: B027 - likewise
        """Let go, however it ended."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def receiver_for(output: str | None, *, as_json: bool) -> Receiver:
    """The receiver for `-o` and `--json`.  Raises CommandFailed when the file cannot be written."""
    if as_json:
        return JsonReceiver()
    if output not in (None, "-"):
        return FileReceiver(output or "")
    if output is None and is_terminal(sys.stdout):
        return TerminalReceiver()
    return PipeReceiver()


class PipeReceiver(Receiver):
    """Standard output, byte for byte."""

    def take(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


class TerminalReceiver(Receiver):
    """Standard output where a person looks."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")

    def take(self, data: bytes) -> None:
        try:
            text = "" if b"\0" in data else self._decoder.decode(data)
        except UnicodeDecodeError:
            text = ""
        if data and not text and (b"\0" in data or not self._decoder.getstate()[0]):
            raise CommandFailed("the body is binary, and is not shown on a terminal",
                                hint="-o FILE keeps it; -o - prints it all the same")  # fmt: skip
        sys.stdout.write(shown(text, on_terminal=True))
        sys.stdout.flush()


class JsonReceiver(Receiver):
    """One object on standard output, when all has come."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._head: Head | None = None
        self.more: dict[str, object] = {}

    def begin(self, head: Head) -> None:
        self._head = head

    def take(self, data: bytes) -> None:
        self._parts.append(data)

    def finish(self) -> None:
        head = self._head
        if head is not None:
            say(json_text({
                "url": head.url,
                "status": head.status,
                "http_version": head.http_version,
                "headers": [list(pair) for pair in head.headers],
                **self.more,
                **_body(b"".join(self._parts)),
            }))  # fmt: skip


def _body(body: bytes) -> dict[str, object]:
    try:
        return {"body_bytes": len(body), "body_encoding": "text", "body": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body_bytes": len(body), "body_encoding": "base64", "body": base64.b64encode(body).decode()}


class FileReceiver(Receiver):
    """A file that appears when it is complete; a progress bar on a terminal for a body that takes a while."""

    def __init__(self, path: str) -> None:
        self._file = WholeFile(path)
        self._name = os.path.basename(path)
        self._length: int | None = None
        self._received = 0
        self._bar: Any = None  # rich's Progress, imported only when there is something to show

    def begin(self, head: Head) -> None:
        self._length = head.length

    def take(self, data: bytes) -> None:
        self._file.write(data)
        self._received += len(data)
        if self._bar is None and max(self._length or 0, self._received) >= _BAR_FROM_BYTES and is_terminal(sys.stderr):
            self._bar = _progress_bar(self._name, self._length)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._received)

    def finish(self) -> None:
        self._file.keep()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._file.close()


def _progress_bar(name: str, total: int | None) -> Any:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}", markup=False), progress.BarColumn(), progress.DownloadColumn(),
        progress.TransferSpeedColumn(), progress.TimeRemainingColumn(),
    )  # fmt: skip
    bar = progress.Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task(name[:30], total=total)
    bar.start()
    return bar
