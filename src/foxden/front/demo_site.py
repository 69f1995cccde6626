"""The demo's web site: Python's documentation behind nginx, over https, with an authority made for the occasion.

Runs in: command, before its den exists and locks it: afterwards no program can be started.
Flow: documentation tree → openssl makes authority and certificate → nginx on a free port → stopped by pid.
Source: openssl-req(1), openssl-x509(1); nginx's core module directives.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from foxden.front.failures import CommandFailed

_PROGRAM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
_START_S, _STOP_S = 10.0, 5.0

# Debian's names first; then other trees of HTML that systems have, each with pages to show.
_TREES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("python3*/html", ("index.html", "library/asyncio.html", "tutorial/classes.html", "library/socket.html")),
    ("git/html", ("git.html", "git-log.html", "gittutorial.html", "git-rebase.html")),
    ("bash/html", ("bashref.html",)),
    ("nginx/html", ("index.html",)),
)

_CONFIG = """
daemon off;
master_process off;  # one process: one signal ends it
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{ worker_connections 64; }}
http {{
    types {{ text/html html; text/css css; text/plain txt; application/javascript js; image/png png; }}
    default_type application/octet-stream;
    access_log off;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {folder}/server.pem;
        ssl_certificate_key {folder}/server.key;
        root {root};
    }}
}}
"""
_EXTENSIONS = "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n"


def find_pages(shared: Path = Path("/usr/share/doc")) -> tuple[Path, tuple[str, ...]]:
    """A documentation tree and pages in it.  Raises CommandFailed when there is none."""
    for pattern, pages in _TREES:
        for folder in sorted(shared.glob(pattern)):
            there = tuple(page for page in pages if (folder / page).is_file())
            if there:
                return folder.resolve(), there
    raise CommandFailed("found no pages to show: no documentation in HTML is installed",
                        hint="install Debian's python3-doc: apt install python3-doc")  # fmt: skip


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path=_PROGRAM_PATH)
    if found is None:
        raise CommandFailed(f"the demo needs the program {name}", hint=f"apt install {package}")
    return found


class Site:
    """Use with `with`, from the main thread.  `folder` goes away with it."""

    def __init__(self) -> None:
        self._nginx = _program("nginx", "nginx-light")
        self._openssl = _program("openssl", "openssl")
        self.root, self.pages = find_pages()
        self.folder = Path()
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def authority(self) -> Path:
        return self.folder / "authority.pem"

    @property
    def profile(self) -> Path:
        """The den's profile folder, which no page may read, not even a file page."""
        return self.folder / "profile"

    @property
    def canary(self) -> Path:
        """A file that no child was given."""
        return self.profile / "logins.json"

    def urls(self) -> list[str]:
        """Pages by two host names, which makes two sites, and each has a process of its own."""
        hosts = ("localhost", "127.0.0.1")
        return [f"https://{hosts[n % 2]}:{self.port}/{page}" for n, page in enumerate(self.pages)]

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="foxden-demo-"))
        try:
            self.profile.mkdir(0o700)
            self.canary.write_text(f"a secret: {secrets.token_hex(8)}\n")
            self._make_certificates()
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _make_certificates(self) -> None:
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        (self.folder / "extensions").write_text(_EXTENSIONS)
        self._run(["req", "-x509", *key, "-days", "2", "-subj", "/CN=foxden demo authority",
                   "-keyout", "authority.key", "-out", "authority.pem"])  # fmt: skip
        self._run(["req", "-new", *key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr"])
        self._run(["x509", "-req", "-in", "server.csr", "-CA", "authority.pem", "-CAkey", "authority.key",
                   "-CAcreateserial", "-days", "2", "-extfile", "extensions", "-out", "server.pem"])  # fmt: skip

    def _run(self, words: list[str]) -> None:
        done = subprocess.run(
            [self._openssl, *words], cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=30, check=False,
        )  # fmt: skip
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise CommandFailed(f"openssl {words[0]} failed: {last}")

    def _start(self) -> None:
        for _ in range(5):  # the port may be taken between asking for it and listening
            self.port = _free_port()
            user = "user root root;" if os.geteuid() == 0 else ""
            text = _CONFIG.format(folder=self.folder, port=self.port, root=self.root, user=user)
            (self.folder / "nginx.conf").write_text(text)
            self._launch()
            if self._wait():
                return
            self._stop()
        log = self.folder / "error.log"
        words = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        raise CommandFailed(f"nginx did not start: {words[-1] if words else 'it said nothing'}")

    def _launch(self) -> None:
        # Tied to us by the kernel where setpriv is there: even `kill -9` of the demo leaves no nginx.
        setpriv = shutil.which("setpriv", path=_PROGRAM_PATH)
        prefix = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        log = str(self.folder / "error.log")
        self._process = subprocess.Popen(
            [*prefix, self._nginx, "-p", f"{self.folder}/", "-e", log, "-c", str(self.folder / "nginx.conf")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            start_new_session=True,  # Ctrl-C is for us: we stop it ourselves
        )  # fmt: skip

    def _wait(self) -> bool:
        """Until it listens; nginx writes its pid when it does."""
        assert self._process is not None  # noqa: S101 - `_launch` has just made it
        deadline = time.monotonic() + _START_S
        pid_file = self.folder / "nginx.pid"
        while time.monotonic() < deadline and self._process.poll() is None:
            if pid_file.exists() and pid_file.read_text().strip() == str(self._process.pid):
                return True
            time.sleep(0.005)
        return False

    def _stop(self) -> None:
        process, self._process = self._process, None
        (self.folder / "nginx.pid").unlink(missing_ok=True)
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        """Stop the server and take the folder away."""
        self._stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
