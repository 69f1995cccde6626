"""Acts that a process may try, and what a policy answers: the same questions for every platform.

Runs in: the parent, tools and tests; pure.  Trusts: nothing, it is data.
Flow: Act → simulate.decide (Linux), macos.decide, windows.decide → Decision → `foxden policy`, docs, tests.
Source: MozillaWiki Security/Sandbox; Firefox's browser_content_sandbox_fs.js for the acts.
"""

from __future__ import annotations

import enum

import msgspec


class Operation(enum.Enum):
    """What is tried.  Those of `ON_PATHS` are tried on a path."""

    READ = "read"
    WRITE = "write"  # what is there already
    CREATE = "create"  # and remove, and rename
    STAT = "stat"  # that it is there, and its attributes
    LIST = "list"  # a directory's names
    CONNECT = "connect"  # to a host on the internet
    LISTEN = "listen"  # for connections from outside
    EXEC = "exec"  # another program
    FORK = "fork"  # a new process
    PRINT = "print"
    CLIPBOARD = "clipboard"  # read or change it


ON_PATHS = frozenset({Operation.READ, Operation.WRITE, Operation.CREATE, Operation.STAT, Operation.LIST})


class Outcome(enum.Enum):
    ALLOWED = "allowed"
    REFUSED = "refused"
    NOT_SAID = "not said"  # the tables leave it open, and foxden does not guess


class Act(msgspec.Struct, frozen=True):
    operation: Operation
    path: str = ""  # absolute, in the platform's own notation; only with an operation of ON_PATHS

    def __str__(self) -> str:
        return f"{self.operation.value} {self.path}".rstrip()


class Decision(msgspec.Struct, frozen=True):
    outcome: Outcome
    rule: str  # the line that decided, as a person would look for it
    reason: str = ""  # why that line is there

    @property
    def allowed(self) -> bool:
        return self.outcome is Outcome.ALLOWED


# What the {…} of the acts below stand for where no machine is asked: one made-up user on each platform.
EXAMPLE_PLACES: dict[str, dict[str, str]] = {
    "linux": {
        "home": "/home/user", "profile": "/home/user/.foxden/main", "install": "/opt/foxden", "tmp": "/tmp",  # noqa: S108
        "system": "/usr/lib", "fonts": "/usr/share/fonts", "user_fonts": "/home/user/.fonts", "plugin": "/opt/plugin",
        "secrets": "/home/user/.ssh", "low": "/home/user/.cache/other",
    },
    "macos": {
        "home": "/Users/user", "profile": "/Users/user/Library/Application Support/foxden/main",
        "install": "/Applications/foxden.app", "tmp": "/private/var/folders/zz/user/T", "system": "/System/Library",
        "fonts": "/Library/Fonts", "user_fonts": "/Users/user/Library/Fonts", "plugin": "/Applications/plugin",
        "secrets": "/Users/user/Library/Keychains", "low": "/Users/user/.cache/other",
    },
    "windows": {
        "home": r"C:\Users\user", "profile": r"C:\Users\user\AppData\Roaming\foxden\main",
        "install": r"C:\Program Files\foxden", "tmp": r"C:\Users\user\AppData\Local\Temp", "system": r"C:\Windows",
        "fonts": r"C:\Windows\Fonts", "user_fonts": r"C:\Users\user\AppData\Local\Microsoft\Windows\Fonts",
        "plugin": r"C:\Program Files\plugin", "secrets": r"C:\Users\user\AppData\Roaming\Microsoft\Vault",
        "low": r"C:\Users\user\AppData\LocalLow\other",
    },
}  # fmt: skip

# The acts of every matrix: what a person asks first of a sandbox.  Paths in `/`, put into the platform's notation.
STANDARD_ACTS: tuple[tuple[Operation, str], ...] = (
    (Operation.READ, "{home}/diary.txt"),
    (Operation.LIST, "{home}"),
    (Operation.WRITE, "{home}/diary.txt"),
    (Operation.CREATE, "{home}/dropped.txt"),
    (Operation.READ, "{profile}/cookies.sqlite"),
    (Operation.WRITE, "{profile}/cookies.sqlite"),
    (Operation.READ, "{profile}/extensions/one.xpi"),
    (Operation.READ, "{profile}/chrome/userContent.css"),
    (Operation.WRITE, "{profile}/extensions/one.xpi"),
    (Operation.READ, "{secrets}/login"),
    (Operation.READ, "{system}/library"),
    (Operation.WRITE, "{system}/library"),
    (Operation.READ, "{install}/module"),
    (Operation.WRITE, "{install}/module"),
    (Operation.READ, "{fonts}/a.ttf"),
    (Operation.READ, "{user_fonts}/a.ttf"),
    (Operation.CREATE, "{tmp}/scratch"),
    (Operation.CREATE, "{low}/scratch"),
    (Operation.CONNECT, ""),
    (Operation.LISTEN, ""),
    (Operation.EXEC, ""),
    (Operation.FORK, ""),
    (Operation.PRINT, ""),
    (Operation.CLIPBOARD, ""),
)


def act_on(platform: str, operation: Operation, path: str, places: dict[str, str] | None = None) -> Act:
    """The act with its path filled in and in the platform's notation.  `places`: else EXAMPLE_PLACES."""
    if not path:
        return Act(operation)
    filled = path.format(**{**EXAMPLE_PLACES[platform], **(places or {})})
    return Act(operation, filled.replace("/", "\\") if platform == "windows" else filled)
