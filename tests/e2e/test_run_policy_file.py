"""What only a policy file can say, at work: `deny` below a granted tree, and system calls.

Flow: a policy file → `foxden run --policy`, Den.run(policy=) → what a real program could do with it, and without it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import den as dens
from tests.support.foxden_run import fine, run, shell
from tests.support.users import needs_userns

pytestmark = needs_userns
PYTHON = "/usr/bin/python3"
# A shared segment that is larger than what everybody may make: 1 if it came to be.
SEGMENT = "import ctypes; print(int(ctypes.CDLL(None).shmget(0, 1 << 20, 0o600) >= 0))"
MANY = "import ctypes; print(int(ctypes.CDLL(None).shmget(0, 1 << 21, 0o600) >= 0))"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with a secret directory and a secret file."""
    tree = tmp_path / "tree"
    (tree / "secret").mkdir(parents=True)
    (tree / "secret/in").write_text("hush\n")
    (tree / "key").write_text("hush\n")
    (tree / "open").write_text("open\n")
    return tree


def policy(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text)
    return path


def denying(tree: Path, access: str) -> Path:
    files = {"": access, "/secret": "deny", "/key": "deny", "/not-there-yet": "deny"}
    return policy(tree.parent, "[files]\n" + "".join(f'"{tree}{at}" = "{word}"\n' for at, word in files.items()))


ACTS = {
    "read a file": "cat key",
    "read in a directory": "cat secret/in",
    "list it": "ls secret",
    "write a file": "echo x >key",
    "make one in it": "echo x >secret/new",
    "remove it": "rm -f key",
    "move it": "mv secret elsewhere",
    "link it": "ln key other && cat other",
    "swap it": "mv open key",
    "make it": "mkdir not-there-yet",
    "open it by way of the process": "exec 3<. && cat /proc/self/fd/3/key",
}


@pytest.mark.parametrize("act", ACTS)
def test_what_is_denied_below_a_granted_tree_is_out_of_reach(tree: Path, act: str) -> None:
    grants = ["--cwd", tree, "--policy", denying(tree, "rwc")]
    fine(shell("cat open; echo new >made; cat made", grants))
    refused = shell(ACTS[act], grants)
    assert refused.returncode != 0, refused
    assert b"hush" not in refused.stdout, refused
    assert ((tree / "key").read_text(), (tree / "secret/in").read_text()) == ("hush\n", "hush\n")
    allowed = shell(ACTS[act], ["--cwd", tree, "--write", tree])
    assert allowed.returncode == 0, "the same act, without the denial"


def test_reads_are_denied_where_nothing_may_be_written(tree: Path) -> None:
    grants = ["--cwd", tree, "--policy", denying(tree, "r")]
    done = shell("cat open; cat key; cat secret/in; ls -l", grants)
    assert (done.stdout.splitlines()[0], b"hush" in done.stdout) == (b"open", False)
    assert b"Permission denied" in done.stderr
    assert sorted(path.name for path in tree.iterdir()) == ["key", "open", "secret"], "nothing is left in it"


def test_the_hint_does_not_promise_what_a_denial_would_take_back(tree: Path) -> None:
    done = shell("echo x >key", ["--cwd", tree, "--policy", denying(tree, "rwc")])
    assert b"no option allows this: policy file" in done.stderr, done
    assert b"--write" not in done.stderr, done


def test_a_call_of_a_policy_file_is_allowed(tmp_path: Path) -> None:
    wide = policy(tmp_path, '[syscalls]\nallow = ["shmget"]\n')
    assert run([PYTHON, "-c", SEGMENT]).stdout == b"0\n"
    assert fine(run([PYTHON, "-c", SEGMENT], ["--policy", wide])) == "1\n"
    assert run([PYTHON, "-c", SEGMENT], ["--explain", "--policy", wide]).stdout == b"1\n"


def test_its_conditions_hold(tmp_path: Path) -> None:
    narrow = policy(tmp_path, '[syscalls]\nallow = ["shmget(size == 1048576)"]\n')
    assert fine(run([PYTHON, "-c", SEGMENT], ["--policy", narrow])) == "1\n"
    assert run([PYTHON, "-c", MANY], ["--policy", narrow]).stdout == b"0\n"


@pytest.mark.leaks_ok("shared_den looks for leaks when it closes its den")
def test_a_den_takes_the_same_file(tree: Path) -> None:
    with dens.shared_den() as den:
        read = ["cat", str(tree / "key")]
        assert den.run(read, policy=denying(tree, "rwc"), designate=False).stdout == b""
        assert den.run(read, read=[tree], designate=False).stdout == b"hush\n"
        segment = [PYTHON, "-c", SEGMENT]
        assert den.run(segment).stdout == b"0\n"
        assert den.run(segment, policy=policy(tree.parent, '[syscalls]\nallow = ["shmget"]\n')).stdout == b"1\n"
        assert den.run(segment).stdout == b"0\n", "and the next one has it no longer"
