"""What comes along, and what gets out: descriptors, environment, terminals, configuration, runs within runs."""

from __future__ import annotations

import array
import fcntl
import json
import os
import pty
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.attack.run.ground import CANARY, CHECKOUT, PYTHON, Ground, command, decoded

LIST = "import os; print(sorted(set(os.listdir('/proc/self/fd')) - {'0', '1', '2', '3'}))"


def test_no_descriptor_comes_along_whatever_it_is(ground: Ground) -> None:
    """Case 124: a file, a directory, sockets, a pidfd, an epoll set, a memory file, a terminal, a pipe."""
    with socket.socket() as listener, socket.socket(socket.AF_UNIX) as local, tempfile.TemporaryFile() as file:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        outer, inner = os.openpty()
        fds = [
            os.open(ground.secret, os.O_RDONLY),
            os.open(ground.secret / "secret.txt", os.O_RDONLY),
            os.pidfd_open(os.getpid()),
            os.memfd_create("secret"),
            os.eventfd(0),
            outer,
            inner,
            *os.pipe(),
        ]
        poll = select.epoll()
        passed = [*fds, poll.fileno(), listener.fileno(), local.fileno(), file.fileno()]
        for fd in passed:
            os.set_inheritable(fd, True)
        try:
            done = ground.run(PYTHON, "-c", LIST, pass_fds=passed)
            alone = subprocess.run([PYTHON, "-c", LIST], pass_fds=passed, capture_output=True, text=True, check=True)
        finally:
            poll.close()
            for fd in fds:
                os.close(fd)
    assert done.stdout == "[]\n"
    assert len(json.loads(alone.stdout.replace("'", '"'))) >= len(passed) - 1


CHANGES = """
import fcntl, os
print(os.read(0, 99).decode())
for act in (
    lambda: os.fchmod(0, 0o4777), lambda: os.fchown(0, os.getuid(), os.getgid()), lambda: os.utime(0, (1, 1)),
    lambda: os.setxattr(0, "user.x", b"1"), lambda: os.open("/proc/self/fd/0", os.O_WRONLY), lambda: os.write(0, b"x"),
    lambda: os.truncate(0, 0), lambda: os.chmod("/proc/self/fd/0", 0o777), lambda: os.truncate("/proc/self/fd/0", 0),
    lambda: fcntl.ioctl(0, 0x40086602, bytes(8)), lambda: os.link("/proc/self/fd/0", "/tmp/x", follow_symlinks=True),
):
    try: act(); print("ok")
    except OSError as error: print(type(error).__name__)
"""


def test_standard_input_can_be_read_and_nothing_else_done_to_it(ground: Ground) -> None:
    """Cases 14 and 17: the file is the user's; the kernel would let its owner change modes by any descriptor."""
    given = ground.secret / "given.txt"
    given.write_text("given")
    given.chmod(0o600)
    with given.open() as file:
        done = ground.run(PYTHON, "-c", CHANGES, stdin=file.fileno())
    said = done.stdout.split()
    assert said[0] == "given"
    assert "ok" not in said, said
    assert given.stat().st_mode & 0o7777 == 0o600
    with given.open() as file:
        alone = subprocess.run([PYTHON, "-c", CHANGES], stdin=file, capture_output=True, text=True, check=True)
    assert alone.stdout.split().count("ok") >= 5


def test_environment_of_the_command_stays_outside(ground: Ground) -> None:
    """Cases 57 and 123: nothing of it, not even what a loader or an interpreter would obey; what is named comes."""
    (ground.rw / "startup.py").write_text("print('started')")
    env = {
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "PYTHONSTARTUP": str(ground.rw / "startup.py"),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "GCONV_PATH": str(ground.rw),
        "MOZ_DISABLE_CONTENT_SANDBOX": "1",
        "BASH_ENV": str(ground.rw / "x"),
    }
    done = ground.run("/usr/bin/env", env={name: value for name, value in env.items() if name != "PYTHONPATH"})
    assert CANARY not in done.stdout
    assert {line.partition("=")[0] for line in done.stdout.splitlines()} <= {
        "HOME",
        "LANG",
        "PATH",
        "TERM",
        "TMPDIR",
        "TZ",
    }
    named = ground.run(
        "/usr/bin/env", options=["--env", "AWS_SECRET_ACCESS_KEY"], env=env | {"PYTHONPATH": str(CHECKOUT / "src")}
    )
    assert f"AWS_SECRET_ACCESS_KEY={CANARY}" in named.stdout.splitlines()


TIOCSTI = """
import fcntl, os, sys, termios
for fd in (0, 1, 2):
    try: fcntl.ioctl(fd, termios.TIOCSTI, b"x"); print("typed")
    except OSError as error: print(type(error).__name__)
try: print(os.ttyname(0))
except OSError: print("none")
try: print(os.open("/dev/tty", os.O_RDWR) > 0)
except OSError as error: print(type(error).__name__)
"""


def test_program_types_into_no_terminal(ground: Ground) -> None:
    """Case 128: neither into the user's, which it does not get, nor into its own."""
    outer, inner = pty.openpty()
    words = command(*ground.words("--", PYTHON, "-c", TIOCSTI))
    try:
        with subprocess.Popen(
            words,
            env=ground.environment(),
            cwd=ground.base,
            stdin=inner,
            stdout=inner,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            assert process.wait(20) == 0
        said = _read_all(outer)
        pending = array.array("i", [0])
        fcntl.ioctl(inner, 0x541B, pending)  # FIONREAD
    finally:
        os.close(outer)
        os.close(inner)
    assert "typed" not in said
    assert said.count("PermissionError") == 3, said
    assert "/dev/pts/" in said
    assert pending[0] == 0, "nothing stands in the user's terminal"


def _read_all(fd: int) -> str:
    found = b""
    while select.select([fd], [], [], 0.2)[0]:
        found += os.read(fd, 65_536)
    return found.decode()


def test_terminal_as_another_stream_only_is_not_handed_over(ground: Ground) -> None:
    """Case 128: with --json nothing is shown, so a terminal as standard input is none for the program."""
    outer, inner = pty.openpty()
    try:
        done = ground.run(PYTHON, "-c", TIOCSTI, stdin=inner)
    finally:
        os.close(outer)
        os.close(inner)
    assert "typed" not in done.stdout
    assert "none" in done.stdout


def test_relative_grant_is_made_absolute_once(ground: Ground) -> None:
    """Case 24."""
    inner = ground.ro / "to-rmdir"
    words = command(
        "--json", "--read", "..", "--", "/bin/sh", "-c", "pwd; cat ../file.txt | head -1; cat ../../secret/secret.txt"
    )
    done = decoded(
        subprocess.run(
            words,
            env=ground.environment(),
            cwd=inner,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    )
    assert done.stdout == f"{inner}\nharmless\n"


@pytest.fixture
def outside_of_tmp() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="foxden-hostile-", dir="/srv" if os.path.isdir("/srv") else "/var/lib"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.needs_root
def test_write_to_a_folder_that_is_not_shown_is_refused_and_not_swallowed(outside_of_tmp: Path) -> None:
    """Case 25."""
    ground = Ground(outside_of_tmp / "ground")
    script = f"echo x > {ground.secret}/new; mkdir {ground.base}/beside; echo x > {ground.rw}/fine; ls {ground.base}"
    done = ground.run("/bin/sh", "-c", script)
    assert not (ground.secret / "new").exists()
    assert (ground.rw / "fine").read_text() == "x\n"
    assert done.stdout.split() == ["home", "ro", "rw"], "its home is its own"
    assert {each["path"] for each in done.violations} >= {f"{ground.base}/beside"}


@pytest.mark.needs_root
def test_what_is_mounted_below_a_grant_later_does_not_show(ground: Ground) -> None:
    """Case 26: the program's mounts are its own from the start."""
    (ground.ro / "late").mkdir()
    script = f"echo ready; read line; ls {ground.ro}/late; echo end"
    words = command(*ground.words("--", "/bin/sh", "-c", script))
    with subprocess.Popen(
        words,
        env=ground.environment(),
        cwd=ground.base,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        subprocess.run(["mount", "-t", "tmpfs", "none", str(ground.ro / "late")], check=True)
        try:
            (ground.ro / "late" / "seen").write_text("x")
            process.stdin.write("go\n")
            process.stdin.close()
            assert process.stdout.read() == "end\n"
        finally:
            subprocess.run(["umount", str(ground.ro / "late")], check=True)


def test_run_within_a_run_says_what_is_lost_or_refuses(ground: Ground) -> None:
    """Case 139: never silently weak."""
    shown = {str(CHECKOUT), str(Path(sys.executable).resolve().parent.parent), str(Path(sys.executable).parent.parent)}
    options = [word for path in sorted(shown) if not path.startswith("/usr") for word in ("--read", path)]
    inner = [sys.executable, "-m", "foxden", "run", "--", "/bin/cat", str(ground.ro / "file.txt")]
    options += ["--env", f"PYTHONPATH={CHECKOUT / 'src'}", "--env", "PYTHONDONTWRITEBYTECODE=1"]
    done = ground.run(*inner, options=options)
    assert done.code == 125, done.stdout + done.stderr
    assert "error:" in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "harmless" not in done.stdout


def test_what_a_program_leaves_behind_changes_nothing_of_the_next_run(ground: Ground) -> None:
    """Case 140: files of settings in its home, beside it and in its folder, and names in its environment."""
    script = f"""
import os
os.environ.update(MOZ_DISABLE_CONTENT_SANDBOX="1", MOZ_DISABLE_SANDBOX="1", FOXDEN_TEST_LANDLOCK_ABI="0")
for folder in (os.path.expanduser("~"), {str(ground.rw)!r}, os.path.expanduser("~/.config/foxden")):
    os.makedirs(folder, exist_ok=True)
    for name in ("foxden.toml", ".foxden.toml", "plugin.toml", "prefs.js", "user.js", "pyproject.toml"):
        with open(f"{{folder}}/{{name}}", "w") as file:
            file.write('[files]\\n"/" = "rwcx"\\nuser_pref("security.sandbox.content.level", 0);')
try: open({str(ground.secret / "secret.txt")!r})
except OSError: print("refused")
"""
    first = ground.run(PYTHON, "-c", script)
    assert first.stdout == "refused\n", first.stderr
    assert sorted(os.listdir(ground.home)) == [".ssh"], "its home was its own"
    words = command(
        "--json", *ground.words("--no-designate", "--", "/bin/cat", "/etc/shadow", str(ground.secret / "secret.txt"))
    )
    second = decoded(
        subprocess.run(
            words,
            env=ground.environment(),
            cwd=ground.rw,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    )
    assert second.stdout == ""
    for layer in second.said["enforcement"].values():
        assert layer["status"] == "FULL", second.said["enforcement"]
