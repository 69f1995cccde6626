"""Each certificate is wrong in the way that its name says, and in no other."""

from __future__ import annotations

import socket
import ssl
import subprocess

import pytest
from tests.support.pki import OTHER_NAME, Leaf, Pki
from tests.support.servers import ScriptedServer
from tests.support.users import needs_openssl


def verdict(pki: Pki, leaf: Leaf, name: str = "localhost") -> str:
    """What OpenSSL, trusting our authority alone, says of a server with this certificate; empty: nothing to say."""
    with (
        ScriptedServer(lambda connection: None, tls=leaf) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5) as peer,
    ):
        try:
            pki.client_context().wrap_socket(peer, server_hostname=name).close()
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
    return ""


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_valid_certificate_is_accepted_for_its_names(pki: Pki, name: str) -> None:
    assert verdict(pki, pki.valid, name) == ""


@pytest.mark.parametrize(
    ("leaf", "words"),
    [
        ("expired", "certificate has expired"),
        ("wrong_name", "Hostname mismatch"),
        ("unknown_authority", "unable to get local issuer certificate"),
        ("self_signed", "self-signed certificate"),
    ],
)
def test_bad_certificate_is_refused_for_its_own_reason(pki: Pki, leaf: str, words: str) -> None:
    assert words in verdict(pki, getattr(pki, leaf))


def test_wrong_name_is_right_under_its_own_name(pki: Pki) -> None:
    assert verdict(pki, pki.wrong_name, OTHER_NAME) == ""


def test_certificate_for_a_name_of_the_tests_choice(pki: Pki) -> None:
    leaf = pki.issue("a.example", "*.b.example")
    assert verdict(pki, leaf, "a.example") == ""
    assert verdict(pki, leaf, "www.b.example") == ""
    assert "mismatch" in verdict(pki, leaf, "c.example")


def test_keys_are_for_their_owner_alone(pki: Pki) -> None:
    for leaf in (pki.valid, pki.self_signed):
        assert leaf.key_file.stat().st_mode & 0o077 == 0


@needs_openssl
def test_openssl_command_agrees(pki: Pki) -> None:
    command = ["openssl", "verify", "-CAfile", str(pki.authority_file)]
    assert subprocess.run([*command, str(pki.valid.certificate_file)], capture_output=True).returncode == 0
    assert subprocess.run([*command, str(pki.expired.certificate_file)], capture_output=True).returncode != 0
