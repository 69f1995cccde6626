"""When a call is looked at, and which limit it is over; the worker is this very process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from foxden.parent.calls import Call, CallFuture, Sizes
from foxden.parent.deadlines import FOREVER, Deadlines


def call(seconds: float | None = None, cpu_seconds: float | None = None, *, pid: int = 0, number: int = 1) -> Call:
    worker: Any = SimpleNamespace(host=SimpleNamespace(pid=pid or os.getpid()), is_answering=False)
    packed: Any = SimpleNamespace()
    return Call(number, "call", packed, False, seconds, CallFuture(), worker=worker, cpu_seconds=cpu_seconds)


def compute(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


def late(deadlines: Deadlines, now: float) -> list[tuple[Call, str]]:
    return [(each, error.limit) for each, error in deadlines.take_late(now)]


def test_a_call_is_late_when_its_time_is_up_and_not_before() -> None:
    deadlines, made = Deadlines(), call(5)
    assert (deadlines.next(), deadlines.begin(made, 100.0)) == (FOREVER, 105.0)
    assert late(deadlines, 104.9) == []
    assert late(deadlines, 105.0) == [(made, "timeout")]
    assert deadlines.next() == FOREVER


def test_a_call_that_has_returned_or_lost_its_worker_is_not_late() -> None:
    deadlines, returned, taken_back = Deadlines(), call(5), call(5)
    for made in (returned, taken_back):
        deadlines.begin(made, 100.0)
    deadlines.end(returned)
    taken_back.worker = None
    assert late(deadlines, 200.0) == []
    assert deadlines.next() == FOREVER


def test_a_call_whose_answer_is_being_read_is_not_late_yet() -> None:
    deadlines, made = Deadlines(), call(5)
    deadlines.begin(made, 100.0)
    answering: Any = made.worker
    answering.is_answering = True
    assert late(deadlines, 106.0) == []
    assert 106.0 < deadlines.next() < 107.0
    answering.is_answering = False
    assert late(deadlines, 107.0) == [(made, "timeout")]


def test_calls_that_have_returned_are_not_kept_until_their_time() -> None:
    deadlines = Deadlines()
    for number in range(5000):
        made = call(5, number=number)
        deadlines.begin(made, 100.0)
        deadlines.end(made)
    assert len(deadlines._heap) < 1100
    assert not deadlines._calls


def test_a_call_that_is_begun_anew_has_all_its_time_again() -> None:
    deadlines, made = Deadlines(), call(5)
    deadlines.begin(made, 100.0)
    deadlines.begin(made, 103.0)
    assert late(deadlines, 106.0) == []
    assert late(deadlines, 108.0) == [(made, "timeout")]


def test_processor_time_counts_from_the_calls_beginning_and_time_alone_does_not() -> None:
    deadlines, made = Deadlines(), call(cpu_seconds=0.2)
    compute(0.25)
    begun = time.monotonic()
    first = deadlines.begin(made, begun)
    assert first <= begun + 0.2, "so much can have been used by then"
    assert late(deadlines, begun + 1000) == [], "looked at, and not over"
    assert deadlines.next() > begun + 1000, "and looked at again"
    compute(0.25)
    assert late(deadlines, begun + 2000) == [(made, "cpu-time")]


def test_of_two_limits_the_first_that_is_passed_is_named() -> None:
    deadlines, made = Deadlines(), call(5, 1000)
    assert deadlines.begin(made, 100.0) == 105.0
    assert late(deadlines, 105.0) == [(made, "timeout")]


def test_a_process_of_which_nothing_is_known_is_not_let_go_on() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    deadlines, made = Deadlines(), call(cpu_seconds=100, pid=ended.pid)
    deadlines.begin(made, 100.0)
    assert late(deadlines, 101.0) == [(made, "cpu-time")]


def test_another_process_is_looked_at() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinning:
        try:
            deadlines, made = Deadlines(), call(cpu_seconds=0.1, pid=spinning.pid)
            deadlines.begin(made, time.monotonic())
            until = time.monotonic() + 20
            while not (found := late(deadlines, time.monotonic())) and time.monotonic() < until:
                time.sleep(0.01)
            assert found == [(made, "cpu-time")]
        finally:
            spinning.kill()


@pytest.mark.parametrize(
    ("sizes", "times"),
    [(Sizes(1), (None, None)), (Sizes(1, 2.0), (6.0, None)), (Sizes(1, cpu_seconds=0.5), (None, 1.5))],
)
def test_a_chunk_has_the_time_of_all_its_calls(sizes: Sizes, times: tuple[float | None, float | None]) -> None:
    assert sizes.times(3) == times
    assert sizes.times(1) == (sizes.seconds, sizes.cpu_seconds)
