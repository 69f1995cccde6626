"""Who waits for whose handshake."""

from __future__ import annotations

from foxden.children.socket.gate import KNOWN_MAX, HandshakeGate


def test_first_goes_others_wait_until_its_handshake_is_done() -> None:
    gate: HandshakeGate[str] = HandshakeGate()
    assert gate.may_start("a", "1")
    assert not gate.may_start("a", "2")
    assert not gate.may_start("a", "3")
    assert gate.may_start("b", "4")
    assert not gate.is_known("a")
    assert gate.opened("a") == ["2", "3"]
    assert gate.is_known("a")


def test_when_the_first_fails_one_of_the_others_is_first() -> None:
    gate: HandshakeGate[str] = HandshakeGate()
    gate.may_start("a", "1")
    gate.may_start("a", "2")
    assert gate.ended("a", "1") == ["2"]
    assert gate.may_start("a", "2")
    assert not gate.is_known("a")


def test_who_gives_up_waiting_is_forgotten() -> None:
    gate: HandshakeGate[str] = HandshakeGate()
    gate.may_start("a", "1")
    gate.may_start("a", "2")
    assert gate.ended("a", "2") == []
    assert gate.opened("a") == []
    assert gate.ended("never", "x") == []


def test_memory_is_bounded() -> None:
    gate: HandshakeGate[str] = HandshakeGate()
    for number in range(KNOWN_MAX + 10):
        gate.opened(str(number))
    assert not gate.is_known("0")
    assert gate.is_known(str(KNOWN_MAX + 9))
