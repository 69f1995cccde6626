"""Ids beside his own that a user may give to his processes: /etc/subuid and /etc/subgid, mapped by setuid helpers.

Runs in: the parent (is there a range?), fork servers (mapping it).  Trusts: the system's files and helpers.
Flow: find → Range → word on a fork server's command line → newuidmap, newgidmap on its user namespace.
Source: subuid(5), newuidmap(1), user_namespaces(7).
"""

from __future__ import annotations

import functools
import os
import stat

import msgspec

from foxden.sandbox import linux

FIRST_INSIDE = 0x7000_0000  # above every range in use: systemd-nspawn's ends at 0x6fffffff
ROOTS_COUNT = 0x0FFF_FFFF  # root may take any: up to the highest positive id
_SERVICES = 61184
_LEAST = 256  # fewer children than that at a time is no den
_FOLDERS = ("/usr/bin", "/bin", "/usr/sbin", "/sbin", "/run/wrappers/bin", "/usr/local/bin")


class Range(msgspec.Struct, frozen=True):
    """Outside ids that stand for the inside ids from FIRST_INSIDE on."""

    first_uid: int
    first_gid: int
    length: int

    def word(self) -> str:
        return f"{self.first_uid}:{self.first_gid}:{self.length}"


class Found(msgspec.Struct, frozen=True):
    """`range` is None where there is none, and `reason` says why."""

    range: Range | None
    reason: str = ""
    remedy: str = ""


def parse_word(word: str) -> Range:
    first_uid, first_gid, length = (int(part) for part in word.split(":"))
    return Range(first_uid, first_gid, length)


@functools.cache
def find() -> Found:
    """The range of the user that runs this process.  Looked for once: the parent cannot look when it is locked."""
    uid = os.getuid()
    if linux.prctl(linux.PR_GET_NO_NEW_PRIVS):
        reason = "no_new_privs is set here: setuid helpers have no effect"
        return Found(None, reason, "start foxden outside of what sets it")
    name = _name_of(uid)
    if not name:
        return Found(None, f"uid {uid} has no entry in /etc/passwd", "run foxden as a user of this system")
    uids, gids = (_largest(path, name, uid) for path in ("/etc/subuid", "/etc/subgid"))
    count = min(uids[1], gids[1])
    if count < _LEAST:
        remedy = f"usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"
        return Found(None, f"{name} has no range of {_LEAST} ids in /etc/subuid and /etc/subgid", remedy)
    for helper in ("newuidmap", "newgidmap"):
        if not _is_privileged(helper_path(helper)):
            reason = f"{helper} is not installed, or not setuid root"
            return Found(None, reason, "install uidmap (Debian, Ubuntu) or shadow-utils (Fedora)")
    return Found(Range(uids[0], gids[0], count))


def of_root(uid_map: str, gid_map: str) -> tuple[int, int]:
    """First id and number of ids that root may give away, from the maps of his own namespace; (0, 0): none.

    Anywhere but in a container nobody uses those from FIRST_INSIDE on.  In one that has few: those of the upper half,
    below what systemd gives to its services (61184 and above).
    """
    (first_uid, last_uid), (first_gid, last_gid) = _longest_row(uid_map), _longest_row(gid_map)
    first, end = max(first_uid, first_gid), min(last_uid, last_gid)
    if first <= FIRST_INSIDE and end >= FIRST_INSIDE + ROOTS_COUNT:
        return FIRST_INSIDE, ROOTS_COUNT
    middle = first + (end - first) // 2
    end = min(end, _SERVICES) if middle < _SERVICES else end
    return (middle, end - middle) if end - middle >= _LEAST else (0, 0)


def _longest_row(text: str) -> tuple[int, int]:
    """First inside id, and the one after the last, of a map's longest row."""
    rows = [tuple(map(int, line.split())) for line in text.splitlines()]
    return max(((row[0], row[0] + row[2]) for row in rows if len(row) == 3), key=lambda r: r[1] - r[0], default=(0, 0))


def helper_path(name: str) -> str:
    """Where a helper lies; empty: nowhere.  PATH is the caller's, and is not asked."""
    places = (os.path.join(folder, name) for folder in _FOLDERS)
    return next((place for place in places if os.path.isfile(place)), "")


def _name_of(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _largest(path: str, name: str, uid: int) -> tuple[int, int]:
    """First id and length of the user's largest range; (0, 0): he has none."""
    best = (0, 0)
    try:
        with open(path, encoding="utf-8", errors="replace") as table:
            rows = [line.strip().split(":") for line in table]
    except OSError:
        return best
    for row in rows:
        if len(row) == 3 and row[0] in (name, str(uid)) and row[1].isdecimal() and row[2].isdecimal():
            found = (int(row[1]), min(int(row[2]), ROOTS_COUNT))
            best = max(best, found, key=lambda pair: pair[1])
    return best


def _is_privileged(path: str) -> bool:
    """Setuid root, or with file capabilities, as Fedora has it."""
    if not path:
        return False
    about = os.stat(path)
    if about.st_uid == 0 and about.st_mode & stat.S_ISUID:
        return True
    try:
        return bool(os.getxattr(path, "security.capability"))
    except OSError:
        return False
