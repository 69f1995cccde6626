"""What of the file system a function finds in its box: the caller's code, and what lies on the way there."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

WAIT_S = 60


def caller(
    text: str, *, cwd: Path | str, script: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """What a caller's own program prints: a script, or words of `python -c`."""
    words = [sys.executable, "-c", text] if script is None else [sys.executable, str(script)]
    if script is not None:
        script.write_text(text)
    path = os.pathsep.join(entry for entry in sys.path if entry.endswith(("src", "site-packages")))
    done = subprocess.run(
        words, cwd=cwd, env={**os.environ, "PYTHONPATH": path, **(environment or {})}, capture_output=True, text=True,
        timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


READ = """
import foxden
try:
    print(foxden.untrusted(lambda: open({path!r}).read()))
except PermissionError:
    print("refused")
"""


@pytest.fixture
def lone() -> Iterator[Path]:
    """A folder that lies directly in /tmp."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


# --- folders that are too wide ----------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", [{}, {"HOME": "/srv/app"}, {"TMPDIR": "{elsewhere}"}])
def test_a_script_in_tmp_grants_none_of_tmp(lone: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    (lone / "mine").write_text("mine")
    given = {name: value.format(elsewhere=tmp_path) for name, value in environment.items()}
    with tempfile.NamedTemporaryFile(dir="/tmp", suffix=".py") as script:
        assert caller(READ.format(path=str(lone / "mine")), cwd="/", script=Path(script.name), environment=given) == (
            "refused"
        )


def test_a_shell_in_a_folder_of_the_system_grants_none_of_it() -> None:
    assert caller(READ.format(path="/etc/passwd"), cwd="/etc") == "refused"


def test_a_folder_of_ones_own_is_shown(lone: Path) -> None:
    """The control of the two above."""
    (lone / "mine").write_text("mine")
    assert caller(READ.format(path=str(lone / "mine")), cwd="/", script=lone / "main.py") == "mine"
    assert caller(READ.format(path=str(lone / "mine")), cwd=lone) == "mine"


# --- secrets beside the caller's code ---------------------------------------------------------------------------

SECRETS = {".env": "TOKEN=1", ".git/config": "url=https://token@host", "tls/a.key": "key"}
TRY = """
import foxden, sys
from pathlib import Path
def told(path):
    try:
        return Path(path).read_text()
    except PermissionError:
        return "refused"
def lazily():
    import secrets_of_app, certifi_of_app
    return secrets_of_app.NAME, Path(certifi_of_app.__file__).with_name("cacert.pem").read_text()
if __name__ == "__main__":
    folder = Path(sys.path[0])
    with foxden.SandboxExecutor(1) as pool, foxden.SandboxExecutor(1, read=[folder / ".env"]) as granted:
        print([pool.submit(told, folder / name).result() for name in %r])
        print(pool.submit(told, folder / "data.txt").result(), *pool.submit(lazily).result())
        print(granted.submit(told, folder / ".env").result(), granted.submit(told, folder / ".git/config").result())
"""


def test_secrets_beside_a_script_are_kept_back_and_code_is_not(lone: Path) -> None:
    package = {"certifi_of_app/__init__.py": "", "certifi_of_app/cacert.pem": "certs"}
    for name, text in {**SECRETS, **package, "secrets_of_app.py": "NAME = 'code'", "data.txt": "data"}.items():
        (lone / name).parent.mkdir(exist_ok=True)
        (lone / name).write_text(text)
    said = caller(TRY % list(SECRETS), cwd="/", script=lone / "main.py").splitlines()
    assert said == ["['refused', 'refused', 'refused']", "data code certs", "TOKEN=1 refused"]
