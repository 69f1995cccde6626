"""The extension as it is built: without a warning, under sanitizers, without a compiler not at all; and its gate."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import pytest
from tests.support import users
from tests.support.users import CHECKOUT

from foxden import SandboxExecutor, native

SOURCES = CHECKOUT / "src" / "native"
LINES_MAX = 800
SANITIZE = ("-fsanitize=address,undefined,bounds-strict", "-fno-sanitize-recover=all", "-g", "-O1")
Done = subprocess.CompletedProcess[str]


def backend() -> ModuleType:
    spec = importlib.util.spec_from_file_location("foxden_build", CHECKOUT / "build_backend" / "foxden_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compiled(target: Path, *more: str) -> Done:
    build = backend()
    command = [
        "gcc", *build.COMPILE, "-Werror", *more, f"-DPy_LIMITED_API={build.STABLE_ABI}", "-fPIC", "-shared",
        f"-I{sysconfig.get_path('include')}", *map(str, sorted(SOURCES.glob("*.c"))), "-o", str(target),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def python(*arguments: str, **environment: str) -> Done:
    return subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **environment}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=280, check=False,
    )  # fmt: skip


def copy_package(target: Path) -> None:
    """foxden without its extension."""
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(CHECKOUT / "src" / "foxden", target / "foxden", ignore=ignored)


def test_all_of_it_is_small_enough_to_be_read() -> None:
    comment = re.compile(r"\s*(/\*|\*|//|$)")
    lines = {
        path.name: sum(not comment.match(line) for line in path.read_text().splitlines()) for path in SOURCES.iterdir()
    }
    assert sum(lines.values()) < LINES_MAX, lines


def test_the_gate_and_the_sources_have_the_same_number() -> None:
    found = re.search(r"#define FOXDEN_INTERFACE (\d+)", (SOURCES / "native.h").read_text())
    assert found is not None
    assert int(found[1]) == native.INTERFACE


@pytest.mark.needs("gcc", "python_headers")
def test_it_compiles_without_a_warning(tmp_path: Path) -> None:
    done = compiled(tmp_path / "_native.so")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.alone  # every access is checked: children and brokers need the time that they are given
@pytest.mark.needs("gcc", "python_headers", "seccomp")
def test_it_runs_under_the_sanitizers(tmp_path: Path) -> None:
    """Its unit tests again, with every access checked; and those of the broker, for what only they reach."""
    libraries = [subprocess.check_output(["gcc", f"-print-file-name={name}"], text=True).strip()
                 for name in ("libasan.so", "libubsan.so")]  # fmt: skip
    if not all(os.path.isabs(library) for library in libraries):
        pytest.skip("missing: gcc's sanitizers")
    copy_package(tmp_path)
    done = compiled(tmp_path / "foxden" / "_native.abi3.so", *SANITIZE, "-U_FORTIFY_SOURCE", "-Wno-error")
    assert done.returncode == 0, done.stderr
    done = python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", f"pythonpath={tmp_path} .", "--rootdir", str(CHECKOUT),
        "-c", str(CHECKOUT / "pyproject.toml"), "tests/unit/native/test_loop.py", "tests/unit/native/test_rules.py",
        "tests/unit/native/test_sequence.py",
        "tests/unit/native/test_sigsys.py",
        "tests/unit/broker/test_host_view.py", "-k", "not python", "--deselect",
        "tests/unit/native/test_loop.py::test_memory_of_rules_is_given_back",
        LD_PRELOAD=":".join(libraries), PYTHONMALLOC="malloc", UBSAN_OPTIONS="print_stacktrace=1",
        ASAN_OPTIONS="detect_leaks=0:verify_asan_link_order=0", FOXDEN_NO_NATIVE="0",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert " passed" in done.stdout
    assert "ERROR: AddressSanitizer" not in done.stdout + done.stderr


def test_without_a_compiler_the_install_succeeds_and_foxden_does_without(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "setup.py", "README.md", "MANIFEST.in", "build_backend", "src"):
        source = CHECKOUT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so"))
        else:
            shutil.copy(source, tmp_path / name)
    code = (
        "import sys; sys.path.insert(0, 'build_backend'); import foxden_build; "
        "print(foxden_build.build_wheel('wheel'))"
    )
    (tmp_path / "wheel").mkdir()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, env={**os.environ, "CC": "false"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    site = tmp_path / "site"
    shutil.unpack_archive(wheel, site, "zip")
    assert not list(site.rglob("*.so"))
    assert not list(site.rglob("*.c"))
    shown = python("-c", "from foxden import native; print(native.load(), native.status())", PYTHONPATH=str(site))
    assert shown.stdout == "None not built\n"


# --- the gate -----------------------------------------------------------------------------------------------------

SHOW = "from foxden import native; print(native.status(), native.load() is not None)"
PATH = str(CHECKOUT / "src")


@pytest.mark.needs("native")
@pytest.mark.parametrize("value", ["", "0"])
def test_it_is_used_where_it_is(value: str) -> None:
    assert python("-c", SHOW, PYTHONPATH=PATH, FOXDEN_NO_NATIVE=value).stdout == "in use True\n"


@pytest.mark.parametrize("word", ["1", "yes"])
def test_it_is_switched_off_by_the_users_word(word: str) -> None:
    shown = python("-c", SHOW, PYTHONPATH=PATH, FOXDEN_NO_NATIVE=word).stdout
    assert shown == "switched off by FOXDEN_NO_NATIVE False\n"


def test_a_fork_server_is_told_by_a_word() -> None:
    code = f"from foxden.launch import emulate; emulate.apply('no-native'); print(emulate._words); {SHOW}"
    shown = python("-c", code, PYTHONPATH=PATH, FOXDEN_NO_NATIVE="").stdout
    assert shown == "frozenset()\nswitched off by FOXDEN_NO_NATIVE False\n"


def test_one_that_was_built_from_other_sources_is_left_alone(tmp_path: Path) -> None:
    copy_package(tmp_path)
    (tmp_path / "foxden" / "_native.py").write_text("def interface(): return 1\n")
    shown = python("-c", SHOW, PYTHONPATH=str(tmp_path), FOXDEN_NO_NATIVE="").stdout
    assert shown == f"built from other sources (interface 1, expected {native.INTERFACE}) False\n"


def test_loading_is_late() -> None:
    """Nobody who does not serve children loads it."""
    code = "import sys, foxden, foxden.front.cli, foxden.broker.server; print('foxden._native' in sys.modules)"
    assert python("-c", code, PYTHONPATH=PATH).stdout == "False\n"


@pytest.mark.needs("userns", "landlock", "seccomp")
@pytest.mark.usefixtures("each_way")
def test_the_brokers_of_a_den_have_it_or_not(each_way: str, tmp_path: Path) -> None:
    from tests.support import den as dens

    from foxden import Den

    (tmp_path / "file").write_text("x")
    with Den() as den:
        child = dens.launch(den, "content", "web")
        den.grant(child.pid, str(tmp_path), "r")
        assert dens.outcome(den, child, "read-file", str(tmp_path / "file")) == "allowed"
        (broker,) = dens.pids(den, "broker")
        mapped = "foxden/_native" in Path(f"/proc/{broker}/maps").read_text()
    assert mapped is (each_way == "native")


@pytest.mark.needs("userns", "landlock", "seccomp")
def test_a_run_is_the_same_both_ways(each_way: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content\n")
    done = subprocess.run(
        [sys.executable, "-m", "foxden", "run", "--read", str(tmp_path), "--cwd", str(tmp_path), "--", "sh", "-c",
         "cat file; cat none; ls; stat -c %s file"],
        cwd=CHECKOUT, env={**os.environ, "PYTHONPATH": PATH}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()) == (0, ["content", "file", "8"]), done.stderr
    assert "none: No such file" in done.stderr


def test_python_headers_are_wished_for_and_not_required() -> None:
    assert users.FEATURES["native"]
    from tools import check_system

    (row,) = (need for need in check_system.NEEDED if need.package == "python3-dev")
    assert row.wished


def test_what_is_loaded_before_the_c_library_has_a_name_that_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    users.require("native")
    file = native.preload()
    assert Path(file).name.startswith("_native.")
    for name in ("/a b/_native.so", "/a:b/_native.so", "/$LIB/_native.so"):
        monkeypatch.setattr(native.load(), "__file__", name)
        assert native.preload() == ""
    monkeypatch.undo()
    assert native.preload() == file
    monkeypatch.setenv("FOXDEN_NO_NATIVE", "1")
    assert native.preload() == ""


def test_functions_have_the_extensions_fstat_and_nothing_of_how_they_came_to_it() -> None:
    for what in ("native", "userns", "seccomp"):
        users.require(what)
    with SandboxExecutor(1) as box:
        assert box.submit(_fstat_is_ours, native.preload()).result(60) == (True, None)


def _fstat_is_ours(library: str) -> tuple[bool, str | None]:
    import ctypes
    import os

    def address(name: str | None) -> int | None:
        return ctypes.cast(ctypes.CDLL(name).fstat64, ctypes.c_void_p).value

    return address(None) == address(library), os.environ.get("LD_PRELOAD")
