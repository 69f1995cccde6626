"""Certificates for tests: an authority, and a leaf for every way in which a certificate can be right or wrong.

Runs in: the test process, once a session (fixture `pki`).  Trusts: trustme and cryptography to make them.
Flow: Pki(directory) → PEM files in it → servers take `leaf.certificate_file` and `leaf.key_file`.
"""

from __future__ import annotations

import datetime
import functools
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
OTHER_NAME = "other.example"


@dataclass(frozen=True)
class Leaf:
    """A certificate with what it needs to be served."""

    certificate_file: Path  # PEM, the chain after it
    key_file: Path

    def server_context(self, protocols: tuple[str, ...] = ()) -> ssl.SSLContext:
        """A context for a server; `protocols` as in ALPN."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate_file, self.key_file)
        if protocols:
            context.set_alpn_protocols(list(protocols))
        return context


class Pki:
    """One authority and its leaves, written into a directory when they are first asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._authority = trustme.CA(organization_name="foxden tests")
        self.authority_file = directory / "authority.pem"  # what a client must trust
        self._authority.cert_pem.write_to_path(self.authority_file)

    @functools.cached_property
    def valid(self) -> Leaf:
        """For localhost, 127.0.0.1 and ::1."""
        return self.issue(*LOCAL_NAMES)

    @functools.cached_property
    def expired(self) -> Leaf:
        """Right name, right authority, over since yesterday."""
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        leaf = self._authority.issue_cert(*LOCAL_NAMES, not_before=now - 30 * day, not_after=now - day)
        return self._write("expired", leaf)

    @functools.cached_property
    def wrong_name(self) -> Leaf:
        """Right authority, valid now, for a name that nothing here has."""
        return self.issue(OTHER_NAME)

    @functools.cached_property
    def unknown_authority(self) -> Leaf:
        """Right name, valid now, by an authority that nobody trusts."""
        return self._write("unknown-authority", trustme.CA().issue_cert(*LOCAL_NAMES))

    @functools.cached_property
    def self_signed(self) -> Leaf:
        """Right name, valid now, signed by its own key."""
        return self._self_signed()

    def issue(self, *names: str) -> Leaf:
        """A valid certificate of this authority for host names and addresses."""
        stem = "-".join(names).replace("*", "any").replace(":", "_")
        return self._write(stem, self._authority.issue_cert(*names))

    def client_context(self) -> ssl.SSLContext:
        """A context for a client that trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.authority_file))

    def _write(self, stem: str, leaf: trustme.LeafCert) -> Leaf:
        made = Leaf(self.directory / f"{stem}.pem", self.directory / f"{stem}.key")
        made.certificate_file.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        _write_key(made.key_file, leaf.private_key_pem.bytes())
        return made

    def _self_signed(self) -> Leaf:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(key, hashes.SHA256())
        )
        made = Leaf(self.directory / "self-signed.pem", self.directory / "self-signed.key")
        made.certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pem, traditional = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
        _write_key(made.key_file, key.private_bytes(pem, traditional, serialization.NoEncryption()))
        return made


def _write_key(path: Path, pem: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(pem)
