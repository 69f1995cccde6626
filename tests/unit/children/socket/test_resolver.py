"""Look-ups: cached, asked once for all who wait, given up at once, and never stopped by one that hangs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from foxden.children.socket import resolver as module
from foxden.children.socket.resolver import CACHE_MAX, Answer, Lookup, Resolver, query_system


class Names:
    """A resolver of the system that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = threading.Event()
        self.stuck: set[str] = set()

    def query(self, host: str) -> Answer:
        self.asked.append(host)
        if host in self.stuck:
            self.go.wait(10)
        return ("192.0.2.1",) if host.endswith(".example") else ()


def run(test: Callable[[Resolver, Names], object], **options: float) -> None:
    names = Names()

    async def go() -> None:
        settings = {"threads": 2, "cache_s": 60.0, **options}
        resolver = Resolver(query=names.query, **settings)  # type: ignore[arg-type]
        try:
            await test(resolver, names)  # type: ignore[misc]
        finally:
            names.go.set()
            resolver.close()

    asyncio.run(go())


async def ask(resolver: Resolver, host: str) -> Answer:
    waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    resolver.lookup(host, waiting.set_result)
    return await asyncio.wait_for(waiting, 5)


def test_answer_is_kept_and_asked_for_once() -> None:
    async def test(resolver: Resolver, names: Names) -> None:
        for _ in range(3):
            assert await ask(resolver, "a.example") == ("192.0.2.1",)
        assert names.asked == ["a.example"]

    run(test)


def test_kept_answer_comes_at_once() -> None:
    async def test(resolver: Resolver, names: Names) -> None:
        await ask(resolver, "a.example")
        answers: list[Answer] = []
        assert resolver.lookup("a.example", answers.append) is None
        assert answers == [("192.0.2.1",)]

    run(test)


def test_kept_answer_expires() -> None:
    async def test(resolver: Resolver, names: Names) -> None:
        await ask(resolver, "a.example")
        await asyncio.sleep(0.06)
        await ask(resolver, "a.example")
        assert names.asked == ["a.example"] * 2

    run(test, cache_s=0.05)


def test_missing_name_is_kept_for_a_shorter_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEGATIVE_CACHE_S", 0.05)

    async def test(resolver: Resolver, names: Names) -> None:
        assert await ask(resolver, "nowhere.test") == ()
        assert await ask(resolver, "nowhere.test") == ()
        assert len(names.asked) == 1
        await asyncio.sleep(0.06)
        await ask(resolver, "nowhere.test")
        assert len(names.asked) == 2

    run(test)


def test_equal_questions_are_asked_once() -> None:
    async def test(resolver: Resolver, names: Names) -> None:
        names.stuck.add("a.example")
        waiting = [asyncio.ensure_future(ask(resolver, "a.example")) for _ in range(20)]
        await asyncio.sleep(0.05)
        names.go.set()
        assert set(await asyncio.gather(*waiting)) == {("192.0.2.1",)}
        assert names.asked == ["a.example"]

    run(test)


def test_stuck_question_costs_its_own_thread_and_no_other() -> None:
    async def test(resolver: Resolver, names: Names) -> None:
        names.stuck.add("stuck.example")
        stuck = asyncio.ensure_future(ask(resolver, "stuck.example"))
        for number in range(10):
            assert await ask(resolver, f"{number}.example") == ("192.0.2.1",)
        assert not stuck.done()
        names.go.set()
        await stuck

    run(test)


def test_given_up_question_is_not_answered_and_not_asked_if_it_had_not_begun() -> None:
    async def test(resolver: Resolver, names: Names) -> None:
        names.stuck |= {"1.example", "2.example"}
        answers: list[Answer] = []
        begun = [resolver.lookup(host, answers.append) for host in ("1.example", "2.example")]
        await asyncio.sleep(0.05)
        queued = resolver.lookup("3.example", answers.append)
        for lookup in (*begun, queued):
            assert isinstance(lookup, Lookup)
            lookup.cancel()
        names.go.set()
        await asyncio.sleep(0.05)
        assert answers == []
        assert sorted(names.asked) == ["1.example", "2.example"]
        assert await ask(resolver, "3.example") == ("192.0.2.1",)

    run(test)


def test_answer_to_a_given_up_question_is_kept_for_others() -> None:
    async def test(resolver: Resolver, names: Names) -> None:
        names.stuck.add("a.example")
        lookup = resolver.lookup("a.example", lambda answer: pytest.fail("was given up"))
        await asyncio.sleep(0.05)
        assert lookup is not None
        lookup.cancel()
        later = asyncio.ensure_future(ask(resolver, "a.example"))
        await asyncio.sleep(0.02)
        names.go.set()
        assert await later == ("192.0.2.1",)
        assert names.asked == ["a.example"]

    run(test)


def test_waiter_that_gives_up_while_another_is_answered_hears_nothing() -> None:
    async def test(resolver: Resolver, names: Names) -> None:
        second: list[Lookup | None] = []

        def first(answer: Answer) -> None:
            assert second[0] is not None
            second[0].cancel()

        resolver.lookup("a.example", first)
        second.append(resolver.lookup("a.example", lambda answer: pytest.fail("was given up")))
        await ask(resolver, "a.example")

    run(test)


def test_query_that_raises_is_an_answer_too() -> None:
    def broken(host: str) -> Answer:
        raise ValueError(host)

    async def go() -> None:
        resolver = Resolver(threads=1, cache_s=0, query=broken)
        assert await ask(resolver, "a.example") == ()
        assert await ask(resolver, "b.example") == ()
        resolver.close()

    asyncio.run(go())


def test_localhost_is_never_asked_for() -> None:
    async def test(resolver: Resolver, names: Names) -> None:
        assert await ask(resolver, "localhost") == ("127.0.0.1", "::1")
        assert await ask(resolver, "app.localhost") == ("127.0.0.1", "::1")
        assert names.asked == []

    run(test)


def test_cache_is_bounded() -> None:
    async def test(resolver: Resolver, names: Names) -> None:
        for number in range(CACHE_MAX + 5):
            resolver.lookup(f"{number}.example", lambda answer: None)
        await ask(resolver, "last.example")
        assert len(resolver._cache) <= CACHE_MAX

    run(test)


def test_closing_does_not_wait_for_a_stuck_question() -> None:
    async def test(resolver: Resolver, names: Names) -> None:
        names.stuck.add("a.example")
        resolver.lookup("a.example", lambda answer: pytest.fail("closed"))
        await asyncio.sleep(0.02)
        resolver.close()

    run(test)


def test_system_is_asked_without_raising() -> None:
    assert query_system("127.0.0.1") == ("127.0.0.1",)
    assert query_system("no\0host") == ()
    assert query_system("b\xfccher") == ()
