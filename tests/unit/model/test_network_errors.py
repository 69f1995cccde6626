"""One table of errors: every name once, every libcurl number at most once, and every row told to a person."""

from __future__ import annotations

import re

import pytest

from foxden.model.network_errors import BY_CODE, NETWORK_ERRORS, code_of, describe


def test_every_name_stands_once_and_has_a_meaning() -> None:
    assert len(BY_CODE) == len(NETWORK_ERRORS)
    for row in NETWORK_ERRORS:
        assert re.fullmatch(r"(NS|SSL|SEC|PR|MOZILLA_PKIX)_[A-Z0-9_]+", row.code)
        assert row.meaning
        assert "\n" not in row.meaning + row.hint


def test_every_number_means_one_thing() -> None:
    for numbers in ([n for r in NETWORK_ERRORS for n in r.curl_codes],
                    [n for r in NETWORK_ERRORS for n in r.verify_results]):  # fmt: skip
        assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(
    ("curl_code", "text", "verdict", "code"),
    [
        (6, "", 0, "NS_ERROR_UNKNOWN_HOST"),
        (7, "", 0, "NS_ERROR_CONNECTION_REFUSED"),
        (18, "", 0, "NS_ERROR_NET_PARTIAL_TRANSFER"),
        (28, "", 0, "NS_ERROR_NET_TIMEOUT"),
        (52, "", 0, "NS_ERROR_NET_EMPTY_RESPONSE"),
        (56, "", 0, "NS_ERROR_NET_RESET"),
        (60, "no alternative certificate subject name matches target hostname", 0, "SSL_ERROR_BAD_CERT_DOMAIN"),
        (60, "no alternative certificate subject name matches target hostname", 1, "SSL_ERROR_BAD_CERT_DOMAIN"),
        (60, "", 1, "SSL_ERROR_BAD_CERTIFICATE"),
        (60, "", 10, "SEC_ERROR_EXPIRED_CERTIFICATE"),
        (60, "", 18, "MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT"),
        (60, "", 19, "SEC_ERROR_UNKNOWN_ISSUER"),
        (60, "", 20, "SEC_ERROR_UNKNOWN_ISSUER"),
        (60, "", 23, "SEC_ERROR_REVOKED_CERTIFICATE"),
        (60, "", 999, "SSL_ERROR_BAD_CERTIFICATE"),
        (35, "TLS connect error: wrong version number", 0, "SSL_ERROR_RX_RECORD_TOO_LONG"),
        (35, "TLS alert, protocol version", 0, "SSL_ERROR_UNSUPPORTED_VERSION"),
        (35, "Recv failure: Connection reset by peer", 0, "NS_ERROR_NET_RESET"),
        (35, "something new", 0, "SSL_ERROR_UNKNOWN"),
        (999, "", 0, "NS_ERROR_NET_UNEXPECTED"),
    ],
)
def test_libcurls_number_gets_firefoxs_name(curl_code: int, text: str, verdict: int, code: str) -> None:
    assert code_of(curl_code, text, verdict) == code
    assert code in BY_CODE


def test_refusals_are_not_worth_a_second_try_and_broken_connections_are() -> None:
    assert not BY_CODE["NS_ERROR_LOCAL_NETWORK_ACCESS_DENIED"].retryable
    assert not BY_CODE["SEC_ERROR_UNKNOWN_ISSUER"].retryable
    assert BY_CODE["NS_ERROR_NET_RESET"].retryable


def test_description_names_the_code_and_its_meaning() -> None:
    assert describe("NS_ERROR_UNKNOWN_HOST") == "NS_ERROR_UNKNOWN_HOST: no address was found for the name"
    assert describe("NEW_CODE") == "NEW_CODE"
