"""The table of verdicts, and the pure function that every compiled filter is held against."""

from __future__ import annotations

import pytest
from tests.unit.sandbox.support import texts

from foxden.errors import PolicyError
from foxden.sandbox import filter, policy
from foxden.sandbox.constants import AUDIT_ARCH, X32_BIT
from foxden.sandbox.syscall_numbers import NUMBERS


def made(*lines: str, level: int = 1) -> policy.ResolvedPolicy:
    text = "\n".join(["[syscalls]", 'default = "notify.EPERM"', *lines])
    return policy.resolve(policy.load("x", texts(x=text)), level=level, remote_type=None, variables={})


def say(table: filter.VerdictTable, nr: int, *args: int, arch: int | None = None) -> str:
    padded = (*args, *(0,) * (6 - len(args)))
    return str(filter.evaluate(table, nr, padded, AUDIT_ARCH[table.arch] if arch is None else arch))


@pytest.mark.parametrize("arch", NUMBERS)
def test_numbers_are_those_of_the_architecture(arch: str) -> None:
    table = filter.verdicts(made('allow = ["openat"]'), arch)
    assert say(table, NUMBERS[arch]["openat"]) == "allow"
    assert say(table, NUMBERS[arch]["unlinkat"]) == "notify.EPERM"


def test_call_that_an_architecture_lacks_is_skipped_there() -> None:
    resolved = made('kill = ["open"]')
    assert say(filter.verdicts(resolved, "x86_64"), NUMBERS["x86_64"]["open"]) == "kill"
    assert "kill" not in {str(entry.otherwise) for entry in filter.verdicts(resolved, "aarch64").entries.values()}


@pytest.mark.parametrize("nr", [600, 470, -1 & 0xFFFF_FFFF, X32_BIT, X32_BIT | 39])
def test_number_that_no_table_knows_is_not_implemented(nr: int) -> None:
    assert say(filter.verdicts(made(), "x86_64"), nr) == "errno.ENOSYS"


def test_call_of_another_architecture_is_killed() -> None:
    for arch, other in (("x86_64", "aarch64"), ("aarch64", "x86_64")):
        table = filter.verdicts(made('allow = ["read"]'), arch)
        assert say(table, NUMBERS[arch]["read"], arch=AUDIT_ARCH[other]) == "kill"
        assert say(table, NUMBERS[arch]["read"], arch=0x4000_0003) == "kill"


def test_constants_are_those_of_the_architecture() -> None:
    resolved = made('allow = ["openat(flags & O_DIRECTORY == O_DIRECTORY)"]')
    for arch, flag, other in (("x86_64", 0o200000, 0o40000), ("aarch64", 0o40000, 0o200000)):
        table = filter.verdicts(resolved, arch)
        assert say(table, NUMBERS[arch]["openat"], 0, 0, flag) == "allow"
        assert say(table, NUMBERS[arch]["openat"], 0, 0, other) == "notify.EPERM"


@pytest.mark.parametrize("garbage", [0, 1 << 32, 1 << 63, 0xFFFF_FFFF << 32])
def test_high_half_of_an_int_never_changes_a_verdict(garbage: int) -> None:
    lines = ('kill = ["ioctl(cmd == TIOCSTI)"]', 'allow = ["clone(flags only CLONE_VM)"]')
    table = filter.verdicts(made(*lines), "x86_64")
    numbers = NUMBERS["x86_64"]
    assert say(table, numbers["ioctl"], 0, 0x5412 | garbage) == "kill"
    assert say(table, numbers["ioctl"], 0, 0x5413 | garbage) == "notify.EPERM"
    assert say(table, numbers["clone"], 0x100 | garbage) == "allow"
    assert say(table, numbers["clone"], 0x200 | garbage) == "notify.EPERM"


def test_pointers_and_sizes_are_compared_in_full() -> None:
    table = filter.verdicts(made('allow = ["prlimit64(new == NULL)", "mremap(flags only MREMAP_MAYMOVE)"]'), "x86_64")
    numbers = NUMBERS["x86_64"]
    assert say(table, numbers["prlimit64"], 0, 7, 0) == "allow"
    assert say(table, numbers["prlimit64"], 0, 7, 1 << 32) == "notify.EPERM"
    assert say(table, numbers["mremap"], 0, 1, 1, 1) == "allow"
    assert say(table, numbers["mremap"], 0, 1, 1, 1 | 1 << 40) == "notify.EPERM"


def test_level_zero_has_no_filter() -> None:
    with pytest.raises(PolicyError, match=r"x\.toml: expected a level with a filter, got 0"):
        filter.verdicts(made(level=0), "x86_64")


def test_unknown_architecture_is_an_error() -> None:
    with pytest.raises(PolicyError, match="expected an architecture, got 'x86'") as caught:
        filter.verdicts(made(), "x86")
    assert caught.value.hint == "did you mean 'x86_64'?"


def test_table_knows_whether_it_asks_anybody() -> None:
    def of(default: str, *lines: str) -> bool:
        text = "\n".join(["[syscalls]", f'default = "{default}"', *lines])
        loaded = policy.load("x", texts(x=text))
        resolved = policy.resolve(loaded, level=1, remote_type=None, variables={})
        return filter.verdicts(resolved, "x86_64").may_notify()

    assert of("notify.EPERM")
    assert of("allow", 'notify.EACCES = ["openat(flags == 1)"]')
    assert not of("errno.EPERM", 'kill = ["ptrace"]')
