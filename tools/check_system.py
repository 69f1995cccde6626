#!/usr/bin/env python3
"""Say what this machine lacks: programs and files that Debian packages bring, and features of the kernel.

Runs in: `make setup`, before there is a virtual environment, so the standard library only.
Flow: NEEDED → what is on the disk → `--packages` for apt-get, `--missing` for a person, or everything.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])


@dataclass(frozen=True)
class Need:
    package: str  # in Debian
    what_for: str
    is_here: Callable[[], bool]
    wished: bool = False  # nothing fails without it


def has_program(name: str) -> bool:
    return shutil.which(name, path=SYSTEM_PATH) is not None


def has_python_docs() -> bool:
    return any(path.is_file() for path in Path("/usr/share/doc").glob("python3*/html/index.html"))


def has_python_headers() -> bool:
    return Path(sysconfig.get_path("include"), "Python.h").is_file()


def has_python_tests() -> bool:
    return any(Path(sysconfig.get_path("stdlib"), "test").glob("test_concurrent_futures*"))


NEEDED = (
    Need("nginx-light", "tests and benchmarks load pages from a real server", lambda: has_program("nginx")),
    Need("bubblewrap", "benchmarks compare with it", lambda: has_program("bwrap")),
    Need("uidmap", "own ids for the children of an ordinary user", lambda: has_program("newuidmap")),
    Need("gcc", "the extension in C; programs that run in a sandbox: a compiler", lambda: has_program("gcc")),
    Need("libc6-dev", "likewise: headers and the static library", lambda: Path("/usr/include/stdio.h").is_file()),
    Need("make", "likewise", lambda: has_program("make")),
    Need("git", "likewise", lambda: has_program("git")),
    Need("nodejs", "likewise", lambda: has_program("node")),
    Need("default-jdk-headless", "likewise: java and javac", lambda: has_program("javac")),
    Need("perl", "likewise", lambda: has_program("perl")),
    Need("sqlite3", "likewise", lambda: has_program("sqlite3")),
    Need("tmux", "tests of terminals look at a real one", lambda: has_program("tmux")),
    Need("python3-doc", "tests and benchmarks load its pages", has_python_docs),
    Need("libpython3-testsuite", "CPython's own tests of executors, run against ours", has_python_tests),
    Need("ca-certificates", "https: the authorities that this system trusts", AUTHORITIES.is_file),
    Need("python3-venv", "make setup makes .venv with it", lambda: importlib.util.find_spec("ensurepip") is not None),
    Need("python3-dev", "the extension in C, without which some things are slower", has_python_headers, wished=True),
)  # fmt: skip


def missing() -> list[Need]:
    return [need for need in NEEDED if not need.is_here()]


def landlock_abi() -> int:
    """Return the kernel's Landlock version, or 0."""
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    # landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION); 444 on every architecture
    return max(0, int(syscall(ctypes.c_long(444), None, ctypes.c_size_t(0), ctypes.c_uint(1))))


def has_user_namespaces() -> bool:
    command = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--fork", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def has_seccomp_filters() -> bool:
    try:
        return "user_notif" in Path("/proc/sys/kernel/seccomp/actions_avail").read_text().split()
    except OSError:
        return False


def report_missing() -> None:
    for need in missing():
        word = "wished-for" if need.wished else "missing"
        print(f"setup: {word} package {need.package}: {need.what_for}")


def report_all() -> None:
    lacking = missing()
    for need in NEEDED:
        print(f"{'missing' if need in lacking else 'here   '}  {need.package:16} {need.what_for}")
    print(f"{'here   ' if has_user_namespaces() else 'missing'}  user namespaces  own root, own network, own processes")
    print(f"{'here   ' if has_seccomp_filters() else 'missing'}  seccomp notify   system calls that a broker answers")
    abi = landlock_abi()
    print(f"{'here   ' if abi else 'missing'}  Landlock         rules for paths, of the kernel's own (ABI {abi})")


def main(arguments: list[str]) -> int:
    if arguments == ["--packages"]:
        print(" ".join(need.package for need in missing()))
    elif arguments == ["--missing"]:
        report_missing()
    elif not arguments:
        report_all()
        return 1 if any(not need.wished for need in missing()) else 0
    else:
        print("error: unknown arguments\nhint: --packages, --missing, or none", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
