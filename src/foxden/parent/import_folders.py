"""Which folders the caller's code lies in, and which of them hold more than code: those no worker is shown.

Runs in: parent, on the caller's thread.  Trusts: the caller's sys.path; the passwd database; never $HOME or $TMPDIR
to say that a folder is harmless.
Flow: sys.path, editable installs → import_path → readable_folders, kept_back → function_view's rules; shown_names →
workers' finders; why_missing → what is said of a module that they lack.
Source: site, sys.path[0]; setuptools' editable installs; hier(7).
"""

from __future__ import annotations

import functools
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.machinery import all_suffixes

from foxden.parent.temporaries import temporary_folders
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
_MISSING = re.compile(r"No module named '([A-Za-z_]\w{0,127})[.']", re.ASCII)
_MISSING_MAX = 1000  # characters
_LOOKED_AT = 4096  # entries of one folder and those in it
_PEM_MAX = 1 << 20  # bytes
_SHARED = stat.S_ISVTX | stat.S_IWOTH  # as /tmp has, wherever it is


def import_path() -> tuple[str, ...]:
    """The caller's sys.path as folders and archives, with those that editable installs put beside it."""
    beside = map(os.path.dirname, _editable_packages())
    return tuple(dict.fromkeys((*map(os.path.abspath, sys.path), *beside)))


def _editable_packages() -> Iterator[str]:
    """Setuptools' editable installs map names of packages and modules to places, in a module of their own.  Where a
    project has its packages at its root that is all of it that is code."""
    for name, module in list(sys.modules.items()):
        mapping = getattr(module, "MAPPING", None) if name.startswith("__editable__") else None
        if isinstance(mapping, dict):
            for place in map(os.path.abspath, map(str, mapping.values())):
                if os.path.isdir(place):
                    yield place
                else:
                    yield from filter(os.path.isfile, (place + suffix for suffix in all_suffixes()))


def readable_folders(path: Sequence[str]) -> tuple[str, ...]:
    """Of the import path, what workers may read: everything but folders that hold more than code; of those what an
    editable install names."""
    packages = list(_editable_packages())
    beside = {os.path.dirname(place) for place in packages} - set(map(os.path.abspath, sys.path))
    wanted = [*(entry for entry in path if entry not in beside), *packages, *_libraries()]
    return tuple(entry for entry in dict.fromkeys(wanted) if os.path.exists(entry) and not is_too_wide(entry))


def _libraries() -> list[str]:
    import sysconfig

    found = (sysconfig.get_config_var("LIBDIR"), os.path.join(sys.base_prefix, "lib"))
    return [folder for folder in found if isinstance(folder, str)]


def shown_names(path: Sequence[str], shown: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Folders of the import path that no worker lists → what in each is shown to them all the same."""
    inside: dict[str, dict[str, None]] = {}
    for place in (each for named in shown for each in (named, os.path.realpath(named))):
        folder, name = os.path.split(place)
        inside.setdefault(folder, {})[name] = None
    return {
        folder: tuple({**inside.get(folder, {}), **inside.get(os.path.realpath(folder), {})})
        for folder in path
        if os.path.isdir(folder) and not any(f"{folder}/".startswith(f"{tree}/") for tree in shown)
    }


def why_missing(text: str, names: Mapping[str, Sequence[str]]) -> str:
    """What to say of a worker's ModuleNotFoundError: empty unless the module is in a folder that is not shown.

    `text` is the worker's, which may say anything: of what is no module of the caller's nothing is said."""
    found = _MISSING.search(text[:_MISSING_MAX])
    if found is None:
        return ""
    name = found[1]
    for folder, shown in names.items():
        package = os.path.join(folder, name)
        for place, code in ((package, os.path.join(package, "__init__.py")), (f"{package}.py", f"{package}.py")):
            is_code = os.path.isfile(code) or (name in sys.modules and os.path.isdir(place))
            if is_code and os.path.basename(place) not in shown:
                return (
                    f"{name} lies in {folder}, which is on sys.path and not shown to functions, as it holds more than "
                    f"code; read=[{place!r}] lets them import it"
                )
    return ""


def is_too_wide(folder: str) -> bool:
    """Does it hold more than code?  Homes and what lies above them, what everybody writes to, the system's own: a
    script that lies there grants none of it.  $HOME and $TMPDIR say that a folder is too wide, never that it is not."""
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
    if is_everybodys or real in map(os.path.realpath, temporary_folders()):
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
    apart = {os.path.realpath(folder) for folder in (os.path.dirname(os.__file__), *_libraries())}
    found: dict[str, None] = {}
    for folder in folders:
        real = os.path.realpath(folder)
        if real not in apart and os.path.basename(real) not in _PACKAGES and os.path.isdir(real):
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
