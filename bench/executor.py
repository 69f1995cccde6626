"""Functions in a box, against concurrent.futures.ProcessPoolExecutor, taken in turns in one run."""

from __future__ import annotations

import concurrent.futures
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.figures import Figure, median
from foxden import SandboxExecutor

_CALLS = 400
_ROUNDS, _LARGE_ROUNDS = 41, 9  # a machine is a second quick and the next slow: many short ones, one after the other
_MANY, _CHUNK = 10_000, 100
_LARGE = 64 << 20  # bytes
_COLD_ROUNDS = 21
_SPAWN = "ProcessPoolExecutor, spawn"

Pool = concurrent.futures.Executor


def _round_trip(pool: Pool) -> float:
    start = time.perf_counter()
    for _ in range(_CALLS):
        pool.submit(pow, 2, 3).result()
    return (time.perf_counter() - start) / _CALLS


def _many(pool: Pool) -> float:
    start = time.perf_counter()
    assert sum(pool.map(abs, range(_MANY), chunksize=_CHUNK)) == _MANY * (_MANY - 1) // 2
    return time.perf_counter() - start


def _large(value: Any) -> Callable[[Pool], float]:
    def measure(pool: Pool) -> float:
        start = time.perf_counter()
        pool.submit(len, value).result()
        return time.perf_counter() - start

    return measure


def _in_turns(
    act: Callable[[Pool], float], ours: Pool, theirs: Pool, rounds: int = _LARGE_ROUNDS
) -> tuple[float, float, float]:
    """Medians of ours, of theirs, and of what ours takes of theirs in the same round."""
    pairs = [(act(ours), act(theirs)) for _ in range(rounds + 2)][2:]
    one, other = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return median(one), median(other), median([first / second for first, second in pairs])


def _first(*words: str, at_prompt: bool = False) -> list[tuple[float, float]]:
    """What bench/first_result prints: milliseconds, in pairs.  `at_prompt`: no file is `__main__`, as in a notebook."""
    program = os.path.join(os.path.dirname(__file__), "first_result.py")
    said = ["-c", Path(program).read_text(encoding="utf-8")] if at_prompt else [program]
    ran = subprocess.run([sys.executable, *said, *words], capture_output=True, text=True, check=True, timeout=120)
    return [(float(one), float(other)) for one, other in map(str.split, ran.stdout.splitlines())]


def _against(pairs: list[tuple[float, float]]) -> tuple[float, str]:
    """Medians: of ours to theirs in the same round, and of each."""
    ours, theirs = median([pair[0] for pair in pairs]), median([pair[1] for pair in pairs])
    return median([one / other for one, other in pairs]), f"{_SPAWN}: {theirs:.0f} ms, ours {ours:.0f} ms"


def _firsts() -> list[Figure]:
    turns, told = _against(_first("turns", str(_COLD_ROUNDS + 1))[1:])
    prompt, told_prompt = _against(_first("turns", str(_COLD_ROUNDS + 1), at_prompt=True)[1:])
    programs = [(*_first("ours"), *_first("theirs")) for _ in range(_COLD_ROUNDS + 1)][1:]
    made, told_made = _against([(ours[0], theirs[0]) for ours, theirs in programs])
    whole, told_whole = _against([(ours[1], theirs[1]) for ours, theirs in programs])
    return [
        Figure("first result of a cold executor / peer", turns, "x", 1, against=told),
        Figure("the same at a prompt, where its workers read no program / peer", prompt, "x", 1, against=told_prompt),
        Figure("first result of a program's first executor / peer", made, "x", 1, against=told_made),
        Figure("the same, with the imports of it / peer", whole, "x", against=told_whole),
    ]


def measure() -> list[Figure]:
    with SandboxExecutor(1) as ours, concurrent.futures.ProcessPoolExecutor(1) as theirs:
        ours.submit(pow, 2, 3).result()
        theirs.submit(pow, 2, 3).result()
        trip, their_trip, trip_ratio = _in_turns(_round_trip, ours, theirs, _ROUNDS)
        many, their_many, many_ratio = _in_turns(_many, ours, theirs, _ROUNDS)
        data, their_data, data_ratio = _in_turns(_large(bytes(_LARGE)), ours, theirs)
        array, their_array, array_ratio = _in_turns(_large(np.zeros(_LARGE // 8)), ours, theirs)
    peer = "ProcessPoolExecutor"
    return [
        Figure("function call, round trip", trip * 1e6, "µs", 60, against=f"{peer}: {their_trip * 1e6:.0f} µs"),
        Figure("function call, round trip / peer", trip_ratio, "x", 0.35, against=peer),
        Figure(f"{_MANY} calls by map in chunks of {_CHUNK}, rate / peer", 1 / many_ratio, "x", 3, at_least=True,
               against=f"{peer}: {their_many * 1e3:.1f} ms, ours {many * 1e3:.1f} ms"),
        Figure("64 MiB of bytes as an argument, rate / peer", 1 / data_ratio, "x", 10, at_least=True,
               against=f"{peer}: {their_data * 1e3:.0f} ms, ours {data * 1e3:.1f} ms"),
        Figure("64 MiB array as an argument, rate / peer", 1 / array_ratio, "x", 10, at_least=True,
               against=f"{peer}: {their_array * 1e3:.0f} ms, ours {array * 1e3:.1f} ms"),
        *_firsts(),
    ]  # fmt: skip
