"""What end-to-end tests share: a den, and a real web site with pages, a large file and compression."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support import den as dens
from tests.support import users
from tests.support.pki import Pki
from tests.support.servers import Nginx

from foxden import Den

LARGE = 64 << 20
_BLOCK = bytes(range(256)) * 4096  # 1 MiB


@dataclass(frozen=True)
class Site:
    """nginx and what it serves."""

    server: Nginx
    large_sha256: str

    @property
    def http(self) -> str:
        return self.server.http

    @property
    def https(self) -> str:
        return self.server.https


@pytest.fixture(scope="session")
def den(pki: Pki) -> Iterator[Den]:
    """One den for tests that break nothing in it.  It trusts the tests' authority."""
    with dens.shared_den({"SSL_CERT_FILE": str(pki.authority_file)}) as den:
        yield den


@pytest.fixture(scope="session")
def site(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    users.require("nginx")
    root = tmp_path_factory.mktemp("site")
    (root / "index.html").write_text("<!doctype html><title>Home</title><p>Hello <a href=next.html>next</a>")
    (root / "next.html").write_text("<!doctype html><title>Next</title><p>The next page")
    (root / "long.html").write_text(f"<!doctype html><title>Long</title>{'<p>one two three four' * 150_000}<p>the end")
    digest = _write_large(root / "large.bin")
    config = "gzip on; gzip_min_length 1; location /plain/ { gzip off; alias {root}/; }".replace("{root}", str(root))
    with Nginx(root, tls=pki.valid, config=config) as server:
        yield Site(server, digest)


def _write_large(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for number in range(LARGE // len(_BLOCK)):
            block = number.to_bytes(4, "big") + _BLOCK[4:]
            digest.update(block)
            file.write(block)
    return digest.hexdigest()
