"""The Linux policy asked, without a kernel: would this child's act be done, and by which line.

Runs in: the parent, tools and tests; pure.  Trusts: the resolved policy.
Flow: ResolvedPolicy + Act → the system calls that the act needs → filter.evaluate, paths.lookup → Decision.
Source: sandbox/filter.py and sandbox/paths.py, of which this is the sum; tests/platforms/cases.toml.
"""

from __future__ import annotations

from foxden.sandbox.acts import ON_PATHS, Act, Decision, Operation, Outcome
from foxden.sandbox.constants import AUDIT_ARCH
from foxden.sandbox.filter import VerdictTable, evaluate, verdicts
from foxden.sandbox.paths import AbsPath, Access, lookup
from foxden.sandbox.policy import ResolvedPolicy
from foxden.sandbox.syscall_numbers import NUMBERS
from foxden.sandbox.syscalls import Action, Verdict

ARCH = "x86_64"  # a policy means the same on every architecture

# As x86_64 has them; fcntl.h, sys/socket.h, signal.h.
_AT_FDCWD, _SIGCHLD = 0xFFFF_FF9C, 17
_RDONLY, _WRONLY, _CREAT, _DIRECTORY = 0, 1, 0x40, 0x10000
_INET, _INET6, _STREAM, _DGRAM = 2, 10, 1, 2

Step = tuple[str, tuple[int, ...]]  # a call, and its arguments as far as a filter can see them
_SOCKETS: tuple[Step, ...] = tuple(
    ("socket", (domain, kind, 0)) for domain in (_INET, _INET6) for kind in (_STREAM, _DGRAM)
)

# Operation → the ways to do it; a way is calls that must all be let through.  One open way is enough.
_WAYS: dict[Operation, tuple[tuple[Step, ...], ...]] = {
    Operation.READ: ((("openat", (_AT_FDCWD, 0, _RDONLY)),), (("open", (0, _RDONLY)),)),
    Operation.LIST: ((("openat", (_AT_FDCWD, 0, _DIRECTORY)),), (("open", (0, _DIRECTORY)),)),
    Operation.WRITE: (
        (("openat", (_AT_FDCWD, 0, _WRONLY)),), (("open", (0, _WRONLY)),), (("truncate", (0, 0)),),
        (("fchmodat", (_AT_FDCWD, 0, 0)),),
    ),
    Operation.CREATE: (
        (("openat", (_AT_FDCWD, 0, _CREAT | _WRONLY)),), (("mkdirat", (_AT_FDCWD, 0, 0)),),
        (("unlinkat", (_AT_FDCWD, 0, 0)),), (("renameat2", (_AT_FDCWD, 0, _AT_FDCWD, 0, 0)),),
        (("symlinkat", (0, _AT_FDCWD, 0)),), (("linkat", (_AT_FDCWD, 0, _AT_FDCWD, 0, 0)),),
    ),
    Operation.STAT: ((("newfstatat", (_AT_FDCWD, 0, 0, 0)),), (("statx", (_AT_FDCWD, 0, 0, 0)),), (("stat", ()),)),
    Operation.CONNECT: tuple((step, ("connect", (3, 0, 16))) for step in _SOCKETS),
    Operation.LISTEN: tuple((step, ("bind", (3, 0, 16)), ("listen", (3, 128))) for step in _SOCKETS),
    Operation.EXEC: ((("execve", ()),), (("execveat", (_AT_FDCWD,)),)),
    Operation.FORK: ((("clone", (_SIGCHLD,)),), (("fork", ()),), (("vfork", ()),), (("clone3", ()),)),
}  # fmt: skip
_NEEDS = {
    Operation.READ: Access.READ,
    Operation.LIST: Access.READ,
    Operation.WRITE: Access.WRITE,
    Operation.CREATE: Access.CREATE,
    Operation.STAT: Access.STAT | Access.READ | Access.WRITE | Access.CREATE | Access.CONNECT | Access.EXECUTE,
}


def decide(resolved: ResolvedPolicy, act: Act) -> Decision:
    """What a child with this policy gets.  Files as the user's own rights would give them, where the kernel decides."""
    if resolved.default is None:
        return Decision(Outcome.ALLOWED, "level 0: no sandbox")
    if act.operation not in _WAYS:
        return Decision(Outcome.NOT_SAID, f"no rule of a Linux policy speaks of {act.operation.value}")
    table = verdicts(resolved, ARCH)
    answers = [_way(resolved, table, act, steps) for steps in _WAYS[act.operation]]
    return next((answer for answer in answers if answer.allowed), answers[0])


def _way(resolved: ResolvedPolicy, table: VerdictTable, act: Act, steps: tuple[Step, ...]) -> Decision:
    """The first step that is refused, else the last one."""
    for name, args in steps:
        verdict = _verdict(table, name, args)
        if act.operation in ON_PATHS and verdict.action in (Action.ALLOW, Action.NOTIFY):
            return _on_path(resolved, act, name, verdict)
        if verdict.action is not Action.ALLOW:
            return Decision(Outcome.REFUSED, f"{name}: {verdict}")
    return Decision(Outcome.ALLOWED, f"{name}: {verdict}")


def _verdict(table: VerdictTable, name: str, args: tuple[int, ...]) -> Verdict:
    return evaluate(table, NUMBERS[ARCH][name], (*args, 0, 0, 0, 0, 0, 0)[:6], AUDIT_ARCH[ARCH])


def _on_path(resolved: ResolvedPolicy, act: Act, name: str, verdict: Verdict) -> Decision:
    """The filter lets the call through, or asks: then the rules decide, by the broker or by the mounts."""
    if verdict.action is Action.ALLOW and not resolved.files.by_path:
        return Decision(Outcome.ALLOWED, f"{name}: allow; no file rules at this level")
    path = AbsPath.parse(act.path)
    access = lookup(resolved.files, path)
    granted = bool(access & _NEEDS[act.operation]) and not access & Access.DENY
    return Decision(Outcome.ALLOWED if granted else Outcome.REFUSED, f"{_rule(resolved, path)} = {access.word()}")


def _rule(resolved: ResolvedPolicy, path: AbsPath) -> str:
    """The path of the rule that speaks of `path`."""
    ancestor: str = path
    while ancestor:
        if ancestor in resolved.files.by_path:
            return ancestor
        ancestor = ancestor.rpartition("/")[0]
    return "/" if "/" in resolved.files.by_path else "no rule"
