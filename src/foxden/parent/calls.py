"""One call and its future, which may fetch its own result: the thread that waits for it reads the worker's answer.

Runs in: parent, on the caller's threads.  Trusts: the caller.
Flow: Pool.submit → Call → CallFuture.result → (Pool.help, when it is being run) → concurrent.futures' own result.
Source: leader and followers: a hand-over between two threads costs as much as the rest of a short call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import msgspec

from foxden.errors import RemoteError
from foxden.parent.arguments import Packed

if TYPE_CHECKING:
    from foxden.parent.refused import Refused
    from foxden.parent.utility import Worker


_Help = Callable[["Worker", "Call", float | None], None]  # read the call's answer, as long as that takes at most


class Sizes(msgspec.Struct, frozen=True):
    """Of a pool, and of what a call in it may take."""

    max_workers: int
    seconds: float | None = None  # that a call may take
    cpu_seconds: float | None = None  # … of processor time
    calls_each: int | None = None  # that a worker serves before another takes its place
    spare: bool = False  # keep a worker ready beside those at work

    def times(self, calls: int) -> tuple[float | None, float | None]:
        """What so many calls together may take, and use."""
        seconds, cpu_seconds = self.seconds, self.cpu_seconds
        return seconds and seconds * calls, cpu_seconds and cpu_seconds * calls

    def call(
        self, number: int, name: str, packed: Packed, refused: Refused | None, *, each: int = 1, chunk_of: int = 0
    ) -> Call:
        """One call, or a chunk of `each`."""
        seconds, cpu_seconds = self.times(each)
        future = CallFuture()
        if refused is not None:
            future.explain = refused.explain
        return Call(number, name, packed, chunk_of, seconds, future, cpu_seconds=cpu_seconds)


class Call(msgspec.Struct, eq=False):
    """One thing that a worker is asked: a call, or a chunk of them."""

    number: int
    name: str
    packed: Packed
    chunk_of: int  # the number of the `map` that it is a chunk of; 0: a call by itself
    seconds: float | None  # it may take
    future: CallFuture
    worker: Worker | None = None
    begun: bool = False  # its future says that it runs: it can be sent again, but not cancelled
    sent: bool = False  # its worker has it, or is about to: what becomes of it is that one's answer, or its end
    cpu_seconds: float | None = None  # it may use
    # ---- parent/deadlines
    until: float = float("inf")
    cpu_from: float = 0.0  # what its worker had used when it began
    entry: int = 0


    def given_to(self, worker: Worker, help_: _Help, listen: Callable[[Worker, Call], None]) -> None:
        """From now on it is the worker's, whatever becomes of that.  With the pool's lock held."""
        future = self.future
        self.sent, self.worker = True, worker
        future.pid, future.child_id, future.given_at = worker.host.pid, worker.host.child_id, time.time()
        future.help = lambda timeout: help_(worker, self, timeout)
        future.listen = lambda: listen(worker, self)


class CallFuture(Future[Any]):
    """A future of concurrent.futures.  What is its own: a thread in `result` reads the worker's answer itself.

    So nobody listens to the worker at first.  Every other way of looking at the future calls `listen`, and from then
    on the pool's thread does.
    """

    help: Callable[[float | None], None] | None = None  # set while a worker runs it
    listen: Callable[[], None] | None = None
    watched = False  # somebody waits for it who does not read
    pid = 0  # of the worker that it was given to last: what that one was refused is told by its pid …
    child_id = 0  # … or by its number in the den, which no other child will have
    given_at = 0.0  # … and since when, in seconds since the epoch
    explain: Callable[[CallFuture, Exception], None] | None = None  # note on an error what was refused in the call

    @property
    def _waiters(self) -> list[Any]:
        """Who waits in `wait` and `as_completed`, which ask for this list, and nothing else of a future."""
        self.watch()
        return self._waiting

    @_waiters.setter
    def _waiters(self, nobody: list[Any]) -> None:
        self._waiting = nobody

    def result(self, timeout: float | None = None) -> Any:
        try:
            return super().result(self._helped(timeout))
        except (OSError, RemoteError) as error:
            self._explain(error)
            raise

    def exception(self, timeout: float | None = None) -> BaseException | None:
        error = super().exception(self._helped(timeout))
        if isinstance(error, OSError | RemoteError):
            self._explain(error)
        return error

    def _explain(self, error: OSError | RemoteError) -> None:
        """Once, when somebody first sees it."""
        explain = self.explain
        if explain is not None and not isinstance(error, TimeoutError):  # not that the caller waited too long
            self.explain = None
            explain(self, error)

    def done(self) -> bool:
        self.watch()
        return super().done()

    def running(self) -> bool:
        self.watch()
        return super().running()

    def add_done_callback(self, fn: Callable[[Future[Any]], object]) -> None:
        super().add_done_callback(fn)
        self.watch()

    def watch(self) -> None:
        self.watched = True
        listen = self.listen
        if listen is not None:
            listen()

    def _helped(self, timeout: float | None) -> float | None:
        """Read the answer here, if nobody else does; returns what is left of the time."""
        help_it = self.help
        if help_it is None:
            if not super().done():
                self.watch()  # it waits in the queue, or has just begun
            return timeout
        if timeout is None:
            help_it(None)
            return None
        begun = time.monotonic()
        help_it(timeout)
        return max(0.0, timeout - (time.monotonic() - begun))
