"""The socket process and certificates: right ones pass, each wrong one has Firefox's name for what is wrong."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from tests.support.pki import OTHER_NAME, Leaf, Pki
from tests.support.servers import ScriptedServer, answering, read_head
from tests.unit.children.socket.harness import LOOPBACK, Loaded, running

from foxden.errors import ProtocolMisuse

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def load(certificates: Path, url: str) -> Loaded:
    def query(host: str) -> tuple[str, ...]:
        return ("127.0.0.1",)

    async def go() -> Loaded:
        async with running(certificates, query=query) as net:
            return await net.load(url, access=LOOPBACK)

    return asyncio.run(go())


def load_from(pki: Pki, leaf: Leaf, host: str = "localhost") -> Loaded:
    with ScriptedServer(answering(OK), tls=leaf) as server:
        return load(pki.authority_file, f"https://{host}:{server.port}/")


def test_valid_certificate_passes_by_name_and_by_address(pki: Pki) -> None:
    assert load_from(pki, pki.valid).code == "NS_OK"
    assert load_from(pki, pki.valid, "127.0.0.1").code == "NS_OK"


def test_certificate_is_compared_with_the_name_that_was_asked_for(pki: Pki) -> None:
    assert load_from(pki, pki.wrong_name, OTHER_NAME).code == "NS_OK"
    assert load_from(pki, pki.valid, OTHER_NAME).code == "SSL_ERROR_BAD_CERT_DOMAIN"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("expired", "SEC_ERROR_EXPIRED_CERTIFICATE"),
        ("wrong_name", "SSL_ERROR_BAD_CERT_DOMAIN"),
        ("unknown_authority", "SEC_ERROR_UNKNOWN_ISSUER"),
        ("self_signed", "MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT"),
    ],
)
def test_each_wrong_certificate_is_refused_under_its_name(pki: Pki, kind: str, code: str) -> None:
    reached = []

    def handler(connection: socket.socket) -> None:
        reached.append(read_head(connection))
        connection.sendall(OK)

    with ScriptedServer(handler, tls=getattr(pki, kind)) as server:
        loaded = load(pki.authority_file, f"https://localhost:{server.port}/")
    assert (loaded.start, loaded.code) == (None, code)
    assert not any(reached), "the request was sent before the certificate was judged"


def test_only_the_given_authorities_are_trusted(pki: Pki, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(pki.self_signed.certificate_file.read_bytes())
    with ScriptedServer(answering(OK), tls=pki.valid) as server:
        assert load(other, f"https://localhost:{server.port}/").code == "SEC_ERROR_UNKNOWN_ISSUER"


def test_plain_http_server_behind_https_is_named(pki: Pki) -> None:
    def handler(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with ScriptedServer(handler) as server:
        loaded = load(pki.authority_file, f"https://localhost:{server.port}/")
    assert loaded.code == "SSL_ERROR_RX_RECORD_TOO_LONG", loaded.stop


def test_server_that_hangs_up_in_the_handshake_is_named(pki: Pki) -> None:
    with ScriptedServer(lambda connection: connection.recv(1) and None) as server:
        loaded = load(pki.authority_file, f"https://localhost:{server.port}/")
    assert loaded.code in ("PR_END_OF_FILE_ERROR", "NS_ERROR_NET_RESET")


@pytest.mark.parametrize("path", ["", "/nonexistent/authorities.pem"])
def test_socket_process_refuses_to_work_without_authorities(path: str) -> None:
    async def go() -> None:
        async with running(Path(path) if path else "") as net:  # type: ignore[arg-type]
            await net.served

    with pytest.raises(ProtocolMisuse, match="certificates"):
        asyncio.run(go())
