"""Grants: what a caller gives one child beyond its policy, as plain values.

Runs in: command and parent; pure.  Trusts: its caller's word, each word of it checked.
Flow: options of `foxden run`, a user's policy file (grants_text) → Grants → over → file_rules → rules of the broker.
Source: interface.md "Command"; bubblewrap's and firejail's habits of naming what is given.

Loaded by every `foxden run`, so it imports next to nothing.  Paths are the files themselves: whoever makes a Grants
follows links first (`checked_path`), so that what is granted is what the user saw.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from foxden.errors import PolicyError

if TYPE_CHECKING:
    from foxden.sandbox.paths import Access

PROGRAM_POLICY = "plugin"  # what `foxden run` gives a program
FUNCTION_POLICY = "utility"  # what the worker of a function has
EXTENDED = (PROGRAM_POLICY, FUNCTION_POLICY)  # the policies that grants can extend

# Trees that are never granted, and what to do instead.
NEVER_GRANTED = {
    "/": "name the directories that are needed; the system's programs and libraries are readable without a grant",
    "/proc": "a program has a /proc of its own; the machine's shows every process of the user",
    "/sys": "name the one file below it that is needed",
    "/dev": "name the one device that is needed; null, zero, full, random and urandom are there without a grant",
}
_NEVER_BELOW = ("/proc",)  # here not even a part: /proc/1/root is the whole machine again

RealPath = Callable[[str], str | None]  # where a path leads when its links are followed; None: nothing is there


class Grants(msgspec.Struct, frozen=True):
    """Everything that one child is given.  Empty: nothing beyond its policy."""

    read: tuple[str, ...] = ()  # trees, or files
    write: tuple[str, ...] = ()  # trees, or files: read, written, made, renamed and removed
    files: tuple[tuple[str, Access], ...] = ()  # rules as a policy writes them; may deny a part of what is given above
    connect: tuple[str, ...] = ()  # HOST, HOST:PORT, as `checked_connect` returns them
    environment: tuple[tuple[str, str | None], ...] = ()  # None: as the caller has it
    syscalls: tuple[str, ...] = ()  # lines as in a policy's `allow`
    memory: int | None = None  # bytes, of the whole tree of processes
    cpu_time_s: float | None = None
    timeout_s: float | None = None
    processes: int | None = None
    file_size: int | None = None  # bytes, of each file
    output: int | None = None  # bytes, on standard output and error together
    protect: tuple[str, ...] = ()  # names below what is written that may not change, beyond the usual ones
    links: tuple[tuple[str, str], ...] = ()  # names of what is granted that lead there, as the caller wrote them
    unprotected: tuple[str, ...] = ()  # usual ones of those names that may change after all
    extends: str | None = None  # of EXTENDED; None: whichever the child has

    def over(self, below: Grants) -> Grants:
        """Both together; a single value of this one wins."""
        both: dict[str, Any] = {}
        for name in self.__struct_fields__:
            mine: Any = getattr(self, name)
            theirs: Any = getattr(below, name)
            if isinstance(mine, tuple):
                both[name] = tuple(dict.fromkeys((*theirs, *mine)))
            else:
                both[name] = theirs if mine is None else mine
        return Grants(**both)

    def is_empty(self) -> bool:
        return bool(msgspec.structs.replace(self, extends=None) == Grants())


def file_rules(grants: Grants) -> tuple[tuple[str, Access], ...]:
    """One rule a path, sorted.  Raises: PolicyError where two grants of one path contradict each other."""
    from foxden.sandbox.paths import Access

    given: dict[str, tuple[Access, str]] = {}
    listed = [(path, Access.READ, f"--read {path}") for path in grants.read]
    listed += [(path, Access.READ | Access.WRITE | Access.CREATE, f"--write {path}") for path in grants.write]
    listed += [(path, access, f'[files] "{path}" = "{access.word()}"') for path, access in grants.files]
    for path, access, source in listed:
        before, place = given.get(path, (Access.NONE, ""))
        if place and bool(before & Access.DENY) != bool(access & Access.DENY):
            raise PolicyError(f"expected one answer for {path}, got {place} and {source}", hint="leave one of them out")
        given[path] = (before | access, source)
    return tuple((path, access) for path, (access, _) in sorted(given.items()))


def checked_path(where: str, path: str, real: RealPath, *, follow: bool = False) -> str:
    """A path that may be granted.  `follow`: of a symbolic link grant what it leads to, else refuse it.

    Raises: PolicyError for one that is relative, missing, a link, or never granted.
    """
    if not path.startswith("/"):
        home = "a shell makes ~ the home directory, a policy file does not; " if path.startswith("~") else ""
        raise PolicyError(f"{where}: expected an absolute path, got {path!r}", hint=f"{home}write it from / on")
    if "\0" in path:
        raise PolicyError(f"{where}: expected a path without NUL, got {path!r}")
    plain = _plain(path)
    found = real(plain)
    if found is None:
        raise PolicyError(
            f"{where}: expected a file or directory that exists, got {path!r}",
            hint=f"make it first; of a file that is to be made grant the directory: {plain.rpartition('/')[0] or '/'}",
        )
    if found != plain and not follow:
        raise PolicyError(
            f"{where}: expected the file itself, got a path through a symbolic link, {path!r}",
            hint=f"it leads to {found!r}: grant that",
        )
    _refuse_whole_trees(where, found)
    return found


def _plain(path: str) -> str:
    """Without a slash at the end and without `//` and `.`; `..` is left to whoever follows links."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    return "/" + "/".join(parts)


def _refuse_whole_trees(where: str, path: str) -> None:
    why = NEVER_GRANTED.get(path) or next(
        (NEVER_GRANTED[tree] for tree in _NEVER_BELOW if path.startswith(tree + "/")), None
    )
    if why is not None:
        raise PolicyError(f"{where}: expected less than {path!r}, which is never granted", hint=why)


_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*\.?"  # compiled when one is given: most runs have none


def checked_connect(where: str, text: str) -> str:
    """HOST, HOST:PORT, an IPv4 address or [IPv6] with or without a port, in lower case.  Raises: PolicyError."""
    host, port = split_connect(text)
    bracketed = host.startswith("[") and host.endswith("]")
    usable = _is_address(host[1:-1]) if bracketed else bool(re.fullmatch(_NAME, host))
    if not usable or (port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536)):
        raise PolicyError(
            f"{where}: expected HOST or HOST:PORT, got {text!r}",
            hint="as example.org, example.org:443, 192.0.2.1:80, [2001:db8::1]:443; not a URL",
        )
    return f"{host}:{int(port)}" if port else host


def split_connect(text: str) -> tuple[str, str]:
    """Host and port of a grant; the port is empty when any will do."""
    lowered = text.lower()
    if lowered.startswith("["):
        host, bracket, rest = lowered.partition("]")
        return host + bracket, rest[1:] if rest.startswith(":") and len(rest) > 1 else "bad" if rest else ""
    host, colon, port = lowered.partition(":")
    return host, port or ("bad" if colon else "")


def _is_address(text: str) -> bool:
    from ipaddress import IPv6Address

    try:
        IPv6Address(text)
    except ValueError:
        return False
    return "%" not in text  # a zone is a name of an interface: no grant can mean one


_VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"

# Names that make a program load code, or run other programs than it was told to: given by value or not at all.
_LOADS_CODE = ("LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH")


def checked_environment(where: str, name: str, value: str | None) -> tuple[str, str | None]:
    """A name, and its value or None for the caller's own.  Raises: PolicyError."""
    if not re.fullmatch(_VARIABLE, name):
        raise PolicyError(f"{where}: expected the name of an environment variable, got {name!r}")
    if value is None and name in _LOADS_CODE:
        raise PolicyError(
            f"{where}: expected {name} with its value: it makes the program load other code",
            hint=f"--env {name}=VALUE says which",
        )
    if value is not None and "\0" in value:
        raise PolicyError(f"{where}: expected a value without NUL, got {value!r}")
    return name, value


def checked_names(where: str, names: Iterable[str]) -> tuple[str, ...]:
    """Names of [protect]: relative, of one component or several, `*` within one.  Raises: PolicyError."""
    checked = tuple(names)
    for name in checked:
        if not name or "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
            raise PolicyError(
                f"{where}: expected a name as '.env' or '.git/hooks', got {name!r}",
                hint="it speaks of that name at any depth below what is written",
            )
    return checked


_SIZES = {"b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "": 1}
_SIZE_MAX = 1 << 50


def parse_size(where: str, text: str) -> int:
    """Bytes of `64 MiB`, `64M`, `1G`, `4096`: all by 1024.  Raises: PolicyError."""
    found = re.fullmatch(r"\s*(\d{1,18})\s*([A-Za-z]*)\s*", text)
    size = int(found[1]) * _SIZES.get(found[2].lower(), 0) if found else 0
    if not 0 < size <= _SIZE_MAX:
        raise PolicyError(f"{where}: expected a size as '512 MiB' or 512M, up to 1024 TiB, got {text!r}")
    return size
