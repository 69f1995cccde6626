"""Which folders of sys.path hold more than code."""

from __future__ import annotations

import os
import pwd
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from foxden.parent import import_folders
from foxden.parent.import_folders import (
    import_path,
    is_too_wide,
    kept_back,
    readable_folders,
    shown_names,
    why_missing,
)


@pytest.fixture
def homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine with a user whose home is <folder>/users/me, and one without a home."""
    home = tmp_path / "users/me"
    (home / "proj").mkdir(parents=True)
    passwd = tmp_path / "passwd"
    passwd.write_text(f"me:x:4711:4711:Me:{home}/:/bin/sh\nnobody:x:4712:4712::/:/bin/false\nbroken line\n")
    monkeypatch.setattr(import_folders, "_USERS", str(passwd))
    import_folders._homes.cache_clear()
    yield tmp_path
    import_folders._homes.cache_clear()


@pytest.mark.parametrize(
    "folder", ["/", "/tmp", "/var/tmp", "/etc", "/usr", "/usr/local", "/var", "/opt", "/home", "/root", "/etc/ssl"]
)
@pytest.mark.parametrize("variables", [{}, {"HOME": "/srv/app", "TMPDIR": "/elsewhere"}])
def test_the_systems_own_folders_are_too_wide_whatever_variables_say(
    folder: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", variables.get("TMPDIR"))
    assert is_too_wide(folder)


def test_every_home_and_what_lies_above_it_is_too_wide(homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/app")
    assert is_too_wide(str(homes / "users/me"))
    assert is_too_wide(str(homes / "users"))
    assert not is_too_wide(str(homes / "users/me/proj"))


def test_the_home_of_who_owns_a_folder_counts_though_no_file_names_it(
    homes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user whom only a directory service knows, and whose home is a link."""
    real, link = homes / "disk/ada", homes / "net-ada"
    (real / "proj").mkdir(parents=True)
    link.symlink_to(real)
    ada = pwd.struct_passwd(("ada", "x", os.getuid(), 100, "Ada", str(link), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: ada)
    import_folders._homes_of.cache_clear()
    try:
        assert is_too_wide(str(real))
        assert is_too_wide(str(homes / "disk"))
        assert not is_too_wide(str(real / "proj"))
    finally:
        import_folders._homes_of.cache_clear()


def test_what_everybody_may_write_to_is_too_wide(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    assert not is_too_wide(str(shared))
    shared.chmod(0o1777)
    assert is_too_wide(str(shared))


def test_a_folder_that_is_a_secret_is_no_code_folder(tmp_path: Path) -> None:
    """A shell in ~/.ssh; a virtual environment may be called .env."""
    for name in (".ssh", ".ssh/old", ".env", ".env/lib/site-packages", "secrets"):
        (tmp_path / name).mkdir(parents=True)
    found = {name: is_too_wide(str(tmp_path / name)) for name in (".ssh", ".ssh/old", ".env")}
    assert found == {".ssh": True, ".ssh/old": True, ".env": True}
    assert not is_too_wide(str(tmp_path / ".env/lib/site-packages"))
    assert not is_too_wide(str(tmp_path / "secrets"))


def test_home_and_tmpdir_make_folders_too_wide_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, temporary = tmp_path / "h/me", tmp_path / "t"
    for folder in (home, temporary):
        folder.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    assert [is_too_wide(str(folder)) for folder in (home, home.parent, temporary)] == [True] * 3


def test_real_code_folders_are_shown(tmp_path: Path) -> None:
    stdlib = os.path.dirname(os.__file__)
    packages = os.path.dirname(os.path.dirname(pytest.__file__))
    assert readable_folders((stdlib, packages, str(tmp_path)))[:3] == (stdlib, packages, str(tmp_path))


def test_the_working_directory_of_a_shell_is_judged_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [""])
    monkeypatch.chdir("/etc")
    assert import_path()[0] == "/etc"
    assert "/etc" not in readable_folders(import_path())
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path) in readable_folders(import_path())


# --- secrets beside code ----------------------------------------------------------------------------------------

KEY = "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def project(root: Path, *, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_secrets_are_kept_back_in_a_folder_and_in_those_in_it(tmp_path: Path) -> None:
    secrets = [".env", ".env.local", ".git/config", ".npmrc", "id_rsa", "tls/server.key", "tls/server.pem", "app/.env"]
    code = ["main.py", "secrets.py", "app/credentials.py", "certifi/cacert.pem", "app/keys.json", ".gitignore"]
    files = {name: KEY if name.endswith("server.pem") else CERTIFICATE for name in (*secrets, *code)}
    found = kept_back([str(project(tmp_path, files=files))])
    assert {name.replace("/config", "") for name in secrets} == {os.path.relpath(path, tmp_path) for path in found}


def test_env_and_git_are_kept_back_before_they_are_there(tmp_path: Path) -> None:
    assert kept_back([str(tmp_path)]) == (f"{tmp_path}/.env", f"{tmp_path}/.git")


def test_what_is_installed_is_not_looked_through(tmp_path: Path) -> None:
    folder = project(tmp_path / "site-packages", files={"x.key": KEY})
    assert kept_back([str(folder), os.path.dirname(os.__file__)]) == ()


def test_looking_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, files={f"{number}.key": KEY for number in range(20)})
    monkeypatch.setattr(import_folders, "_LOOKED_AT", 5)
    assert len(kept_back([str(tmp_path)])) == 2 + 5


# --- folders of which only some is shown ------------------------------------------------------------------------


def test_of_an_editable_install_the_package_is_shown_and_not_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, files={"pkg/__init__.py": "", "one.py": "", ".env": "TOKEN", "data.csv": ""})
    finder = types.ModuleType("__editable___pkg_finder")
    finder.MAPPING = {"pkg": str(tmp_path / "pkg"), "one": str(tmp_path / "one")}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, finder.__name__, finder)
    path = import_path()
    assert str(tmp_path) in path
    folders = readable_folders(path)
    assert {str(tmp_path / "pkg"), str(tmp_path / "one.py")} <= set(folders)
    assert str(tmp_path) not in folders
    assert shown_names(path, folders)[str(tmp_path)] == ("pkg", "one.py")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert str(tmp_path) in readable_folders(import_path()), "a script's own folder is"


def test_what_is_granted_in_a_folder_that_is_not_shown_is_named(tmp_path: Path) -> None:
    project(tmp_path, files={"real/app/__init__.py": "", "real/deep/data/x": "", "shown/x.py": ""})
    (tmp_path / "link").symlink_to(tmp_path / "real")
    path = [str(tmp_path / name) for name in ("real", "link", "shown", "none")]
    granted = [str(tmp_path / "real/app"), str(tmp_path / "real/deep/data"), str(tmp_path / "shown")]
    assert shown_names(path, granted) == {path[0]: ("app",), path[1]: ("app",)}
    assert shown_names(path, [str(tmp_path)]) == {}, "all of it can be listed"


def test_a_missing_module_is_explained_only_where_the_caller_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path, files={"app/__init__.py": "", "one.py": "", "notes/x": "", "portion/x.py": "", "given.py": ""})
    monkeypatch.setitem(sys.modules, "portion", types.ModuleType("portion"))
    names = {str(tmp_path): ("given.py",)}

    def said(name: str) -> str:
        return why_missing(f"No module named {name!r}", names)

    for name, place in (("app", "app"), ("app.sub", "app"), ("one", "one.py"), ("portion.x", "portion")):
        assert f"read=[{str(tmp_path / place)!r}]" in said(name)
    for name in ("notes", "numpy", "given", "../app", "app/../one", "", "x" * 5000):
        assert said(name) == ""
