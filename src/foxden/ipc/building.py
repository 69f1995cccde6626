"""One value being built from its tokens: what all of its builders need.

Runs in: parent.  Trusts: nothing of the data.
Flow: value_decode → Building.next → a builder of its table, for each token in turn.
Source: ipc/values.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any

from foxden.errors import BadMessage, ResultNotData
from foxden.ipc.values import MAX_DEPTH, MAX_TEXT, Ext, Token

Builders = Mapping[int, Callable[["Building", bytes], Any]]
_SAME_HASH_MAX = 1000  # of the keys of one set or dict
_LEAF_DEPTH = 16  # a container is two tokens deep at most, and what stands in the last of them a few more


class Building:
    """One value being built from its tokens."""

    def __init__(
        self, tokens: list[Token], shared: memoryview | None, types: Mapping[str, type], builders: Builders
    ) -> None:
        self._tokens, self._place = tokens, 0
        self._shared, self._shared_end = shared, 0
        self._depth = 0
        self._builders = builders
        self.types = types

    def token(self) -> Token:
        if self._place >= len(self._tokens):
            raise BadMessage("result: announces more items than came")
        self._place += 1
        return self._tokens[self._place - 1]

    def peek(self) -> Token:
        """The token that comes next; None at the end."""
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def finish(self) -> None:
        if self._place != len(self._tokens):
            raise BadMessage(f"result: {len(self._tokens) - self._place} items more than announced")

    def next(self) -> Any:
        token = self.token()
        if type(token) is not Ext:
            return token
        build = self._builders.get(token.code)
        if build is None:
            raise BadMessage(f"result: unknown extension {token.code}")
        self._depth += 1
        if self._depth > 2 * MAX_DEPTH + _LEAF_DEPTH:
            raise BadMessage(f"result: expected at most {MAX_DEPTH} containers in each other, got more")
        value = build(self, bytes(token.data))
        self._depth -= 1
        return value

    def expect(self, kind: type | tuple[type, ...]) -> Any:
        value = self.next()
        if type(value) is not kind and not (type(kind) is tuple and type(value) in kind):
            raise BadMessage(f"result: {type(value).__name__} where it cannot stand")
        return value

    def count(self, payload: bytes, each: int = 1) -> int:
        """A number of items: never more than there are tokens left."""
        found = int.from_bytes(payload, "little") if len(payload) == 8 else -1
        if not 0 <= found * each <= len(self._tokens) - self._place:
            raise BadMessage(f"result: announces {found} items, {len(self._tokens) - self._place} are left")
        return found

    def items(self, payload: bytes) -> list[Any]:
        return [self.next() for _ in range(self.count(payload))]

    def distinct(self, keys: list[Any]) -> list[Any]:
        """Keys of a set or dict.  Raises ResultNotData: so many fall into one place that it would stand for seconds."""
        if len(keys) > _SAME_HASH_MAX and len(keys) - len(set(map(hash, keys))) > _SAME_HASH_MAX:
            text = f"result: more than {_SAME_HASH_MAX} of {len(keys)} keys have the same hash as another"
            raise ResultNotData(text, hint="return a list")
        return keys

    def shared(self, payload: bytes) -> memoryview:
        place, size = struct.unpack_from("<QQ", payload)
        if size == 0:
            return memoryview(b"")
        if self._shared is None or place + size > len(self._shared):
            raise BadMessage(f"result: bytes {place}-{place + size} lie outside of the shared memory")
        if place < self._shared_end:  # so that no byte is two things, and none is copied many times
            raise BadMessage(f"result: bytes {place}-{place + size} do not follow those before them")
        self._shared_end = place + size
        return self._shared[place : place + size]


def text_of(payload: bytes) -> str:
    if len(payload) > MAX_TEXT:
        raise BadMessage(f"result: a text of {len(payload)} bytes where {MAX_TEXT} is most")
    return payload.decode()


def library(name: str, what: str, hint: str) -> Any:
    """A library that this process has already loaded: a child's word loads nothing."""
    module = sys.modules.get(name)
    if module is None:
        raise ResultNotData(
            f"result: {what}, and {name} is not loaded in this process",
            hint=f"preload=['{name}'] loads it here and there, or import it here, or {hint}",
        )
    return module
