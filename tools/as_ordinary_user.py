#!/usr/bin/env python3
"""Run a command as a user who may do nothing special: no root, no groups, no capabilities, no home of his own.

    tools/as_ordinary_user.py                       the test suite
    tools/as_ordinary_user.py pytest tests/unit     pytest of this checkout, with these arguments
    tools/as_ordinary_user.py id -u                 any command

Runs in: `make test` as root, on a developer's machine or in CI.  Trusts: the command not to write where others can.
Flow: a private view of the file system where the checkout is out of reach → fork → ids dropped → exec → wait.
Exit code: the command's; 128 + n when signal n ended it; 2 when it could not be started.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_UID = 54321  # has no passwd entry anywhere: what needs one must not be needed
CANNOT_START = 2

CLONE_NEWNS = 0x0002_0000
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x4_0000
PR_SET_PDEATHSIG, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 1, 47, 4
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

libc = ctypes.CDLL(None, use_errno=True)
libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]


class CannotStart(Exception):
    """What is wrong, and what to do about it."""


def main(arguments: list[str]) -> int:
    os.umask(0o022)  # what is made here is for another user to see
    uid = int(os.environ.get("FOXDEN_TEST_UID", DEFAULT_UID))
    if os.geteuid() == 0:
        return run_as(uid, arguments)
    with tempfile.TemporaryDirectory(prefix="fxu-") as scratch:
        return run(command_of(arguments, Path(scratch)), environment(Path(scratch)), None)


def run_as(uid: int, arguments: list[str]) -> int:
    if uid == 0:
        raise CannotStart("FOXDEN_TEST_UID is 0: that is root, not an ordinary user")
    make_reachable([ROOT, *interpreter_paths()], uid)
    scratch = scratch_directory(uid)
    try:
        return run(command_of(arguments, scratch), environment(scratch), uid)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


# --- what to run ------------------------------------------------------------------------------------------------


def command_of(arguments: list[str], scratch: Path) -> list[str]:
    if not arguments:
        arguments = ["pytest"]
    if arguments[0] == "pytest":
        # A short name again: the tests' own folders lie below it, and sockets in them.
        return [str(python()), "-m", "pytest", f"--basetemp={scratch}/t", *arguments[1:]]
    return arguments


def python() -> Path:
    own = ROOT / ".venv" / "bin" / "python"
    return own if own.exists() else Path(sys.executable)


def interpreter_paths() -> list[Path]:
    """Where the interpreter lies, if it is not the system's own: a version manager's may be in root's home."""
    return [python().resolve().parent.parent]


def scratch_directory(uid: int) -> Path:
    """Make a directory that is `uid`'s alone.  The name is short: paths of Unix sockets end at 108 bytes."""
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if can_enter(Path(base), uid):
            break
    scratch = Path(tempfile.mkdtemp(prefix="fxu-", dir=base))
    os.chown(scratch, uid, uid)
    return scratch


def environment(scratch: Path) -> dict[str, str]:
    """The caller's environment, less what names his home; and nothing writes its caches into the checkout."""
    home, temporary = scratch / "home", scratch / "tmp"
    owner = scratch.stat()
    for path in (home, temporary):
        path.mkdir(mode=0o700)
        os.chown(path, owner.st_uid, owner.st_gid)
    kept = {
        key: value for key, value in os.environ.items()
        if not key.startswith(("XDG_", "SUDO_", "DBUS_", "SSH_")) and key not in ("MAIL", "TMP", "TEMP")
    }  # fmt: skip
    return kept | {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "USER": "ordinary",
        "LOGNAME": "ordinary",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HYPOTHESIS_STORAGE_DIRECTORY": str(temporary / "hypothesis"),
        "PYTEST_ADDOPTS": f"{os.environ.get('PYTEST_ADDOPTS', '')} -p no:cacheprovider".strip(),
    }


# --- reach: the same paths, seen by someone who may not pass through root's directories -------------------------


def make_reachable(paths: list[Path], uid: int) -> None:
    """Let `uid` enter `paths` under their own names, in a mount namespace of this process alone.

    A directory that bars the way is covered by an empty one in which only what is needed shows.  The names stay,
    so that scripts and an editable install, which hold absolute paths, stay right.  Nothing on the disk changes.
    """
    barred = [path for path in paths if not can_enter(path, uid)]
    if not barred:
        return
    if libc.unshare(CLONE_NEWNS) != 0:
        raise CannotStart(f"{barred[0]} is out of reach for uid {uid}, and mount namespaces are not to be had: "
                          f"{os.strerror(ctypes.get_errno())}")  # fmt: skip
    mount("none", Path("/"), MS_REC | MS_PRIVATE)
    for path in barred:
        for _ in range(2):  # once for a directory above, once more for the checkout's own
            if not can_enter(path, uid):
                uncover(path, barred, uid)
        if not can_enter(path, uid):
            raise CannotStart(f"{path} is closed to uid {uid}: its own files are; chmod -R go+rX would open them")
    enter_again(Path.cwd())


def enter_again(directory: Path) -> None:
    """Look the working directory up anew: the one that this process stands in may be covered now."""
    os.chdir(directory if directory.exists() else ROOT)


def uncover(path: Path, wanted: list[Path], uid: int) -> None:
    """Cover the topmost directory that bars the way to `path`; show through it all of `wanted` that lies below."""
    barrier = next(step for step in [*reversed(path.parents), path] if not can_enter(step, uid))
    below = sorted({other for other in wanted if other.is_relative_to(barrier)})
    shown = [entry for other in below for entry in (sorted(other.iterdir()) if other == barrier else [other])]
    with tempfile.TemporaryDirectory(prefix="fxu-") as name:
        held = Path(name)
        mount("tmpfs", held, 0, "tmpfs", "size=64k,mode=0755")  # never seen outside of this namespace
        for number, entry in enumerate(shown):
            bind(entry, held / str(number))
        mount("tmpfs", barrier, 0, "tmpfs", "size=1m,mode=0755")
        for number, entry in enumerate(shown):
            bind(held / str(number), entry)
        libc.umount2(os.fsencode(held), 2)  # MNT_DETACH: the binds below it stay where they are shown


def bind(source: Path, target: Path) -> None:
    """Show `source` at `target`, which is made if need be."""
    if source.is_symlink():
        if not target.is_symlink():
            target.symlink_to(source.readlink())
        return
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if source.is_dir():
        target.mkdir(mode=0o755, exist_ok=True)
    else:
        target.touch()
    mount(str(source), target, MS_BIND | MS_REC)


def mount(source: str, target: Path, flags: int, filesystem: str = "", options: str = "") -> None:
    if libc.mount(source.encode(), os.fsencode(target), filesystem.encode(), flags, options.encode()) != 0:
        raise CannotStart(f"mount of {source} on {target}: {os.strerror(ctypes.get_errno())}")


def can_enter(path: Path, uid: int) -> bool:
    """Ask the kernel, as `uid`: modes alone do not tell (access lists, security modules, mount options)."""
    child = os.fork()
    if child == 0:
        try:
            drop_to(uid)
            os._exit(0 if os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)) else 1)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


# --- the process ------------------------------------------------------------------------------------------------


def drop_to(uid: int) -> None:
    """Become `uid`, for good.  Leaving root clears the capability sets; the ambient one is cleared by hand."""
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    os.setgroups([int(gid) for gid in os.environ.get("FOXDEN_TEST_GROUPS", "").split(",") if gid])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def run(command: list[str], env: dict[str, str], uid: int | None) -> int:
    """Start `command` and wait for it, passing on the signals that this process gets."""
    watched = {signal.SIGCHLD, *FORWARDED}
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    child = os.fork()
    if child == 0:
        exec_command(command, env, uid, previous)
    while True:
        event = signal.sigwaitinfo(watched)
        if event.si_signo != signal.SIGCHLD:
            # A terminal's Ctrl-C (sent by the kernel: code > 0) has reached the child already.
            if event.si_code <= 0:
                os.kill(child, event.si_signo)
            continue
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def exec_command(command: list[str], env: dict[str, str], uid: int | None, mask: Iterable[int]) -> None:
    try:
        if uid is not None:
            drop_to(uid)
        # After the ids: changing them clears it.  Killed together, or tests would go on without anyone to see them.
        libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execvpe(command[0], command, env)
    except OSError as error:
        print(f"error: {command[0]} could not be started: {error.strerror}", file=sys.stderr, flush=True)
    finally:
        os._exit(CANNOT_START)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except CannotStart as problem:
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(CANNOT_START)
