"""Hints: the one option, preference or line of a policy that would allow what was refused, by who runs the child.

Runs in: parent and command; pure.  Trusts: nothing in a path or host: each is quoted for where it will be pasted.
Flow: process type → row of the table; path, call or host → one line, ready to be used.
Source: interface.md "Command" and "Preferences"; a hint that gives away a secret says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from shlex import quote

import msgspec

from foxden.sandbox.grants import NEVER_GRANTED
from foxden.sandbox.hopeless import NOTHING, hopeless_calls
from foxden.sandbox.paths import Access
from foxden.sandbox.policy_text import parse_sets
from foxden.sandbox.sensitive import secret_reason


class Ways(msgspec.Struct, frozen=True):
    """How rights are given to children of one type.  {path}, {access}, {host}, {call} and {number} are filled in; an
    empty one: there is no way.

    `folder`: what follows the path of a folder in which files are to be made.
    `why_not`: what is said where there is no way.
    """

    read: str = ""
    write: str = ""
    connect: str = ""
    call: str = ""
    file: str = ""  # of a policy file, for what no option says
    folder: str = ""
    starts: bool = False  # programs of its own, from what it may read
    quoted: Callable[[str], str] = quote
    why_not: str = ""


PROGRAM_OF_DEN = "plugin of a den"  # what Den.run starts: its caller writes Python, not options
_LATER = "  (comes with a later version)"
_FETCHED = "  (comes with a later version; fetch with Den.fetch, and hand the bytes to the function)"
_DEN_OWNS = "the socket process owns the network: ask with den.fetch or den.open"
_GRANT = "den.grant(pid, {path}, {access!r})"  # while it runs
_STARTS = "programs are started by `foxden run`, never from inside"

WAYS: dict[str, Ways] = {
    "plugin": Ways(
        read="--read {path}",
        write="--write {path}",
        connect="--connect {host}" + _LATER,
        call='a policy file, `foxden run --policy F.toml`, with [syscalls] allow = ["{call}"]',
        file='a policy file, `foxden run --policy F.toml`, with [files] "{path}" = "{access}"',
        starts=True,
        why_not="a program gets files, hosts, environment and limits",
    ),
    PROGRAM_OF_DEN: Ways(
        read="read=[{path}]",
        write="write=[{path}]",
        connect="connect=[{host}]" + _LATER,
        call='policy="F.toml", a policy file with [syscalls] allow = ["{call}"]',
        file='policy="F.toml", a policy file with [files] "{path}" = "{access}"',
        starts=True,
        quoted=repr,
        why_not="a program gets files, hosts, environment and limits",
    ),
    "utility": Ways(
        read="read=[{path}]",
        write="write=[{path}]",
        connect="connect=[{host}]" + _FETCHED,
        quoted=repr,
        why_not="a function gets files and hosts; `foxden run` runs programs that need more",
    ),
    "content": Ways(
        read="--pref security.sandbox.content.read_path_whitelist={path}",
        write="--pref security.sandbox.content.write_path_whitelist={path}",
        call="--pref security.sandbox.content.syscall_whitelist={number}",
        folder="/",
        why_not="a page gets no more than that",
    ),
    "gmp": Ways(read=_GRANT, quoted=repr, why_not="a plugin sees its own files and what it is handed"),
    "rdd": Ways(read=_GRANT, write=_GRANT, quoted=repr, why_not="a decoder works on what it is handed"),
    "gpu": Ways(read=_GRANT, write=_GRANT, quoted=repr, why_not="the compositor works on what it is handed"),
    "vr": Ways(read=_GRANT, write=_GRANT, quoted=repr, why_not="it works on what it is handed"),
    "socket": Ways(why_not="the socket process reads the resolver's files and certificates, and writes nothing"),
    "broker": Ways(why_not="the broker needs no more than it was made with"),
    "ipdlunittest": Ways(why_not="it exists for tests"),
}
_NO_WAYS = Ways(why_not="children of this type get nothing beyond their policy")


def granted_place(path: str, access: Access) -> str:
    """What is to be granted: of a file that is to be made, its directory."""
    return (path.rstrip("/").rpartition("/")[0] or "/") if access & Access.CREATE else path


class Hints:
    """Hints for one type of child.  `read`: of committed policies, as `policy.load` takes it."""

    def __init__(self, process_type: str, read: Callable[[str], str]) -> None:
        self._ways = WAYS.get(process_type, _NO_WAYS)
        self.in_python = self._ways.quoted is repr
        self._sets = _call_sets(read)

    def for_file(self, path: str, access: Access) -> str:
        """What would let it do this with the path: of a file that is to be made, its directory."""
        changes = access & (Access.WRITE | Access.CREATE)
        granted = granted_place(path, access)
        if access & Access.EXECUTE and not self._ways.starts:
            return NOTHING + _STARTS
        never = self._never(granted, changes=bool(changes))
        if never:
            return NOTHING + never
        if access & Access.CONNECT and self._ways.file:
            return self._ways.file.format(path=path, access="connect")
        way = self._ways.write if changes else self._ways.read
        if not way or not path.startswith("/"):
            return NOTHING + self._ways.why_not
        holds = secret_reason(path)
        warning = f"  (beware: it seems to hold {holds})" if holds else ""
        end = self._ways.folder if access & Access.CREATE else ""
        word = "rwc" if access & Access.CREATE else "rw" if changes else "r"
        return way.format(path=self._ways.quoted(granted + end), access=word) + warning

    def _never(self, path: str, *, changes: bool) -> str:
        """Why no grant of this path is to be had; empty when one is.  A program has a /proc of its own; others may be
        given what the machine's says of the machine, as /proc/meminfo."""
        tree = path if path in NEVER_GRANTED else "/proc" if path.startswith("/proc/") else ""
        if self._ways.starts:
            return NEVER_GRANTED.get(tree, "")
        if path.startswith("/proc/") and not _is_of_a_process(path):
            return "what /proc says of the machine can be read, and not changed" if changes else ""
        return _TOO_MUCH.get(tree, "")

    def for_call(self, name: str | None, number: int) -> str:
        """What would let it make the call."""
        if name is None:
            return NOTHING + "no filter knows what it does"
        special = self._sets.get(name)
        if special == _NETWORK:
            return self._ways.connect.format(host="HOST") if self._ways.connect else NOTHING + _DEN_OWNS
        if special == _FILES:
            way = self._ways.read.format(path="PATH", access="r")
            return f"it depends on the path: {way}" if way else NOTHING + self._ways.why_not
        if special is not None:
            return special
        if not self._ways.call:
            return NOTHING + self._ways.why_not
        return self._ways.call.format(call=name, number=number)

    def for_host(self, host: str, port: int | None, code: str) -> str:
        """What would let a load, or a program, reach the host.  `code`: of model/network_errors."""
        if code == "NS_ERROR_LOCAL_NETWORK_ACCESS_DENIED":
            return f"--pref foxden.network.private-hosts={quote(host)}"
        if code == "NS_ERROR_PORT_ACCESS_NOT_ALLOWED":
            return NOTHING + "the port belongs to a service that HTTP must not be spoken to; serve on another port"
        if not self._ways.connect:
            return NOTHING + _DEN_OWNS
        shown = f"[{host}]" if ":" in host else host
        return self._ways.connect.format(host=self._ways.quoted(f"{shown}:{port}" if port else shown))


def _is_of_a_process(path: str) -> bool:
    first = path.split("/")[2]
    return first.isdigit() or first in ("self", "thread-self")


# Of the trees that are never granted: what is said to those who have no program with a view of its own.
_TOO_MUCH = {
    "/": "it is too much; the directories that are needed can be named",
    "/proc": "it shows every process of the user",
    "/sys": "it shows the whole machine; the one file that is needed can be named",
    "/dev": "it is every device; the one that is needed can be named",
}
_NETWORK, _FILES = "network", "files"


@lru_cache(maxsize=4)
def _call_sets(read: Callable[[str], str]) -> Mapping[str, str]:
    """Call → what is said of it, whoever makes it; or which other hint it gets."""
    sets = parse_sets("sets", read("sets"))
    said = {call.name: _FILES for name in ("path-reads", "path-writes") for call in sets[name]}
    said |= {call.name: _NETWORK for call in sets["socket-calls"]}
    said |= {call.name: NOTHING + _STARTS for name in ("fork", "exec") for call in sets[name]}
    said["kill"] = NOTHING + "signals go to no process but its own"
    return said | hopeless_calls(sets)
