"""What an emulated kernel refuses, tried on the real one; the control is the same call without the emulation."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.support import users
from tests.support.users import needs_seccomp, needs_userns

from foxden.launch import early, emulate

pytestmark = [needs_seccomp, needs_userns]

# Forks into namespaces as a fork server does, and tells what a child gets; each try is in a child of its own.
SCRIPT = """
import errno, json, os, struct, sys
from foxden.launch import emulate
from foxden.sandbox import linux, namespaces, seccomp

USER = namespaces.CLONE_NEWUSER

def unshare(): linux.syscall("unshare", USER)
def new_listener(): seccomp.load_with_listener(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000), killable=False)
def killable():  # EFAULT: it knows the flag, and misses a filter
    linux.syscall("seccomp", 1, 32 | 8, 0)
def load(): seccomp.load(struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000))
def mount(): linux.syscall("mount", b"none", b"/tmp", b"tmpfs", 0, 0)
def own_mount():
    linux.syscall("unshare", USER | namespaces.CLONE_NEWNS)
    emulate.in_child(USER)
    linux.syscall("mount", 0, b"/", 0, 0x44000, 0)
def map_ids():
    linux.syscall("unshare", USER)
    emulate.in_child(USER)
    namespaces.map_own_ids()
def set_attributes(): linux.syscall("mount_setattr", -1, b"", 0, bytes(32), 32)

def attempt(act):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            act()
            code = 0
        except OSError as error:
            code = error.errno
        os.write(writer, str(code).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return errno.errorcode.get(int(os.read(reader, 16)), "")

namespaces.remember_ids()
linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
emulate.apply(sys.argv[1])
print(json.dumps({name: attempt(globals()[name]) for name in sys.argv[2:]}))
"""


def outcomes(words: str, *acts: str) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, words, *acts],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=True,
        env={**os.environ, "PYTHONPATH": str(users.CHECKOUT / "src")},
    )  # fmt: skip
    found: dict[str, str] = json.loads(done.stdout)
    return found


ROWS: list[tuple[str, dict[str, str]]] = [
    ("no-userns", {"unshare": "EPERM", "own_mount": "EPERM"}),
    ("userns-enospc", {"unshare": "ENOSPC"}),
    ("userns-apparmor", {"unshare": "", "own_mount": "EPERM", "map_ids": "EPERM"}),
    ("no-mount", {"unshare": "", "own_mount": "EPERM", "map_ids": ""}),
    ("old-mount", {"own_mount": "", "set_attributes": "ENOSYS"}),
    ("no-seccomp", {"load": "ENOSYS", "new_listener": "ENOSYS", "unshare": ""}),
    ("old-notify", {"killable": "EINVAL", "new_listener": ""}),
    ("listener-taken", {"load": "", "new_listener": "EBUSY"}),
    ("listener-taken,userns-enospc", {"unshare": "ENOSPC", "new_listener": "EBUSY"}),
]
WITHOUT = {"killable": "EFAULT", **({} if os.geteuid() == 0 else {"set_attributes": "EPERM"})}


@pytest.mark.parametrize(("words", "expected"), ROWS, ids=[words for words, _ in ROWS])
def test_emulated_kernel_refuses_what_it_stands_for(words: str, expected: dict[str, str]) -> None:
    found = outcomes(words, *expected)
    if "map_ids" in found and found["map_ids"] == "EACCES":
        found["map_ids"] = "EPERM"  # an ordinary user may not even open what he has no right to write
    assert found == expected


def test_nothing_is_refused_without_a_word() -> None:
    acts = sorted({act for _, expected in ROWS for act in expected})
    assert outcomes("", *acts) == {act: WITHOUT.get(act, "") for act in acts}


def test_every_word_is_tried() -> None:
    assert {word for words, _ in ROWS for word in words.split(",")} == emulate.WORDS


def test_unknown_word_is_an_error_and_changes_nothing() -> None:
    with pytest.raises(ValueError, match="no-userns"):
        emulate.apply("no-usrns")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, ""),
        ({"FOXDEN_TEST_NO_USERNS": "1"}, "no-userns"),
        ({"FOXDEN_TEST_EMULATE": "no-mount,old-notify"}, "no-mount,old-notify"),
        ({"FOXDEN_TEST_EMULATE": "no-mount", "FOXDEN_TEST_NO_USERNS": "1"}, "no-mount,no-userns"),
        ({"FOXDEN_TEST_EMULATE": "no-mount", "FOXDEN_NO_NATIVE": "1"}, "no-mount,no-native"),
        ({"FOXDEN_NO_NATIVE": "0"}, ""),
    ],
)
def test_words_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: str
) -> None:
    for name in ("FOXDEN_TEST_EMULATE", "FOXDEN_TEST_NO_USERNS", "FOXDEN_NO_NATIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert early.emulated_kernel() == words
