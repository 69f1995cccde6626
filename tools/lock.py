#!/usr/bin/env python3
"""Write requirements.lock anew: every package that foxden and its tests need, pinned, with hashes.

Runs in: a developer's shell (`make lock`).  Trusts: the index that the developer's own pip is set up with.
Flow: pyproject.toml → pip-compile in a throw-away environment → a try on every supported Python → the lock.
Source: pip's hash-checking mode.  The lock names no index and no host: where packages come from is not its business.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MACHINES = ("x86_64", "aarch64")
# Newest first: pip takes a wheel for any of them.  2.28 is Debian 10 and newer, 2.36 is Debian 12.
PLATFORMS = ("manylinux_2_36", "manylinux_2_34", "manylinux_2_31", "manylinux_2_28", "manylinux_2_27",
             "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux_2_12", "manylinux2010", "manylinux_2_5")

# What the editable install of `make setup` builds with: pip must fetch nothing that the lock does not name.
BUILD = "setuptools\nwheel\n"
HEADER = "# Every package that `make setup` installs, pinned, with hashes.  Made by tools/lock.py; do not edit.\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only try the present lock on every Python and machine")
    parser.add_argument("--upgrade", action="store_true", help="newest versions, not those of the present lock")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="foxden-lock-") as name:
        scratch = Path(name)
        if not options.check:
            LOCK.write_text(compile_lock(scratch, upgrade=options.upgrade))
        return 1 if problems(scratch, LOCK) else 0


def compile_lock(scratch: Path, *, upgrade: bool) -> str:
    """Return the text of a new lock.  Versions stay as they are unless pyproject.toml or `upgrade` asks otherwise."""
    python = make_environment(scratch / "venv")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "pip-tools"], check=True, env=plain_environment())
    extra = scratch / "build.in"
    extra.write_text(BUILD)
    output = scratch / "requirements.lock"
    if LOCK.exists():
        output.write_text(LOCK.read_text())
    subprocess.run(
        [python, "-m", "piptools", "compile", "--quiet", "--generate-hashes", "--allow-unsafe", "--strip-extras",
         "--no-emit-index-url", "--no-emit-find-links", "--no-emit-trusted-host", "--no-header", "--no-annotate",
         "--extra", "dev", *(["--upgrade"] if upgrade else []), "--output-file", str(output),
         str(ROOT / "pyproject.toml"), str(extra)],
        check=True, cwd=scratch, env=plain_environment(), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return HEADER + without_comments(output.read_text())


def without_comments(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))


def make_environment(path: Path) -> str:
    subprocess.run([sys.executable, "-m", "venv", str(path)], check=True)
    return str(path / "bin" / "python")


def plain_environment() -> dict[str, str]:
    """The caller's environment without side sources of packages: their files have hashes that nobody else can have."""
    dropped = {"PIP_FIND_LINKS", "PIP_REQUIREMENT", "PIP_CONSTRAINT"}
    return {key: value for key, value in os.environ.items() if key not in dropped}


def problems(scratch: Path, lock: Path) -> list[str]:
    """Try to resolve `lock` to wheels, with hashes, for every Python and machine; print and return what fails."""
    python = make_environment(scratch / "try")
    found = []
    for version, machine in itertools.product(PYTHONS, MACHINES):
        result = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps",
             "--require-hashes", "--only-binary=:all:", "--python-version", version, "--implementation", "cp",
             *itertools.chain.from_iterable(("--platform", f"{name}_{machine}") for name in PLATFORMS),
             "--target", str(scratch / "never"), "--requirement", str(lock)],
            env=plain_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        print(f"{version} {machine}: {'every package has a wheel' if result.returncode == 0 else 'FAILED'}", flush=True)
        if result.returncode != 0:
            print(last_errors(result.stderr), file=sys.stderr)
            found.append(f"{version} {machine}")
    return found


def last_errors(text: str) -> str:
    lines = [line for line in text.splitlines() if re.match(r"(ERROR|error)", line)]
    return "\n".join(f"  {line}" for line in lines[-3:])


if __name__ == "__main__":
    sys.exit(main())
