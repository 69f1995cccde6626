"""Who of a pool has which call: in the order they came, none twice, none lost, and none behind a slow one."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from foxden.parent.arguments import Packed
from foxden.parent.calls import Call, CallFuture
from foxden.parent.schedule import Schedule

PLAIN = Packed(b"x", (), 0)
BUFFERS = Packed(b"x", ((memoryview(b"y"), False),), 64)


class Worker:
    dead, quick_at, since = False, "", 0.0


def workers(count: int) -> list[Any]:
    return [Worker() for _ in range(count)]


def chunk(number: int, name: str = "f", *, each: bool = True, packed: Packed = PLAIN) -> Call:
    return Call(number, name, packed, each, None, CallFuture())


def yes() -> bool:
    return True


def no() -> bool:
    return False


def at_work(*calls: Call, quick: bool = True) -> tuple[Schedule, Any]:
    """One worker, which is at the first call after it has done another of the same kind; the rest is placed."""
    schedule, (worker,) = Schedule(follows=True), workers(1)
    schedule.idle.append(worker)
    for call in (chunk(0, calls[0].name), *calls):
        schedule.place(call, no)
        if call.number == 0:
            worker.since = time.monotonic() - (0 if quick else 1)
            schedule.answered(worker)
            schedule.idle.append(worker)
    return schedule, worker


def test_idle_workers_that_live_have_calls_at_once_and_the_rest_waits() -> None:
    schedule, (dead, living) = Schedule(follows=True), workers(2)
    dead.dead = True
    schedule.idle += [living, dead]
    first, second, third = chunk(1), chunk(2), chunk(3)
    assert schedule.place(first, yes) is living
    assert schedule.place(second, yes) is None
    assert schedule.place(third, yes) is None
    assert schedule.answered(living) == (first, None)
    assert [schedule.next_of(living), schedule.next_of(living)] == [second, third]
    schedule.take(living, third)
    assert schedule.next_of(living) is None
    assert schedule.idle == [living]


def test_a_chunk_follows_one_that_was_quick() -> None:
    first, second, third = chunk(1), chunk(2), chunk(3)
    schedule, worker = at_work(first)
    assert schedule.place(second, no) is None  # another worker is about to come
    assert schedule.follow(worker) is second
    assert schedule.place(third, yes) is None  # one behind is enough
    assert schedule.follow(worker) is None
    worker.since = time.monotonic()
    assert schedule.answered(worker) == (first, second)
    assert schedule.follow(worker) is third


def test_a_chunk_is_placed_behind_where_no_other_worker_will_come() -> None:
    first, second = chunk(1), chunk(2)
    schedule, worker = at_work(first)
    assert schedule.place(second, yes) is worker
    assert schedule.behind == {worker: second}
    assert schedule.has(worker, first)
    assert schedule.has(worker, second)


def test_nothing_follows_what_may_take_long_or_be_in_the_way() -> None:
    single = chunk(2, each=False)
    for running, after, quick in (
        (chunk(1), chunk(2), False),  # the last was slow
        (chunk(1), chunk(2, "g"), True),  # another function
        (chunk(1), single, True),
        (chunk(1, each=False), chunk(2), True),
        (chunk(1), chunk(2, packed=BUFFERS), True),
    ):
        schedule, worker = at_work(running, quick=quick)
        assert schedule.place(after, yes) is None
        assert schedule.follow(worker) is None
    schedule, worker = at_work(chunk(1))
    worker.dead = True
    assert schedule.place(chunk(2), yes) is None
    one_each = Schedule(follows=False)
    worker.dead, one_each.busy[worker] = False, chunk(1)
    assert one_each.place(chunk(2), yes) is None


def test_what_a_worker_that_ends_had_not_begun_goes_to_the_next_first() -> None:
    first, second, third = chunk(1), chunk(2), chunk(3)
    schedule, worker = at_work(first, second, third)
    assert schedule.follow(worker) is second
    second.worker, second.future.help, second.future.listen = worker, print, print
    assert schedule.gone(worker) is first
    assert list(schedule.queue) == [second, third]
    assert (second.worker, second.future.help, second.future.listen) == (None, None, None)
    assert schedule.gone(worker) is None


def test_a_call_that_never_arrived_goes_to_the_next_once() -> None:
    first = chunk(1)
    schedule, worker = at_work(first)
    assert schedule.did_not_get(worker, first)
    assert not schedule.did_not_get(worker, first)
    assert list(schedule.queue) == [first]


def test_nothing_is_forgotten_at_the_end() -> None:
    calls = [chunk(1), chunk(2), chunk(3)]
    schedule, worker = at_work(*calls)
    schedule.follow(worker)
    assert sorted(schedule.clear(), key=lambda call: call.number) == calls
    assert schedule.clear() == []


@given(st.lists(st.sampled_from(["place", "answer", "follow", "next", "end", "lose", "quick", "slow"]), max_size=60))
def test_each_call_is_in_one_place_whatever_happens(acts: list[str]) -> None:
    schedule, numbers, done = Schedule(follows=True), 0, set[int]()
    team = workers(2)
    schedule.idle += team
    for place, act in enumerate(acts):
        worker = team[place % 2]
        running = schedule.busy.get(worker)
        if act == "place":
            numbers += 1
            schedule.place(chunk(numbers), yes)
        elif act == "answer" and running is not None:
            ended, after = schedule.answered(worker)
            done.add(ended.number if ended else 0)
            if after is None:
                schedule.next_of(worker)
        elif act == "follow":
            schedule.follow(worker)
        elif act == "end":
            lost = schedule.gone(worker)
            done |= {lost.number} if lost else set()
            team[place % 2] = Worker()
            schedule.next_of(team[place % 2])
        elif act == "lose" and running is not None and worker not in schedule.behind:
            schedule.did_not_get(worker, running)
            schedule.next_of(worker)
        elif act in ("quick", "slow"):
            worker.since = time.monotonic() - (0 if act == "quick" else 1)
        where = [call.number for call in (*schedule.queue, *schedule.busy.values(), *schedule.behind.values())]
        assert sorted([*where, *done]) == list(range(1, numbers + 1))
        assert set(schedule.behind) <= set(schedule.busy)
        assert not set(schedule.idle) & set(schedule.busy)
