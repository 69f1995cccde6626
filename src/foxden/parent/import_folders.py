"""Which folders the caller's code lies in, and which of them hold more than code: those no worker is shown.

Runs in: parent, on the caller's thread.  Trusts: the caller's sys.path; the passwd database; never $HOME or $TMPDIR
to say that a folder is harmless.
Flow: sys.path, editable installs → import_path → readable_folders, kept_back → function_view's rules.
Source: site, sys.path[0]; setuptools' editable installs; hier(7).
"""

from __future__ import annotations

import functools
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence

from foxden.sandbox.sensitive import ALWAYS_KEPT_BACK, is_kept_back, secret_reason

# Folders of the system, which a script or a shell may happen to be in.  What lies in them may be somebody's code.
_SYSTEM = frozenset({
    "/dev/shm", "/tmp", "/var/tmp",  # noqa: S108 - these are the ones that are not shown
    "/", "/Users", "/boot", "/dev", "/etc", "/home", "/media", "/mnt", "/opt", "/proc", "/root", "/run", "/run/user",
    "/srv", "/sys", "/usr", "/usr/local", "/usr/local/share", "/usr/share", "/usr/src", "/var", "/var/cache",
    "/var/lib", "/var/log", "/var/mail", "/var/opt", "/var/spool",
})  # fmt: skip
_NO_CODE = ("/boot/", "/etc/", "/proc/", "/sys/")  # nothing inside, either: passwords of services, keys of the machine
_HOMES = ("/home", "/Users", "/run/user")  # each folder in them is somebody's, whether a database says so or not
_USERS = "/etc/passwd"
_USERS_MAX = 1 << 20  # bytes
_PACKAGES = ("site-packages", "dist-packages", "lib-dynload")  # what is installed brings no secrets of its user's
_LOOKED_AT = 4096  # entries of one folder and those in it
_PEM_MAX = 1 << 20  # bytes
_SHARED = stat.S_ISVTX | stat.S_IWOTH  # as /tmp has, wherever it is


def import_path() -> tuple[str, ...]:
    """The caller's sys.path as folders and archives, with those that editable installs put beside it."""
    found = [os.path.abspath(entry) for entry in (*sys.path, *_editable_folders())]
    return tuple(dict.fromkeys(found))


def _editable_folders() -> Iterable[str]:
    """Setuptools' editable installs map package names to folders in a module of their own."""
    for name, module in list(sys.modules.items()):
        mapping = getattr(module, "MAPPING", None)
        if name.startswith("__editable__") and isinstance(mapping, dict):
            yield from (os.path.dirname(str(folder)) for folder in mapping.values())


def readable_folders(path: Sequence[str]) -> tuple[str, ...]:
    """Of the import path, what workers may read: everything but folders that hold more than code."""
    import sysconfig

    libraries = [sysconfig.get_config_var("LIBDIR"), *filter(None, [_shared_library_folder()])]
    wanted = [entry for entry in (*path, *libraries) if isinstance(entry, str) and os.path.exists(entry)]
    return tuple(entry for entry in dict.fromkeys(wanted) if not is_too_wide(entry))


def _shared_library_folder() -> str | None:
    folder = os.path.join(sys.base_prefix, "lib")
    return folder if os.path.isdir(folder) else None


def is_too_wide(folder: str) -> bool:
    """Does it hold more than code?  Homes and what lies above them, what everybody writes to, the system's own: a
    script that lies there grants none of it.  $HOME and $TMPDIR say that a folder is too wide, never that it is not."""
    import tempfile

    real = os.path.realpath(folder)
    if real in _SYSTEM or os.path.dirname(real) in _HOMES or f"{real}/".startswith(_NO_CODE):
        return True
    if is_kept_back(os.path.basename(real), is_folder=True) or secret_reason(f"{real}/code"):
        return True
    try:
        status = os.stat(real)
    except OSError:
        return True
    is_everybodys = stat.S_ISDIR(status.st_mode) and status.st_mode & _SHARED == _SHARED
    if is_everybodys or real == os.path.realpath(tempfile.gettempdir()):
        return True
    own = os.path.realpath(os.path.expanduser("~"))
    homes = (own, *_homes(), *_homes_of(os.getuid()), *_homes_of(status.st_uid))
    return any(f"{home}/".startswith(f"{real}/") for home in homes)


@functools.cache
def _homes() -> tuple[str, ...]:
    """Of the users of this machine.  The file is read, once, and not the whole database: to list one that is kept
    elsewhere, as LDAP's, can take minutes.  Whom that knows, `_homes_of` asks for where it matters."""
    try:
        with open(_USERS, "rb") as file:
            lines = os.fsdecode(file.read(_USERS_MAX)).splitlines()
    except OSError:
        return ()
    return _absolute(fields[5] for line in lines if len(fields := line.split(":")) == 7)


@functools.cache
def _homes_of(uid: int) -> tuple[str, ...]:
    """By name and by where that is: who owns a folder is whose home it may be."""
    import pwd

    try:
        home = pwd.getpwuid(uid).pw_dir
    except (KeyError, OSError):
        return ()
    return tuple(each for named in _absolute([home]) for each in (named, os.path.realpath(named)))


def _absolute(homes: Iterable[str]) -> tuple[str, ...]:
    """Users without a home have "/", or nothing."""
    return tuple({os.path.normpath(home) for home in homes if home.startswith("/") and home.strip("/")})


def kept_back(folders: Sequence[str]) -> tuple[str, ...]:
    """Secrets that lie in the caller's own folders, and in the folders there: rules have no patterns, so what is
    there now is looked up, by name, and not further down than code at its usual place needs.  See sandbox/sensitive."""
    stdlib = os.path.dirname(os.__file__)
    found: dict[str, None] = {}
    for folder in folders:
        real = os.path.realpath(folder)
        if real != stdlib and os.path.basename(real) not in _PACKAGES and os.path.isdir(real):
            found.update(dict.fromkeys(os.path.join(real, name) for name in ALWAYS_KEPT_BACK))
            found.update(dict.fromkeys(_secrets_in(real)))
    return tuple(found)


def _secrets_in(folder: str) -> Iterator[str]:
    pending, looked_at = [(folder, 1)], 0
    while pending:
        here, depth = pending.pop(0)
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    looked_at += 1
                    if looked_at > _LOOKED_AT:
                        return
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if is_kept_back(entry.name, is_folder=is_folder) or _is_private_key(entry):
                        yield entry.path
                    elif is_folder and depth == 1 and entry.name not in _PACKAGES:
                        pending.append((entry.path, 2))
        except OSError:
            continue  # no worker reads it, either


def _is_private_key(entry: os.DirEntry[str]) -> bool:
    """Of a .pem only its text says so: most are certificates, which clients need."""
    if not entry.name.lower().endswith(".pem"):
        return False
    try:
        if not entry.is_file():
            return False
        with open(entry.path, "rb") as file:
            return b"PRIVATE KEY-----" in file.read(_PEM_MAX)
    except OSError:
        return False
