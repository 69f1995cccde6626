"""Learning: what children were refused, and what they used, made into a policy file that a person reviews.

Runs in: command and parent; pure (paths are looked at by the callable handed in).  Trusts: nothing in an act: a child
may ask for anything just so that it is learnt.  So secrets, whole trees and hopeless calls are told, never granted.
Flow: records of runs that were denied → learn → text → a person → grants_text.parse_grants → the next run.
Source: sandlock#72, nono#23: learn under the denying sandbox, again and again, and never without one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import msgspec

from foxden.errors import PolicyError
from foxden.model.addresses import AddressSpace, space_of
from foxden.model.escaped import quoted_name
from foxden.model.records import Act, Violation
from foxden.sandbox.explain_hints import Hints
from foxden.sandbox.grants import NEVER_GRANTED, PROGRAM_POLICY, Grants, RealPath, checked_connect, split_connect
from foxden.sandbox.grants_toml import toml_text
from foxden.sandbox.hopeless import NOTHING
from foxden.sandbox.paths import AbsPath, Access
from foxden.sandbox.sensitive import secret_reason
from foxden.sandbox.syscall_numbers import NUMBERS

MERGE_AT = 3  # files of one directory, wanted alike, that make a grant of the directory
_SHOWN_NAMES = 3

# Directories that no number of files below them makes a grant; the home directory and what is above it, too.
_NEVER_WHOLE = frozenset({
    "/", "/home", "/root", "/etc", "/proc", "/dev", "/sys", "/usr", "/usr/local", "/usr/bin", "/usr/lib", "/usr/share",
    "/var", "/var/lib", "/var/log", "/var/tmp", "/tmp", "/opt", "/run", "/run/user", "/mnt", "/media",  # noqa: S108
    "/boot", "/srv", "/lib", "/lib64", "/bin", "/sbin",
})  # fmt: skip
# Looked for in a directory before it is granted as a whole.
_SECRET_NAMES = (
    ".env", ".ssh", ".aws", ".gnupg", ".kube", ".netrc", ".npmrc", ".pypirc", ".git-credentials", ".docker/config.json",
    "id_rsa", "id_ed25519", "credentials.json", "secrets.toml", "secrets.json", ".envrc",
)  # fmt: skip


class _Wish(msgspec.Struct):
    """What was wanted of one path, or of the files that it stands for."""

    access: Access = Access.NONE
    count: int = 0
    names: list[str] = msgspec.field(default_factory=list)  # of what was merged into it
    kept: bool = False  # from the policy before
    secrets: list[str] = msgspec.field(default_factory=list)  # files below it that seem to hold some

    def reason(self) -> str:
        beware = f"; beware, it holds {', '.join(self.secrets)}" if self.secrets else ""
        return self._times() + beware

    def _times(self) -> str:
        if self.kept and not self.count:
            return "kept from before"
        times = f"{self.count} time{'s' if self.count != 1 else ''}"
        if not self.names:
            return times
        shown = ", ".join(quoted_name(name) for name in self.names[:_SHOWN_NAMES])
        more = f" and {len(self.names) - _SHOWN_NAMES} more" if len(self.names) > _SHOWN_NAMES else ""
        return f"{times}: {shown}{more}"


class _Found(msgspec.Struct):
    files: dict[str, _Wish] = msgspec.field(default_factory=dict)
    hosts: Counter[str] = msgspec.field(default_factory=Counter)
    calls: Counter[str] = msgspec.field(default_factory=Counter)
    not_granted: dict[str, str] = msgspec.field(default_factory=dict)  # what → why


def learn(
    acts: Iterable[Violation],
    *,
    real: RealPath,
    home: str,
    read: Callable[[str], str],
    before: Grants = Grants(),  # noqa: B008 - it cannot be changed
) -> str:
    """A policy file that gives what these acts wanted, as far as anything should.

    `acts`: violations, and granted acts where they were told; `before`: the grants that these runs had.
    """
    found = _collect(acts, real, home, Hints(PROGRAM_POLICY, read))
    for path, access in before.files:
        wish = found.files.setdefault(path, _Wish())
        wish.access |= access
        wish.kept = True
    for host in before.connect:
        found.hosts.setdefault(host, 0)
    for line in before.syscalls:
        found.calls.setdefault(line, 0)
    _merge(found.files, real, home)
    for path, wish in found.files.items():
        wish.secrets += _secrets_in(path, real)
    return "\n".join(_text(found)) + "\n"


# ---- from acts to wishes


def _collect(acts: Iterable[Violation], real: RealPath, home: str, hints: Hints) -> _Found:
    found = _Found()
    for act in acts:
        if isinstance(act, Act) and act.granted and not _wanted_more(act, real):
            continue  # the policy gives it to everyone
        if act.kind == "file" and act.path:
            _collect_file(found, act, act.path, real, home)
        elif act.kind == "network" and act.host:
            _collect_host(found, act, act.host)
        elif act.kind == "syscall":
            _collect_call(found, act, hints)
        elif act.kind == "limit":
            found.not_granted[f"limit: {quoted_name(act.operation)}"] = quoted_name(act.hint or act.rule)
    return found


def _wanted_more(act: Act, real: RealPath) -> bool:
    """Of a granted act: by a grant of the caller's, or of a private tree that hides what the host has there?"""
    return act.rule.startswith("granted") if act.errno is None else is_hidden(act, real)


def is_hidden(act: Act, real: RealPath) -> bool:
    """Was it granted and not there, because what is private to the child stands where the host has such a file?"""
    hidden = act.granted and act.errno == "ENOENT" and act.path is not None and not act.path.startswith("/proc/")
    return hidden and real(act.path or "") is not None


def _collect_file(found: _Found, act: Violation, path: str, real: RealPath, home: str) -> None:
    try:
        access = Access.parse(act.access or "stat")
        path = AbsPath.parse(path)
        path.encode()
    except ValueError:  # no path that a policy could name: UnicodeEncodeError is one
        found.not_granted[f'"{quoted_name(path)}"'] = "no policy can name this path"
        return
    shown = f"{toml_text(path)} = {toml_text(access.word())}"
    target = real(path)
    if access & Access.CREATE:
        target = real(path.rpartition("/")[0] or "/")
        access |= Access.READ | Access.WRITE
    if target is None:
        found.not_granted[shown] = "nothing is there"
        return
    holds = secret_reason(path) or secret_reason(target)
    if holds:
        found.not_granted[shown] = f"it seems to hold {holds}; grant it by hand if you mean it"
    elif target in NEVER_GRANTED or target.startswith("/proc/") or _never_whole(target, home):
        why = NEVER_GRANTED.get(target) or (NEVER_GRANTED["/proc"] if target.startswith("/proc") else "it is too much")
        found.not_granted[shown] = why
    else:
        wish = found.files.setdefault(target, _Wish())
        wish.access |= access | (Access.READ if access & Access.EXECUTE else Access.NONE)
        wish.count += act.count


def _never_whole(path: str, home: str) -> bool:
    return path in _NEVER_WHOLE or path == home or home.startswith(path.rstrip("/") + "/")


def _collect_host(found: _Found, act: Violation, host: str) -> None:
    shown = f"[{host}]" if ":" in host else host
    text = f"{shown}:{act.port}" if act.port else shown
    try:
        checked = checked_connect("", text)
        space = space_of(split_connect(checked)[0].strip("[]"))
    except PolicyError:
        found.not_granted[f'"{quoted_name(text)}"'] = "no host that a policy could name"
        return
    except ValueError:
        space = AddressSpace.PUBLIC  # a name: it is judged again where it leads
    if space is AddressSpace.PUBLIC:
        found.hosts[checked] += act.count
    else:
        found.not_granted[toml_text(checked)] = f"its address is {space.value}; grant it by hand if you mean it"


def _collect_call(found: _Found, act: Violation, hints: Hints) -> None:
    name = act.syscall or ""
    number = next((numbers[name] for numbers in NUMBERS.values() if name in numbers), None)
    if number is None:
        found.not_granted[quoted_name(name or act.operation)] = "the kernel does not tell which call it was"
        return
    hint = hints.for_call(name, number)
    if hint.startswith(NOTHING):
        found.not_granted[name] = hint.removeprefix(NOTHING)
    elif name in hint:  # a line of a policy would allow it; else it is a matter of files or hosts
        found.calls[name] += act.count


# ---- from many files to few directories


def _merge(files: dict[str, _Wish], real: RealPath, home: str) -> None:
    """Put files that are wanted alike into their directory, as long as anything changes; then drop what is covered."""
    while True:
        groups: dict[tuple[str, Access], list[str]] = {}
        for path, wish in files.items():
            groups.setdefault((path.rpartition("/")[0], wish.access), []).append(path)
        ready = [
            (directory, access, paths)
            for (directory, access), paths in groups.items()
            if len(paths) >= MERGE_AT and _may_be_whole(directory, access, real, home)
        ]
        if not ready:
            break
        directory, access, paths = max(ready, key=lambda each: len(each[0]))  # the deepest first
        merged = files.setdefault(directory, _Wish())
        merged.access |= access
        for path in paths:
            gone = files.pop(path)
            merged.count += gone.count
            merged.names.append(path.rpartition("/")[2])
    _drop_covered(files)


def _may_be_whole(directory: str, access: Access, real: RealPath, home: str) -> bool:
    if access & Access.DENY or not directory or _never_whole(directory, home) or directory.startswith("/proc"):
        return False
    return not secret_reason(directory) and not _secrets_in(directory, real)


def _secrets_in(directory: str, real: RealPath) -> list[str]:
    return [name for name in _SECRET_NAMES if real(f"{directory}/{name}")]


def _drop_covered(files: dict[str, _Wish]) -> None:
    """The longest rule wins alone: one below another gives what that one gives, too, or is not needed."""
    for path in sorted(files):
        above = next((files[tree] for tree in _ancestors(path) if tree in files), None)
        wish = files[path]
        if above is None or wish.access & Access.DENY or above.access & Access.DENY:
            continue
        wish.access |= above.access
        if wish.access == above.access:
            above.count += wish.count
            del files[path]


def _ancestors(path: str) -> Iterator[str]:
    while path := path.rpartition("/")[0]:
        yield path


# ---- text


def _text(found: _Found) -> Iterator[str]:
    yield "# Learnt from what was refused.  Read every line before you use it: each gives the program a right."
    yield f"extends = {toml_text(PROGRAM_POLICY)}"
    if found.files:
        yield "\n[files]"
        for path, wish in sorted(found.files.items()):
            yield f"{toml_text(path)} = {toml_text(_word(wish.access))}  # {wish.reason()}"
    yield from _list("network", "connect", found.hosts)
    yield from _list("syscalls", "allow", found.calls)
    if found.not_granted:
        yield "\n# Wanted, and not granted:"
        for what, why in sorted(found.not_granted.items()):
            yield f"#   {what}: {why}"


def _word(access: Access) -> str:
    """STAT comes with everything else."""
    rest = access & ~Access.STAT
    return (rest or access).word()


def _list(table: str, key: str, counts: Counter[str]) -> Iterator[str]:
    if counts:
        yield f"\n[{table}]"
        yield f"{key} = ["
        for item, count in sorted(counts.items()):
            times = f"{count} time{'s' if count != 1 else ''}" if count else "kept from before"
            yield f"  {toml_text(item)},  # {times}"
        yield "]"
