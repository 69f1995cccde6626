"""foxden inside another sandbox: it works with less and says what was lost, or refuses; it is never weak in silence.

Runs in: bubblewrap's containers, the real thing where it is installed.  Trusts: what `support --json` says is compared
with what a den then does.  The container shows the whole file system read-only; it has no network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from tests.support import users
from tests.support.users import needs_bwrap, needs_userns

pytestmark = [needs_bwrap, needs_userns]

ROOT = ("--ro-bind", "/", "/")
DEVICES, PROC = ("--dev", "/dev"), ("--proc", "/proc")
NO_MORE = ("--unshare-user", "--disable-userns")
WITHOUT_USERNS = "namespaces,root,network,limits"


def inside(
    *words: str, options: tuple[str, ...], env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run our Python in a container."""
    return subprocess.run(
        ["bwrap", "--unshare-all", *ROOT, *options, sys.executable, *words],
        cwd=users.CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": f"{users.CHECKOUT / 'src'}", **(env or {})},
    )  # fmt: skip


def support(*options: str, types: str = "content,gmp", env: dict[str, str] | None = None) -> dict[str, Any]:
    done = inside("-m", "foxden", "support", "--json", "--types", types, options=options, env=env)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    report["features"] = {feature["name"]: feature for feature in report["kernel"]["features"]}
    return report


def lost(report: dict[str, Any], process_type: str) -> dict[str, str]:
    entry = next(entry for entry in report["types"] if entry["process_type"] == process_type)
    return {
        layer: f"{status['status']} {status['reason']}"
        for layer, status in entry["enforcement"].items()
        if status["status"] != "FULL"
    }


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text("<!doctype html><title>inside</title>")
    return path


def opened(page: Path, *words: str, options: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return inside("-m", "foxden", "open", "--json", *words, str(page), options=options)


# Root in a container of one id is the machine's root still: its tasks are not counted.
LIMITS = {"limits"} if users.is_root() else set()


def test_container_that_allows_namespaces_costs_nothing_but_ids(page: Path) -> None:
    report = support(*DEVICES, *PROC)
    assert set(lost(report, "content")) == set(lost(report, "gmp")) == LIMITS
    assert report["features"]["user-namespaces"]["status"] == "FULL"
    assert report["features"]["own-ids"]["status"] == "PARTIAL"
    accepted = ["--allow-partial", "limits"] if LIMITS else []
    done = opened(page, *accepted, options=(*DEVICES, *PROC))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["title"] == "inside"


def test_container_that_forbids_namespaces_is_refused_and_named(page: Path) -> None:
    options = (*DEVICES, *PROC, *NO_MORE)
    report = support(*options)
    assert set(lost(report, "content")) == set(WITHOUT_USERNS.split(","))
    assert lost(report, "content")["namespaces"].startswith("NONE the kernel gave no user namespace (No space left")
    feature = report["features"]["user-namespaces"]
    assert feature["status"] == "NONE"
    assert "--disable-userns" in feature["remedy"]
    done = opened(page, options=options)
    assert done.returncode == 3
    assert f"--allow-partial {WITHOUT_USERNS}" in done.stderr


def test_container_that_forbids_namespaces_works_when_that_is_accepted(page: Path) -> None:
    done = opened(page, "--allow-partial", WITHOUT_USERNS, options=(*DEVICES, *PROC, *NO_MORE))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["title"] == "inside"


def test_container_with_a_read_only_proc_says_so(page: Path) -> None:
    """Ids cannot be mapped there: the namespaces hide processes, and give no right."""
    report = support(*DEVICES)
    assert lost(report, "content")["namespaces"].startswith(
        "PARTIAL the user namespace gives no right in it (Read-only file system)"
    )
    assert "oom_score_adj (Read-only file system)" in lost(report, "content")["limits"]
    assert "writable /proc" in report["features"]["user-namespaces"]["remedy"]
    layers = ",".join(lost(report, "content"))
    refused = opened(page, options=DEVICES)
    assert refused.returncode == 3
    assert "--allow-partial" in refused.stderr
    done = opened(page, "--allow-partial", layers, options=DEVICES)
    assert done.returncode == 0, done.stderr


def test_container_without_devices_is_an_error_that_names_the_device(page: Path) -> None:
    """A bind of the host's /dev by a user has no working device in it."""
    done = opened(page, options=PROC)
    assert done.returncode != 0
    assert "'/dev/null'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "layers"),
    [
        ("no-userns", {*WITHOUT_USERNS.split(",")}),
        ("no-mount", {"root"} | LIMITS),
        ("no-userns,no-seccomp", {*WITHOUT_USERNS.split(","), "seccomp"}),
    ],
)
def test_container_with_a_filter_of_its_own_loses_both(words: str, layers: set[str]) -> None:
    report = support(*DEVICES, *PROC, types="gmp", env={"FOXDEN_TEST_EMULATE": words})
    assert set(lost(report, "gmp")) == layers


# --- in itself --------------------------------------------------------------------------------------------------


def inside_itself(*words: str) -> subprocess.CompletedProcess[str]:
    """`foxden run -- foxden …`: a program of ours, to which its own code is granted."""
    folders = [str(users.CHECKOUT / "src"), os.path.realpath(os.path.dirname(os.path.dirname(click.__file__)))]
    grants = [word for folder in folders for word in ("--read", folder)]
    variables = ["--env", f"PYTHONPATH={':'.join(folders)}", "--env", "PYTHONDONTWRITEBYTECODE=1"]
    python = os.path.realpath(sys.executable)
    return subprocess.run(
        [sys.executable, "-m", "foxden", "run", *grants, *variables, "--", python, "-m", "foxden", *words],
        cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": folders[0]},
    )  # fmt: skip


def test_in_itself_foxden_says_what_it_lacks() -> None:
    done = inside_itself("support", "--json", "--types", "gmp")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert set(lost(report, "gmp")) == {*WITHOUT_USERNS.split(","), "seccomp"}
    assert "another listener serves this process" in lost(report, "gmp")["seccomp"]


def test_in_itself_foxden_refuses_and_works_with_what_is_accepted() -> None:
    refused = inside_itself("run", "--", "/bin/echo", "inner")
    assert refused.returncode == 125
    assert refused.stdout == ""
    assert "--allow-partial namespaces,root" in refused.stderr
    done = inside_itself("run", "--allow-partial", f"{WITHOUT_USERNS},seccomp", "--", "/bin/echo", "inner")
    assert (done.returncode, done.stdout) == (0, "inner\n"), done.stderr


def test_support_leaves_nothing_behind_and_takes_no_more_than_its_time(tmp_path: Path) -> None:
    """The container has a process namespace of its own: bwrap waits for the last process in it."""
    before = sorted(os.listdir(tmp_path))
    report = support(*DEVICES, *PROC, types="gmp")
    assert report["types"]
    assert sorted(os.listdir(tmp_path)) == before
