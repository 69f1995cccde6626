"""Preferences and environment names about sandboxes, on real children: what each changes, and that it is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import den as dens
from tests.support import users

from foxden import ChildCrashed, Den, FoxdenError, SandboxUnavailable, native

pytestmark = pytest.mark.needs("userns", "landlock", "seccomp")

READS = "security.sandbox.content.read_path_whitelist"
WRITES = "security.sandbox.content.write_path_whitelist"
CALLS = "security.sandbox.content.syscall_whitelist"
NAMESPACES = {"user", "pid", "mnt", "net", "ipc", "uts", "cgroup"}
PAGE = "<title>a page</title><p>text"


def tried(den: Den, name: str, kind: tuple[str, str] = ("content", "web")) -> str:
    with dens.child_of(den, *kind) as child:
        return dens.outcome(den, child, name, str(os.getpid()) if name in ("ptrace", "pidfd-open") else "")


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    source = str(users.CHECKOUT / "src")
    return subprocess.run(
        [sys.executable, "-m", "foxden", *arguments], env={**os.environ, "PYTHONPATH": source, **environment},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


# --- preferences ------------------------------------------------------------------------------------------------


def test_listed_call_is_allowed_to_content_alone() -> None:
    with dens.make_den() as den:
        assert tried(den, "pidfd-open") == "EPERM"
    with dens.make_den(prefs={CALLS: "pidfd_open"}) as den:
        assert tried(den, "pidfd-open") == "allowed"
        assert tried(den, "ptrace") == "EPERM"
        assert tried(den, "pidfd-open", ("utility", "")) == "EPERM"


def test_what_the_fork_server_refuses_stays_refused() -> None:
    with dens.make_den(prefs={CALLS: "ptrace"}) as den:
        assert tried(den, "ptrace") == "ENOSYS"
        (warning,) = den._runtime.plans.warnings()
        assert warning in den._run(_support(den))
    assert "ptrace: DANGEROUS" in warning


async def _support(den: Den) -> list[str]:
    from foxden.parent.support import report

    return (await report(den._runtime, ["utility"])).advice


@pytest.mark.parametrize(("call", "loud"), [("bpf", True), ("flock", False)])
def test_dangerous_call_is_warned_of_at_every_start(tmp_path: Path, call: str, loud: bool) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE)
    done = command("open", str(page), "--pref", f"{CALLS}={call}")
    assert done.returncode == 0
    assert (f"{CALLS}: bpf: DANGEROUS" in done.stderr) is loud


@pytest.mark.parametrize("text", ["flok", "999", "not/absolute"])
def test_wrong_list_is_one_error_line_and_a_hint(text: str) -> None:
    name = WRITES if "/" in text else CALLS
    done = command("open", "http://a.example/", "--pref", f"{name}={text}")
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(f"error: {name}: expected ")
    assert len(done.stderr.splitlines()) <= 2


def test_level_of_the_compositor_is_its_childs() -> None:
    """Of plugin processes, which a program must be given to: tests/unit/parent/test_sandbox_prefs.py."""
    for given, level in (({}, 1), ({"security.sandbox.gpu.level": 0}, 0)):
        with dens.make_den(prefs=given) as den, dens.child_of(den, "gpu") as child:
            assert (child.level, dens.outcome(den, child, "fork")) == (level, "EPERM" if level else "allowed")


@pytest.mark.parametrize("forced", [False, True])
def test_forced_namespaces_are_a_childs_own_below_level_four(forced: bool) -> None:
    prefs = {"security.sandbox.content.force-namespace": forced}
    with dens.make_den(prefs=prefs, level=3) as den, dens.child_of(den, "content", "web") as child:
        own = dens.namespaces("self")
        if users.is_root():
            its = dens.namespaces(child.pid)
            wanted = {"user", "pid", "ipc", "uts", "cgroup"} if forced else set()
            assert {name for name in NAMESPACES if its[name] != own[name]} == wanted
        assert len(dens.status(child.pid)["NSpid"].split()) == (2 if forced else 1)


@pytest.mark.parametrize("wanted", [True, False])
def test_support_warns_of_namespaces_as_it_is_told(wanted: bool) -> None:
    prefs = {"security.sandbox.warn_unprivileged_namespaces": wanted}
    with dens.make_den({"FOXDEN_TEST_NO_USERNS": "1"}, prefs=prefs) as den:
        assert any(line.startswith("namespaces: ") for line in den._run(_support(den))) is wanted


@pytest.mark.parametrize("level", [2, 3, 4])
def test_listed_paths_are_opened_by_the_broker_and_no_others(tmp_path: Path, level: int) -> None:
    (tmp_path / "read").mkdir()
    (tmp_path / "read" / "file").write_text("x")
    (tmp_path / "made").mkdir()
    acts = (
        ("read-file", "read/file"), ("list-folder", "read"), ("write-file", "made/new"), ("make-folder", "made/folder"),
        ("write-file", "read/new"),
    )  # fmt: skip
    free = "allowed" if level == 2 else "EACCES"  # reading is what level 3 takes away

    def tried_all(prefs: dict[str, object]) -> list[str]:
        with dens.make_den(prefs=prefs, level=level) as den, dens.child_of(den, "content", "web") as child:
            return [dens.outcome(den, child, name, f"{tmp_path}/{path}") for name, path in acts]

    assert tried_all({}) == [free, free, "EACCES", "EACCES", "EACCES"]
    listed = {READS: f"{tmp_path}/read", WRITES: f"{tmp_path}/made/"}
    assert tried_all(listed) == ["allowed", "allowed", "allowed", "allowed", "EACCES"]
    assert (tmp_path / "made" / "new").exists()
    assert not (tmp_path / "read" / "new").exists()


def test_paths_that_are_not_there_cost_no_layer(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    listed = f"{tmp_path}/gone/,{tmp_path}/file/not-a-folder,{tmp_path}/file"
    for level in (2, 4):
        with (
            dens.make_den(prefs={WRITES: listed}, level=level) as den,
            dens.child_of(den, "content", "web") as child,
        ):
            assert child.enforcement is not None
            assert child.enforcement.summary() == "FULL"


# --- environment ------------------------------------------------------------------------------------------------


def test_crash_on_error_ends_a_child_that_tries_what_is_refused_and_no_other(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE)
    with dens.make_den() as den:
        assert tried(den, "ptrace") == "EPERM"
    with dens.make_den({"MOZ_SANDBOX_CRASH_ON_ERROR": "1"}) as den:
        assert den.open(str(page)).title == "a page"
        with dens.child_of(den, "content", "web") as child:
            assert dens.outcome(den, child, "read-file", str(page)) == "EACCES", "files are refused as ever"
            with pytest.raises(ChildCrashed) as caught:
                dens.probe(den, child, "ptrace", str(os.getpid()))
            assert caught.value.signal == 31


def test_user_namespaces_that_are_assumed_away_are_missed() -> None:
    with dens.make_den({"MOZ_ASSUME_USER_NS": "1"}) as den, dens.child_of(den, "utility") as child:
        assert child.enforcement is not None
        assert child.enforcement.summary() == "FULL"
    with dens.make_den({"MOZ_ASSUME_USER_NS": "0"}) as den, pytest.raises(SandboxUnavailable, match="namespaces"):
        dens.launch(den, "utility")


@pytest.mark.parametrize("name", ["MOZ_SANDBOX_NO_SPEC_ALLOW", "MOZ_FAKE_NO_SECCOMP_TSYNC"])
def test_sandbox_is_whole_either_way(name: str) -> None:
    with dens.make_den({name: "1"}) as den, dens.child_of(den, "content", "web") as child:
        assert child.enforcement is not None
        assert child.enforcement.summary() == "FULL"
        assert dens.status(child.pid)["Seccomp"] == "2"


def test_faked_lack_of_sandboxes_is_said_loudly(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(PAGE)
    for environment, loud in (({}, False), ({"MOZ_FAKE_NO_SANDBOX": "1"}, True)):
        done = command("open", str(page), **environment)
        assert done.returncode == 0
        assert ("SANDBOX OFF: content" in done.stderr) is loud


def test_permissive_mode_is_an_error_and_no_den() -> None:
    with pytest.raises(FoxdenError, match="no permissive mode"):
        dens.make_den({"MOZ_PERMISSIVE_CONTENT_SANDBOX": "1"})


@users.needs_root
@pytest.mark.parametrize("kind", [kind for kind in dens.KINDS if kind[0] != "plugin"], ids=dens.kind_name)
def test_child_has_no_environment(kind: tuple[str, str]) -> None:
    """So there is nothing in it to turn off, and no secret of the user's: at most where functions have fstat from."""
    nothing = (b"", f"LD_PRELOAD={native.preload()}\0".encode())
    with dens.make_den({"MOZ_SANDBOX_LOGGING": "1", "SECRET_TOKEN": "x"}) as den, dens.child_of(den, *kind) as child:
        assert Path(f"/proc/{child.pid}/environ").read_bytes() in nothing
        for pid in dens.pids(den, "forkserver"):
            assert Path(f"/proc/{pid}/environ").read_bytes() in nothing
