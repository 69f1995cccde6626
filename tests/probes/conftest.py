"""What probes are tried on: a secret, a folder, servers, a process, all real and all the test user's own."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from tests.support.servers import stop_process

# Lets anyone trace it, where Yama asks for that; then waits.
_VICTIM = (
    "import ctypes, sys; ctypes.CDLL(None).prctl(0x59616D61, ctypes.c_ulong(-1), 0, 0, 0); "
    "print('ready', flush=True); sys.stdin.read()"
)


@pytest.fixture(scope="session")
def victim() -> Iterator[int]:
    """The pid of a process of the test user's."""
    command = [sys.executable, "-c", _VICTIM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        stop_process(process)


@pytest.fixture(scope="session")
def probe_targets(victim: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What the {…} in the tables stand for; `{folder}` is each test's own."""
    directory = tmp_path_factory.mktemp("probes")
    secret = directory / "secret"
    secret.write_text("a secret")
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as unix:
        tcp.bind(("127.0.0.1", 0))
        unix.bind(str(directory / "u"))
        for listener in (tcp, unix):
            listener.listen(64)
            threading.Thread(target=_accept, args=(listener,), daemon=True).start()
        yield {
            "secret": str(secret),
            "listener": f"127.0.0.1:{tcp.getsockname()[1]}",
            "unix": str(directory / "u"),
            "program": "/bin/true",
            "victim": str(victim),
        }
        for listener in (tcp, unix):
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket) -> None:
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            return
