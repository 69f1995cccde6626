"""Unmodified programs in a mount namespace of their own: their paths, their mounts, their /proc, protected names."""

from __future__ import annotations

import os
import pty
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker import harness
from tests.unit.broker.harness import linux, opened, outcomes, raw, run

pytestmark = [pytest.mark.needs("userns", "seccomp"), pytest.mark.usefixtures("each_way")]

EVERYTHING = {"/": "r", "/dev": "rw", "/proc": "r"}
MS_BIND, MS_REMOUNT, MS_RDONLY = 0x1000, 0x20, 1


@pytest.fixture
def project(tmp_path: Path) -> Path:
    path = tmp_path / "proj"
    path.mkdir()
    (path / "file").write_text("content")
    (tmp_path / "secret").write_text("secret")
    return path


def in_own_mounts(path: Path, *, mounts: bool = False) -> Any:
    def prepare() -> None:
        harness.own_mounts()
        if mounts:
            for name in ("ro", "private"):
                (path / name).mkdir()
            (path / "ro" / "file").write_text("read-only")
            base = os.fsencode(path)
            linux.syscall("mount", base + b"/ro", base + b"/ro", 0, MS_BIND, 0)
            linux.syscall("mount", b"none", base + b"/ro", 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0)
            linux.syscall("mount", b"none", base + b"/private", b"tmpfs", 0, 0)
        os.chdir(path)
        os.umask(0o027)

    return prepare


def test_relative_paths_and_descriptors_work_as_programs_use_them(project: Path) -> None:
    def act() -> dict[str, Any]:
        os.makedirs("a/b/c")
        Path("a/b/c/x").write_text("x")
        folder = os.open("a", os.O_RDONLY | os.O_DIRECTORY)
        path_only = os.open("a/b", os.O_PATH)
        got = outcomes({
            "cwd": lambda: Path("file").read_text(),
            "up": lambda: Path("a/../file").read_text(),
            "dir fd": lambda: os.stat("b/c/x", dir_fd=folder).st_size,
            "O_PATH fd": lambda: os.stat("c/x", dir_fd=path_only).st_size,
            "list": lambda: os.listdir(folder),
            "mode": lambda: oct(os.stat("a/b/c/x").st_mode & 0o777),
            "folder mode": lambda: oct(os.stat("a").st_mode & 0o777),
            "link": lambda: os.symlink("c/x", "a/b/l"),
            "through it": lambda: Path("a/b/l").read_text(),
            "unnamed": lambda: os.close(os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)),
            "mkdir trailing slash": lambda: os.mkdir("a/new/"),
            "rename folder": lambda: os.rename("a/b", "a/renamed"),
            "rmtree": lambda: shutil.rmtree("a"),
            "gone": lambda: os.path.exists("a"),
        })  # fmt: skip
        os.close(folder)
        return got

    assert run(act, {str(project): "rwc"}, view="child", prepare=in_own_mounts(project)).value == {
        "cwd": "content", "up": "content", "dir fd": 1, "O_PATH fd": 1, "list": ["b"], "mode": "0o640",
        "folder mode": "0o750", "link": None, "through it": "x", "unnamed": None, "mkdir trailing slash": None,
        "rename folder": None, "rmtree": None, "gone": False,
    }  # fmt: skip


@pytest.mark.parametrize("command", ["find . -name x | head -1", "rm -r deep", "cp file copy && cat copy",
                                     "mv file moved && cat moved", "ls -la / > /dev/null && echo listed",
                                     "ln -s file l && readlink -f l",
                                     "tar cf t.tar deep && tar tf t.tar | tail -1"])  # fmt: skip
def test_programs_do_their_work_with_every_path_call_brokered(project: Path, command: str) -> None:
    (project / "deep" / "er").mkdir(parents=True)
    (project / "deep" / "er" / "x").write_text("x")

    def act() -> list[Any]:
        done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=15, check=False)
        return [done.returncode, done.stderr, done.stdout]

    rules = {**EVERYTHING, str(project): "rwc", str(project.parent / "secret"): "deny"}
    code, error, out = run(act, rules, view="child", prepare=in_own_mounts(project)).value
    assert (code, error) == (0, "")
    assert out == subprocess.run(["/bin/sh", "-c", "true"], capture_output=True, text=True, check=True).stdout or out


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_works_in_a_project_and_its_hooks_are_protected(project: Path) -> None:
    script = "git init -q . && git add file && git commit -qm one && git status --short && git log --oneline | wc -l"
    names = {"HOME": str(project), "PATH": os.environ["PATH"], "GIT_TEMPLATE_DIR": "", "GIT_CONFIG_GLOBAL": "/dev/null"}
    for who in ("AUTHOR", "COMMITTER"):
        names |= {f"GIT_{who}_NAME": "a", f"GIT_{who}_EMAIL": "a@b"}

    def act() -> list[Any]:
        done = subprocess.run(
            ["/bin/sh", "-c", script], capture_output=True, text=True, timeout=15, env=names, check=False
        )
        hooks = outcomes({
            "make": lambda: os.makedirs(".git/hooks"),
            "write": lambda: Path(".git/hooks/pre-commit").write_text("evil"),
            "move": lambda: os.rename(".git", "git2"),
            "replace": lambda: (os.mkdir("g"), os.rename("g", ".git")),
        })  # fmt: skip
        return [done.returncode, done.stderr, done.stdout.strip(), hooks]

    rules = {**EVERYTHING, str(project): "rwc"}
    code, error, out, hooks = run(
        act, rules, view="child", prepare=in_own_mounts(project), protected=[(str(project), (".git/hooks",))]
    ).value
    assert (code, error, out) == (0, "", "1")
    assert set(hooks.values()) == {"EACCES"}
    assert not (project / ".git" / "hooks").exists()


def test_what_is_not_granted_is_not_there_to_read_and_refused_to_write_and_told(project: Path) -> None:
    secret = project.parent / "secret"

    def act() -> dict[str, Any]:
        return outcomes({
            "read": secret.read_text, "stat": lambda: os.stat(secret), "missing": (project.parent / "no").read_text,
            "write": lambda: opened(secret, os.O_WRONLY),
            "make": lambda: opened(project.parent / "new", os.O_CREAT | os.O_WRONLY),
            "above": lambda: stat.S_ISDIR(os.stat(project.parent).st_mode),
            "list above": lambda: os.listdir(project.parent),
            "unlink": lambda: os.unlink(secret),
        })  # fmt: skip

    result = run(act, {str(project): "rwc"}, view="child", prepare=in_own_mounts(project))
    assert result.value == {
        "read": "ENOENT", "stat": "ENOENT", "missing": "ENOENT", "write": "EACCES", "make": "EACCES", "above": True,
        "list above": "ENOENT", "unlink": "EACCES",
    }  # fmt: skip
    assert {(act.operation, act.path) for act in result.acts} >= {
        ("open", str(secret)), ("stat", str(secret)), ("unlink", str(secret)), ("open", str(project.parent / "no"))
    }  # fmt: skip


def test_mounts_of_the_program_are_the_hard_wall(project: Path) -> None:
    def act() -> dict[str, Any]:
        return outcomes({
            "write read-only": lambda: opened("ro/file", os.O_WRONLY),
            "make there": lambda: opened("ro/new", os.O_WRONLY | os.O_CREAT),
            "chmod there": lambda: os.chmod("ro/file", 0o600),
            "read there": lambda: Path("ro/file").read_text(),
            "access": lambda: raw("faccessat", -100, b"ro/file", 2),
            "private": lambda: Path("private/x").write_text("mine"),
            "and back": lambda: Path("private/x").read_text(),
        })  # fmt: skip

    got = run(act, {str(project): "rwc"}, view="child", prepare=in_own_mounts(project, mounts=True)).value
    assert got == {
        "write read-only": "EROFS", "make there": "EROFS", "chmod there": "EROFS", "read there": "read-only",
        "access": "EROFS", "private": 4, "and back": "mine",
    }  # fmt: skip
    assert os.listdir(project / "private") == []


def test_proc_self_is_the_programs_own_in_its_own_pid_namespace(project: Path) -> None:
    def prepare() -> None:
        linux.syscall("mount", b"none", b"/", 0, 0x4000 | (1 << 18), 0)
        linux.syscall("mount", b"proc", b"/proc", b"proc", 0, 0)
        os.chdir(project)

    def act() -> dict[str, Any]:
        mine = os.getpid()
        fd = os.open("/proc/self/status", os.O_RDONLY)
        return outcomes({
            "pid": lambda: mine,
            "self": lambda: os.readlink("/proc/self"),
            "thread-self": lambda: os.readlink("/proc/thread-self"),
            "comm": lambda: Path("/proc/self/comm").read_text() == Path(f"/proc/{mine}/comm").read_text(),
            "pid of status": lambda: next(line for line in os.read(fd, 4096).decode().splitlines() if "Pid:" in line),
            "own fd": lambda: opened(f"/proc/self/fd/{fd}", os.O_RDONLY),
            "by number": lambda: opened(f"/proc/{mine}/fd/{fd}", os.O_RDONLY),
            "stdin": lambda: opened("/dev/stdin", os.O_RDONLY),
            "own environ": lambda: opened("/proc/self/environ", os.O_RDONLY),
            "uid_map": lambda: opened("/proc/self/uid_map", os.O_WRONLY),
            "sysctl": lambda: opened("/proc/sys/kernel/core_pattern", os.O_WRONLY),
            "root": lambda: Path(f"/proc/self/root{project}/../secret").read_text(),
            "cwd": lambda: Path("/proc/self/cwd/file").read_text(),
        })  # fmt: skip

    rules = {"/proc": "rw", "/dev": "rw", str(project): "rwc"}
    got = run(act, rules, view="child", prepare=prepare, pid_namespace=True).value
    assert got == {
        "pid": 1, "self": "1", "thread-self": "1/task/1", "comm": True, "pid of status": "Pid:\t1", "own fd": "opened",
        "by number": "opened", "stdin": "opened", "own environ": "opened", "uid_map": "EACCES", "sysctl": "EACCES",
        "root": "ENOENT", "cwd": "content",
    }  # fmt: skip


def test_the_terminal_of_a_program_is_its_own(project: Path) -> None:
    def act() -> dict[str, Any]:
        without = outcomes({"without": lambda: opened("/dev/tty", os.O_RDWR)})
        pid, master = pty.fork()
        if pid == 0:
            fd = os.open("/dev/tty", os.O_RDWR)
            os.write(fd, b"here")
            os._exit(0)
        said = os.read(master, 16).decode()
        os.waitpid(pid, 0)
        return {**without, "with": said}

    def prepare() -> None:
        os.setsid()
        in_own_mounts(project)()

    assert run(act, {"/dev": "rw", str(project): "rwc"}, view="child", prepare=prepare).value == {
        "without": "ENXIO",
        "with": "here",
    }


PROTECTED = (".git/hooks", ".envrc", "*.pth", "conftest.py")


def test_protected_names_are_not_made_changed_moved_or_replaced_and_nothing_is_left_behind(project: Path) -> None:
    (project / "conftest.py").write_text("trusted")
    (project / "sub").mkdir()

    def act() -> dict[str, Any]:
        os.mkdir(".git")
        os.mkdir("hooks")
        return outcomes({
            "make": lambda: opened(".envrc", os.O_CREAT | os.O_WRONLY),
            "upper case": lambda: opened(".ENVRC", os.O_CREAT | os.O_WRONLY),
            "deep": lambda: opened("sub/x.pth", os.O_CREAT | os.O_WRONLY),
            "write": lambda: opened("conftest.py", os.O_WRONLY),
            "truncate": lambda: os.truncate("conftest.py", 0),
            "unlink": lambda: os.unlink("conftest.py"),
            "chmod": lambda: os.chmod("conftest.py", 0o777),
            "rename over": lambda: os.rename("file", "conftest.py"),
            "rename to": lambda: os.rename("file", ".envrc"),
            "rename from": lambda: os.rename("conftest.py", "x"),
            "link to": lambda: os.link("file", ".envrc"),
            "link from": lambda: os.link("conftest.py", "x"),
            "symlink": lambda: os.symlink("file", ".envrc"),
            "folder": lambda: os.mkdir(".git/hooks"),
            "folder by rename": lambda: os.rename("hooks", ".git/hooks"),
            "beginning by rename": lambda: os.rename("sub", "sub2/.git") if os.mkdir("sub2") is None else None,
            "beginning by symlink": lambda: os.symlink("sub", "sub/.git"),
            "beginning moved": lambda: os.rename(".git", "other"),
            "beginning as file": lambda: opened("sub/.git", os.O_CREAT | os.O_WRONLY),
            "through a link": lambda: (os.symlink(".git", "g"), os.mkdir("g/hooks")),
            "read": lambda: Path("conftest.py").read_text(),
            "beginning": lambda: os.mkdir("sub/.git"),
            "other name": lambda: opened("setup.cfg", os.O_CREAT | os.O_WRONLY),
        })  # fmt: skip

    got = run(act, {str(project): "rwc"}, view="child", prepare=in_own_mounts(project),
              protected=[(str(project), PROTECTED)]).value  # fmt: skip
    assert {name: got.pop(name) for name in ("read", "beginning", "other name")} == {
        "read": "trusted",
        "beginning": None,
        "other name": "opened",
    }
    assert set(got.values()) == {"EACCES"}
    assert (project / "conftest.py").read_text() == "trusted"
    assert not [path for path in project.rglob("*") if path.name in (".envrc", ".ENVRC", "x.pth", "x")]
    assert os.listdir(project / ".git") == []


def test_without_protection_the_same_names_are_made(project: Path) -> None:
    def act() -> dict[str, Any]:
        return outcomes({
            "make": lambda: opened(".envrc", os.O_CREAT | os.O_WRONLY), "folder": lambda: os.makedirs(".git/hooks"),
            "moved": lambda: os.rename(".git", "other"),
        })  # fmt: skip

    assert run(act, {str(project): "rwc"}, view="child", prepare=in_own_mounts(project)).value == {
        "make": "opened",
        "folder": None,
        "moved": None,
    }


def test_a_folder_handed_over_from_another_root_names_nothing_here(project: Path, tmp_path: Path) -> None:
    """Case 12: its path would be read as one of this view, which it is not."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()

    def prepare() -> None:
        harness.own_mounts()
        linux.syscall("mount", b"none", os.fsencode(foreign), b"tmpfs", 0, 0)
        (foreign / "x").write_text("x")
        held.append(os.open(foreign, os.O_RDONLY))
        linux.syscall("umount2", os.fsencode(foreign), 2)
        os.chdir(project)

    held: list[int] = []
    got = run(lambda: outcomes({"foreign": lambda: os.stat("x", dir_fd=held[0])}),
              {"/": "r"}, view="child", prepare=prepare).value  # fmt: skip
    assert got["foreign"] in ("ENOENT", "EACCES")


def test_python_itself_starts_with_every_path_call_brokered(project: Path) -> None:
    """A program that reads hundreds of files before its first line."""

    def act() -> str:
        command = [sys.executable, "-I", "-c", "import json, csv; print(json.dumps(csv.__name__))"]
        return subprocess.run(command, capture_output=True, text=True, timeout=15, check=True).stdout

    rules = {**EVERYTHING, str(project): "rwc"}
    assert run(act, rules, view="child", prepare=in_own_mounts(project)).value == '"csv"\n'
