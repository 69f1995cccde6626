"""One line of a policy about system calls: `name(condition)` and the verdict it gets.

Runs in: the parent, tools and tests; pure.  Trusts: nothing in the text; every word of it is checked.
Flow: policy text → parse_call, parse_verdict → Call, Verdict → policy.resolve → filter.
Source: docs/reference/policies.md; SYSCALL_DEFINE lines of Linux 6.18 for names and widths of arguments.

Conditions, joined by ` and ` (any other word is a PolicyError):

    arg == A|B          exactly these bits          arg & MASK == A|B    exactly these bits of MASK
    arg != A|B          anything else               arg & MASK != A|B    anything else in MASK
    arg in A|B          one of these values         arg & MASK in A|B    one of these values in MASK
    arg only A|B        no other bit than these

Where the kernel's argument is an `int`, the filter compares its low 32 bits, as the kernel does: garbage in the
high half never changes a verdict.  Pointers, sizes and longs (marked `*` below) are compared in full.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from typing import ClassVar

import msgspec

from foxden.errors import PolicyError
from foxden.sandbox.constants import ERRNOS, NAMES, value_of
from foxden.sandbox.syscall_numbers import NUMBERS

# Arguments of the calls that conditions may look at.  `*`: 64 bits wide (pointer, size_t, unsigned long).
# clone: flags come first on both architectures, and the kernel takes the low half (lower_32_bits).
# fcntl's third argument is an int for every command that a condition may name.
_ARGUMENTS = """
accept4(fd addr* addrlen* flags)
clock_getres(clockid tp*)
clock_gettime(clockid tp*)
clock_nanosleep(clockid flags request* remain*)
clone(flags stack* parent_tid* fourth* fifth*)
close_range(first last flags)
connect(fd addr* addrlen)
dup3(oldfd newfd flags)
epoll_create1(flags)
eventfd2(count flags)
execveat(dirfd path* argv* envp* flags)
fcntl(fd cmd arg)
futex(uaddr* op val timeout* uaddr2* val3)
getrandom(buf* count* flags)
getsockopt(fd level optname optval* optlen*)
ioctl(fd cmd arg*)
kill(pid sig)
madvise(start* length* advice)
memfd_create(name* flags)
mmap(addr* length* prot* flags* fd* offset*)
mprotect(start* length* prot*)
mremap(addr* old_length* new_length* flags* new_addr*)
newfstatat(dirfd path* statbuf* flags)
open(path* flags mode)
openat(dirfd path* flags mode)
personality(persona)
pipe2(fds* flags)
pkey_mprotect(start* length* prot* pkey)
prctl(option arg2* arg3* arg4* arg5*)
prlimit64(pid resource new* old*)
sched_getaffinity(pid length mask*)
sched_setaffinity(pid length mask*)
seccomp(operation flags args*)
sendto(fd buf* length* flags addr* addrlen)
setsockopt(fd level optname optval* optlen)
shmget(key size* flags)
socket(domain type protocol)
socketpair(domain type protocol fds*)
statx(dirfd path* flags mask statxbuf*)
tgkill(tgid tid sig)
unshare(flags)
"""


class Said(msgspec.Struct, frozen=True):
    """Base of what a policy says.  Its last fields tell where it says so: what says the same elsewhere is equal."""

    telling: ClassVar[int] = 1  # how many they are

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return msgspec.structs.astuple(self)[: -self.telling] == msgspec.structs.astuple(other)[: -self.telling]

    def __hash__(self) -> int:
        return hash(msgspec.structs.astuple(self)[: -self.telling])


class Argument(msgspec.Struct, frozen=True):
    """Where an argument is, and how much of it the kernel reads."""

    index: int
    bits: int  # 32 or 64


def _read_arguments(text: str) -> dict[str, dict[str, Argument]]:
    table = {}
    for line in text.split("\n"):
        name, _, rest = line.rstrip(")").partition("(")
        if name:
            words = enumerate(rest.split())
            table[name] = {word.rstrip("*"): Argument(i, 64 if word.endswith("*") else 32) for i, word in words}
    return table


ARGUMENTS: dict[str, dict[str, Argument]] = _read_arguments(_ARGUMENTS)
SYSCALLS: frozenset[str] = frozenset(name for numbers in NUMBERS.values() for name in numbers)


class Action(enum.IntEnum):
    """What happens to a call; the greater is the stricter."""

    ALLOW = 0
    ERRNO = 1  # the kernel answers the errno: nobody is asked
    NOTIFY = 2  # a broker is asked; the errno is the answer when there is none, or when it refuses
    KILL = 3  # the whole process dies by SIGSYS


class Verdict(msgspec.Struct, frozen=True):
    action: Action
    errno: int = 0

    def __str__(self) -> str:
        """As policies write it: `allow`, `errno.EPERM`, `notify.EACCES`, `kill`."""
        word = self.action.name.lower()
        names = [name for name, number in ERRNOS.items() if number == self.errno]
        return f"{word}.{names[0]}" if names else word


ALLOW = Verdict(Action.ALLOW)
KILL = Verdict(Action.KILL)
NOT_IMPLEMENTED = Verdict(Action.ERRNO, ERRNOS["ENOSYS"])  # numbers that no table knows, x32

Bits = tuple[str | int, ...]  # constants or'ed together, by name or number


class Condition(msgspec.Struct, frozen=True):
    """`(argument & mask) is one of values`, or is not, as `equal` says."""

    argument: Argument
    mask: Bits | None  # None: every bit
    complement: bool  # the mask is every bit but these (`only`)
    values: tuple[Bits, ...]
    equal: bool


class Call(Said, frozen=True):
    """A system call, with the conditions that must all hold; none: every call of it."""

    name: str
    conditions: tuple[Condition, ...] = ()
    text: str = ""  # as the policy writes it


def policy_error(where: str, expected: str, got: object, known: Iterable[str] = ()) -> PolicyError:
    """Say what was expected, what was got and where; the hint is the nearest of `known`."""
    import difflib

    near = difflib.get_close_matches(str(got), sorted(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else ""
    return PolicyError(f"{where}: expected {expected}, got {got!r}", hint=hint)


def bits_value(bits: Bits, arch: str, width: int) -> int:
    """The number that these constants make on one architecture, as the kernel's argument would hold it."""
    number = 0
    for term in bits:
        number |= value_of(term, arch) if isinstance(term, str) else term
    return number & ((1 << width) - 1)


def parse_verdict(where: str, text: object) -> Verdict:
    """`allow`, `kill`, `errno.EPERM`, `notify.EACCES` → Verdict.  Raises: PolicyError."""
    expected = "'allow', 'kill', 'errno.NAME' or 'notify.NAME'"
    if not isinstance(text, str):
        raise policy_error(where, expected, text)
    word, dot, name = text.partition(".")
    if word == "trap":
        raise policy_error(where, f"{expected} ('trap' is kept for later)", text)
    if text == "allow":
        return ALLOW
    if text == "kill":
        return KILL
    if word not in ("errno", "notify") or not dot:
        raise policy_error(where, expected, text, ["allow", "kill", "errno.EPERM", "notify.EPERM"])
    if name not in ERRNOS:
        raise policy_error(where, "the name of an errno", name, ERRNOS)
    return Verdict(Action.ERRNO if word == "errno" else Action.NOTIFY, ERRNOS[name])


_CALL = re.compile(r"([a-z_]\w*)\s*(?:\((.*)\))?")
_CONDITION = re.compile(r"([a-z]\w*)\s*(?:&\s*([\w|\s]+?)\s*)?(?:(==|!=)|(?<=\s)(in|only)(?=\s))\s*(-?[\w|\s]+)")


def parse_call(where: str, text: str) -> Call:
    """`openat(flags & O_ACCMODE == O_RDONLY)` → Call.  Raises: PolicyError."""
    found = _CALL.fullmatch(text.strip())
    if found is None:
        raise policy_error(where, "a call as `name` or `name(arg == CONST)`", text)
    name, conditions = found[1], found[2]
    if name not in SYSCALLS:
        raise policy_error(where, "the name of a system call", name, SYSCALLS)
    if conditions is None:
        return Call(name, text=name)
    if name not in ARGUMENTS:
        expected = "a call whose arguments sandbox/syscalls knows"
        raise policy_error(where, expected, text)
    return Call(name, tuple(_parse_condition(where, name, part) for part in conditions.split(" and ")), text.strip())


def _parse_condition(where: str, name: str, text: str) -> Condition:
    found = _CONDITION.fullmatch(text.strip())
    if found is None:
        raise policy_error(where, "a condition as `arg == CONST`, `!=`, `in`, `only` or `arg & MASK == CONST`", text)
    argument = ARGUMENTS[name].get(found[1])
    if argument is None:
        raise policy_error(where, f"an argument of {name}", found[1], ARGUMENTS[name])
    operator = found[3] or found[4]
    mask = None if found[2] is None else _parse_bits(where, found[2])
    values = _parse_bits(where, found[5])
    if operator == "only":
        if mask is not None:
            raise policy_error(where, "`arg only A|B` without a mask", text)
        return Condition(argument, values, complement=True, values=((0,),), equal=True)
    several = tuple((value,) for value in values) if operator == "in" else (values,)
    condition = Condition(argument, mask, complement=False, values=several, equal=operator != "!=")
    _check_can_match(where, text, condition)
    return condition


def _parse_bits(where: str, text: str) -> Bits:
    return tuple(_parse_term(where, term.strip()) for term in text.split("|"))


def _parse_term(where: str, term: str) -> str | int:
    if term in NAMES:
        return term
    try:
        return int(term, 0)
    except ValueError:
        raise policy_error(where, "a constant that sandbox/constants knows, or a number", term, NAMES) from None


def _check_can_match(where: str, text: str, condition: Condition) -> None:
    """Refuse a value that no argument can have: the line would read as a rule and be none."""
    width = condition.argument.bits
    for value in condition.values:
        if any(isinstance(term, int) and not -(1 << 31) <= term < (1 << width) for term in value):
            raise policy_error(where, f"values of {width} bits", text)
        for arch in NUMBERS:
            mask = (1 << width) - 1 if condition.mask is None else bits_value(condition.mask, arch, width)
            if bits_value(value, arch, width) & ~mask:
                raise policy_error(where, "a value within its mask", text)
