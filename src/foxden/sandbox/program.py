"""What an unmodified program gets: the root it sees, and the rules by which the broker answers it.

Runs in: the parent and the `foxden run` command; pure.  Trusts: its caller's grants (`grants.checked_path`).
Flow: plugin.toml → ProgramBase (compiled once) + Grants → ProgramPlan → enforce in the child, PBroker.Attach.
Source: interface.md "What a `run` program has by default"; bubblewrap(1) for what programs expect of a root.

Loaded by every `foxden run`: it imports no policy compiler, only what that left behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated

import msgspec

from foxden.sandbox.grants import Grants, file_rules
from foxden.sandbox.paths import Access
from foxden.sandbox.plan import HOST_NAME, Bind, LandlockPlan, LandlockRule, Limit, Mount, SandboxPlan
from foxden.sandbox.rights import landlock_rights

_GIB, _MIB = 1 << 30, 1 << 20
HOME = "{home}"

# Paths that are not the host's: what stands there, and how large it may become.
_PRIVATE: tuple[Mount, ...] = (
    Mount("proc", "/proc"),  # of its own pid namespace
    Mount("tmpfs", "/tmp", size=_GIB),  # noqa: S108 - the child's own
    Mount("tmpfs", "/var/tmp", size=_GIB),  # noqa: S108 - likewise
    Mount("tmpfs", HOME, size=_GIB),
    Mount("tmpfs", "/dev/shm", size=256 * _MIB),  # noqa: S108 - likewise
    Mount("terminals", "/dev/pts"),
    *(Mount("device", f"/dev/{name}", f"/dev/{name}") for name in ("null", "zero", "full", "random", "urandom", "tty")),
    Mount("link", "/dev/ptmx", "pts/ptmx"),
    Mount("link", "/dev/fd", "/proc/self/fd"),
    Mount("link", "/dev/stdin", "/proc/self/fd/0"),
    Mount("link", "/dev/stdout", "/proc/self/fd/1"),
    Mount("link", "/dev/stderr", "/proc/self/fd/2"),
    Mount("link", "/etc/mtab", "/proc/self/mounts"),
    Mount("text", "/etc/hosts", content=b"127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\tfoxden\n"),
    Mount("text", "/etc/hostname", content=b"foxden\n"),
)
_SHOWN = Access.READ | Access.CONNECT  # a socket must stand where the program looks for it
_PRIVATE_PATHS = frozenset((*(mount.target for mount in _PRIVATE), "/etc/passwd", "/etc/group"))

# Of programs that write where the user works: what the user, or a tool of theirs, will later run or obey.
PROTECTED_NAMES: tuple[str, ...] = (
    ".git/hooks", ".git/config", ".git/info/attributes", ".gitmodules",  # git runs what they name
    ".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".profile", ".bash_aliases", ".inputrc",  # shells
    ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout", ".config/fish/config.fish", ".envrc",
    ".ssh", ".gnupg", ".config/systemd", ".config/autostart", ".local/bin",  # whoever logs in
    "sitecustomize.py", "usercustomize.py", "*.pth", ".pdbrc", ".pythonrc", ".pythonstartup",  # every Python
    ".vscode/tasks.json", ".vscode/settings.json", ".vscode/launch.json", ".idea/runConfigurations",  # editors
    ".exrc", ".nvimrc", ".vimrc", ".emacs", ".gdbinit", ".lldbinit", ".npmrc", ".yarnrc.yml", ".cargo/config.toml",
    ".claude/settings.json", ".mcp.json", ".cursor/mcp.json", ".codex/config.toml",  # agents
)  # fmt: skip


def protecting(path: str) -> tuple[str, ...]:
    """The usual protected names that this path is, lies below, or is the beginning of."""
    from fnmatch import fnmatchcase

    parts = path.casefold().strip("/").split("/")
    tails = [parts[start:] for start in range(len(parts))]

    def speaks_of(name: str, tail: list[str]) -> bool:
        return all(fnmatchcase(part, pattern) for part, pattern in zip(tail, name.casefold().split("/"), strict=False))

    return tuple(name for name in PROTECTED_NAMES if any(speaks_of(name, tail) for tail in tails))


class ProgramBase(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin policy, compiled: what no caller changes.  Made by tools/compile_policies.py, kept with the policies."""

    plan: SandboxPlan  # without trees, mounts and rules
    files: tuple[tuple[str, int], ...]  # path, `{home}` for the home; paths.Access
    errnos: Annotated[dict[int, int], msgspec.Meta(max_length=1024)]  # of the calls that the broker is asked about


class User(msgspec.Struct, frozen=True):
    """Whom the program is: the caller."""

    name: str
    uid: int
    gid: int
    home: str


class Named(msgspec.Struct, frozen=True):
    """A file that the command line names: naming it is granting it."""

    target: str  # where the program looks for it
    source: str  # the file itself, links followed


class ProgramPlan(msgspec.Struct, frozen=True):
    """Everything that depends on who calls and what is granted."""

    sandbox: SandboxPlan
    rules: tuple[tuple[str, int], ...]  # for the broker: in the program's view
    protected: tuple[tuple[str, tuple[str, ...]], ...]
    errnos: Mapping[int, int]


def program_plan(
    base: ProgramBase,
    grants: Grants,
    user: User,
    *,
    cwd: str,
    named: Sequence[Named] = (),
    links: Mapping[str, str] = MappingProxyType({}),
) -> ProgramPlan:
    """Put it together.  `links`: those of the base's trees that are symbolic links on this host, and where they lead.

    Raises: PolicyError where grants contradict each other.
    """
    granted = file_rules(grants)
    given = [path for path, access in granted if access & Access.READ] + [each.target for each in named]
    files = {path.replace(HOME, user.home): Access(access) for path, access in base.files}
    mounts = _mounts(user, grants.memory, given)
    private = {target.replace(HOME, user.home) for target in _PRIVATE_PATHS}
    replaced = private.difference(mount.target for mount in mounts)  # by files of the caller's, with their rights
    rules = _together({path: files[path] for path in files.keys() - replaced}, granted, named, mounts)
    shown = [Bind(path, path) for path in files if path not in private and path not in links]
    trees = tuple(bind.target for bind in shown)
    for path, access in granted:
        changes = bool(access & Access.WRITE)
        if access & _SHOWN and (changes or not _covered(path, trees)):
            shown.append(Bind(path, path, changes))
    shown += [Bind(each.source, each.target) for each in named]
    landlock = base.plan.landlock or LandlockPlan(0, 0, 0)
    writable = [path for path, access in granted if access & Access.WRITE]
    sandbox = msgspec.structs.replace(
        base.plan,
        binds=tuple(shown),
        mounts=(*mounts, *_link_mounts(links, given), Mount("folder", cwd), *_hidden(granted, given)),
        landlock=msgspec.structs.replace(
            landlock, rules=tuple(LandlockRule(path, landlock_rights(Access(bits))) for path, bits in rules)
        ),
        limits=_limits(base.plan.limits, grants),
        host_name=HOST_NAME,
        programs=True,
    )
    if base.plan.level == 0:
        return ProgramPlan(base.plan, (), (), {})
    names = tuple(name for name in (*PROTECTED_NAMES, *grants.protect) if name not in grants.unprotected)
    return ProgramPlan(sandbox, rules, tuple((tree, names) for tree in writable) if names else (), base.errnos)


def beginning_of(plan: SandboxPlan) -> SandboxPlan:
    """What every program of this user has of its root: `plan` of a program without grants."""
    kept = tuple(mount for mount in plan.mounts if mount.what != "folder")
    return msgspec.structs.replace(plan, mounts=kept)


def continues(plan: SandboxPlan, begun: SandboxPlan) -> bool:
    """Can a root that was begun become this one, by adding to it?  Nothing new may stand above what is there."""
    mounts_there = set(begun.mounts)
    if not (set(begun.binds) <= set(plan.binds) and mounts_there <= set(plan.mounts)):
        return False
    new = {bind.target for bind in plan.binds} - {bind.target for bind in begun.binds}
    added = [mount for mount in plan.mounts if mount not in mounts_there]
    there = [*(bind.target for bind in begun.binds), *(mount.target for mount in begun.mounts)]
    covered = any(old == target or old.startswith(target.rstrip("/") + "/") for target in new for old in there)
    return not covered and all(mount.what == "folder" for mount in added)


def _link_mounts(links: Mapping[str, str], given: Sequence[str]) -> Iterable[Mount]:
    return (Mount("link", path, to) for path, to in links.items() if not _covered(path, given))


def _hidden(granted: Iterable[tuple[str, Access]], given: Sequence[str]) -> Iterable[Mount]:
    """What a grant shows as a part of itself, and a rule denies: mounts cannot take it out, so nothing covers it."""
    return (Mount("hidden", path) for path, access in granted if access & Access.DENY and _covered(path, given))


def _covered(path: str, trees: Iterable[str]) -> bool:
    """Is it one of them, or below one?  What the caller grants is the host's, and not a private one in its place."""
    return any(path == tree or path.startswith(tree + "/") for tree in trees)


def _together(
    files: Mapping[str, Access], granted: Iterable[tuple[str, Access]], named: Iterable[Named], mounts: Sequence[Mount]
) -> tuple[tuple[str, int], ...]:
    """One rule a path.  What is granted may be executed where it may be read: code that is data is code."""
    together: dict[str, Access] = dict(files)
    for mount in mounts:
        if mount.what in _OWN_ACCESS:
            together[mount.target] = together.get(mount.target, Access.NONE) | _OWN_ACCESS[mount.what]
    for path, access in granted:
        given = access | Access.EXECUTE if access & Access.READ else access
        together[path] = access if access & Access.DENY else together.get(path, Access.NONE) | given
    for each in named:
        together[each.target] = together.get(each.target, Access.NONE) | Access.READ | Access.EXECUTE
    return tuple((path, int(access)) for path, access in sorted(together.items()))


# What a program may do with what was made for it, beyond the policy's files: that is nobody else's.
_OWN_ACCESS: dict[str, Access] = {
    "tmpfs": Access.CONNECT,  # sockets there are its own
    "text": Access.READ,
}


def _mounts(user: User, memory: int | None, given: Sequence[str]) -> tuple[Mount, ...]:
    """What is made for it, but for places that the caller fills with files of theirs."""
    made = [
        *_PRIVATE,
        Mount("text", "/etc/passwd", content=_passwd(user)),
        Mount("text", "/etc/group", content=f"root:x:0:\nuser:x:{user.gid}:\nnogroup:x:65534:\n".encode()),
    ]
    placed = (
        msgspec.structs.replace(
            mount,
            target=user.home if mount.target == HOME else mount.target,
            size=min(mount.size, memory or mount.size),
        )
        for mount in made
    )
    return tuple(mount for mount in placed if not _covered(mount.target, given))


def _passwd(user: User) -> bytes:
    lines = ["root:x:0:0:root:/nonexistent:/bin/sh", "nobody:x:65534:65534:nobody:/nonexistent:/bin/sh"]
    own = f"{user.name}:x:{user.uid}:{user.gid}::{user.home}:/bin/sh"
    kept = [line for line in lines if line.split(":")[2] != str(user.uid)]
    return "\n".join([own, *kept, ""]).encode("utf-8", "surrogateescape")


def _limits(usual: tuple[Limit, ...], grants: Grants) -> tuple[Limit, ...]:
    """The policy's limits, and the caller's in their place."""
    chosen: list[Limit] = []
    if grants.memory is not None:
        chosen.append(Limit("data", grants.memory))
    if grants.processes is not None:
        chosen.append(Limit("nproc", grants.processes, own_ids_only=True))
    if grants.file_size is not None:
        chosen.append(Limit("fsize", grants.file_size))
    if grants.cpu_time_s is not None:
        # Of each process, behind the watching of all: that ends them with a word that says why.
        chosen.append(Limit("cpu", round(grants.cpu_time_s) + 2))
    names = {limit.name for limit in chosen}
    return (*(limit for limit in usual if limit.name not in names), *chosen)


def private_trees(home: str) -> tuple[str, ...]:
    """Trees that are the program's own: empty when it begins, and gone when it ends."""
    return tuple(mount.target.replace(HOME, home) for mount in _PRIVATE if mount.what in ("tmpfs", "proc"))


def host_trees(base: ProgramBase, home: str) -> tuple[tuple[str, int], ...]:
    """Those rules of the base that show the host's files."""
    return tuple((path, access) for path, access in base.files if path not in _PRIVATE_PATHS and path != home)
