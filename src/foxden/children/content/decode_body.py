"""A body as it was sent, undone: gzip and deflate, one in the other if must be, never more than was allowed.

Runs in: content child; pure.  Trusts: nothing; a bomb costs the limit and no more, in memory and in time.
Flow: Content-Encoding → BodyDecoder → feed(chunk) → bytes … → finish() → bytes, or LoadError.
Source: RFC 9110 section 8.4; RFC 1950-1952; what browsers put up with.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from foxden.errors import LoadError

MAX_CODINGS = 5
# zlib copies what it did not use: of every input at the end of a gzip member, of every output slice.  Small slices
# keep these copies small, so that a body of a million empty members is not a million copies of the body.
_INPUT_SLICE = 8 << 10
_OUTPUT_SLICE = 64 << 10
_GZIP_MAGIC = b"\x1f\x8b\x08"
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


class _Stage(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]: ...

    def finish(self) -> None:
        """Raises LoadError when the stream is not complete."""


def parse_codings(header: str) -> tuple[str, ...]:
    """Content-Encoding as canonical names, in the order in which they were applied; identity is left out.

    Raises LoadError: NS_ERROR_INVALID_CONTENT_ENCODING for what is unknown or more than MAX_CODINGS.
    """
    names = [name.strip("\t ").lower() for name in header.split(",")]
    codings = [{"x-gzip": "gzip"}.get(name, name) for name in names if name not in ("", "identity")]
    for coding in codings:
        if coding not in _STAGES:
            raise _invalid(f"expected gzip or deflate, got Content-Encoding {coding[:40]!r}")
    if len(codings) > MAX_CODINGS:
        raise _invalid(f"expected at most {MAX_CODINGS} content codings, got {len(codings)}")
    return tuple(codings)


class BodyDecoder:
    """Undoes the codings of one body as it comes.

    `codings`: a Content-Encoding header, or names in its order.  `limit_bytes`: of what comes out, and of what passes
    between two codings.  Every method raises LoadError, and is not to be called again after that:
    NS_ERROR_FILE_TOO_BIG, NS_ERROR_INVALID_CONTENT_ENCODING, NS_ERROR_NET_PARTIAL_TRANSFER.
    """

    def __init__(self, codings: str | Sequence[str], limit_bytes: int) -> None:
        header = codings if isinstance(codings, str) else ",".join(codings)
        # The last coding that was applied is the first to be undone.
        self._stages = [_STAGES[name]() for name in reversed(parse_codings(header))]
        self._limit_bytes = limit_bytes
        self._passed_bytes = [0] * (len(self._stages) + 1)

    def feed(self, chunk: bytes) -> bytes:
        """What `chunk` decodes to, as far as it can be known now."""
        pieces: Iterable[bytes] = (chunk,)
        for place, stage in enumerate(self._stages):
            pieces = self._through(stage, pieces, place + 1)
        if not self._stages:
            self._count(0, chunk)
            return chunk
        return b"".join(pieces)

    def finish(self) -> bytes:
        """Check that the body was complete.  Nothing is held back, so nothing is left to return."""
        for stage in self._stages:
            stage.finish()
        return b""

    def _through(self, stage: _Stage, pieces: Iterable[bytes], place: int) -> Iterator[bytes]:
        for piece in pieces:
            for start in range(0, len(piece), _INPUT_SLICE):
                for decoded in stage.feed(piece[start : start + _INPUT_SLICE]):
                    self._count(place, decoded)
                    yield decoded

    def _count(self, place: int, piece: bytes) -> None:
        self._passed_bytes[place] += len(piece)
        if self._passed_bytes[place] > self._limit_bytes:
            raise LoadError(
                f"expected at most {self._limit_bytes} bytes, the body is larger", code="NS_ERROR_FILE_TOO_BIG"
            )


class _Inflater:
    """One zlib stream, decoded in slices.  `rest`: what came after its end, when `ended`."""

    def __init__(self, wbits: int) -> None:
        self._stream = zlib.decompressobj(wbits)

    @property
    def ended(self) -> bool:
        return self._stream.eof

    @property
    def rest(self) -> bytes:
        return self._stream.unused_data

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Raises zlib.error."""
        stream = self._stream
        piece = stream.decompress(data, _OUTPUT_SLICE)
        # An output slice that is full may leave more inside zlib even when all input is used.
        while piece:
            yield piece
            if stream.eof or (len(piece) < _OUTPUT_SLICE and not stream.unconsumed_tail):
                return
            piece = stream.decompress(stream.unconsumed_tail, _OUTPUT_SLICE)


class _Gunzip:
    """gzip: members one after the other.  What follows the last and is no member is ignored, as browsers do."""

    def __init__(self) -> None:
        self._member: _Inflater | None = None
        self._begun = b""  # start of what may be a member's magic
        self._is_first = True
        self._done = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data and not self._done:
            if self._member is None:
                data = self._start_member(self._begun + data)
                continue
            member = self._member
            try:
                yield from member.feed(data)
            except zlib.error as error:
                raise _corrupt(error) from None
            data = member.rest
            if member.ended:
                self._member = None

    def _start_member(self, data: bytes) -> bytes:
        """The data to feed to the new member; empty when there is none (yet)."""
        self._begun = b""
        if not self._is_first and not data.startswith(_GZIP_MAGIC):
            if _GZIP_MAGIC.startswith(data):
                self._begun = data
            else:
                self._done = True
            return b""
        self._member = _Inflater(_GZIP)
        self._is_first = False
        return data

    def finish(self) -> None:
        if self._member is not None:
            raise _partial("gzip")


class _Inflate:
    """deflate: by the standard a zlib stream, by many servers a raw one."""

    def __init__(self) -> None:
        self._stream: _Inflater | None = None
        self._begun = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._stream is None:
            data = self._begun + data
            if len(data) < 2:
                self._begun = data
                return
            self._stream = _Inflater(_ZLIB if _is_zlib(data) else _RAW)
        if self._stream.ended:
            return
        try:
            yield from self._stream.feed(data)
        except zlib.error as error:
            raise _corrupt(error) from None

    def finish(self) -> None:
        if self._begun if self._stream is None else not self._stream.ended:
            raise _partial("deflate")


def _is_zlib(data: bytes) -> bool:
    """No raw stream begins so: 8 would be a stored block with padding that is not zero."""
    return data[0] & 0x8F == 0x08 and (data[0] << 8 | data[1]) % 31 == 0


def _invalid(message: str) -> LoadError:
    return LoadError(message, code="NS_ERROR_INVALID_CONTENT_ENCODING")


def _corrupt(error: zlib.error) -> LoadError:
    return _invalid(f"expected the body in its Content-Encoding: {error}")


def _partial(coding: str) -> LoadError:
    return LoadError(f"the body ended inside its {coding} stream", code="NS_ERROR_NET_PARTIAL_TRANSFER")


_STAGES: dict[str, type[_Gunzip | _Inflate]] = {"gzip": _Gunzip, "deflate": _Inflate}
