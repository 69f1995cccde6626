"""The servers that other tests trust: they answer, they say what they saw, and they end."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support.pki import Pki
from tests.support.servers import Nginx, ScriptedServer, answering, read_head
from tests.support.users import needs_curl, needs_nginx


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("<title>here</title>")
    return tmp_path


@contextlib.contextmanager
def client(pki: Pki) -> Iterator[httpx.Client]:
    with httpx.Client(verify=pki.client_context(), trust_env=False, timeout=5) as made:
        yield made


def curl(*arguments: str) -> str:
    command = ["curl", "--silent", "--show-error", "--max-time", "10", "--noproxy", "*", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@needs_nginx
def test_nginx_serves_a_directory_over_http_and_https(pages: Path, pki: Pki) -> None:
    with Nginx(pages, tls=pki.valid) as server, client(pki) as browser:
        for base in (server.http, server.https):
            answer = browser.get(f"{base}/")
            assert (answer.status_code, answer.text) == (200, "<title>here</title>")
            assert answer.headers["content-type"] == "text/html"


@needs_nginx
@needs_curl
@pytest.mark.parametrize(("http2", "protocol"), [(True, "2"), (False, "1.1")])
def test_nginx_speaks_http2_over_tls_unless_told_not_to(pages: Path, pki: Pki, http2: bool, protocol: str) -> None:
    with Nginx(pages, tls=pki.valid, http2=http2) as server:
        trust = ("--cacert", str(pki.authority_file), "--http2")
        assert curl(*trust, "-o", "/dev/null", "-w", "%{http_version}", f"{server.https}/") == protocol


@needs_nginx
def test_nginx_tells_what_reached_it_and_on_which_connection(pages: Path, pki: Pki) -> None:
    with Nginx(pages) as server:
        with client(pki) as browser:
            browser.get(f"{server.http}/")
            browser.get(f"{server.http}/missing?a=b c")
        first, second = server.requests()
    assert (first.status, second.status) == (200, 404)
    assert first.connection == second.connection
    assert (second.number_on_connection, second.method, second.protocol) == (2, "GET", "HTTP/1.1")
    assert second.target == "/missing?a=b%20c"


@needs_nginx
def test_nginx_takes_rules_of_its_own(pki: Pki) -> None:
    with Nginx(config="location /gone { return 410 'gone'; }") as server, client(pki) as browser:
        assert browser.get(f"{server.http}/gone").status_code == 410


@needs_nginx
def test_nginx_with_wrong_rules_says_what_is_wrong_and_leaves_nothing() -> None:
    server = Nginx(config="no_such_directive on;")
    with pytest.raises(RuntimeError, match="no_such_directive"), server:
        pass
    assert not server.directory.exists()


@needs_nginx
def test_nginx_is_gone_after_the_block_even_when_the_block_fails() -> None:
    server = Nginx()
    with contextlib.suppress(ZeroDivisionError), server:
        pid = server.pid
        raise ZeroDivisionError
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.http_port), timeout=1)


def test_python_docs_are_served(python_docs: Nginx, pki: Pki) -> None:
    with client(pki) as browser:
        assert "Python" in browser.get(f"{python_docs.https}/library/index.html").text


def test_scripted_server_says_what_it_was_told_to_say() -> None:
    with ScriptedServer(answering(b"one", b"two")) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as peer:
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert peer.recv(16) == b"one"
            peer.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert (peer.recv(16), peer.recv(16)) == (b"two", b"")
        assert server.connections == 1


def test_scripted_server_speaks_tls(pki: Pki) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    with ScriptedServer(answering(answer), tls=pki.valid) as server, client(pki) as browser:
        assert browser.get(server.url).text == "hi"


def test_scripted_server_ends_a_handler_that_waits_for_ever() -> None:
    heads: list[bytes] = []
    with socket.socket() as peer:
        with ScriptedServer(lambda connection: heads.append(read_head(connection))) as server:
            peer.connect(("127.0.0.1", server.port))
            peer.sendall(b"never a whole header")
        assert heads in ([b"never a whole header"], [b""], [])


def test_scripted_server_passes_on_what_its_handler_raises() -> None:
    def handler(connection: socket.socket) -> None:
        raise LookupError("wrong request")

    with (
        pytest.raises(LookupError, match="wrong request"),
        ScriptedServer(handler) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as peer,
    ):
        assert peer.recv(1) == b""


def test_scripted_server_takes_a_refused_certificate_for_what_it_is(pki: Pki) -> None:
    with (
        ScriptedServer(answering(b""), tls=pki.self_signed) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as peer,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        pki.client_context().wrap_socket(peer, server_hostname="localhost")


def test_a_server_asks_for_no_more_than_its_user_has(pages: Path) -> None:
    with Nginx(pages) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid == os.geteuid()
