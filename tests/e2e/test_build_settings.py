"""Packages really built with each build setting, installed into a folder and run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.support import users
from tests.support.users import needs_userns

SOURCES = ("pyproject.toml", "setup.py", "README.md", "MANIFEST.in", "build_backend", "src")
BUILD = """
import sys; sys.path.insert(0, "build_backend")
import foxden_build
settings = dict(word.split("=") for word in sys.argv[3:])
print(getattr(foxden_build, f"build_{sys.argv[1]}")(sys.argv[2], settings))
"""
Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: a build leaves its own files behind."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        source = users.CHECKOUT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
            shutil.copytree(source, folder / name, ignore=ignored)
        elif source.exists():
            shutil.copy(source, folder / name)
    return folder


def build(checkout: Path, target: Path, *settings: str, what: str = "wheel", **environment: str) -> Done:
    target.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", BUILD, what, str(target), *settings], cwd=checkout,
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def installed(checkout: Path, target: Path, *settings: str, **environment: str) -> Path:
    """Build a wheel and unpack it, which is all that installing one does."""
    done = build(checkout, target, *settings, **environment)
    assert done.returncode == 0, done.stderr
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target / "site")
    return target / "site"


def foxden(site: Path, *arguments: str) -> Done:
    return subprocess.run(
        [sys.executable, "-m", "foxden", *arguments], env={**os.environ, "PYTHONPATH": str(site)}, cwd=site,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_package_as_it_is_has_its_sandboxes(checkout: Path, tmp_path: Path) -> None:
    site = installed(checkout, tmp_path)
    page = tmp_path / "page.html"
    page.write_text("<title>a page</title>")
    for arguments in (["ps"], ["open", str(page)], ["support"]):
        done = foxden(site, *arguments)
        assert "SANDBOX OFF" not in done.stderr + done.stdout, done.stderr


@needs_userns
@pytest.mark.parametrize(
    ("settings", "environment", "off", "on"),
    [
        (["disable-sandbox=true"], {}, "content socket utility rdd", ""),
        ([], {"FOXDEN_BUILD_DISABLE_SANDBOX": "1"}, "content socket utility rdd", ""),
        (["disable-content-sandbox=1"], {}, "content", "socket utility rdd"),
        ([], {"FOXDEN_BUILD_DISABLE_CONTENT_SANDBOX": "true"}, "content", "socket utility rdd"),
    ],
)
def test_build_setting_turns_sandboxes_off_and_every_command_says_so(
    checkout: Path, tmp_path: Path, settings: list[str], environment: dict[str, str], off: str, on: str
) -> None:
    site = installed(checkout, tmp_path, *settings, **environment)
    setting = "disable-sandbox" if "utility" in off else "disable-content-sandbox"
    for arguments in (["ps"], ["support"], []):
        assert f"SANDBOX OFF: this foxden was built with {setting}" in foxden(site, *arguments).stderr
    shown = foxden(site, "support").stdout
    assert f"build setting {setting} is set: the sandbox of its processes is OFF" in " ".join(shown.split())
    levels = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    assert all(" 0 " in levels[name] and "OFF" in levels[name] for name in off.split())
    assert all(" 1 " in levels[name] and "OFF" not in levels[name] for name in on.split())


def test_build_after_one_with_a_setting_is_as_the_source_is(checkout: Path, tmp_path: Path) -> None:
    source = (checkout / "src/foxden/build_settings.py").read_text()
    first = installed(checkout, tmp_path / "1", "disable-sandbox=true")
    second = installed(checkout, tmp_path / "2")
    assert "DISABLE_SANDBOX = True" in (first / "foxden/build_settings.py").read_text()
    assert (second / "foxden/build_settings.py").read_text() == source
    assert (checkout / "src/foxden/build_settings.py").read_text() == source, "the source is never written"


def test_editable_install_works_without_a_setting_and_refuses_one(checkout: Path, tmp_path: Path) -> None:
    assert build(checkout, tmp_path / "1", what="editable").returncode == 0
    done = build(checkout, tmp_path / "2", what="editable", FOXDEN_BUILD_DISABLE_SANDBOX="1")
    assert done.returncode != 0
    assert "expected a real install for build settings, got an editable one" in done.stderr


def test_archive_of_the_source_can_build_itself(checkout: Path, tmp_path: Path) -> None:
    assert build(checkout, tmp_path, what="sdist").returncode == 0
    (archive,) = tmp_path.glob("*.tar.gz")
    subprocess.run(["tar", "xf", archive, "-C", tmp_path], check=True)
    (source,) = (path for path in tmp_path.iterdir() if path.is_dir())
    site = installed(source, tmp_path / "site", "disable-content-sandbox=true")
    assert "DISABLE_CONTENT_SANDBOX = True" in (site / "foxden/build_settings.py").read_text()


def test_setting_that_is_no_word_stops_the_build(checkout: Path, tmp_path: Path) -> None:
    done = build(checkout, tmp_path, "disable-sandbox=perhaps")
    assert done.returncode != 0
    assert "FOXDEN_BUILD_DISABLE_SANDBOX: expected 1, true, 0 or false, got 'perhaps'" in done.stderr
    assert not list(tmp_path.glob("*.whl"))
