"""Words that are no protocol's: of a program's init, and of the broker that `foxden run` forks.  Any bytes may come.

Runs in: the test process, on real sockets.
FOXDEN_FUZZ_SEED=n repeats a run.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import struct
from collections.abc import Iterator

import msgspec
import pytest

from foxden.broker.records import Act
from foxden.errors import BadMessage
from foxden.launch import control, own_broker
from foxden.launch.supervise import Limits, Supervisor

SEED = int(os.environ.get("FOXDEN_FUZZ_SEED") or random.randrange(1 << 32))
PACKETS = 3000


def rubbish(valid: bytes) -> Iterator[bytes]:
    """Packets that are valid, nearly valid, and nothing at all."""
    chance = random.Random(SEED)
    for _ in range(PACKETS):
        how = chance.randrange(4)
        if how == 0:
            yield chance.randbytes(chance.randrange(1, 64))
        elif how == 1:
            raw = bytearray(valid)
            raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
            yield bytes(raw)
        elif how == 2:
            yield valid[: chance.randrange(1, len(valid) + 1)] + chance.randbytes(chance.randrange(3))
        else:
            yield valid


def test_words_of_an_init_are_words_or_bad_messages() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    taken = refused = 0
    with ours, theirs:
        for raw in rubbish(struct.pack("=Bi", int(control.Kind.EXITED), 7)):
            theirs.send(raw)
            try:
                word = control.receive(ours)
            except BadMessage:
                refused += 1
            else:
                assert isinstance(word, control.Word), f"FOXDEN_FUZZ_SEED={SEED}"
                assert len(raw) == 5
                taken += 1
    assert taken > PACKETS / 8
    assert refused > PACKETS / 8


@pytest.mark.parametrize("raw", [b"\xff" * 5, b"\x03", b"\x03" + b"\0" * 60_000, b"\x00\0\0\0\0", b"\x08\0\0\0\0"])
def test_init_that_speaks_otherwise_has_its_program_ended(raw: bytes) -> None:
    """The supervisor neither crashes nor waits on."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    killed: list[int] = []
    with ours, theirs:
        theirs.send(raw)

        def kill() -> None:
            killed.append(1)
            theirs.close()  # as when the process is gone

        outcome = Supervisor(ours, os.getpid(), kill, Limits(5, 0, 0, 0), captures=()).run()
    assert killed
    assert outcome is not None


def test_broker_of_a_command_that_says_what_is_no_record_is_ended() -> None:
    act = Act(1, 2, False, "open", 257, (1, 2, 3), "/x", 1, 13, ("a.py:1 in f",))
    valid = msgspec.msgpack.encode(msgspec.structs.astuple(act))
    heard = ended = 0
    for raw in itertools.islice(rubbish(valid), 120):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        broker = own_broker.OwnBroker(pid, ours)
        with theirs:
            theirs.send(raw)
            goes_on = broker.read()
            assert goes_on == (not broker.failed), f"FOXDEN_FUZZ_SEED={SEED}"
            assert len(broker.told) == int(goes_on)
            ended += broker.failed
            heard += goes_on
            if broker.failed:
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
                ours.close()
                continue
            os.kill(pid, signal.SIGKILL)
        broker.finish()
    assert heard > 10
    assert ended > 10


BODIES = [
    b"\xc1", b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\x91" * 60_000, b"\x81\xa1a" * 20_000, b"\x90",
    b"\xdb\xff\xff\xff\xff", msgspec.msgpack.encode((1,) * 12), msgspec.msgpack.encode([1, 2, False, "x" * 65] * 3),
]  # fmt: skip


@pytest.mark.parametrize("raw", BODIES, ids=range(len(BODIES)))
def test_what_promises_too_much_is_no_record(raw: bytes) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    with ours, theirs:
        theirs.send(raw)
        broker = own_broker.OwnBroker(pid, ours)
        assert not broker.read()
    assert broker.failed
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
