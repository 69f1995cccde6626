"""How network exchanges fail: one table of names, each with its meaning and what can be done.

Runs in: every process; pure.  Trusts: nothing.
Flow: libcurl's error number (socket process) → name in `NetOutcome.code` → NetworkError's text (parent), the docs.
Source: Gecko's xpcom/base/ErrorList.py, NSS's sslerr.h and secerr.h, mozpkix; libcurl-errors(3).  Names that
Firefox does not have are marked "foxden's own" in their meaning.
"""

from __future__ import annotations

import msgspec


class NetworkErrorRow(msgspec.Struct, frozen=True):
    """One way to fail.  `curl_codes`: libcurl's numbers that mean nothing else than this."""

    code: str
    meaning: str
    hint: str = ""
    retryable: bool = False  # the same request may well succeed when made again
    curl_codes: tuple[int, ...] = ()
    verify_results: tuple[int, ...] = ()  # OpenSSL's X509_V_ERR_… behind libcurl's error 60


_Row = NetworkErrorRow

NETWORK_ERRORS: tuple[NetworkErrorRow, ...] = (
    _Row("NS_OK", "the exchange ended well", curl_codes=(0,)),
    # Asked for what this process does not do.
    _Row("NS_ERROR_MALFORMED_URI", "the URL cannot be read in one certain way",
         "give http://host/path without user name, spaces or control characters", curl_codes=(3,)),
    _Row("NS_ERROR_UNKNOWN_PROTOCOL", "the scheme is neither http nor https"),
    _Row("NS_ERROR_ILLEGAL_VALUE", "a method or header that would change how the request is framed",
         "leave Host, Content-Length, Connection and the like to foxden"),
    _Row("NS_ERROR_PORT_ACCESS_NOT_ALLOWED", "the port belongs to a service that HTTP must not be spoken to",
         "serve on another port"),
    _Row("NS_ERROR_NOT_INITIALIZED", "the socket process has not received its settings"),
    # Where the name leads.
    _Row("NS_ERROR_UNKNOWN_HOST", "no address was found for the name", "check the name, and the resolver",
         curl_codes=(6,)),
    _Row("NS_ERROR_LOCAL_NETWORK_ACCESS_DENIED",
         "every address of the host is in a space that this load may not reach (foxden's own)",
         "grant the address space, or the address, to this load"),
    # The connection.
    _Row("NS_ERROR_CONNECTION_REFUSED", "no connection could be made", "is the server running, and listening there?",
         retryable=True, curl_codes=(7,)),
    _Row("NS_ERROR_CONNECTION_TIMEOUT", "no connection was made in time (foxden's own)", retryable=True),
    _Row("NS_ERROR_NET_TIMEOUT", "the exchange took too long, or nothing came for too long", retryable=True,
         curl_codes=(28,)),
    _Row("NS_ERROR_NET_RESET", "the connection broke", retryable=True, curl_codes=(55, 56)),
    _Row("NS_ERROR_NET_EMPTY_RESPONSE", "the server closed the connection without an answer (foxden's own)",
         retryable=True, curl_codes=(52,)),
    _Row("NS_ERROR_NET_PARTIAL_TRANSFER", "the connection ended before the body was complete", retryable=True,
         curl_codes=(18,)),
    _Row("NS_ERROR_NET_HTTP2_PROTOCOL_ERROR", "the server broke HTTP/2 (foxden's own)", retryable=True,
         curl_codes=(16, 92)),
    _Row("NS_ERROR_REDIRECT_LOOP", "more redirects than one load may follow",
         "raise network.http.redirection-limit if the site means it"),
    _Row("NS_ERROR_SOCKET_PROCESS_GONE", "the socket process ended while it was at it (foxden's own)",
         "the next load starts another", retryable=True),
    _Row("NS_BINDING_ABORTED", "the load was given up: nobody wants the bytes any more"),
    # The answer.
    _Row("NS_ERROR_PARSING_HTTP_STATUS_LINE", "what answered does not speak HTTP/1.0 or later", curl_codes=(1,)),
    _Row("NS_ERROR_CORRUPTED_CONTENT", "the response's headers contradict themselves, or are not headers",
         curl_codes=(8, 61)),
    _Row("NS_ERROR_RESPONSE_HEADERS_TOO_LARGE", "the response's headers are larger than allowed (foxden's own)",
         "raise max_header_bytes, if the server is right to send so much", curl_codes=(100,)),
    _Row("NS_ERROR_FILE_TOO_BIG", "the body is larger than allowed", "raise max_body_bytes", curl_codes=(63,)),
    _Row("NS_ERROR_OUT_OF_MEMORY", "the socket process ran out of memory", retryable=True, curl_codes=(27,)),
    # TLS.
    _Row("SEC_ERROR_EXPIRED_CERTIFICATE", "the server's certificate has expired", "is this machine's clock right?",
         verify_results=(10,)),
    _Row("MOZILLA_PKIX_ERROR_NOT_YET_VALID_CERTIFICATE", "the server's certificate is not valid yet",
         "is this machine's clock right?", verify_results=(9,)),
    _Row("SSL_ERROR_BAD_CERT_DOMAIN", "the certificate is for another name", verify_results=(62, 64)),
    _Row("SEC_ERROR_UNKNOWN_ISSUER", "nobody trusted has signed the certificate",
         "if you trust its authority, set SSL_CERT_FILE to a file with that authority's certificate",
         verify_results=(2, 19, 20, 21, 27)),
    _Row("MOZILLA_PKIX_ERROR_SELF_SIGNED_CERT", "the certificate is signed by itself", verify_results=(18,)),
    _Row("SEC_ERROR_REVOKED_CERTIFICATE", "the certificate was revoked", verify_results=(23,)),
    _Row("SEC_ERROR_BAD_SIGNATURE", "a signature in the certificate's chain is wrong", verify_results=(7,)),
    _Row("SEC_ERROR_CA_CERT_INVALID", "a certificate in the chain may not sign others", verify_results=(24, 79)),
    _Row("SEC_ERROR_INADEQUATE_CERT_TYPE", "the certificate is not for servers", verify_results=(26,)),
    _Row("MOZILLA_PKIX_ERROR_INADEQUATE_KEY_SIZE", "a key in the chain is too weak", verify_results=(66, 67, 68)),
    _Row("SSL_ERROR_BAD_CERTIFICATE", "the certificate did not stand the test; see the detail", curl_codes=(60,)),
    _Row("SSL_ERROR_UNSUPPORTED_VERSION", "the server offers no TLS version of 1.2 or later"),
    _Row("SSL_ERROR_NO_CYPHER_OVERLAP", "no cipher that both sides accept"),
    _Row("SSL_ERROR_RX_RECORD_TOO_LONG", "what answered does not speak TLS", "is it an http:// server?"),
    _Row("PR_END_OF_FILE_ERROR", "the server hung up in the TLS handshake", retryable=True),
    _Row("SSL_ERROR_UNKNOWN", "the TLS handshake failed; see the detail (foxden's own)", curl_codes=(35,)),
    # Anything else.
    _Row("NS_ERROR_NET_UNEXPECTED", "libcurl failed in a way not listed here; see the detail (foxden's own)"),
)  # fmt: skip

BY_CODE: dict[str, NetworkErrorRow] = {row.code: row for row in NETWORK_ERRORS}

_BY_CURL_CODE: dict[int, str] = {number: row.code for row in NETWORK_ERRORS for number in row.curl_codes}
_BY_VERIFY_RESULT: dict[int, str] = {number: row.code for row in NETWORK_ERRORS for number in row.verify_results}

# OpenSSL's reasons, as libcurl words them, for libcurl's one number 35.
_BY_TLS_TEXT: tuple[tuple[str, str], ...] = (
    ("wrong version number", "SSL_ERROR_RX_RECORD_TOO_LONG"),
    ("packet length too long", "SSL_ERROR_RX_RECORD_TOO_LONG"),
    ("http request", "SSL_ERROR_RX_RECORD_TOO_LONG"),
    ("unsupported protocol", "SSL_ERROR_UNSUPPORTED_VERSION"),
    ("protocol version", "SSL_ERROR_UNSUPPORTED_VERSION"),
    ("handshake failure", "SSL_ERROR_NO_CYPHER_OVERLAP"),
    ("connection reset", "NS_ERROR_NET_RESET"),
    ("unexpected eof", "PR_END_OF_FILE_ERROR"),
    ("ssl_error_syscall", "PR_END_OF_FILE_ERROR"),
)


def code_of(curl_code: int, text: str, verify_result: int = 0) -> str:
    """Return the name for libcurl's error number, its text and, for error 60, OpenSSL's verdict on the chain."""
    if curl_code == 60:
        # libcurl compares the name itself, and then OpenSSL's verdict says nothing (0), or only "something" (1).
        if verify_result in (0, 1) and "match" in text:
            return "SSL_ERROR_BAD_CERT_DOMAIN"
        return _BY_VERIFY_RESULT.get(verify_result, "SSL_ERROR_BAD_CERTIFICATE")
    if curl_code == 35:
        lower = text.lower()
        return next((code for words, code in _BY_TLS_TEXT if words in lower), "SSL_ERROR_UNKNOWN")
    return _BY_CURL_CODE.get(curl_code, "NS_ERROR_NET_UNEXPECTED")


def describe(code: str) -> str:
    """One line for a person: the name and what it means."""
    row = BY_CODE.get(code)
    return f"{code}: {row.meaning}" if row else code
