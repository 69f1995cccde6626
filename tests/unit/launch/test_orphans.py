"""Ended children that nobody knows are reaped; others are left alone."""

from __future__ import annotations

import os
import time

from foxden.launch import orphans
from foxden.sandbox import linux


def ended_child(name: str, *, own_session: bool) -> int:
    pid = os.fork()
    if pid == 0:
        if own_session:
            os.setsid()
        linux.set_process_name(name)
        os._exit(0)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            if stat.read().rpartition(")")[2].split()[0] == "Z":
                break
        time.sleep(0.005)
    return pid


def is_unreaped(pid: int) -> bool:
    return os.waitpid(pid, os.WNOHANG)[0] == pid


def test_orphan_of_a_lost_fork_server_is_reaped() -> None:
    ended_child("fx-web", own_session=True)
    assert orphans.reap(known=()) == 1
    assert orphans.reap(known=()) == 0


def test_child_that_someone_holds_is_left() -> None:
    pid = ended_child("fx-web", own_session=True)
    assert orphans.reap(known={pid}) == 0
    assert is_unreaped(pid)


def test_children_of_the_user_are_left() -> None:
    named, plain = ended_child("fx-web", own_session=False), ended_child("make", own_session=True)
    assert orphans.reap(known=()) == 0
    assert is_unreaped(named)
    assert is_unreaped(plain)
