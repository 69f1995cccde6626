"""The demo's hostile acts: what each child tries from inside its sandbox, and what an unprotected process gets.

Runs in: command (asks), children (try), one plain process (tries too).  Trusts: nothing that a child answers.
Flow: ACTS × processes → launch/probes inside each → Outcome a cell.
Source: launch/probes; the same acts as the sandbox's own tests.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from foxden.errors import ChildCrashed, FoxdenError
from foxden.front.failures import CommandFailed

if TYPE_CHECKING:
    from foxden.parent.hosts import ChildHost

UNPROTECTED, PARENT, PROGRAM = "no sandbox", "parent", "program"
REFUSED, GRANTED, SUCCEEDED = "refused", "granted", "succeeded"
ENDED, UNKNOWN = "ended", "no answer"  # ENDED: the kernel ended the process for trying


class Act(msgspec.Struct, frozen=True):
    """One thing that no page should be able to do.  `argument` names a value of `targets`."""

    words: str
    probe: str
    argument: str = ""
    granted: tuple[str, ...] = ()  # columns whose policy grants it, by design


ACTS: tuple[Act, ...] = (
    Act("read a secret file", "read-file", "canary"),
    Act("write a file", "write-file", "new-file"),
    Act("list the home folder", "list-folder", "home", granted=("file",)),  # file pages read as the user, but secrets
    Act("make a TCP socket", "tcp-socket", granted=("socket",)),  # the network is what it is for
    Act("connect to the web server", "connect", "server", granted=("socket",)),
    Act("connect to a local service", "unix-connect", "service"),
    Act("start a process", "fork"),
    Act("run a program", "exec", "program"),
    Act("signal the parent", "kill", "parent"),
    Act("attach to the parent", "ptrace", "parent"),
    Act("make a user namespace", "unshare-user"),
    Act("set up io_uring", "io-uring"),
)


class Outcome(msgspec.Struct, frozen=True):
    """What one process got for one act."""

    act: str
    process: str
    outcome: str  # one of the words above
    result: str  # errno's name, a signal's name, or what was reached

    @property
    def is_breach(self) -> bool:
        """What is not known to have been refused counts as done."""
        return self.outcome in (SUCCEEDED, UNKNOWN) and self.process != UNPROTECTED


class Targets:
    """What the acts are tried on.  Use with `with`: it holds the local service."""

    def __init__(self, folder: Path, canary: Path, port: int) -> None:
        name = f"foxden-demo-{os.getpid()}"
        self._service = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._service.bind("\0" + name)
        self._service.listen(64)
        self.values = {
            "": "",
            "canary": str(canary),
            "new-file": str(folder / "written.txt"),
            "home": os.path.expanduser("~"),
            "server": f"127.0.0.1:{port}",
            "service": name,
            "program": "/bin/true",
            "parent": str(os.getpid()),
        }

    def __enter__(self) -> Targets:
        return self

    def __exit__(self, *exc: object) -> None:
        self._service.close()


# Each act in a process of its own, which is what `exec` leaves nothing of, and what a signal may end.
_PLAIN = """
import json, os, sys
from foxden.launch import probes
from foxden.protocols.process import PChildProcess
for probe, argument in json.load(sys.stdin):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        reply = probes.run(PChildProcess.RunProbe(probe=probe, argument=argument))
        os.write(write, json.dumps([reply.succeeded, reply.errno, reply.detail]).encode())
        os._exit(0)
    os.close(write)
    answer = os.read(read, 4096)
    os.close(read)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    print(answer.decode() or json.dumps([code == 0, 0, "ran" if code == 0 else f"ended with {code}"]), flush=True)
"""


def try_unprotected(targets: Mapping[str, str]) -> list[Outcome]:
    """The same acts by a plain process of this user: shows that it is the sandbox that refuses, not the machine."""
    done = subprocess.run(
        [sys.executable, "-c", _PLAIN], input=json.dumps([(act.probe, targets[act.argument]) for act in ACTS]),
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if len(answers) != len(ACTS):
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CommandFailed(f"the unprotected process ended early: {last}")
    return [_outcome(act, UNPROTECTED, *answer) for act, answer in zip(ACTS, answers, strict=True)]


async def try_in(
    host: ChildHost, column: str, targets: Mapping[str, str], again: Callable[[], Awaitable[ChildHost]]
) -> list[Outcome]:
    """All acts, from inside one child; `again` makes another when the kernel ended it for one of them."""
    outcomes = []
    for act in ACTS:
        if not host.alive:
            host = await again()
        outcomes.append(await _try(host, column, act, targets[act.argument]))
    return outcomes


async def _try(host: ChildHost, column: str, act: Act, argument: str) -> Outcome:
    try:
        reply = await host.probe(act.probe, argument)
    except ChildCrashed:
        await asyncio.wait([host.ended], timeout=2)  # the kernel says how, a moment after its pipe has closed
        end = host.ended.result() if host.ended.done() else None
        if end is not None and end.signal is not None:
            return Outcome(act.words, column, ENDED, signal.Signals(end.signal).name)
        return Outcome(act.words, column, SUCCEEDED, "it became another program")
    except FoxdenError as error:
        return Outcome(act.words, column, UNKNOWN, str(error)[:200])
    return _outcome(act, column, reply.succeeded, reply.errno, reply.detail)


def try_in_parent() -> list[Outcome]:
    """What the locked parent gave up: to be called in it."""
    return [
        _try_here("make a TCP socket", lambda: socket.socket().close()),
        _try_here("run a program", _run_true),
    ]


def _run_true() -> None:
    os.waitpid(os.posix_spawn("/bin/true", ["/bin/true"], {}), 0)


def _try_here(words: str, act: Callable[[], None]) -> Outcome:
    try:
        act()
    except OSError as error:
        return Outcome(words, PARENT, REFUSED, errno.errorcode.get(error.errno or 0, str(error)))
    return Outcome(words, PARENT, SUCCEEDED, "done")


def _outcome(act: Act, column: str, succeeded: bool, code: int, detail: str) -> Outcome:
    if succeeded:
        return Outcome(act.words, column, GRANTED if column in act.granted else SUCCEEDED, detail)
    return Outcome(act.words, column, REFUSED, errno.errorcode.get(code, detail or str(code)))


def verdict(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Counts, and whether the sandboxes held."""
    every = list(outcomes)
    children = [outcome for outcome in every if outcome.process != UNPROTECTED]
    plain = [outcome for outcome in every if outcome.process == UNPROTECTED]
    breaches = [msgspec.structs.asdict(outcome) for outcome in children if outcome.is_breach]
    return {
        "ok": bool(children) and not breaches,
        "refused": sum(outcome.outcome in (REFUSED, ENDED) for outcome in children),
        "granted": sum(outcome.outcome == GRANTED for outcome in children),
        "succeeded": len(breaches),
        "succeeded_unprotected": sum(outcome.outcome == SUCCEEDED for outcome in plain),
        "acts": len(ACTS),
        "breaches": breaches,
    }
