"""What is told: the first at once, equal ones counted, a flood not one by one; stacks are bounded text."""

from __future__ import annotations

import os

import pytest

import foxden
from foxden.broker.records import Act
from foxden.broker.telling import Stacks, Teller


def act(path: str) -> Act:
    return Act(1, 2, False, "open", 257, (), path, stack=("frame",))


def test_equal_refusals_are_told_once_and_then_counted() -> None:
    told: list[Act] = []
    teller = Teller(told.append)
    key = (257, "/a", False)
    assert teller.is_first(key)
    teller.tell(key, act("/a"))
    assert [teller.is_first(key) for _ in range(5)] == [False] * 5
    teller.flush()
    teller.flush()
    assert [(each.times, each.stack) for each in told] == [(1, ("frame",)), (5, ())]


def test_a_flood_of_different_refusals_is_counted_as_untold_and_takes_bounded_memory() -> None:
    told: list[Act] = []
    teller = Teller(told.append)
    for number in range(5000):
        key = (257, f"/{number}", False)
        if teller.is_first(key):
            teller.tell(key, act(key[1]))
    assert 200 <= len(told) < 400
    assert len(told) + teller.untold == 5000
    assert len(teller._seen) <= 512


def test_a_stack_is_read_bounded_and_without_waiting() -> None:
    reader, writer = os.pipe()
    stacks = Stacks(reader)
    try:
        assert stacks.read() == ()
        os.write(writer, b"Current thread 0x1 (most recent call first):\n")
        os.write(writer, b"".join(b'  File "x%d", line 1 in f\n' % n for n in range(100)) + b"  " + b"y" * 4000)
        frames = stacks.read()
        assert len(frames) == 64
        assert frames[0] == 'File "x0", line 1 in f'
        os.write(writer, b"  " + b"y" * 4000 + b"\xff\n")
        assert [len(frame) for frame in stacks.read()] == [512]
    finally:
        stacks.close()
        os.close(writer)


def test_a_stack_is_told_without_what_every_function_has_below_it() -> None:
    ours = f'File "{os.path.dirname(foxden.__file__)}/children/utility/run.py", line 50 in perform'
    boot, late = 'File "<string>", line 1 in <module>', 'File "<frozen importlib._bootstrap>", line 241 in _call'
    job, library = 'File "/srv/job.py", line 3 in f', 'File "/srv/library.py", line 1 in <module>'
    for written, told in (
        ([library, late, late, job, ours, ours, boot], [library, job]),
        ([ours, job, ours, boot], [ours, job]),
        ([boot, job, boot], [boot, job]),
        ([ours, late, boot], [ours, late, boot]),
        ([job], [job]),
    ):
        reader, writer = os.pipe()
        stacks = Stacks(reader)
        os.write(writer, b"".join(f"  {frame}\n".encode() for frame in written))
        assert stacks.read() == tuple(told)
        stacks.close()
        os.close(writer)


@pytest.mark.parametrize("rubbish", [b"", b"\0" * 1000, b"\xff\xfe", b"no frame at all\n"])
def test_what_is_no_stack_gives_no_frames(rubbish: bytes) -> None:
    reader, writer = os.pipe()
    stacks = Stacks(reader)
    os.write(writer, rubbish)
    assert stacks.read() == ()
    stacks.close()
    os.close(writer)
