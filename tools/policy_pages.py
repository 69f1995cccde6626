"""The pages of docs/reference about sandboxes: policies, and the names of the environment.

Runs in: tools/make_docs.py.  Trusts: the checkout.
Flow: committed policies, their grammar's tables, model/environment → policies.md, env.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from foxden.model.environment import ENVIRONMENT
from foxden.model.process_types import PROCESS_TYPES, SERVER_POLICIES
from foxden.sandbox.paths import AbsPath
from foxden.sandbox.policy import SETS, Policy, ResolvedPolicy, load, resolve
from foxden.sandbox.policy_files import policy_names, read_policy
from foxden.sandbox.policy_text import NAMESPACES, VARIABLES, FileLine, parse_sets

Rows: TypeAlias = Sequence[tuple[str, ...]]

_GRAMMAR = """\
A policy is one file of TOML in `foxden/sandbox/policies`. What it does not grant is refused.

```toml
include = ["common"]            # other policies, read first; this one speaks after them

[syscalls]                      # of every level
default = "notify.EPERM"        # what no line names
allow = ["@threads", "openat(flags & O_ACCMODE == O_RDONLY)"]
errno.ENOTTY = ["ioctl"]        # the kernel answers; nobody hears of it
notify.EACCES = ["@exec"]       # the broker is asked, and records; the errno is its answer, or where there is no broker
kill = ["@other-processes"]     # the process ends

[files]
"/usr/share" = "r"              # the path and all below it; the longest rule wins, at equal length `deny`

[[level]]                       # more, from this level on; level 0 is no sandbox at all
from = 4
namespaces = ["user", "pid", "mount", "net", "ipc", "uts", "cgroup"]
root = "empty"                  # or "host"
network = "none"                # or "host"
capabilities = "drop"           # or "keep"
landlock = true
reads = "broker"                # or "kernel": what `[files]` grants is mounted, or allowed by Landlock

[level.files.when-remote-type.file]
"/" = "r"                       # of one kind of content only

[limits]
memory = "1 GiB"
```

System calls: a name, a name with conditions joined by `and` (`arg == A|B`, `!=`, `in A|B`, `only A|B`, and with a mask
`arg & MASK == A|B`), or `@` and the name of a set. Conditional lines are looked at before the unconditional one; of
several that match the strictest wins: kill, notify, errno, allow. A later place replaces what an earlier one says
without a condition, and never loosens a condition that denies.

Files: `deny`, `stat` (that it exists, and its attributes), `connect` (to a unix socket), or letters of `rwcx`: read,
write, create and remove, execute. A rule whose variable is not given is left out.
"""


def policies_page(made: str) -> str:
    names = [row.policy for row in PROCESS_TYPES if row.policy]
    names += sorted(set(SERVER_POLICIES.values()) - set(names))
    parts = ["# Policies", made, _GRAMMAR, "## Variables of file rules\n",
             ", ".join(f"`{{{name}}}`" for name in VARIABLES) + "\n",
             "## Levels of each type\n",
             "What a child of this type asks of each layer. The process is not started where one is not to be had,\n"
             "unless that loss is accepted by name.\n",
             _table(("policy", "level", "namespaces", "root", "network", "landlock", "files are read through"),
                    [row for name in names for row in _level_rows(load(name, read_policy))]),
             "## File rules\n",
             "A higher level replaces a rule of the same path. What no row names is refused.\n",
             *(text for name in names if name in policy_names() for text in _files(load(name, read_policy))),
             "## Sets of system calls\n",
             _table(("set", "calls"), list(_sets()))]  # fmt: skip
    return "\n".join(parts)


def environment_page(made: str) -> str:
    rows = [(f"`{row.name}`", row.doc, row.elsewhere or "the same", f"`{row.reader}`" if row.reader else "-")
            for row in ENVIRONMENT]  # fmt: skip
    words = (
        "Only the environment of the parent counts, as it is when a den is made. Fork servers and children are\n"
        "started with none at all: what a child sets in its own turns nothing off, and no secret of yours is in it.\n\n"
        "A switch is on when it is set to anything but `0` and nothing. Names that Firefox sets for its children\n"
        "(`MOZ_SANDBOXED`, `MOZ_SANDBOX_USE_CHROOT`, `LD_PRELOAD` …) have no counterpart: a child is told by message.\n"
    )
    build = (
        "## When the package is built\n\n"
        "`FOXDEN_BUILD_DISABLE_SANDBOX=1`, `FOXDEN_BUILD_DISABLE_CONTENT_SANDBOX=1`, or\n"
        "`pip install --config-settings disable-sandbox=true .` and `disable-content-sandbox=true`: the package is\n"
        "built without sandboxes, as with `--disable-sandbox` in a mozconfig of Firefox. Every command says so, first\n"
        "of all. Editable installs copy nothing and refuse these settings.\n"
    )
    head = ("name", "what it does", "in Firefox", "read by")
    return "\n".join(["# Environment", made, words, _table(head, rows), build])


def _table(head: tuple[str, ...], rows: Rows) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def _resolve(policy: Policy, level: int) -> ResolvedPolicy:
    return resolve(policy, level=level, remote_type=None, variables={})


def _level_rows(policy: Policy) -> Iterator[tuple[str, ...]]:
    for level in range(1, policy.max_level + 1):
        got = _resolve(policy, level)
        asked = "all" if set(got.namespaces) == set(NAMESPACES) else ", ".join(got.namespaces) or "-"
        files = "-" if got.root == "host" and not got.landlock else got.reads
        yield f"`{policy.name}`", str(level), asked, got.root, got.network, "yes" if got.landlock else "-", files


def _files(policy: Policy) -> list[str]:
    lines = [(place.level, line) for place in policy.places for line in place.files]
    if not lines:
        return []
    rows = [(f"`{_path(line)}`", line.access.word(), line.remote_type or "all", str(level)) for level, line in lines]
    return [f"### {policy.name}\n", _table(("path", "access", "remote type", "from level"), rows)]


def _path(line: FileLine) -> str:
    return f"{{{line.variable}}}{line.rest}" if line.variable else AbsPath(line.rest)


def _sets() -> Iterator[tuple[str, str]]:
    for name, calls in parse_sets(SETS, read_policy(SETS)).items():
        words = dict.fromkeys(call.name + (" (some)" if call.conditions else "") for call in calls)
        yield f"`@{name}`", ", ".join(words)
