"""What of the file system a function finds in its box: the caller's code, and what lies on the way there."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.users import needs_userns

from foxden import Den, RemoteError, SandboxExecutor

pytestmark = needs_userns

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


# --- the way there ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def den() -> Iterator[Den]:
    with Den(warm=("utility",)) as den:
        assert run(den, os.path.exists, os.__file__), "the broker is there, too"
        yield den


def run(den: Den, function: Any, *args: Any, **options: Any) -> Any:
    with SandboxExecutor(1, den=den, **options) as pool:
        return pool.submit(function, *args).result(WAIT_S)


def counted(path: str) -> int:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("create table if not exists t (x)")
        connection.execute("insert into t values (1)")
    (count,) = connection.execute("select count(*) from t").fetchone()
    connection.close()
    return int(count)


def test_sqlite_works_in_a_folder_that_may_be_written_and_in_the_workers_own(den: Den, tmp_path: Path) -> None:
    assert run(den, counted, str(tmp_path / "new.db"), write=[tmp_path]) == 1
    assert counted(str(tmp_path / "new.db")) == 2, "it is a real one"

    def in_own() -> int:
        with tempfile.TemporaryDirectory() as folder:
            return counted(f"{folder}/new.db")

    assert run(den, in_own) == 1
    with pytest.raises(RemoteError, match="readonly database"):
        run(den, counted, str(tmp_path / "new.db"), read=[tmp_path])


def test_a_granted_path_is_resolved_and_its_parents_are_there(den: Den, tmp_path: Path) -> None:
    folder = tmp_path / "data/in"
    folder.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "data")

    def looked(path: Path) -> tuple[str, bool, list[str]]:
        found = [str(parent) for parent in path.parents if (parent / "pyproject.toml").exists()]
        return str(path.resolve(strict=True)), all(parent.is_dir() for parent in path.parents), found

    assert run(den, looked, folder, read=[folder]) == (str(folder), True, [])
    through = tmp_path / "link/in"
    assert run(den, looked, through, read=[through]) == (str(folder), True, [])


def test_what_is_looked_for_and_not_granted_is_not_there_and_what_is_opened_is_refused(den: Den) -> None:
    def looked() -> list[bool]:
        paths = (Path("/opt/nothing-there"), Path("/etc/passwd"), Path(os.__file__).parents[1] / ".matplotlib-repo")
        return [path.exists() for path in paths]

    assert run(den, looked) == [False, False, False]
    with pytest.raises(PermissionError):
        run(den, lambda: Path("/etc/passwd").read_text())
    with pytest.raises(PermissionError):
        run(den, lambda: os.listdir("/opt"))
    violations = {(act.operation, act.path) for act in den.violations()}
    assert {("stat", "/etc/passwd"), ("open", "/etc/passwd")} <= violations, "it is told all the same"


# --- packages in folders that are not shown ---------------------------------------------------------------------

LAZY = """
import sys
import foxden
sys.path.insert(0, "/tmp")
import {package}.lib
if __name__ == "__main__":
    for grants in ([], [{folder!r}]):
        with foxden.SandboxExecutor(1, read=grants) as pool:
            try:
                print(pool.submit({package}.lib.lazily).result())
            except ModuleNotFoundError as error:
                print(error, *error.__notes__)
    with foxden.SandboxExecutor(1, read=[{folder!r}]) as pool:
        try:
            pool.submit(open, {beside!r}).result()
        except PermissionError:
            print("refused")
"""


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_package_in_tmp_is_imported_where_it_is_granted_and_else_the_error_says_why(
    lone: Path, is_whole: bool, tmp_path: Path
) -> None:
    """With an __init__ and without."""
    (lone / "lib.py").write_text("def lazily():\n    from .sub import s\n    import json\n    return s")
    (lone / "sub.py").write_text("s = 'found'")
    if is_whole:
        (lone / "__init__.py").write_text("")
    with tempfile.NamedTemporaryFile(dir="/tmp", suffix=".py") as beside:
        text = LAZY.format(package=lone.name, folder=str(lone), beside=beside.name)
        missing, found, refused = caller(text, cwd="/", script=tmp_path / "main.py").splitlines()
    assert missing.startswith(f"No module named '{lone.name}'")
    assert missing.endswith(
        f"{lone.name} lies in /tmp, which is on sys.path and not shown to functions, as it holds more than code; "
        f"read=['{lone}'] lets them import it"
    )
    assert (found, refused) == ("found", "refused")


# --- what the machine is ----------------------------------------------------------------------------------------


def test_how_much_memory_there_is_may_be_known_and_other_files_of_proc_where_they_are_granted(den: Den) -> None:
    def read(path: str) -> str:
        return Path(path).read_text()

    assert "MemTotal" in run(den, read, "/proc/meminfo")
    assert "processor" in run(den, read, "/proc/cpuinfo")
    with pytest.raises(PermissionError):
        run(den, read, "/proc/vmstat")
    (act,) = (act for act in den.violations() if act.path == "/proc/vmstat")
    assert act.hint == "read=['/proc/vmstat']"
    assert "pgfault" in run(den, read, "/proc/vmstat", read=["/proc/vmstat"]), "as the hint says"
    for path in ("/proc/1/environ", f"/proc/{os.getpid()}/environ", "/proc/self/environ"):
        with pytest.raises(OSError, match=r"Permission denied|No such file"):
            run(den, read, path)


def test_what_libraries_try_at_import_and_do_without_is_not_told(den: Den) -> None:
    def imported() -> int:
        import hashlib

        import numpy as np

        return int(np.ones((64, 64)).dot(np.ones((64, 64))).sum()) + len(hashlib.sha256(b"").digest())

    def mbind() -> int:
        import ctypes
        import platform

        libc = ctypes.CDLL(None, use_errno=True)
        number = {"x86_64": 237, "aarch64": 235}[platform.machine()]
        return ctypes.get_errno() if libc.syscall(number, 0, 0, 0, 0, 0, 0) else 0

    assert run(den, imported) == 64**3 + 32
    assert run(den, mbind) == errno.ENOSYS
    assert not [act for act in den.violations() if act.syscall == "mbind" or "openssl" in (act.path or "")]
