"""Lines about system calls: what the grammar takes, and what it says when it does not."""

from __future__ import annotations

import re

import pytest

from foxden.errors import PolicyError
from foxden.sandbox.syscall_numbers import NUMBERS
from foxden.sandbox.syscalls import (
    ALLOW,
    ARGUMENTS,
    KILL,
    Action,
    Argument,
    Call,
    Condition,
    Verdict,
    bits_value,
    parse_call,
    parse_verdict,
    policy_error,
)

WHERE = "x.toml: syscalls.allow"


def only_condition(text: str) -> Condition:
    (condition,) = parse_call(WHERE, text).conditions
    return condition


def test_name_alone_is_every_call_of_it() -> None:
    assert parse_call(WHERE, " openat ") == Call("openat")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("socket(domain == AF_UNIX)", Condition(Argument(0, 32), None, False, (("AF_UNIX",),), True)),
        ("socket(domain!=AF_UNIX)", Condition(Argument(0, 32), None, False, (("AF_UNIX",),), False)),
        ("socket( domain in AF_INET | 10 )", Condition(Argument(0, 32), None, False, (("AF_INET",), (10,)), True)),
        ("clone(flags == CLONE_VM|0x11)", Condition(Argument(0, 32), None, False, (("CLONE_VM", 17),), True)),
        ("openat(flags & O_ACCMODE|O_CREAT != 0)",
         Condition(Argument(2, 32), ("O_ACCMODE", "O_CREAT"), False, ((0,),), False)),
        ("socket(type & SOCK_TYPE_MASK in SOCK_STREAM|SOCK_DGRAM)",
         Condition(Argument(1, 32), ("SOCK_TYPE_MASK",), False, (("SOCK_STREAM",), ("SOCK_DGRAM",)), True)),
        ("pipe2(flags only O_CLOEXEC|O_NONBLOCK)",
         Condition(Argument(1, 32), ("O_CLOEXEC", "O_NONBLOCK"), True, ((0,),), True)),
        ("prlimit64(new == NULL)", Condition(Argument(2, 64), None, False, (("NULL",),), True)),
        ("openat(dirfd == -100)", Condition(Argument(0, 32), None, False, ((-100,),), True)),
    ],
)  # fmt: skip
def test_conditions_are_read(text: str, expected: object) -> None:
    assert only_condition(text) == expected


def test_conditions_are_joined_by_and() -> None:
    call = parse_call(WHERE, "fcntl(cmd == F_SETFL and arg only O_NONBLOCK)")
    assert [condition.argument.index for condition in call.conditions] == [1, 2]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("opneat", "expected the name of a system call, got 'opneat'", "did you mean 'openat'?"),
        ("open at", "expected a call as `name` or `name(arg == CONST)`, got 'open at'", ""),
        ("socket(domain == AF_UNIX", "expected a call as `name`", ""),
        ("Socket", "expected a call as `name`", ""),
        ("", "expected a call as `name`", ""),
        ("umask(mask == 0)", "expected a call whose arguments sandbox/syscalls knows, got 'umask(mask == 0)'", ""),
        ("socket(domian == 1)", "expected an argument of socket, got 'domian'", "did you mean 'domain'?"),
        ("socket(domain = 1)", "expected a condition as `arg == CONST`", ""),
        ("socket()", "expected a condition as `arg == CONST`", ""),
        ("socket(domain < 3)", "expected a condition as `arg == CONST`", ""),
        ("socket(domain == 1 or type == 2)", "expected a condition as `arg == CONST`", ""),
        ("socket(domain == AF_UNX)", "a constant that sandbox/constants knows, or a number, got 'AF_UNX'",
         "did you mean 'AF_UNIX'?"),
        ("socket(domain in AF_UNIX|)", "a constant that sandbox/constants knows, or a number, got ''", ""),
        ("socket(domain & 3 only 1)", "expected `arg only A|B` without a mask", ""),
        ("ioctl(cmd == 0x100005412)", "expected values of 32 bits", ""),
        ("prlimit64(new == 0x10000000000000000)", "expected values of 64 bits", ""),
        ("socket(type & SOCK_TYPE_MASK == SOCK_CLOEXEC)", "expected a value within its mask", ""),
    ],
)  # fmt: skip
def test_wrong_lines_say_what_and_where(text: str, message: str, hint: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(message)) as caught:
        parse_call(WHERE, text)
    assert str(caught.value).startswith(WHERE + ": ")
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("allow", ALLOW),
        ("kill", KILL),
        ("errno.ENOSYS", Verdict(Action.ERRNO, 38)),
        ("notify.EACCES", Verdict(Action.NOTIFY, 13)),
    ],
)
def test_verdicts_are_read_and_written_alike(text: str, expected: object) -> None:
    assert parse_verdict(WHERE, text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("errno.EPREM", "expected the name of an errno, got 'EPREM'", "did you mean 'EPERM'?"),
        ("errno",
         "expected 'allow', 'kill', 'errno.NAME' or 'notify.NAME', got 'errno'", "did you mean 'errno.EPERM'?"),
        ("alow", "expected 'allow', 'kill'", "did you mean 'allow'?"),
        ("allow.EPERM", "expected 'allow', 'kill'", ""),
        ("trap", "('trap' is kept for later), got 'trap'", ""),
        (1, "expected 'allow', 'kill', 'errno.NAME' or 'notify.NAME', got 1", ""),
    ],
)
def test_wrong_verdicts_say_what_was_expected(text: str, message: str, hint: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(message)) as caught:
        parse_verdict(WHERE, text)
    assert caught.value.hint == hint or "EPERM" in caught.value.hint


def test_actions_are_ordered_by_strictness() -> None:
    assert Action.ALLOW < Action.ERRNO < Action.NOTIFY < Action.KILL


def test_negative_constants_are_seen_as_the_kernel_sees_them() -> None:
    assert bits_value(("AT_FDCWD",), "x86_64", 32) == 0xFFFF_FF9C
    assert bits_value((-1,), "aarch64", 64) == (1 << 64) - 1
    assert bits_value(("O_DIRECTORY", "O_CREAT"), "aarch64", 32) == 0o40100


def test_arguments_are_known_of_real_calls_only_and_at_most_six() -> None:
    assert ARGUMENTS.keys() <= NUMBERS["x86_64"].keys()
    assert all(len(arguments) <= 6 for arguments in ARGUMENTS.values())
    assert ARGUMENTS["clone"]["flags"] == Argument(0, 32)
    assert ARGUMENTS["openat"]["path"] == Argument(1, 64)


def test_error_without_a_near_word_has_no_hint() -> None:
    error = policy_error("here", "a colour", "xyz", ["red"])
    assert (str(error), error.hint) == ("here: expected a colour, got 'xyz'", "")
