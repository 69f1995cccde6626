"""How calls and workers end: a future settled, workers ended and waited for.

Runs in: parent; what is named so on the den's loop.  Trusts: the kernel's word for how a worker ended.
Flow: Pool → settle, fail_all, end_soon, end_all.
Source: parent/workers.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

from foxden.parent.arguments import Packed
from foxden.parent.calls import Call, CallFuture
from foxden.parent.utility import Worker

_LAST_WORDS_S = 0.3  # for a worker that closed its pipe, to end by itself

_END_WITHIN_S = 5.0
_AGAIN_S = 0.001

Outcome = tuple[CallFuture, Any, BaseException | None]  # what came of a call: its future, its value or its error

SENT = Packed(b"", (), 0)  # in the place of what was sent: the arguments need not live as long as the future


def settle(future: CallFuture, value: object, error: BaseException | None) -> None:
    future.help = future.listen = None
    try:
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)
    except SystemExit:  # of a callback: whose thread this is, is chance
        pass


def fail_all(calls: Iterable[Call], error: BaseException) -> None:
    """Those that were not cancelled meanwhile."""
    for call in calls:
        if call.future.running() or call.future.set_running_or_notify_cancel():
            settle(call.future, None, error)


def cancel_all(calls: Iterable[Call]) -> None:
    """Those that nobody has begun."""
    for call in calls:
        call.future.cancel()
        call.future.set_running_or_notify_cancel()


def rest_of(
    worker: Worker,
    receive: Callable[[Worker], Outcome | None],
    hears: Callable[[Worker], bool],
    again: Callable[[Worker], None],
) -> list[Outcome] | None:
    """On the den's loop: what one that has ended had answered, which nobody has read yet.

    None: somebody else is reading it, and is about to come to the end; `again` is called in a moment."""
    worker.hang_up()  # whatever it left running says no more
    if not worker.turn.acquire(blocking=False):
        asyncio.get_running_loop().call_later(_AGAIN_S, again, worker)
        return None
    answers = []
    try:
        while hears(worker):  # until the end, which comes after them
            answers.append(receive(worker))
    finally:
        worker.turn.release()
    return [answer for answer in answers if answer is not None]


def end_soon(worker: Worker) -> None:
    """On the den's loop: it closed its pipe.  Most likely it is ending; the kernel is about to say how."""
    asyncio.get_running_loop().call_later(_LAST_WORDS_S, worker.host.kill, "closed its pipe")


def end_all(soon: Callable[[Callable[[], object]], bool], workers: list[Worker]) -> None:
    """Have them ended on the den's loop, and wait a while until they have."""
    if workers:
        closed = threading.Event()
        soon(lambda: _close_all(workers, closed))
        closed.wait(_END_WITHIN_S)


def _close_all(workers: list[Worker], closed: threading.Event) -> None:
    """On the den's loop: end them, and say when all have ended."""
    left = {id(worker) for worker in workers}

    def ended(worker: Worker) -> None:
        left.discard(id(worker))
        if not left:
            closed.set()

    for worker in workers:
        worker.host.ended.add_done_callback(lambda _, worker=worker: ended(worker))  # type: ignore[misc]
        worker.host.kill("its executor was shut down")
