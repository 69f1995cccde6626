"""One libcurl easy handle: what every transfer has in common, what one request sets, and what libcurl asks back.

Runs in: socket process.  Trusts: libcurl's parsing of what servers send; judges every address that it dials.
Flow: `prepare(request, addresses, owner)` → Engine.start → callbacks → owner.
Source: CURLOPT_OPENSOCKETFUNCTION, CURLOPT_PREREQFUNCTION, CURLOPT_RESOLVE, CURLOPT_RESOLVER_START_FUNCTION.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, Protocol

import pycurl

from foxden.children.socket.request import Request
from foxden.protocols.network import NetworkSettings

BUFFER_BYTES = 524_288  # what libcurl reads at once
_PROTOCOLS = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS


class Owner(Protocol):
    """Who a transfer belongs to.  All but the last two are called by libcurl: no libcurl call is allowed in them."""

    @property
    def take_header(self) -> Callable[[bytes], int | None]: ...
    @property
    def take_body(self) -> Callable[[bytes], int | None]: ...
    def may_dial(self, address: str) -> bool: ...
    def connected(self, address: str, port: int) -> None: ...
    def settle(self) -> None:
        """The turn is over in which something came: answer to it."""

    def finished(self, curl_code: int, text: str) -> None:
        """libcurl is done with it.  Its handle is this owner's until it calls Engine.release."""


class Upload:
    """A request's body as libcurl reads it; it may ask for the start again when a connection was dead."""

    def __init__(self, body: bytes) -> None:
        self._body, self._place = body, 0

    def read(self, size: int) -> bytes:
        part = self._body[self._place : self._place + size]
        self._place += len(part)
        return part

    def seek(self, offset: int, origin: int) -> int:
        if origin != os.SEEK_SET or not 0 <= offset <= len(self._body):
            return int(pycurl.SEEKFUNC_FAIL)
        self._place = offset
        return int(pycurl.SEEKFUNC_OK)


class _HandedOver:
    """A socket for pycurl, which duplicates it: this one goes when pycurl lets go of it."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def __del__(self) -> None:
        os.close(self._fd)


class Transfer:
    """One easy handle.  Plain ones (GET without a body) are used again as they are."""

    def __init__(self, settings: NetworkSettings, on_open: Callable[[Transfer], None]) -> None:
        self._on_open = on_open
        self.easy = pycurl.Curl()
        self.owner: Owner | None = None
        self.uploaded = 0  # bytes of the request's body that libcurl has taken
        self.misdialled = False  # libcurl wanted an address that the owner did not allow
        self.running = False
        self.opened = False  # it has a connection
        self.plain = True
        self.gate = ""  # the server whose first handshake this transfer makes or waits for
        self._values: dict[int, Any] = {}
        self._http2 = settings.http2
        _set_base_options(self.easy, settings)
        self.easy.setopt(pycurl.OPENSOCKETFUNCTION, self._open_socket)
        self.easy.setopt(pycurl.PREREQFUNCTION, self._before_request)

    def prepare(self, request: Request, addresses: tuple[str, ...], owner: Owner, *, fresh: bool = False) -> None:
        """Set what is this request's own.  `fresh`: on a new connection, whatever the pool holds."""
        self.owner, self.uploaded, self.misdialled = owner, 0, False
        easy, target = self.easy, request.target
        self.gate = target.origin if self._http2 and target.scheme == "https" else ""
        self.opened = False
        self._set(pycurl.URL, target.origin)
        self._set(pycurl.REQUEST_TARGET, target.path)  # libcurl would rewrite a path that is part of the URL
        self._set(pycurl.HTTPHEADER, request.headers)
        # Wait for the handshake that may give a connection for all; on http:// it would be a wait for the answer.
        self._set(pycurl.PIPEWAIT, int(bool(self.gate)))
        # `+`: replaces what libcurl holds for this host and port.  An answer for an address as well: without one
        # libcurl would ask its resolver, which is switched off (RESOLVER_START).
        host = f"[{target.host}]" if target.is_address and ":" in target.host else target.host
        self._set(pycurl.RESOLVE, [f"+{host}:{target.port}:{','.join(addresses)}"])
        easy.setopt(pycurl.HEADERFUNCTION, owner.take_header)
        easy.setopt(pycurl.WRITEFUNCTION, owner.take_body)
        if request.method != "GET" or request.body is not None or fresh:
            self.plain = False
            easy.setopt(pycurl.FRESH_CONNECT, int(fresh))
            self._set_method(request)

    def _set(self, option: int, value: Any) -> None:
        """Set what the last request on this handle had otherwise; mostly it had the same."""
        if self._values.get(option) != value:
            self._values[option] = value
            self.easy.setopt(option, value)

    def _set_method(self, request: Request) -> None:
        easy = self.easy
        if request.method == "HEAD":
            easy.setopt(pycurl.NOBODY, 1)
            return
        if request.body is not None:
            upload = Upload(request.body)
            easy.setopt(pycurl.UPLOAD, 1)
            easy.setopt(pycurl.INFILESIZE_LARGE, len(request.body))
            easy.setopt(pycurl.READFUNCTION, self._reading(upload))
            easy.setopt(pycurl.SEEKFUNCTION, upload.seek)
        easy.setopt(pycurl.CUSTOMREQUEST, request.method)

    def _reading(self, upload: Upload) -> Callable[[int], bytes]:
        def read(size: int) -> bytes:
            part = upload.read(size)
            self.uploaded += len(part)
            return part

        return read

    # ---- called by libcurl

    def _open_socket(self, purpose: int, address: Any) -> Any:
        """The last judgement, on the very address that would be dialled.  An exception here fails closed."""
        family, kind, protocol, where = address
        text = where[0].decode() if isinstance(where[0], bytes) else where[0]
        scoped = family == socket.AF_INET6 and where[3] != 0
        stream = purpose == pycurl.SOCKTYPE_IPCXN and kind & 0xF == socket.SOCK_STREAM
        known = family in (socket.AF_INET, socket.AF_INET6)
        if not (known and stream and not scoped and self.owner and self.owner.may_dial(text)):
            self.misdialled = True
            return pycurl.SOCKET_BAD
        return _HandedOver(socket.socket(family, kind, protocol).detach())

    def _before_request(self, address: str, _local: str, port: int, _local_port: int) -> int:
        """Nothing was sent yet, and the connection may be an old one, made for somebody who was allowed more."""
        self.opened = True
        if self.gate:
            self._on_open(self)
        if self.owner is None or not self.owner.may_dial(address):
            self.misdialled = True
            return int(pycurl.PREREQFUNC_ABORT)
        self.owner.connected(address, port)
        return int(pycurl.PREREQFUNC_OK)


def refuse_bytes(_data: bytes) -> int:
    """The write callback of a handle that nobody has."""
    return 0


def _set_base_options(easy: Any, settings: NetworkSettings) -> None:
    """What holds for every transfer."""
    version = pycurl.CURL_HTTP_VERSION_2TLS if settings.http2 else pycurl.CURL_HTTP_VERSION_1_1
    for option, value in (
        (pycurl.NOSIGNAL, 1),
        (pycurl.PROTOCOLS, _PROTOCOLS),
        (pycurl.REDIR_PROTOCOLS, _PROTOCOLS),
        (pycurl.FOLLOWLOCATION, 0),  # each hop is a decision of the parent's
        (pycurl.HTTP_VERSION, version),
        (pycurl.HTTP09_ALLOWED, 0),
        (pycurl.HTTP_CONTENT_DECODING, 0),  # what a server packed is unpacked inside a sandbox
        (pycurl.NOPROXY, "*"),  # and no proxy from the environment
        (pycurl.NETRC, pycurl.NETRC_IGNORED),
        (pycurl.SSLVERSION, pycurl.SSLVERSION_TLSv1_2),
        (pycurl.SSL_VERIFYPEER, 1),
        (pycurl.SSL_VERIFYHOST, 2),
        (pycurl.CAINFO, settings.certificates),
        (pycurl.CONNECTTIMEOUT_MS, int(settings.connect_timeout_s * 1000)),
        (pycurl.TCP_NODELAY, 1),
        (pycurl.BUFFERSIZE, BUFFER_BYTES),
        (pycurl.UPLOAD_BUFFERSIZE, 65_536),
        (pycurl.DNS_CACHE_TIMEOUT, 600),  # outlives any wait for a free connection; each transfer brings its own
        (pycurl.RESOLVER_START_FUNCTION, lambda: 1),  # libcurl never looks anything up by itself
    ):
        easy.setopt(option, value)
    easy.unsetopt(pycurl.CAPATH)
