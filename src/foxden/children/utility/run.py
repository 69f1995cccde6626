"""One call: from its pickle and the lent memory to a message that says what came of it.

Runs in: utility.  Trusts: the parent's pickle.  Whatever the function does to this process, it does to its own results.
Flow: PTasks.Run → views on the lent memory → pickle.loads → the function → ipc/value_encode → Returned or Failed.
Source: protocols/utility; pickle protocol 5, PEP 574.
"""

from __future__ import annotations

import _pickle  # what is Python in the module pickle is loaded when it is wanted
import types
from collections.abc import Callable, Sequence
from typing import Any

from foxden.ipc.fields import INLINE_MAX, LentMemory
from foxden.ipc.memory import LentReader, make_frozen, make_payload
from foxden.ipc.schema import Message
from foxden.ipc.value_encode import encode_error, encode_value
from foxden.ipc.values import ALIGNMENT
from foxden.protocols.utility import PTasks, ResultTokens

_SMALL = INLINE_MAX // 2  # bytes of a result inside a packet
_REASON_MAX = 1000  # characters: of a ShortText


class Calls:
    """What calls of one worker share: the lent memory, and what its results may be."""

    def __init__(self, names: Sequence[str], max_result: int) -> None:
        self._names, self._limit = frozenset(names), max_result
        self._lent: LentReader | None = None
        self._pickled: dict[int, bytes] = {}  # functions by number, until they are needed
        self._functions: dict[int, tuple[Any, ...]] = {}  # those functions

    def define(self, number: int, work: bytes) -> None:
        """Take another function: it is loaded by the first call, which hears when that fails."""
        self._functions.pop(number, None)
        self._pickled[number] = work

    def _load(self, number: int) -> tuple[Any, ...]:
        function = self._functions[number] = (_pickle.loads(self._pickled[number]),)
        del self._pickled[number]
        return function

    def borrow(self, memory: LentMemory) -> None:
        """Take other memory.  What of the old one a function kept lives as long as the function keeps it."""
        self._lent = LentReader(memory)

    def perform(self, message: PTasks.Run) -> Message:
        make, fields = self._answer(message)
        # Only now, with everything of the call gone, it shows whether the function kept some of its arguments.
        kept = bool(message.parts) and self._give_back(message)
        answer: Message = make(call=message.call, kept=kept, **fields)
        return answer

    def _give_back(self, message: PTasks.Run) -> bool:
        lent = self._lent
        if lent is None or lent.is_looked_at:
            return True
        if any(writable for _, _, writable in message.parts):
            lent.forget()
        return False

    def _views(self, message: PTasks.Run) -> list[memoryview]:
        if not message.parts or self._lent is None:
            return []
        whole = self._lent.whole()
        views = [(whole[place : place + size], writable) for place, size, writable in message.parts]
        return [view if writable else view.toreadonly() for view, writable in views]

    def _answer(self, message: PTasks.Run) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Which message to answer with, and its fields."""
        try:
            views = self._views(message)
            work = message.work or views.pop(0)
            number = message.function
            function = (self._functions.get(number) or self._load(number)) if number else ()
            loaded = (*function, *_pickle.loads(work, buffers=views))
            del views, work, function
        except BaseException as error:
            return PTasks.Refused, {"error": self._error(error), "reason": type(error).__name__[:_REASON_MAX]}
        try:
            value = _run_each(*loaded) if message.each else _run(*loaded)
            encoded = encode_value(value, names=self._names, limit=self._limit)
            if not encoded.buffers and len(encoded.data) <= _SMALL:
                return PTasks.Returned, {"value": encoded.data}
            return PTasks.Finished, {
                "value": make_payload(ResultTokens, encoded.data),
                "buffers": make_frozen(encoded.buffers, ALIGNMENT) if encoded.buffers else None,
            }
        except BaseException as error:
            return PTasks.Failed, {"error": self._error(error)}

    def _error(self, error: BaseException) -> ResultTokens:
        return make_payload(ResultTokens, encode_error(error, names=self._names, limit=self._limit).data)


def _run_each(function: Callable[..., Any], columns: Sequence[Sequence[Any]]) -> list[Any]:
    # Not by `map`, for which StopIteration of the function would be the end.
    if len(columns) == 1:
        values = [function(value) for value in columns[0]]
    else:
        values = [function(*row) for row in zip(*columns, strict=True)]
    return [_awaited(value) for value in values] if types.CoroutineType in set(map(type, values)) else values


def _run(function: Callable[..., Any], arguments: Sequence[Any], keywords: dict[str, Any]) -> Any:
    value = function(*arguments, **keywords)
    return _awaited(value) if type(value) is types.CoroutineType else value


def _awaited(value: Any) -> Any:
    if not isinstance(value, types.CoroutineType):
        return value
    import asyncio

    return asyncio.run(value)
