"""What probes are tried on: a secret, a folder, servers, a process, all real and all the test user's own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
from tests.support.probe_targets import a_victim


@pytest.fixture(scope="session")
def victim() -> Iterator[int]:
    """The pid of a process of the test user's."""
    with a_victim() as pid:
        yield pid


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
