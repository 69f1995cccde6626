"""Waiting a moment awake: what is there or comes soon is seen; what does not come is not waited for."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator

import pytest

from foxden.ipc import awake


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


@pytest.fixture
def poller(pipe: tuple[int, int]) -> select.poll:
    poller = select.poll()
    poller.register(pipe[0], select.POLLIN)
    return poller


@pytest.mark.parametrize("alone", [False, True])
def test_what_is_there_is_seen_at_once(
    pipe: tuple[int, int], poller: select.poll, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awake, "_alone", alone)
    os.write(pipe[1], b"x")
    assert awake.soon(poller) == [(pipe[0], select.POLLIN)]


def test_what_comes_meanwhile_is_seen(
    pipe: tuple[int, int], poller: select.poll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awake, "_alone", False)
    monkeypatch.setattr(awake, "_AWAKE_S", 30.0)
    later = threading.Timer(0.05, os.write, (pipe[1], b"x"))
    later.start()
    assert awake.soon(poller) == [(pipe[0], select.POLLIN)]
    later.join()


@pytest.mark.parametrize("alone", [False, True])
def test_what_does_not_come_is_not_waited_for(
    poller: select.poll, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awake, "_alone", alone)
    assert awake.soon(poller) == []


def test_with_one_processor_nobody_spins(poller: select.poll, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awake, "_alone", True)
    monkeypatch.setattr(awake, "_AWAKE_S", 30.0)
    begun = time.monotonic()
    assert awake.soon(poller) == []
    assert time.monotonic() - begun < 15
