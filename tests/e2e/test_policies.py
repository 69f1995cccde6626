"""A policy handed to functions and programs, at work: what it gives, what it takes back, what it cannot say."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support import boxed
from tests.support.den import end_shared_executors, pids, wait_until

import foxden
from foxden import AsyncDen, Den, Policy, PolicyError, SandboxExecutor, executor
from foxden.parent.call_pools import POOLS_MAX

WAIT_S = 30


@pytest.fixture(scope="module")
def den() -> Iterator[Den]:
    with Den(warm=("utility",)) as den:
        assert den.call(boxed.double, 1) == 2
        yield den


@pytest.fixture
def own_den() -> Iterator[Den]:
    """For what keeps workers for as long as the den lives."""
    with Den(warm=("utility",)) as den:
        yield den


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "secret").mkdir(parents=True)
    (folder / "open").write_text("open")
    (folder / "secret/key").write_text("hush")
    return folder


@pytest.fixture
def shared_executors() -> Iterator[None]:
    """Those of the decorators live as long as the program; here they end with the test."""
    yield
    end_shared_executors()


def run(pool: SandboxExecutor, function: Any, *args: Any) -> Any:
    return pool.submit(function, *args).result(WAIT_S)


def write(path: str, text: str = "new") -> str:
    with open(path, "w") as file:
        file.write(text)
    return path


def test_files_are_given_and_taken_back(den: Den, data: Path) -> None:
    policy = Policy(read=[data], deny=[data / "secret"])
    with SandboxExecutor(1, den=den, policy=policy) as pool:
        assert run(pool, boxed.open_file, str(data / "open")) == "open"
        for act in (boxed.open_file, write):
            with pytest.raises(PermissionError):
                run(pool, act, str(data / "secret/key"))
        with pytest.raises(PermissionError):
            run(pool, write, str(data / "open"))
    with SandboxExecutor(1, den=den, policy=Policy(read=[data])) as pool:
        assert run(pool, boxed.open_file, str(data / "secret/key")) == "hush", "the control: without the denial"
    with SandboxExecutor(1, den=den) as pool, pytest.raises(PermissionError):
        run(pool, boxed.open_file, str(data / "open"))


def test_a_grant_below_a_denial_holds(den: Den, data: Path) -> None:
    policy = Policy(read=[data, data / "secret/key"], deny=[data / "secret"])
    (data / "secret/other").write_text("hush")
    with SandboxExecutor(1, den=den, policy=policy) as pool:
        assert run(pool, boxed.open_file, str(data / "secret/key")) == "hush"
        with pytest.raises(PermissionError):
            run(pool, boxed.open_file, str(data / "secret/other"))


def test_what_is_written_is_protected_as_for_programs(den: Den, data: Path) -> None:
    (data / ".git").mkdir()
    policy = Policy(write=[data], protect=["*.lock"], unprotect=[".git/config"])
    with SandboxExecutor(1, den=den, policy=policy) as pool:
        for name in ("made", ".git/config"):
            assert run(pool, write, str(data / name)) == str(data / name)
        for name in ("a.lock", ".git/hooks", ".envrc"):
            with pytest.raises(PermissionError):
                run(pool, write, str(data / name))
    assert sorted(path.name for path in data.iterdir()) == [".git", "made", "open", "secret"]


def test_limits_and_environment_are_applied_and_options_win(den: Den, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "mine")
    policy = Policy(env={"TZ": "UTC", "MINE": None, "NO_SUCH_NAME_HERE": None}, memory="256 MiB", timeout=0.3)
    with SandboxExecutor(1, den=den, policy=policy, env={"TZ": "CET"}) as pool:
        found = run(pool, boxed.environment)
        assert (found["TZ"], found["MINE"], "NO_SUCH_NAME_HERE" in found) == ("CET", "mine", False)
        with pytest.raises(MemoryError):
            run(pool, boxed.allocate, 512 << 20)
        with pytest.raises(foxden.CallTimeout, match=r"within 0\.3 s"):
            run(pool, boxed.sleep, 20)
    with SandboxExecutor(1, den=den, policy=policy, memory="1 GiB", timeout=20) as pool:
        assert run(pool, boxed.allocate, 512 << 20) == 512 << 20
        assert run(pool, boxed.sleep, 0.4, "late") == "late"


def test_processor_time_is_limited_and_the_option_wins(own_den: Den) -> None:
    den, policy = own_den, Policy(cpu_time=0.3)
    for _ in range(3):
        assert den.call(boxed.compute, 0.15, "done", policy=policy) == "done"
    with pytest.raises(foxden.CallTimeout, match=r"spin: used more than 0\.3 s of processor time") as caught:
        den.call(boxed.spin, policy=policy)
    assert caught.value.limit == "cpu-time"
    assert den.call(boxed.double, 2, policy=policy) == 4, "the pool goes on"
    assert den.call(boxed.compute, 0.5, "done") == "done", "the control: without the policy"
    with SandboxExecutor(1, den=den, policy=policy, cpu_time=20) as pool:
        assert run(pool, boxed.compute, 0.5, "done") == "done"


def test_file_size_is_limited(den: Den, data: Path) -> None:
    with SandboxExecutor(1, den=den, policy=Policy(write=[data], file_size="64 KiB")) as pool:
        assert run(pool, write, str(data / "small"), "x" * 1000)
        with pytest.raises(OSError, match="File too large"):
            run(pool, write, str(data / "large"), "x" * 200_000)


def nice(value: int) -> int:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    return 0 if libc.setpriority(0, 0, value) == 0 else ctypes.get_errno()


def test_system_calls_are_allowed(den: Den) -> None:
    with SandboxExecutor(1, den=den) as pool:
        assert run(pool, nice, 5) == 1, "EPERM"
    with SandboxExecutor(1, den=den, policy=Policy(syscalls=["setpriority"])) as pool:
        assert run(pool, nice, 5) == 0


@pytest.mark.usefixtures("shared_executors")
def test_every_way_to_call_a_function_takes_a_policy(own_den: Den, data: Path, tmp_path: Path) -> None:
    den = own_den
    path = tmp_path / "p.toml"
    path.write_text(f'extends = "utility"\n[files]\n"{data}" = "r"\n')
    wanted = str(data / "open")

    @foxden.sandboxed(policy=path)
    def decorated(name: str) -> str:
        return boxed.open_file(name)

    assert decorated(wanted) == "open"
    policy = Policy.from_file(path)
    assert foxden.untrusted(boxed.open_file, wanted, policy=policy) == "open"
    assert den.call(boxed.open_file, wanted, policy=str(path)) == "open"
    before = len(den._pools)
    assert den.call(boxed.open_file, wanted, policy=Policy(extends="utility", read=[data])) == "open"
    assert len(den._pools) == before, "an equal policy has the same workers"
    for bare in (foxden.untrusted, den.call):
        with pytest.raises(PermissionError):
            bare(boxed.open_file, wanted)


@pytest.mark.usefixtures("shared_executors")
def test_untrusted_with_many_policies_keeps_the_workers_of_a_few() -> None:
    for number in range(POOLS_MAX + 4):
        assert foxden.untrusted(os.getenv, "N", policy=numbered(number)) == str(number)
    ((den, _),) = executor._untrusted.values()
    wait_until(lambda: len(den._pools) <= POOLS_MAX, "the pools that are too many to end")
    assert foxden.untrusted(os.getenv, "N", policy=numbered(0)) == "0"


def numbered(number: int) -> Policy:
    return Policy(env={"N": str(number)})


def held(den: Den) -> tuple[int, int]:
    """Pools whose threads live, and workers."""
    return sum(pool.thread.is_alive() for pool in list(den._pools)), len(pids(den, "utility"))


def test_many_policies_in_a_row_leave_few_workers(own_den: Den) -> None:
    den = own_den
    for number in range(3 * POOLS_MAX):
        assert den.call(boxed.number_there, policy=numbered(number)) == number
    wait_until(lambda: max(held(den)) <= POOLS_MAX, "pools beyond those that are kept to end")
    assert min(held(den)) == POOLS_MAX, "and no more than those"
    last = numbered(3 * POOLS_MAX - 1)
    uses = [den.call(boxed.use_again, policy=last) for _ in range(3)]
    assert uses == [1, 2, 3], "one that is kept is used again"
    assert den.call(boxed.number_there, policy=numbered(0)) == 0, "and one that is not starts anew"
    assert den.call(boxed.use_again, policy=last) == 4


def test_more_policies_at_once_than_are_kept_all_have_their_calls(own_den: Den) -> None:
    den, numbers = own_den, range(2 * POOLS_MAX)
    with ThreadPoolExecutor(len(numbers)) as threads:
        for before in (0.5, 0.0):  # all at once; and in each other's way
            found = threads.map(lambda number: den.call(boxed.number_there, before, policy=numbered(number)), numbers)  # noqa: B023
            assert list(found) == list(numbers)
    wait_until(lambda: max(held(den)) <= POOLS_MAX, "pools beyond those that are kept to end")


def test_calls_that_are_awaited_have_their_pools_and_let_them_go() -> None:
    async def work() -> None:
        async with AsyncDen(warm=("utility",)) as den:
            numbers = range(2 * POOLS_MAX)
            calls = [den.call(boxed.number_there, 0.2, policy=numbered(number)) for number in numbers]
            assert list(await asyncio.gather(*calls)) == list(numbers)
            given_up = asyncio.ensure_future(den.call(boxed.sleep, 0.5, policy=numbered(100)))
            await asyncio.sleep(0.2)
            given_up.cancel()
            for number in numbers:  # its pool is closed while the function sleeps on
                assert await den.call(boxed.number_there, policy=numbered(number)) == number
            for _ in range(200):
                if len(den._pools) <= POOLS_MAX:
                    break
                await asyncio.sleep(0.05)
            assert len(den._pools) == POOLS_MAX

    asyncio.run(work())


def test_one_policy_serves_functions_and_programs(own_den: Den, data: Path) -> None:
    den = own_den
    policy = Policy(read=[data], deny=[data / "secret"])
    assert den.call(boxed.open_file, str(data / "open"), policy=policy) == "open"
    done = den.run(["sh", "-c", f"cat {data}/open; cat {data}/secret/key"], policy=policy)
    assert (done.stdout, b"hush" in done.stdout) == (b"open", False)
    for call, wrong in ((den.call, Policy(extends="plugin")), (den.run, Policy(extends="utility"))):
        with pytest.raises(PolicyError, match="extends: expected"):
            call(os.getpid if call == den.call else ["true"], policy=wrong)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"policy": Policy(connect=["example.org"])}, "have no network"),
        ({"policy": Policy(output="1 MiB")}, "what a function prints is no part of its result"),
        ({"policy": Policy(memory="1 MiB")}, "memory: expected at least 32 MiB"),
        ({"policy": Policy(memory="1 GiB"), "level": 0}, "expected 1 with a policy, got 0"),
        ({"policy": Policy(deny=["/usr"]), "read": ["/usr"]}, "expected one answer for /usr"),
        ({"policy": "sokcet"}, "expected 'utility' or a policy file"),
        ({"policy": 3}, "expected a name, a file or a foxden.Policy"),
    ],
    ids=str,
)
def test_what_a_function_cannot_have_is_refused(den: Den, options: dict[str, Any], words: str) -> None:
    with pytest.raises(foxden.FoxdenError) as caught:
        SandboxExecutor(den=den, **options)
    assert words in str(caught.value)


def test_a_limit_on_output_names_what_to_use_instead(den: Den) -> None:
    with pytest.raises(PolicyError) as caught:
        den.call(os.getpid, policy=Policy(output="1 MiB"))
    assert "max_result=" in caught.value.hint
