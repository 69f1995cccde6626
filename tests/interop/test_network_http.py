"""The socket process against nginx: HTTP/1.1 and HTTP/2, bodies of all sizes, connections used again."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator

import pytest
from tests.support import users
from tests.support.pki import Pki
from tests.support.servers import Nginx
from tests.unit.children.socket.harness import Loaded, running

_CONFIG = """
location /moved { return 302 /small; }
location /none { return 204; }
location /put { dav_methods PUT DELETE; root {directory}/dav; create_full_put_path on; client_max_body_size 64m; }
location /echo/ { add_header X-Method $request_method; add_header X-Accept "[$http_accept]";
  add_header X-Agent "[$http_user_agent]"; add_header X-Given "[$http_x_given]"; add_header X-Host $http_host;
  add_header X-Length "[$http_content_length]"; add_header X-Expect "[$http_expect]";
  add_header X-Encodings "[$http_accept_encoding]"; add_header X-Type "[$http_content_type]"; return 200 "ok"; }
location /slow { limit_rate 60k; alias {root}/64k; }
"""


@pytest.fixture(scope="module")
def nginx(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    users.require("nginx")
    root = tmp_path_factory.mktemp("www")
    for name, size in (("empty", 0), ("small", 1024), ("64k", 65_536), ("65k", 65_537), ("5m", 5 << 20)):
        (root / name).write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    with Nginx(root, tls=pki.valid, config=_CONFIG.replace("{root}", str(root))) as server:
        yield server


def load(nginx: Nginx, pki: Pki, url: str, **options: object) -> Loaded:
    async def go() -> Loaded:
        async with running(pki.authority_file) as net:
            return await net.load(url, **options)

    return asyncio.run(go())


def test_small_page_comes_inline_with_its_head_and_outcome(nginx: Nginx, pki: Pki) -> None:
    loaded = load(nginx, pki, nginx.http + "/small")
    assert (loaded.status, loaded.code, len(loaded.body)) == (200, "NS_OK", 1024)
    assert loaded.start is not None
    assert loaded.start.finished is not None
    assert (loaded.start.http_version, loaded.start.remote) == ("HTTP/1.1", "127.0.0.1")
    assert loaded.start.remote_port == nginx.http_port
    assert loaded.header("content-length") == ["1024"]
    assert loaded.stop.received_bytes == 1024
    assert 0 < loaded.stop.timing.connect_us <= loaded.stop.timing.first_byte_us <= loaded.stop.timing.total_us


def test_https_speaks_http2(nginx: Nginx, pki: Pki) -> None:
    loaded = load(nginx, pki, nginx.https + "/small")
    assert (loaded.status, loaded.code, len(loaded.body)) == (200, "NS_OK", 1024), loaded.stop
    assert loaded.start is not None
    assert loaded.start.http_version == "HTTP/2"
    assert loaded.stop.timing.tls_us > 0


def test_redirect_comes_back_as_a_head_and_is_not_followed(nginx: Nginx, pki: Pki) -> None:
    before = len(nginx.requests())
    loaded = load(nginx, pki, nginx.http + "/moved")
    assert (loaded.status, loaded.code) == (302, "NS_OK")
    assert loaded.header("location") == [nginx.http + "/small"]
    assert len(nginx.requests()) == before + 1


def test_head_request_has_a_length_and_no_body(nginx: Nginx, pki: Pki) -> None:
    loaded = load(nginx, pki, nginx.http + "/5m", method="HEAD")
    assert (loaded.status, loaded.code, loaded.body) == (200, "NS_OK", b"")
    assert loaded.header("content-length") == [str(5 << 20)]


def test_answer_without_content_is_complete(nginx: Nginx, pki: Pki) -> None:
    loaded = load(nginx, pki, nginx.http + "/none")
    assert (loaded.status, loaded.code, loaded.body) == (204, "NS_OK", b"")
    assert loaded.start is not None
    assert loaded.start.finished is not None


def test_empty_file_is_complete(nginx: Nginx, pki: Pki) -> None:
    loaded = load(nginx, pki, nginx.https + "/empty")
    assert (loaded.status, loaded.code, loaded.body) == (200, "NS_OK", b"")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_headers_go_out_as_given_and_libcurls_own_do_not(nginx: Nginx, pki: Pki, scheme: str) -> None:
    base = nginx.http if scheme == "http" else nginx.https
    bare = load(nginx, pki, base + "/echo/x")
    assert bare.header("x-accept") == ["[]"]
    assert bare.header("x-agent") == ["[]"]
    assert bare.header("x-encodings") == ["[]"]
    assert bare.header("x-host") == [base.partition("//")[2]]
    given = (("User-Agent", "foxden/1"), ("Accept", "text/html"), ("X-Given", "a  b;c"), ("Accept-Encoding", "gzip"))
    full = load(nginx, pki, base + "/echo/x", headers=given)
    assert full.header("x-agent") == ["[foxden/1]"]
    assert full.header("x-accept") == ["[text/html]"]
    assert full.header("x-given") == ["[a  b;c]"]
    assert full.header("x-encodings") == ["[gzip]"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND", "GET"])
def test_method_and_body_arrive_unchanged(nginx: Nginx, pki: Pki, method: str) -> None:
    loaded = load(nginx, pki, nginx.http + "/echo/x", method=method, body=b"x" * 100)
    assert loaded.header("x-method") == [method]
    assert loaded.header("x-length") == ["[100]"]
    assert loaded.header("x-type") == ["[]"]
    assert loaded.header("x-expect") == ["[]"]


def test_post_without_a_body_says_that_its_length_is_zero(nginx: Nginx, pki: Pki) -> None:
    assert load(nginx, pki, nginx.http + "/echo/x", method="POST").header("x-length") == ["[0]"]
    assert load(nginx, pki, nginx.http + "/echo/x", method="DELETE").header("x-length") == ["[]"]


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_large_upload_arrives_whole(nginx: Nginx, pki: Pki, scheme: str) -> None:
    base = nginx.http if scheme == "http" else nginx.https
    body = hashlib.shake_256(scheme.encode()).digest(3 << 20)

    assert load(nginx, pki, f"{base}/put/{scheme}", method="PUT", body=body).status == 201
    assert (nginx.directory / "dav" / "put" / scheme).read_bytes() == body


@pytest.mark.parametrize(("name", "size", "complete"), [("64k", 65_536, True), ("65k", 65_537, False)])
def test_bodies_round_the_inline_limit_come_whole(nginx: Nginx, pki: Pki, name: str, size: int, complete: bool) -> None:
    for base in (nginx.http, nginx.https):
        loaded = load(nginx, pki, f"{base}/{name}")
        assert len(loaded.body) == size
        assert hashlib.sha256(loaded.body).digest() == hashlib.sha256(_content(size)).digest()
        assert loaded.stop.received_bytes == size
        assert loaded.start is not None
        assert complete or loaded.start.finished is None


def _content(size: int) -> bytes:
    return bytes(range(256)) * (size // 256) + b"x" * (size % 256)


def test_slow_body_starts_before_it_is_complete(nginx: Nginx, pki: Pki) -> None:
    async def go() -> tuple[bool, Loaded]:
        async with running(pki.authority_file) as net:
            transaction = net.begin(nginx.http + "/slow")
            async with asyncio.timeout(5):
                await transaction.started
            early = not transaction.stopped.done()
            return early, await net.finish(transaction)

    early, loaded = asyncio.run(go())
    assert early
    assert loaded.body == _content(65_536)


def test_connection_is_used_again(nginx: Nginx, pki: Pki) -> None:
    async def go() -> None:
        async with running(pki.authority_file) as net:
            for _ in range(5):
                assert (await net.load(nginx.http + "/small?reuse")).code == "NS_OK"

    asyncio.run(go())
    used = {request.connection for request in nginx.requests() if request.target == "/small?reuse"}
    assert len(used) == 1


def test_http2_carries_many_transactions_on_one_connection(nginx: Nginx, pki: Pki) -> None:
    async def go() -> list[Loaded]:
        async with running(pki.authority_file) as net:
            transactions = [net.begin(nginx.https + "/small?many") for _ in range(40)]
            return list(await asyncio.gather(*(net.finish(transaction) for transaction in transactions)))

    loaded = asyncio.run(go())
    assert [(one.status, len(one.body)) for one in loaded] == [(200, 1024)] * 40
    assert len({r.connection for r in nginx.requests() if r.target == "/small?many"}) == 1


def test_http2_can_be_switched_off(nginx: Nginx, pki: Pki) -> None:
    async def go() -> Loaded:
        async with running(pki.authority_file, http2=False) as net:
            return await net.load(nginx.https + "/small")

    start = asyncio.run(go()).start
    assert start is not None
    assert start.http_version == "HTTP/1.1"


def test_no_more_connections_to_one_host_than_the_settings_allow(nginx: Nginx, pki: Pki) -> None:
    async def go() -> list[Loaded]:
        async with running(pki.authority_file, max_connections_per_host=2) as net:
            transactions = [net.begin(nginx.http + "/small?limit") for _ in range(20)]
            return list(await asyncio.gather(*(net.finish(transaction) for transaction in transactions)))

    assert [one.code for one in asyncio.run(go())] == ["NS_OK"] * 20
    assert len({r.connection for r in nginx.requests() if r.target == "/small?limit"}) <= 2


def test_path_reaches_the_server_as_it_was_given(nginx: Nginx, pki: Pki) -> None:
    load(nginx, pki, nginx.http + "/echo/a/./b%2fc?q=1/../2#fragment")
    assert nginx.requests()[-1].target == "/echo/a/./b%2fc?q=1/../2"


def test_proxy_of_the_environment_is_not_used(nginx: Nginx, pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert load(nginx, pki, nginx.http + "/small").code == "NS_OK"
    assert load(nginx, pki, nginx.https + "/small").code == "NS_OK"


def test_transaction_that_is_deleted_at_once_does_no_harm(nginx: Nginx, pki: Pki) -> None:
    from foxden.protocols.network import PHttpTransaction

    async def go() -> Loaded:
        async with running(pki.authority_file) as net:
            for _ in range(20):
                net.begin(nginx.https + "/5m").delete(PHttpTransaction.Delete())
            return await net.load(nginx.https + "/small")

    assert asyncio.run(go()).code == "NS_OK"
