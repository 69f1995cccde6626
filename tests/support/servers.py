"""Real servers on 127.0.0.1: nginx from Debian, and a scripted one that says whatever a test wants said.

Runs in: the test process, or a benchmark's; nginx as a child of it, without a daemon and without the system's config.
Flow: `with Nginx(root) as server:` → `server.http`, `server.https` → stopped by pid, also when the test failed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tools import check_system

from tests.support.pki import Leaf

START_S = 10.0
STOP_S = 5.0
_POLL_S = 0.005


def free_port() -> int:
    """A port of 127.0.0.1 that was free just now.  Another process may take it: be ready to ask again."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def python_docs_directory() -> Path | None:
    """Where Debian put Python's documentation in HTML, or None."""
    found = sorted(Path("/usr/share/doc").glob("python3*/html/index.html"))
    return found[0].resolve().parent if found else None


# --- nginx ------------------------------------------------------------------------------------------------------

_CONFIG = """
daemon off;
master_process off;  # one process: ended by one signal, and no worker changes its user
pid {directory}/nginx.pid;
error_log {directory}/error.log info;
{user}
events {{ worker_connections 512; }}
http {{
    include {types};
    default_type application/octet-stream;
    log_format foxden '$connection $connection_requests $server_protocol $status $request_method $request_uri';
    access_log {directory}/access.log foxden;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {http_config}
    server {{
        server_name _;
        listen 127.0.0.1:{http_port};
        {listen_tls}
        root {root};
        {server_config}
    }}
}}
"""

# Enough to serve pages where Debian's /etc/nginx/mime.types is not installed beside the program.
_TYPES = """types {
    text/html html htm; text/css css; text/plain txt; application/javascript js; application/json json;
    image/png png; image/jpeg jpg jpeg; image/svg+xml svg; image/gif gif; application/pdf pdf;
}
"""


_LOG_SETTLES_S = 0.05  # a line that is not there by then belongs to no request that has ended


@dataclass(frozen=True)
class LoggedRequest:
    """One line of nginx's own log: what reached the server, told by the server."""

    connection: int  # counts connections of this nginx: the same number means the same TCP connection
    number_on_connection: int
    protocol: str  # HTTP/1.1, HTTP/2.0
    status: int
    method: str
    target: str


class Nginx:
    """One nginx with one virtual host, for `with`.

    `root`: directory that it serves, must be readable by the caller.  `tls`: certificate for https, None for
    http alone.  `config` goes into the `server` block (`location /slow { limit_rate 1k; }`), `http_config` into the
    `http` block.  Both may use `{directory}`, nginx's own temporary directory.
    """

    def __init__(
        self,
        root: Path | None = None,
        *,
        tls: Leaf | None = None,
        http2: bool = True,
        config: str = "",
        http_config: str = "",
    ) -> None:
        self._root = root
        self._tls = tls
        self._http2 = http2
        self._config = config
        self._http_config = http_config
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = Path()  # configuration, logs, temporary files
        self.http_port = 0
        self.https_port = 0

    @property
    def http(self) -> str:
        """Base URL, no slash at the end."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def https(self) -> str:
        """Base URL by name, for certificates are for names; no slash at the end."""
        return f"https://localhost:{self.https_port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def requests(self) -> list[LoggedRequest]:
        """Every finished request so far.  nginx writes a line a moment after it has sent the last byte."""
        log = self.directory / "access.log"
        text, before = log.read_text(), ""
        while text != before:
            time.sleep(_LOG_SETTLES_S)
            text, before = log.read_text(), text
        return [_parse_log_line(line) for line in text.splitlines()]

    def errors(self) -> str:
        path = self.directory / "error.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="fx-nginx-"))
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self) -> None:
        for _ in range(5):
            self.http_port, self.https_port = free_port(), free_port()
            self._launch()
            if self._wait_until_it_answers():
                return
            self._stop()
            if "Address already in use" not in self.errors():
                break
        raise RuntimeError(f"nginx did not start:\n{self.errors()}")

    def _launch(self) -> None:
        program = shutil.which("nginx", path=check_system.SYSTEM_PATH)
        if program is None:
            raise RuntimeError("nginx is not installed (Debian: nginx-light)")
        for name in ("nginx.pid", "error.log"):
            (self.directory / name).unlink(missing_ok=True)
        (self.directory / "nginx.conf").write_text(self._config_text())
        self._process = subprocess.Popen(
            [*_tied_to_this_process(), program, "-p", f"{self.directory}/", "-e", f"{self.directory}/error.log",
             "-c", f"{self.directory}/nginx.conf"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip

    def _config_text(self) -> str:
        types = Path("/etc/nginx/mime.types")
        if not types.exists():
            types = self.directory / "mime.types"
            types.write_text(_TYPES)
        root = self._root or self.directory / "empty"
        (self.directory / "empty").mkdir(exist_ok=True)
        return _CONFIG.format(
            directory=self.directory, user="user root root;" if os.geteuid() == 0 else "", types=types,
            http_config=self._filled(self._http_config), http_port=self.http_port, listen_tls=self._listen_tls(),
            root=root.resolve(), server_config=self._filled(self._config),
        )  # fmt: skip

    def _filled(self, config: str) -> str:
        return config.replace("{directory}", str(self.directory))

    def _listen_tls(self) -> str:
        if self._tls is None:
            return ""
        return (
            f"listen 127.0.0.1:{self.https_port} ssl {'http2' if self._http2 else ''};"
            f" ssl_certificate {self._tls.certificate_file}; ssl_certificate_key {self._tls.key_file};"
        )

    def _wait_until_it_answers(self) -> bool:
        """nginx writes its pid when it listens on all ports: whoever answers then is it, and no other."""
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            pid_file = self.directory / "nginx.pid"
            if pid_file.exists() and pid_file.read_text().strip() == str(self._process.pid):
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", self.http_port), timeout=1).close()
                    return True
            time.sleep(_POLL_S)
        return False

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            stop_process(process)


def _parse_log_line(line: str) -> LoggedRequest:
    connection, number, protocol, status, method, target = line.split(" ", 5)
    return LoggedRequest(int(connection), int(number), protocol, int(status), method, target)


def stop_process(process: subprocess.Popen[bytes]) -> None:
    """End a process that this one started and wait for it, by pid."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tied_to_this_process() -> list[str]:
    """A prefix that ends the server when the tests are killed.  The kernel ties it to a thread: only the main one."""
    setpriv = shutil.which("setpriv")
    if setpriv is None or threading.current_thread() is not threading.main_thread():
        return []
    return [setpriv, "--pdeathsig", "KILL"]


# --- a server that follows a script -----------------------------------------------------------------------------

Handler = Callable[[socket.socket], None]


class ScriptedServer:
    """A TCP server for what no real server would say.

    `handler` gets each connection, in a thread of its own, and the connection is closed when it returns.  What a
    handler raises is raised again when the `with` block ends, unless the peer or the end of the block cut it off.
    `tls`: certificate; then the handler speaks inside TLS.
    """

    def __init__(self, handler: Handler, *, tls: Leaf | None = None, protocols: tuple[str, ...] = ()) -> None:
        self._handler = handler
        self._tls = tls.server_context(protocols) if tls else None
        self._listener = socket.socket()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closing = False
        self.failures: list[BaseException] = []
        self.connections = 0
        self.port = 0

    @property
    def url(self) -> str:
        """Base URL, no slash at the end."""
        return f"https://localhost:{self.port}" if self._tls else f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.port = self._listener.getsockname()[1]
        self._start_thread("accept", self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_connections()
        deadline = time.monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._listener.close()
        if error is None:
            self._raise_what_went_wrong()

    def _raise_what_went_wrong(self) -> None:
        if self.failures:
            raise self.failures[0]
        running = [thread.name for thread in self._threads if thread.is_alive()]
        if running:
            raise RuntimeError(f"handlers go on though their connections are shut: {', '.join(running)}")

    def _end_connections(self) -> None:
        """shutdown, not close: it wakes a thread that waits in accept or recv."""
        with self._lock:
            self._closing = True
            for connection in (self._listener, *self._open):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _start_thread(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"scripted-server-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # shut down
                return
            with self._lock:
                if self._closing:
                    connection.close()
                    return
                self._open.add(connection)
                self.connections += 1
            self._start_thread(str(self.connections), functools.partial(self._serve, connection))

    def _serve(self, connection: socket.socket) -> None:
        try:
            self._handle(connection)
        except (ConnectionError, ssl.SSLError):
            pass  # the peer went away, or did not like the certificate: its right
        except BaseException as error:
            if not self._closing:
                self.failures.append(error)
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _handle(self, connection: socket.socket) -> None:
        if self._tls is None:
            self._handler(connection)
            return
        connection.settimeout(STOP_S)  # a client that never finishes its handshake must not hold the end of a test
        with self._tls.wrap_socket(connection.dup(), server_side=True) as secured:
            secured.settimeout(None)
            self._handler(secured)


def read_head(connection: socket.socket) -> bytes:
    """Read up to the end of a request's header; what follows it may be in the answer too.  Empty: the peer is gone."""
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = connection.recv(65536)
        if not chunk:
            return head
        head += chunk
    return head


def answering(*answers: bytes) -> Handler:
    """A handler that reads a request and sends the next of `answers`, as they are, and closes after the last."""

    def handler(connection: socket.socket) -> None:
        for answer in answers:
            if not read_head(connection):
                return
            connection.sendall(answer)

    return handler
