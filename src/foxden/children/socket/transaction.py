"""One exchange on the network, as the parent's HttpChannel asked for it: from Construct to OnStop.

Runs in: socket process.  Trusts: the parent's Construct; nothing that a server or a reader sends.
Flow: Construct → request → resolver → connect_policy → engine → head and body → OnStart → reader, OnStop.
Source: Gecko's HttpTransactionChild; protocols/network.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pycurl

from foxden.children.socket import connect_policy
from foxden.children.socket.delivery import BackgroundDataParent, Body
from foxden.children.socket.head import HeadReader
from foxden.children.socket.request import Request, RequestRefused, build_request
from foxden.children.socket.resolver import Answer, Lookup
from foxden.children.socket.transfer import Transfer
from foxden.ipc.actor import Actor, Why
from foxden.ipc.fields import INLINE_MAX
from foxden.ipc.memory import RingWriter, read_payload
from foxden.ipc.schema import Side
from foxden.model.network_errors import code_of
from foxden.protocols.network import Finished, NetOutcome, PBackgroundData, PHttpTransaction, Timing

if TYPE_CHECKING:
    from foxden.children.socket.process import Service

START_AFTER_BYTES = INLINE_MAX // 2  # more of a body than this does not wait for its end
START_AFTER_S = 0.02
PACKET_ROOM = 118_784  # of a packet, for headers and inline bytes together

_OK = NetOutcome("NS_OK")
_ABORTED = "NS_BINDING_ABORTED"


class HttpTransactionChild(Actor, protocol=PHttpTransaction, side=Side.CHILD):
    """Made when the parent constructs one; ends when the parent deletes it."""

    def __init__(self, service: Service, message: PHttpTransaction.Construct) -> None:
        self._service = service
        self._construct = message
        self._began = self._last_byte = service.loop.time()
        self._moved = 0  # bytes that had gone either way when the clock was last looked at
        self._lookup: Lookup | None = None
        self._transfer: Transfer | None = None
        self._request: Request | None = None
        self._candidates: tuple[str, ...] = ()
        self._retried = False
        self._head = HeadReader(message.max_header_bytes, self._touch)
        self._body = Body(message.max_body_bytes, self._touch)
        self._touched = False
        self._remote = ("", 0)
        self._dns_us = 0
        self._timing = Timing()
        self._started = False  # OnStart was sent
        self._start_timer_armed = False
        self._outcome: NetOutcome | None = None  # the network part has ended
        self._stopped = False  # OnStop was sent

    # ---- setting out

    def recv_construct(self, message: PHttpTransaction.Construct) -> None:
        self._service.watch(self)
        try:
            body = read_payload(message.body) if message.body is not None else None
            self._request = build_request(message, body)
        except RequestRefused as refusal:
            return self._abort(refusal.code, str(refusal))
        host = self._request.target.host
        if self._request.target.is_address:
            return self._resolved((host,))
        self._lookup = self._service.resolver.lookup(host, self._resolved)
        return None

    def _resolved(self, answer: Answer) -> None:
        self._lookup = None
        self._dns_us = self._elapsed_us()
        if not answer:
            return self._abort("NS_ERROR_UNKNOWN_HOST", "")
        self._candidates = connect_policy.choose(answer, self._construct.access)
        if not self._candidates:
            return self._abort("NS_ERROR_LOCAL_NETWORK_ACCESS_DENIED", f"resolved to {', '.join(answer[:4])}")
        return self._dial(fresh=False)

    def _dial(self, *, fresh: bool) -> None:
        if self._request is None:
            return
        self._transfer = transfer = self._service.engine.transfer()
        transfer.prepare(self._request, self._candidates, self, fresh=fresh)
        self._service.engine.start(transfer)

    # ---- called by libcurl: no call into it, and nothing that ends actors

    def may_dial(self, address: str) -> bool:
        return connect_policy.may_connect(address, self._construct.access)

    def connected(self, address: str, port: int) -> None:
        self._remote = (address, port)

    @property
    def take_header(self) -> Callable[[bytes], int | None]:
        return self._head.take

    @property
    def take_body(self) -> Callable[[bytes], int | None]:
        return self._body.take

    def _touch(self) -> None:
        if not self._touched:
            self._touched = True
            self._service.engine.touch(self)

    # ---- called by the engine, outside libcurl

    def settle(self) -> None:
        """What came in this turn goes on its way."""
        self._touched = False
        if self._stopped or self._outcome is not None:
            return
        if self._body.reader is not None:
            self._body.reader.notify()
        elif not self._started and self._head.complete:
            if self._body.buffered > START_AFTER_BYTES:
                self._start()
            elif not self._start_timer_armed:
                self._start_timer_armed = True
                self._service.loop.call_later(START_AFTER_S, self._start_anyway)

    def _start_anyway(self) -> None:
        if not (self._started or self._stopped):
            self._start()

    def finished(self, curl_code: int, text: str) -> None:
        """The network part is over."""
        transfer = self._transfer
        if transfer is None:
            return
        if self._may_retry(curl_code, transfer):
            self._retried = True
            self._release()
            return self._dial(fresh=True)
        self._end(self._judge(curl_code, text, transfer))
        if not self._stopped:  # bytes still wait for their reader
            self._timing = self._read_timing(transfer)
        return self._release()  # last: whoever waits has its answer

    def _may_retry(self, curl_code: int, transfer: Transfer) -> bool:
        """libcurl came up with an address that is not for us: that of a connection made for somebody else, or of a
        look-up made for somebody else in the same moment.  Nothing was sent; once more, on a connection of our own."""
        return bool(
            transfer.misdialled
            and not self._retried
            and curl_code in (pycurl.E_COULDNT_CONNECT, pycurl.E_ABORTED_BY_CALLBACK)
        )

    def _judge(self, curl_code: int, text: str, transfer: Transfer) -> NetOutcome:
        if curl_code == 0 and self._head.complete:
            return _OK
        if self._head.failure:
            return NetOutcome(self._head.failure, text[:1024])
        if self._body.too_big:
            return NetOutcome("NS_ERROR_FILE_TOO_BIG", f"more than {self._construct.max_body_bytes} bytes")
        if transfer.misdialled and not self._remote[0]:
            return NetOutcome("NS_ERROR_LOCAL_NETWORK_ACCESS_DENIED", text[:1024])
        if curl_code == 0:
            return NetOutcome("NS_ERROR_PARSING_HTTP_STATUS_LINE", "no response head came")
        if curl_code == pycurl.E_OPERATION_TIMEDOUT and not self._remote[0]:
            return NetOutcome("NS_ERROR_CONNECTION_TIMEOUT", text[:1024])
        verdict = transfer.easy.getinfo(pycurl.SSL_VERIFYRESULT) if curl_code == 60 else 0
        code = code_of(curl_code, text, verdict)
        # A stream that the server resets, or TLS without its farewell: what matters is whether a body was under way.
        if code == "NS_ERROR_NET_HTTP2_PROTOCOL_ERROR" and self._head.complete:
            code = "NS_ERROR_NET_PARTIAL_TRANSFER"
        elif code == "NS_ERROR_NET_RESET" and "unexpected eof" in text.lower():
            code = "NS_ERROR_NET_PARTIAL_TRANSFER" if self._head.complete else "NS_ERROR_NET_EMPTY_RESPONSE"
        return NetOutcome(code, text[:1024])

    # ---- telling the parent and the reader

    def _start(self) -> None:
        """Send OnStart with as much of the body as is here; when that is all of it, it is the last word."""
        self._started = True
        head, body = self._head, self._body
        room = min(INLINE_MAX, PACKET_ROOM - head.encoded_bytes)
        whole = self._outcome is _OK and body.buffered <= room
        if whole:
            self._close_books()
        self.send(
            PHttpTransaction.OnStart(
                status=head.status,
                http_version=head.version,
                headers=head.headers,
                remote=self._remote[0],
                remote_port=self._remote[1],
                inline=body.take_inline(room),
                finished=Finished(body.received, self._timing) if whole else None,
            )
        )
        if whole:
            return self.finish()
        if body.paused and self._transfer is not None and self._outcome is None:
            self._resume()
        return None

    def _end(self, outcome: NetOutcome) -> None:
        """The network part ended with `outcome`.  What is still buffered waits for its reader."""
        if self._outcome is None:
            self._outcome = outcome
        if self._head.complete and not self._started:
            self._start()
        if self._body.buffered == 0:
            self._stop()

    def _abort(self, code: str, detail: str = "") -> None:
        """End it from our side, whatever its state."""
        if not self._stopped:
            self._body.drop()
            self._outcome = NetOutcome(code, detail[:1024])
            self._stop()
        self._let_go()

    def _stop(self) -> None:
        if self._stopped or self._outcome is None:
            return
        self._close_books()
        if self._body.reader is not None:
            self._body.reader.end(self._outcome, self._body.received)
        self.send(
            PHttpTransaction.OnStop(outcome=self._outcome, received_bytes=self._body.received, timing=self._timing)
        )

    def _close_books(self) -> None:
        """The last word is about to be said."""
        self._stopped = True
        if self._transfer is not None:
            self._timing = self._read_timing(self._transfer)
        self._service.unwatch(self)
        self._service.received_bytes += self._body.received

    # ---- the reader

    def recv_start_delivery(self, message: PHttpTransaction.StartDelivery) -> None:
        bridge = self._service.bridge(message.child_id)
        if bridge is None:
            return self._abort(_ABORTED, f"no bridge to child {message.child_id}")
        length = self._head.content_length
        remaining = None if length is None else max(0, length - self._body.received + self._body.buffered)
        if self._outcome is not None:
            remaining = self._body.buffered
        ring = RingWriter(self._body.ring_size(remaining))
        reader = BackgroundDataParent(ring, self._on_room, self._on_reader_gone)
        bridge.construct(reader, PBackgroundData.Construct(self._construct.channel_id, ring.memory))
        self._body.attach(reader)
        if self._outcome is None:
            reader.notify()
            self._on_room()
        elif self._stopped:
            reader.end(self._outcome, self._body.received)
        else:
            self._stop()
        return None

    def _on_room(self) -> None:
        if self._body.paused:
            self._resume()

    def _resume(self) -> None:
        self._body.paused = False
        self._last_byte = self._service.loop.time()
        if self._transfer is not None:
            self._service.engine.resume(self._transfer)

    def _on_reader_gone(self) -> None:
        self._abort(_ABORTED, "the reader wants no more")

    # ---- time

    def check_time(self, now: float) -> None:
        """Called some times a second while this exchange lives."""
        limit_s = self._construct.timeout_s
        if limit_s and now - self._began > limit_s:
            return self._abort("NS_ERROR_NET_TIMEOUT", f"not done within {limit_s:g} s")
        transfer, idle_s = self._transfer, self._construct.idle_timeout_s
        if transfer is None or not transfer.running:
            return None
        moved = self._head.received + self._body.received + transfer.uploaded
        if moved != self._moved or self._body.paused or not transfer.opened:
            self._moved = moved
            self._last_byte = now
        elif idle_s and now - self._last_byte > idle_s:
            return self._abort("NS_ERROR_NET_TIMEOUT", f"nothing came for {idle_s:g} s")
        return None

    def _elapsed_us(self) -> int:
        return int((self._service.loop.time() - self._began) * 1e6)

    def _read_timing(self, transfer: Transfer) -> Timing:
        """libcurl counts from the moment when the addresses were known."""
        getinfo, dns = transfer.easy.getinfo, self._dns_us
        connect, tls = getinfo(pycurl.CONNECT_TIME_T), getinfo(pycurl.APPCONNECT_TIME_T)
        first = getinfo(pycurl.STARTTRANSFER_TIME_T)
        return Timing(
            dns_us=dns,
            connect_us=dns + connect if connect else 0,
            tls_us=dns + tls if tls else 0,
            first_byte_us=dns + first if first else 0,
            total_us=self._elapsed_us(),
        )

    # ---- the end

    def _release(self) -> None:
        if self._transfer is not None:
            self._service.engine.release(self._transfer)
            self._transfer = None

    def _let_go(self) -> None:
        if self._lookup is not None:
            self._lookup.cancel()
            self._lookup = None
        self._release()

    def actor_destroy(self, why: Why) -> None:
        """The parent has let go, or is gone.  A reader that still waits is told so."""
        self._abort(_ABORTED, "the parent deleted the transaction")
