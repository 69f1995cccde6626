"""Who of a pool has which call: in the order they came, none twice, none lost, and none behind a slow one."""

from __future__ import annotations

import itertools
import time
from collections import deque
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from foxden.parent.arguments import Packed
from foxden.parent.calls import Call, CallFuture, Sizes
from foxden.parent.schedule import Schedule

PLAIN = Packed(b"x", (), 0)
BUFFERS = Packed(b"x", ((memoryview(b"y"), False),), 64)


class Worker:
    dead, quick_at, since, took = False, "", 0.0, 0.0


def workers(count: int) -> list[Any]:
    return [Worker() for _ in range(count)]


def chunk(number: int, name: str = "f", *, of: int = 1, packed: Packed = PLAIN) -> Call:
    return Call(number, name, packed, of, None, CallFuture())


def of(team: list[Any], most: int | None = None, **sizes: Any) -> Schedule:
    """Of a pool with these workers, none of which is idle."""
    schedule = Schedule(Sizes(len(team) if most is None else most, **sizes))
    schedule.workers.update(team)
    return schedule


def placed(schedule: Schedule, call: Call) -> Any:
    """Place a call, and send it."""
    worker = schedule.place(call)
    call.sent = worker is not None
    return worker


def at_work(*calls: Call, quick: bool = True, most: int = 1) -> tuple[Schedule, Any]:
    """One worker, which is at the first call after it has done another of the same kind; the rest is placed."""
    (worker,) = workers(1)
    schedule = of([worker], most)
    schedule.idle.append(worker)
    for call in (chunk(0, calls[0].name, of=calls[0].chunk_of), *calls):
        placed(schedule, call)
        if call.number == 0:
            worker.since = time.monotonic() - (0 if quick else 1)
            schedule.answered(worker)
            schedule.idle.append(worker)
    return schedule, worker


def test_idle_workers_that_live_have_calls_at_once_and_the_rest_waits() -> None:
    dead, living = workers(2)
    schedule = of([dead, living])
    dead.dead = True
    schedule.idle += [living, dead]
    first, second, third = chunk(1), chunk(2), chunk(3)
    assert placed(schedule, first) is living
    assert placed(schedule, second) is None
    assert placed(schedule, third) is None
    assert schedule.answered(living) == (first, None)
    assert [schedule.next_of(living), schedule.next_of(living)] == [second, third]
    schedule.take(living, third)
    assert schedule.next_of(living) is None
    assert schedule.idle == [living]


def test_as_many_workers_as_there_are_calls_for_up_to_the_most() -> None:
    schedule = of(workers(1), most=3)
    assert schedule.missing(spare=True) == 0
    schedule.queue.extend([chunk(1), chunk(2), chunk(3)])
    assert schedule.missing(spare=True) == 2
    schedule.starting = 1
    assert schedule.missing(spare=True) == 1
    next(iter(schedule.workers)).dead = True
    assert schedule.missing(spare=True) == 2
    fresh = of(workers(1), most=1, calls_each=1, spare=True)
    assert fresh.missing(spare=True) == 1
    assert fresh.missing(spare=False) == 0


def test_a_chunk_follows_one_that_was_quick() -> None:
    first, second, third = chunk(1), chunk(2), chunk(3)
    schedule, worker = at_work(first, most=2)
    assert schedule.place(second) is None  # another worker may come
    assert schedule.follow(worker) == [second]
    assert schedule.place(third) is None  # what is behind is still to be sent
    assert schedule.follow(worker) == []
    worker.since = time.monotonic()
    assert schedule.answered(worker) == (first, second)
    assert schedule.follow(worker) == []  # it is still to be sent
    second.sent = True
    assert schedule.follow(worker) == [third]


def waiting(count: int, *, took: float = 0.0, most: int = 1, of: int = 1, packed: Packed = PLAIN) -> tuple[Any, Any]:
    """A worker that is at a chunk, and `count` more in the queue: the schedule, the worker."""
    schedule, worker = at_work(chunk(1))
    worker.took = took
    schedule.queue.extend(chunk(2 + place, of=of, packed=packed) for place in range(count))
    schedule._sizes = Sizes(most)
    return schedule, worker


def numbers(calls: list[Call]) -> list[int]:
    return [call.number for call in calls]


def test_quick_chunks_follow_some_at_a_time() -> None:
    schedule, worker = waiting(20)
    group = schedule.follow(worker)
    assert numbers(group) == list(range(2, 10))
    for call in group:
        call.sent = True
    assert schedule.follow(worker) == []  # there is enough behind it
    for expected in range(2, 6):
        worker.since = time.monotonic()
        _, after = schedule.answered(worker)
        assert after.number == expected
    assert numbers(schedule.follow(worker)) == list(range(10, 18))
    assert len(schedule.queue) == 4


def test_only_as_many_follow_as_will_be_done_in_a_moment() -> None:
    for took, expected in ((0.0001, 8), (0.0005, 4), (0.0011, 1)):
        schedule, worker = waiting(20, took=took)
        assert len(schedule.follow(worker)) == expected


def test_the_other_workers_have_enough_to_do() -> None:
    for queued, most, expected in ((80, 2, 8), (16, 2, 2), (4, 2, 1), (1, 2, 1), (64, 8, 2)):
        schedule, worker = waiting(queued, most=most)
        assert len(schedule.follow(worker)) == expected


def test_what_goes_together_is_of_one_map_and_fits_a_packet() -> None:
    schedule, worker = waiting(2)
    schedule.queue.append(chunk(4, of=2))
    assert numbers(schedule.follow(worker)) == [2, 3]
    schedule, worker = waiting(2)
    schedule.queue.append(chunk(4, packed=BUFFERS))
    assert numbers(schedule.follow(worker)) == [2, 3]
    schedule, worker = waiting(2)
    schedule.queue.append(chunk(4, packed=Packed(b"x", (), 0, b"another function")))
    assert numbers(schedule.follow(worker)) == [2, 3]
    schedule, worker = waiting(8, packed=Packed(bytes(10_000), (), 0))
    group = schedule.follow(worker)
    assert numbers(group) == [2, 3, 4]
    for call in group:
        call.sent = True
    assert schedule.follow(worker) == []  # what is behind may not have been read yet
    schedule, worker = waiting(8, packed=Packed(bytes(32_768), (), 0))
    assert numbers(schedule.follow(worker)) == [2]


def test_what_is_taken_away_from_the_middle_leaves_the_rest_in_order() -> None:
    schedule, worker = waiting(4)
    group = schedule.follow(worker)
    worker.since = time.monotonic()
    schedule.answered(worker)
    assert schedule.take(worker, group[2])
    assert schedule.take(worker, group[0])  # that is the one that it would begin
    assert schedule.busy == {worker: group[1]}
    assert list(schedule.behind[worker]) == [group[3]]
    assert not schedule.take(worker, group[0])


def test_what_was_cancelled_is_not_sent_whoever_has_it_by_now() -> None:
    schedule, worker = waiting(4)
    group = schedule.follow(worker)
    for call in (group[0], group[2]):
        call.begun = True
    assert schedule.take_cancelled(worker, group) == [group[0], group[2]]
    assert list(schedule.behind[worker]) == [group[0], group[2]]
    schedule.clear()
    assert schedule.take_cancelled(worker, group) == [group[0], group[2]]


def test_a_group_that_never_arrived_goes_to_the_next_in_order() -> None:
    schedule, worker = waiting(6)
    group = schedule.follow(worker)
    assert schedule.did_not_get(worker, group)
    assert numbers(schedule.queue) == [2, 3, 4, 5, 6, 7]
    assert schedule.behind == {}


def test_a_chunk_is_placed_behind_where_no_other_worker_will_come() -> None:
    first, second = chunk(1), chunk(2)
    schedule, worker = at_work(first)
    assert schedule.place(second) is worker
    assert schedule.behind == {worker: deque([second])}
    assert schedule.has(worker, first)
    assert schedule.has(worker, second)


def test_nothing_follows_what_may_take_long_or_be_in_the_way() -> None:
    single = chunk(2, of=0)
    for running, after, quick in (
        (chunk(1), chunk(2), False),  # the last was slow
        (chunk(1), chunk(2, "g"), True),  # another function
        (chunk(1), single, True),
        (chunk(1, of=0), chunk(2), True),
        (chunk(1, of=0), single, True),
        (chunk(1), chunk(2, of=2), True),  # of another map, which would wait for what is not its own
        (chunk(1), chunk(2, packed=BUFFERS), True),
    ):
        schedule, worker = at_work(running, quick=quick)
        assert schedule.place(after) is None
        assert schedule.follow(worker) == []
    schedule, worker = at_work(chunk(1))
    worker.dead = True
    assert schedule.place(chunk(2)) is None
    schedule, worker = at_work(chunk(1))
    schedule.busy[worker].sent = False  # it would be sent after what is to follow it
    assert schedule.place(chunk(2)) is None
    assert schedule.follow(worker) == []
    one_each = of([worker], calls_each=1)
    one_each.busy[worker] = chunk(1)
    one_each.busy[worker].sent = True
    assert one_each.place(chunk(2)) is None


def test_what_a_worker_that_ends_had_not_begun_goes_to_the_next_first() -> None:
    first, second, third = chunk(1), chunk(2), chunk(3)
    schedule, worker = at_work(first)
    assert placed(schedule, second) is worker
    assert placed(schedule, third) is None
    second.worker, second.future.help, second.future.listen = worker, print, print
    assert schedule.gone(worker) is first
    assert list(schedule.queue) == [second, third]
    assert schedule.behind == {}
    assert (second.worker, second.future.help, second.future.listen, second.sent) == (None, None, None, False)
    assert schedule.gone(worker) is None


def test_what_is_still_to_be_sent_stays_with_who_sends_it() -> None:
    first, second = chunk(1), chunk(2)
    schedule, worker = at_work(first)
    assert schedule.place(second) is worker
    assert schedule.gone(worker) is first
    assert schedule.behind == {worker: deque([second])}
    assert schedule.did_not_get(worker, [second])
    assert list(schedule.queue) == [second]
    schedule, worker = at_work(first)
    first.sent = False
    assert schedule.gone(worker) is None
    assert schedule.did_not_get(worker, [first])


def test_a_call_that_never_arrived_goes_to_the_next_once() -> None:
    first = chunk(1)
    schedule, worker = at_work(first)
    assert schedule.did_not_get(worker, [first])
    assert not schedule.did_not_get(worker, [first])
    assert list(schedule.queue) == [first]


def test_what_has_begun_is_not_taken_back() -> None:
    first, second = chunk(1), chunk(2)
    schedule = of(workers(1))
    second.begun = True
    schedule.queue.extend([first, second])
    assert schedule.take_unbegun() == [first]
    assert list(schedule.queue) == [second]


def test_nothing_is_forgotten_at_the_end() -> None:
    calls = [chunk(1), chunk(2), chunk(3)]
    schedule, _ = at_work(*calls)
    assert sorted(schedule.clear(), key=lambda call: call.number) == calls
    assert schedule.clear() == []


_ACTS = ["place", "place others", "take", "send", "answer", "follow", "end", "quick", "slow"]


@given(st.lists(st.sampled_from(_ACTS), max_size=60))
def test_each_call_is_in_one_place_whatever_happens_and_goes_in_order(acts: list[str]) -> None:
    team = workers(2)
    schedule, numbers, done = of(team), 0, set[int]()
    wires: dict[Any, list[Call]] = {worker: [] for worker in team}  # what a worker was sent and has not answered
    schedule.idle += team

    def given(worker: Any) -> list[Call]:
        running = schedule.busy.get(worker)
        return [*([running] if running is not None else []), *schedule.behind.get(worker, ())]

    def send(worker: Any) -> None:
        for call in given(worker):
            if not call.sent:
                call.sent = True
                wires[worker].append(call)

    for place, act in enumerate(acts):
        worker = team[place % 2]
        if act in ("place", "place others"):
            for _ in range(5):
                numbers += 1
                schedule.place(chunk(numbers, of=1 if act == "place" else 2))
        elif act == "send":
            send(worker)
        elif act == "answer" and wires[worker]:
            ended, after = schedule.answered(worker)
            assert ended is wires[worker].pop(0)
            done.add(ended.number)
            if after is None:
                schedule.next_of(worker)
        elif act == "follow":
            schedule.follow(worker)
        elif act == "end":
            worker.dead = True
            lost = schedule.gone(worker)
            done |= {lost.number} if lost else set()
            unsent = given(worker)
            assert schedule.did_not_get(worker, unsent) or not unsent
            schedule.workers.discard(worker)
            team[place % 2] = Worker()
            schedule.workers.add(team[place % 2])
            wires[team[place % 2]] = []
            schedule.next_of(team[place % 2])
        elif act == "take" and (unsent := [call for call in given(worker) if not call.sent]):
            assert schedule.take(worker, unsent[0])
            done.add(unsent[0].number)
            if schedule.is_free(worker):
                schedule.next_of(worker)
        elif act in ("quick", "slow"):
            worker.since = time.monotonic() - (0 if act == "quick" else 1)
        behind = itertools.chain.from_iterable(schedule.behind.values())
        where = [call.number for call in (*schedule.queue, *schedule.busy.values(), *behind)]
        assert all(schedule.behind.values())
        assert sorted([*where, *done]) == list(range(1, numbers + 1))
        assert set(schedule.behind) <= set(schedule.busy)
        assert not set(schedule.idle) & set(schedule.busy)
        assert all(len({call.chunk_of for call in given(worker)}) <= 1 for worker in team)
