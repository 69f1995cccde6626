"""Pools of a den's calls: few are kept, and none is closed under a call."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from foxden import FoxdenError, Policy
from foxden.parent.call_pools import POOLS_MAX, CallPools


class Pool:
    """What is asked of one here."""

    def __init__(self, settings: Any, sizes: Any, finished: Any) -> None:
        self.number = int(dict(settings.grants.environment).get("N", -1))
        self.closed = False

    def close(self, *, cancel: bool) -> None:
        assert not cancel, "a call that was given up may end"
        self.closed = True


class Made:
    """CallPools, and what they made."""

    def __init__(self) -> None:
        self.pools: list[Pool] = []
        self.calls = CallPools(self._make)  # type: ignore[arg-type]

    def _make(self, *settings: Any) -> Pool:
        self.pools.append(Pool(*settings))
        return self.pools[-1]

    def use(self, *numbers: int) -> None:
        for number in numbers:
            with self.calls.lend(policy(number)) as functions:
                assert functions.pool.number == number  # type: ignore[attr-defined]
                assert not functions.pool.closed  # type: ignore[attr-defined]

    def open(self) -> list[int]:
        return [pool.number for pool in self.pools if not pool.closed]


def policy(number: int) -> Policy:
    return Policy(env={"N": str(number)})


@pytest.fixture
def made() -> Made:
    return Made()


def test_the_one_unused_for_longest_is_closed_first(made: Made) -> None:
    made.use(*range(POOLS_MAX), 0)
    assert made.open() == list(range(POOLS_MAX)), "so many are kept"
    made.use(100)
    assert made.open() == [0, *range(2, POOLS_MAX), 100]
    made.use(0, 2, 1)
    assert made.open() == [0, 2, *range(4, POOLS_MAX), 100, 1]
    made.use(*range(200, 300))
    assert made.open() == list(range(300 - POOLS_MAX, 300))


def test_an_equal_policy_has_the_same_pool(made: Made) -> None:
    made.use(1, 1, 2, 1)
    for bare in (None, "utility", Policy(), None):
        with made.calls.lend(bare):
            pass
    assert made.open() == [1, 2, -1]


def test_none_is_closed_that_has_a_call(made: Made) -> None:
    lent = [made.calls.lend(policy(number)) for number in range(2 * POOLS_MAX)]
    twice = made.calls.lend(policy(0))
    assert len(made.open()) == 2 * POOLS_MAX
    for each in reversed(lent):
        made.calls.give_back(each)
    assert len(made.open()) == POOLS_MAX
    made.use(*range(100, 100 + 2 * POOLS_MAX))
    assert 0 in made.open()
    made.calls.give_back(twice)
    made.use(*range(200, 200 + POOLS_MAX))
    assert made.open() == list(range(200, 200 + POOLS_MAX))


def test_what_fails_is_not_kept(made: Made) -> None:
    for wrong in ("socket", Policy(memory="1 MiB"), Policy(connect=["example.org"])):
        with pytest.raises(FoxdenError), made.calls.lend(wrong):
            pytest.fail("it was lent")
    made.use(*range(POOLS_MAX))
    with pytest.raises(ZeroDivisionError), made.calls.lend(policy(0)):
        raise ZeroDivisionError  # the call's own
    made.use(*range(100, 100 + POOLS_MAX))
    assert made.open() == list(range(100, 100 + POOLS_MAX))


def test_many_threads_with_many_policies_never_meet_a_closed_one(made: Made) -> None:
    failed: list[BaseException] = []

    def use(start: int) -> None:
        try:
            for number in range(start, start + 60):
                made.use(number % (3 * POOLS_MAX))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=use, args=(7 * number,)) for number in range(2 * POOLS_MAX)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(made.open()) == POOLS_MAX
    assert len(set(made.open())) == POOLS_MAX, "one a policy"
