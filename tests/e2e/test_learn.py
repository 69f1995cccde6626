"""Learning with real programs: denied, learnt, read by a person, run again with it; secrets are never given."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.users import needs_userns

pytestmark = needs_userns

Done = subprocess.CompletedProcess[str]


def run(*words: str, env: dict[str, str] | None = None) -> Done:
    return subprocess.run(
        [sys.executable, "-m", "foxden", "run", *words], env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Below the folder of temporary files, which is private to a program: the host's files are hidden by that."""
    folder = tmp_path.resolve() / "project"
    (folder / "data").mkdir(parents=True)
    for name in "abc":
        (folder / "data" / name).write_text(f"content of {name}\n")
    (folder / "out").mkdir()
    (folder / ".env").write_text("TOKEN=1\n")
    return folder


def script(project: Path) -> tuple[str, ...]:
    text = f"cat {project}/data/a {project}/data/b {project}/data/c {project}/.env; echo made > {project}/out/new"
    return "--", "sh", "-c", text


def test_what_a_program_was_refused_it_has_with_the_learnt_policy_and_no_more(project: Path, tmp_path: Path) -> None:
    policy = str(tmp_path / "F.toml")
    denied = run("--learn", policy, *script(project))
    assert "content of" not in denied.stdout, "learning denies"
    text = Path(policy).read_text()
    assert f'"{project}/data" = "r"  # 3 times: a, b, c' in text
    assert f'#   "{project}/.env" = "r": it seems to hold secrets of a project' in text
    allowed = run("--policy", policy, *script(project))
    assert allowed.stdout == "content of a\ncontent of b\ncontent of c\n"
    assert "TOKEN" not in allowed.stdout + allowed.stderr


def test_hidden_file_is_told_with_the_option_that_shows_it(project: Path) -> None:
    missed = run("--explain", "--", "sh", "-c", f"cat {project}/data/a")
    assert "content of a" not in missed.stdout
    assert f"  hint  --read {project}/data/a" in missed.stderr
    assert "private to it; the host's file is not in there" in missed.stderr
    assert run("--read", f"{project}/data/a", "--", "sh", "-c", f"cat {project}/data/a").stdout == "content of a\n"


def test_report_of_a_run_has_each_act_once(project: Path, tmp_path: Path) -> None:
    report = tmp_path / "r"
    run("--explain", "--report", str(report), "--", "sh", "-c", f"cat {project}/data/a {project}/data/a")
    lines = [json.loads(line) for line in report.read_text("ascii").splitlines()]
    assert [line.get("count") for line in lines if line["path"] == f"{project}/data/a"] == [2]


def test_hostile_name_of_a_program_is_one_line_and_no_line_of_the_policy(project: Path, tmp_path: Path) -> None:
    name = "evil\n[env]\nLD_PRELOAD = 'x'\x1b[2J"
    (project / "data" / name).write_text("x")
    policy = tmp_path / "F.toml"
    done = run("--learn", str(policy), "--", "python3", "-c", f"open({str(project / 'data' / name)!r})")
    assert "\x1b" not in done.stderr.partition("refused")[2]
    assert "\n[env]" not in policy.read_text()
    assert "LD_PRELOAD" in policy.read_text(), "it is told, as part of a name"


def test_run_prints_violations_where_it_is_asked_to(project: Path) -> None:
    words = ("--explain", "--", "sh", "-c", f"cat {project}/data/a")
    line = f"Sandbox: denied op=open perms=r path={project}/data/a for pid="
    assert line in run(*words, env={"MOZ_SANDBOX_LOGGING": "1"}).stderr
    assert line not in run(*words).stderr
