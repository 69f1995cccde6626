"""Results of libraries, with tokens and bytes changed: refused, or data that can be used without harm.

Runs in: the test process.  FOXDEN_FUZZ_SEED=n repeats a run.
"""

from __future__ import annotations

import contextlib
import os
import random
import warnings
from typing import Any

import numpy as np
import pytest
from tests.support.results import memory_of

from foxden.errors import BadMessage, ResultNotData
from foxden.ipc.value_decode import decode_value
from foxden.ipc.value_encode import encode_value
from foxden.ipc.values import Ext, decode_tokens, encode_tokens

SEED = int(os.environ.get("FOXDEN_FUZZ_SEED") or random.randrange(1 << 32))
TRIES = 400
ODD = (None, -1, 0, 1, 1 << 40, "", "x", [], ["struct", 1], ["string"], True, Ext(43, bytes(16)), Ext(37, b""),
    Ext(45, b"text"))


def values() -> list[Any]:
    pd, pa = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    words = pa.array(["a", None, "bcd"])
    table = pa.table({"s": words, "d": words.dictionary_encode(), "l": pa.array([[1], None, [2, 3]]),
                      "t": pa.array([{"a": 1}, None, {"a": 2}]), "b": pa.array([True, None, False])})  # fmt: skip
    frame = pd.DataFrame({"i": pd.array([1, None], dtype="Int64"), "c": pd.Categorical(["a", "b"]), "s": ["x", None],
                          "z": pd.date_range("2026", periods=2, tz="UTC"), "p": pd.period_range("2026", periods=2,
                          freq="M"),
                          "v": pd.interval_range(0, 2)})  # fmt: skip
    return [table, frame, frame.set_index(["i", "c"]), pd.date_range("2026", periods=3), np.array([True, False]), words]


def changed(chance: random.Random, row: list[Any], memory: bytearray) -> None:
    place = chance.randrange(len(row))
    how = chance.randrange(5)
    if how == 0:
        row[place] = chance.choice(ODD)
    elif how == 1:
        del row[place]
    elif how == 2:
        row.insert(place, row[chance.randrange(len(row))])
    elif how == 3 and type(row[place]) is Ext and row[place].data:
        data = bytearray(row[place].data)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        row[place] = Ext(row[place].code, bytes(data))
    elif memory:
        memory[chance.randrange(len(memory))] ^= 1 << chance.randrange(8)


@pytest.mark.leaks_ok("Arrow has threads of its own from its first use on")
def test_changed_results_are_refused_or_harmless() -> None:
    chance = random.Random(SEED)
    refused = taken = 0
    for value in values():
        encoded = encode_value(value, limit=1 << 24)
        for _ in range(TRIES):
            row, memory = list(decode_tokens(encoded.data)), memory_of(encoded)
            changed(chance, row, memory)
            try:
                with warnings.catch_warnings(action="ignore"):
                    found = decode_value(encode_tokens(row), memoryview(memory), {})
            except (BadMessage, ResultNotData):
                refused += 1
                continue
            taken += 1
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                str(found)  # every item of it is read: what was wrong in it would show
    assert refused > TRIES / 4, f"FOXDEN_FUZZ_SEED={SEED}"
    assert taken > TRIES / 4, f"FOXDEN_FUZZ_SEED={SEED}"
