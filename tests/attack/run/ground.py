"""The ground on which hostile programs run: a folder with a secret and with grants, and `foxden run` over it.

Runs in: tests.  Trusts: nothing of what the programs print but that they print it.
Flow: Ground(folder) → ground.run(program…) → Done(code, stdout, violations) | ground.alone(program…) → stdout.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]
PROGRAMS = Path(__file__).resolve().parent / "programs"
PYTHON = "/usr/bin/python3"
CANARY = "CANARY-8151"
LIMIT_S = 60.0


@dataclass
class Done:
    code: int
    stdout: str
    stderr: str
    violations: list[dict[str, Any]] = field(default_factory=list)
    said: dict[str, Any] = field(default_factory=dict)

    def records(self, **like: Any) -> list[dict[str, Any]]:
        """Violations with these values."""
        return [each for each in self.violations if all(each.get(name) == value for name, value in like.items())]


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "foxden", "run", *words]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT / "src"), **more}


def decoded(output: subprocess.CompletedProcess[str]) -> Done:
    """Of a run with --json."""
    try:
        said = json.loads(output.stdout)
    except ValueError:
        raise AssertionError(f"exit {output.returncode}: {output.stdout[-2000:]}\n{output.stderr[-4000:]}") from None
    return Done(output.returncode, said["stdout"], said["stderr"], said["violations"], said)


class Ground:
    """secret/ is not granted, ro/ may be read, rw/ may be written.  A host socket stands in each."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.secret, self.ro, self.rw, self.home = (base / name for name in ("secret", "ro", "rw", "home"))
        for folder in (self.secret, self.ro, self.rw, self.home / ".ssh", self.ro / "to-rmdir"):
            folder.mkdir(parents=True)
        (self.secret / "secret.txt").write_text(CANARY)
        (self.secret / "over.txt").write_text(CANARY)
        (self.home / ".ssh" / "id_rsa").write_text(CANARY)
        for name in ("file.txt", "to-unlink", "to-rename", "to-move"):
            (self.ro / name).write_text("harmless\n" * 1000)
        for name in ("to-etc", "to-secret", "to-over", "for-suid"):
            (self.rw / name).write_text("harmless")
        (self.ro / "link-out").symlink_to(self.secret / "secret.txt")
        (self.ro / "link-in").symlink_to("file.txt")
        os.link(self.secret / "secret.txt", self.rw / "hard-before")
        for folder in (self.secret, self.ro):
            (folder / "program").write_bytes(Path("/bin/true").read_bytes())
            (folder / "program").chmod(0o755)
        (self.ro / "script").write_text(f"#!{self.secret}/program\n")
        (self.ro / "script").chmod(0o755)
        if os.geteuid() == 0:
            os.mknod(self.rw / "device-before", 0o20666, os.makedev(1, 3))
        self.servers: list[socket.socket] = []

    def serve(self) -> int:
        """Host sockets that would answer; returns the port of one on 127.0.0.1."""
        addresses = [str(self.ro / "host.sock"), str(self.rw / "host.sock"), str(self.base / "s.sock"),
                     f"\0foxden-hostile-{os.getpid()}"]  # fmt: skip
        for address in addresses:
            server = socket.socket(socket.AF_UNIX)
            server.bind(address)
            self.servers.append(server)
        server = socket.socket()
        server.bind(("127.0.0.1", 0))
        self.servers.append(server)
        for server in self.servers:
            server.listen(64)
        return int(server.getsockname()[1])

    def close(self) -> None:
        for server in self.servers:
            server.close()

    def words(self, *more: str) -> list[str]:
        return ["--read", str(self.ro), "--write", str(self.rw), *more]

    def run(
        self,
        *program: str,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        timeout_s: float = LIMIT_S,
        stdin: int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
    ) -> Done:
        """`foxden run --json` with the grants of this ground."""
        words = command("--json", *self.words(*options), "--", *program)
        return decoded(
            subprocess.run(
                words, env=self.environment(**(env or {})), cwd=self.base, stdin=stdin, capture_output=True, text=True,
                timeout=timeout_s, check=False, pass_fds=pass_fds, errors="replace",
            )
        )  # fmt: skip

    def environment(self, **more: str) -> dict[str, str]:
        return environment(HOME=str(self.home), FOXDEN_HOSTILE=CANARY, **more)

    def alone(self, *program: str, timeout_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
        """The same program without any sandbox."""
        return subprocess.run(
            program, env=self.environment(), cwd=self.base, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout_s, check=False, errors="replace",
        )  # fmt: skip


def program(name: str) -> str:
    return str(PROGRAMS / name)
