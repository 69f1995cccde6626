"""What the host will later run is not to be written, whether it is there yet or not; and nothing is left of that."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.attack.run.ground import PYTHON, Ground, command, program

NAMES = (
    ".git/hooks/post-commit", ".git/config", ".bashrc", ".profile", ".zshrc", ".envrc", "sitecustomize.py", "evil.pth",
    ".vscode/tasks.json", ".npmrc", ".ssh/authorized_keys", ".config/systemd/user/evil.service", ".gitmodules",
)  # fmt: skip


def test_names_that_the_host_will_run_cannot_be_made_in_any_way(ground: Ground) -> None:
    """Case 19."""
    done = ground.run(PYTHON, program("intrude.py"), str(ground.rw), *NAMES)
    found = json.loads(done.stdout)
    for name, outcome in found.items():
        what = name.partition(": ")[2]
        if name in ("harmless: write", "harmless: folder", "prepared: write"):
            assert outcome == "ok", name
        elif what == "folder":
            assert outcome in ("ok", "EACCES"), name  # a folder alone runs nothing
        else:
            assert outcome in ("EACCES", "ENOENT"), name
    for name in NAMES:
        assert not os.path.lexists(ground.rw / name), name
        assert not os.path.lexists(ground.rw / "sub" / name), name
    assert len(done.records(kind="file", errno="EACCES")) > 20
    hooks = [each for each in done.violations if "/.git/hooks" in each.get("path", "")]
    assert hooks
    assert hooks[0]["hint"] == "--unprotect '.git/hooks'"


def test_the_same_names_can_be_made_where_they_are_not_protected(ground: Ground) -> None:
    """Case 19, the other way round: alone, and with --unprotect."""
    alone = json.loads(ground.alone(PYTHON, program("intrude.py"), str(ground.rw), *NAMES).stdout)
    assert all(alone[f"{name}: write"] == "ok" for name in NAMES)
    shutil.rmtree(ground.rw)
    ground.rw.mkdir()
    options = [word for name in (".bashrc", ".envrc") for word in ("--unprotect", name)]
    done = ground.run(PYTHON, program("intrude.py"), str(ground.rw), *NAMES, options=options)
    found = json.loads(done.stdout)
    assert found[".bashrc: write"] == found[".envrc: write"] == "ok"
    assert found[".zshrc: write"] == "EACCES"


def test_git_init_makes_no_repository_that_the_host_would_obey(ground: Ground) -> None:
    """Case 20."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    script = f"cd {ground.rw} && git init -q . ; echo exit $?"
    done = ground.run("/bin/sh", "-c", script)
    assert "exit 0" not in done.stdout, done.stderr
    assert not (ground.rw / ".git" / "config").exists()
    assert not (ground.rw / ".git" / "hooks").exists()
    elsewhere = ground.run("/bin/sh", "-c", "cd /tmp && git init -q . && echo exit $?")
    assert "exit 0" in elsewhere.stdout, elsewhere.stderr


def test_what_a_link_named_git_leads_to_is_protected_as_well(ground: Ground) -> None:
    """Case 20."""
    (ground.rw / "other" / "hooks").mkdir(parents=True)
    (ground.rw / ".git").symlink_to("other")
    (ground.rw / "dotfile").write_text("mine")
    (ground.rw / ".bashrc").symlink_to("dotfile")
    script = (
        f"cd {ground.rw}; for path in .git/hooks/a other/hooks/b other/config dotfile; do echo evil > $path; done;"
        "mv other away; rm .git; ln -s away .git; mv .bashrc gone; echo fine > other/fine"
    )
    ground.run("/bin/sh", "-c", script)
    assert sorted(os.listdir(ground.rw / "other")) == ["fine", "hooks"]
    assert os.listdir(ground.rw / "other" / "hooks") == []
    assert (ground.rw / "dotfile").read_text() == "mine"
    assert os.readlink(ground.rw / ".git") == "other"
    assert os.readlink(ground.rw / ".bashrc") == "dotfile"


def test_protection_leaves_no_file_behind_when_everything_is_killed(ground: Ground) -> None:
    """Case 19: there is none while it runs, either."""
    before = sorted(str(path) for path in ground.rw.rglob("*"))
    words = command(*ground.words("--", "/bin/sh", "-c", f"echo evil > {ground.rw}/.bashrc; echo ready; sleep 60"))
    with subprocess.Popen(
        words, env=ground.environment(), cwd=ground.base, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert sorted(str(path) for path in ground.rw.rglob("*")) == before
        process.send_signal(signal.SIGKILL)
    time.sleep(0.2)
    assert sorted(str(path) for path in ground.rw.rglob("*")) == before
    assert not (Path(ground.base) / ".git").exists()
