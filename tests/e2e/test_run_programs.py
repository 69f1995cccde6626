"""`foxden run` with real programs, none of which knows of it: shells, git, pip, compilers, interpreters, odd ones.

Flow: the machine's own programs → `python -m foxden run` → what they wrote, how they ended, what was refused.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tests.support.foxden_run import assert_gone, fine, run, shell
from tests.support.users import (
    CHECKOUT,
    needs_gcc,
    needs_git,
    needs_java,
    needs_make,
    needs_node,
    needs_perl,
    needs_sqlite,
    needs_userns,
)

pytestmark = needs_userns
PYTHON = "/usr/bin/python3"
OWN_PYTHON = [  # of the interpreter that runs the tests, which may lie anywhere
    *(word for path in (sys.prefix, os.path.realpath(sys.prefix), sys.base_prefix) for word in ("--read", path)),
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder that is granted for writing."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


# --- shells and the tools of every day ----------------------------------------------------------------------------


SCRIPTS = {
    "pipeline": ("seq 1 1000 | grep 7 | sort -rn | head -3", "997\n987\n979\n"),
    "here-document": ("cat <<X\none $((1 + 1))\nX\ncat <<<three", "one 2\nthree\n"),
    "substitution from a process": ("cat <(echo a) <(echo b); paste -d+ <(seq 2) <(seq 3 4)", "a\nb\n1+3\n2+4\n"),
    "substitution to a process": ("echo x | tee >(sed s/x/y/ >$HOME/o) >/dev/null; sleep .2; cat ~/o", "y\n"),
    "fifo between two": ("mkfifo /tmp/f && { echo through >/tmp/f & cat /tmp/f; wait; rm /tmp/f; }", "through\n"),
    "background jobs": ("(exit 3) & a=$!; (exit 4) & wait $a; echo $?; wait $!; echo $?", "3\n4\n"),
    "trap": ("trap 'echo bye' EXIT; trap 'echo usr1' USR1; kill -USR1 $$; echo here", "usr1\nhere\nbye\n"),
    "coprocess": ("coproc cat; echo hi >&${COPROC[1]}; read -u ${COPROC[0]} x; echo $x", "hi\n"),
    "subshell and pipe status": ("false | true; echo ${PIPESTATUS[*]}; (cd /; pwd)", "1 0\n/\n"),
    "a large pipe": ("head -c 20000000 /dev/zero | tr '\\0' x | wc -c", "20000000\n"),
    "find and xargs": ("cd; mkdir d; touch d/{1..50}; find d -type f | xargs -n 7 -P 3 rm; find d", "d\n"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_shell_does_what_it_does_outside(name: str) -> None:
    script, said = SCRIPTS[name]
    assert fine(shell(script)) == said


FILES = """
set -e
cd "$1"
mkdir -p a/b; echo one >a/f; echo two >a/b/g; ln -s f a/l; ln a/f a/h; chmod 640 a/f; touch -d 2001-02-03T04:05:06Z a/f
cp -a a c; stat -c '%a %Y %h' c/f; readlink c/l; cmp a/b/g c/b/g
mv c d; test ! -e c; rm -r a; tar czf d.tgz d; rm -r d; tar xzf d.tgz; stat -c '%a %Y' d/f; readlink d/l
install -m 755 -D d/f bin/tool; stat -c %a bin/tool; truncate -s 5000 d/f; stat -c %s d/f
dd if=/dev/zero of=z bs=64k count=16 status=none; stat -c %s z; sed -i s/two/2/ d/b/g; cat d/b/g
find d -name g -delete; test ! -e d/b/g; rmdir d/b
seq 200000 | sort -S 200k -T . -r | tail -1; test -d "$(mktemp -d)"; mkfifo p; chmod u-w z; rm -f z; cp -r d e; ls e
mv -n d/f e/f; shred -u e/h; ls -A e; rm -r -- *; ls -A
"""


@pytest.mark.parametrize("where", ["private", "granted"])
def test_files_are_made_copied_moved_linked_and_removed(where: str, project: Path) -> None:
    folder = "/tmp" if where == "private" else str(project)
    told = fine(run(["bash", "-c", FILES, "bash", folder], ["--write", project] if where == "granted" else []))
    assert told == (
        "640 981173106 2\nf\n640 981173106\nf\n755\n5000\n1048576\n2\n1\nf\nh\nl\nf\nl\n"
    )  # fmt: skip
    assert list(project.iterdir()) == []


def test_private_places_are_empty_and_gone_afterwards() -> None:
    told = fine(shell("touch /tmp/left ~/left /var/tmp/left /dev/shm/left && ls -A /tmp /var/tmp ~ | grep -c left"))
    assert told == "3\n"
    assert fine(shell("ls -A /tmp/left ~/left /var/tmp/left /dev/shm/left 2>/dev/null || echo none")) == "none\n"


def test_names_of_users_and_hosts_are_found() -> None:
    script = (
        "whoami >&2; id -un; getent hosts localhost | tr -s ' '; hostname; test -w ~ && test ~ = $HOME && echo home"
    )
    done = shell(script)
    assert done.returncode == 0, done
    assert done.stdout.decode().split("\n", 1)[1] == "::1 localhost\nfoxden\nhome\n"


# --- git ----------------------------------------------------------------------------------------------------------

GIT = """
set -e
cd "$1"; git init -q r; cd r; git config user.email a@example.org; git config user.name A; git config gc.auto 0
echo a >a; git add a; git commit -qm a; git checkout -qb side; echo b >b; git add b; git commit -qm b
git checkout -q -; echo c >c; git add c; git commit -qm c; git merge -q -m m side; git stash -q 2>/dev/null || true
cd ..; git clone -q --local r s; cd s; git gc -q; git fsck --no-progress; git log --format=%s | sort; git status --short
git worktree add -q ../w side 2>/dev/null || git worktree add -q -b side ../w; ls ../w; git archive HEAD | tar t
"""


@needs_git
def test_git_works_in_a_private_folder() -> None:
    done = run(["bash", "-c", GIT, "bash", "/tmp"])
    assert fine(done) == "a\nb\nc\nm\na\nb\na\nb\nc\n"


@needs_git
def test_git_commits_in_a_granted_project_and_its_hooks_are_protected(project: Path) -> None:
    git = ["git", "-C", str(project), "-c", "safe.directory=*"]
    subprocess.run([*git, "init", "-q"], check=True)
    for name, value in (("user.email", "a@example.org"), ("user.name", "A")):
        subprocess.run([*git, "config", name, value], check=True)
    options = ["--write", project, "--cwd", project]
    fine(
        shell("echo a >a && git add a && git commit -qm first && git checkout -qb other && git log --oneline", options)
    )
    assert subprocess.run([*git, "log", "--format=%s"], capture_output=True, check=True).stdout == b"first\n"
    config = (project / ".git/config").read_text()
    for act, name in (
        ("git config core.pager evil", ".git/config"),
        ("echo evil >.git/hooks/post-commit", ".git/hooks"),
        ("mv .git/hooks .git/other", ".git/hooks"),
        ("mv .git away", ".git/hooks"),
        ("echo x >.envrc", ".envrc"),
    ):
        done = shell(act, options)
        assert done.returncode != 0, act
        assert f"--unprotect '{name}'" in done.stderr.decode(), done
    assert (project / ".git/config").read_text() == config
    fine(shell("git config a.b c; echo x >.envrc", [*options, "--unprotect", ".git/config", "--unprotect", ".envrc"]))
    assert (project / ".envrc").read_text() == "x\n"


# --- Python -------------------------------------------------------------------------------------------------------

PYTHON_ACTS = {
    "subprocess": "import subprocess as s; print(s.run(['tr', 'a', 'b'], input=b'aa', capture_output=True).stdout)",
    "threads": "import threading as t\nx = []\nfor i in range(20): t.Thread(target=x.append, args=(i,)).start()\n"
    "while t.active_count() > 1: pass\nprint(sorted(x) == list(range(20)))",
    "asyncio": "import asyncio\nasync def m():\n"
    "  p = await asyncio.create_subprocess_exec('cat', stdin=-1, stdout=-1)\n"
    "  print(await p.communicate(b'x'))\n  s = await asyncio.start_server(lambda r, w: w.close(), '127.0.0.1', 0)\n"
    "  r, w = await asyncio.open_connection(*s.sockets[0].getsockname()); print(await r.read()); w.close(); s.close()\n"
    "asyncio.run(m())",
    "temporary files": "import tempfile as t, os\nwith t.TemporaryFile() as f, t.NamedTemporaryFile() as g: "
    "f.write(b'1'); print(os.path.exists(g.name))\nwith t.TemporaryDirectory() as d: "
    "open(d + '/x', 'w').close()\nprint(os.path.exists(d))",
    "rmtree": "import os, shutil\nos.makedirs('/tmp/a/b/c'); open('/tmp/a/b/f', 'w').close(); shutil.rmtree('/tmp/a'); "
    "print(os.path.exists('/tmp/a'))",
    "sockets": "import socket\na, b = socket.socketpair(); a.send(b'1'); print(b.recv(1))\n"
    "s = socket.socket(socket.AF_UNIX); s.bind('/tmp/s'); s.listen(); c = socket.socket(socket.AF_UNIX); "
    "c.connect('/tmp/s'); print(s.accept()[0] is not None)",
    "terminals": "import os, pty\na, b = os.openpty(); os.write(a, b'x\\n'); print(os.read(b, 9), os.isatty(b))",
    "its own network": "import socket\ns = socket.create_server(('127.0.0.1', 0)); c = "
    "socket.create_connection(('localhost', s.getsockname()[1])); c.send(b'x'); print(s.accept()[0].recv(1))\n"
    "s = socket.create_server(('::1', 0), family=socket.AF_INET6); socket.create_connection(s.getsockname()[:2])\n"
    "u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(('127.0.0.1', 0)); v = "
    "socket.socket(socket.AF_INET, socket.SOCK_DGRAM); v.connect(u.getsockname()); v.send(b'u'); print(u.recv(1))\n"
    "try: socket.create_connection(('127.0.0.1', 9))\nexcept ConnectionRefusedError: print('refused')",
    "zones": "import zoneinfo, datetime as d; print(d.datetime(2024, 7, 1, tzinfo=zoneinfo.ZoneInfo('UTC')))",
    "tls": "import ssl; print(ssl.create_default_context().cert_store_stats()['x509'] > 0)",
    "mmap and shared memory": "from multiprocessing import shared_memory as s\n"
    "m = s.SharedMemory(create=True, size=9); "
    "m.buf[0] = 7; n = s.SharedMemory(m.name); print(n.buf[0]); n.close(); m.close(); m.unlink()",
    "signals": "import signal, os; signal.signal(10, lambda *_: print('got')); os.kill(os.getpid(), 10); "
    "signal.setitimer(0, .01); signal.signal(14, lambda *_: print('alarm')); signal.pause()",
    "locks": "import fcntl; f = open('/tmp/l', 'w'); fcntl.flock(f, 2); fcntl.lockf(f, 2); print('locked')",
    "sendfile": "import os; open('/tmp/a', 'w').write('data'); a = os.open('/tmp/a', 0); os.sendfile(1, a, 0, 4)",
}
PYTHON_SAID = {
    "subprocess": "b'bb'\n", "threads": "True\n", "asyncio": "(b'x', None)\nb''\n", "temporary files": "True\nFalse\n",
    "rmtree": "False\n",
    "sockets": "b'1'\nTrue\n", "terminals": "b'x\\n' True\n", "zones": "2024-07-01 00:00:00+00:00\n",
    "its own network": "b'x'\nb'u'\nrefused\n",
    "tls": "True\n", "mmap and shared memory": "7\n", "signals": "got\nalarm\n", "locks": "locked\n",
    "sendfile": "data",
}  # fmt: skip


@pytest.mark.parametrize("name", PYTHON_ACTS)
def test_python_does_what_it_does_outside(name: str) -> None:
    assert fine(run([PYTHON, "-c", PYTHON_ACTS[name]])) == PYTHON_SAID[name]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_works_by_every_start_method(method: str, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(
        "import multiprocessing as m\ndef twice(x): return 2 * x\n"
        "if __name__ == '__main__':\n"
        f"  with m.get_context({method!r}).Pool(2) as pool: print(pool.map(twice, [1, 2]))\n"
    )
    assert fine(run([PYTHON, str(script)])) == "[2, 4]\n"


def test_sqlite_with_a_write_ahead_log_works_where_it_may_write(project: Path) -> None:
    script = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1]); print(*c.execute('pragma journal_mode=wal').fetchone());"
        "c.execute('create table t(a)'); c.executemany('insert into t values(?)', [(i,) for i in range(1000)]);"
        "c.commit(); c.execute('pragma wal_checkpoint'); print(*c.execute('select sum(a) from t').fetchone())"
    )
    assert fine(run([PYTHON, "-c", script, str(project / "d.db")], ["--write", project])) == "wal\n499500\n"
    assert (project / "d.db").stat().st_size > 4096


def _wheel(folder: Path) -> Path:
    """A wheel, made by hand: nothing is fetched."""
    path = folder / "fx_sample-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("fx_sample.py", "def main():\n    print('sample works')\n")
        info = "fx_sample-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: fx-sample\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/entry_points.txt", "[console_scripts]\nfx-sample = fx_sample:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


def test_a_virtual_environment_is_made_and_pip_installs_into_it(tmp_path: Path) -> None:
    pip = "~/v/bin/pip -q --disable-pip-version-check install --no-index"
    script = f'{PYTHON} -m venv ~/v && {pip} "$1" && ~/v/bin/fx-sample'
    done = run(["bash", "-c", script, "bash", str(_wheel(tmp_path))], timeout_s=120)
    assert (done.returncode, done.stdout) == (0, b"sample works\n"), done


def test_python_of_a_virtual_environment_runs_when_it_may_be_read() -> None:
    python = str(Path(sys.prefix) / "bin" / "python")
    script = "import sys, msgspec; print(sys.prefix)"
    assert fine(run([python, "-c", script], OWN_PYTHON)) == f"{sys.prefix}\n"


def test_the_unit_tests_of_a_real_project_pass() -> None:
    """foxden's own: parts of them that need nothing but Python."""
    options = [*OWN_PYTHON, "--read", CHECKOUT, "--cwd", CHECKOUT, "--env", "PYTHONDONTWRITEBYTECODE=1"]
    options += ["--env", "HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis"]
    program = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/unit/model",
        "-k",
        "origins or ports or hops",
    ]
    done = run(program, options, timeout_s=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert b" passed" in done.stdout


# --- compilers, other languages -----------------------------------------------------------------------------------

C = '#include <stdio.h>\n#include <unistd.h>\nint main(void) { printf("%d\\n", getpid() > 1); return 7; }\n'


@needs_gcc
@pytest.mark.parametrize("flags", ["", "-static"])
def test_c_is_compiled_and_runs(flags: str, project: Path) -> None:
    (project / "a.c").write_text(C)
    script = f"cp a.c /tmp && cd /tmp && gcc {flags} -o a a.c && ./a; echo $?"
    assert fine(shell(script, ["--write", project, "--cwd", project])) == "1\n7\n"
    script = f"gcc {flags} -pipe -g -O2 -o a a.c && ./a; echo $?"
    assert fine(shell(script, ["--write", project, "--cwd", project])) == "1\n7\n"
    assert subprocess.run([project / "a"], capture_output=True, check=False).returncode == 7


@needs_make
def test_make_builds_in_parallel(project: Path) -> None:
    (project / "Makefile").write_text("all: a b c\n\tcat $^\na b c:\n\techo $@ >$@\n")
    done = run(["make", "-s", "-j3", "-C", str(project)], ["--write", project])
    assert sorted(fine(done).split()) == ["a", "b", "c"]


@needs_node
def test_node_runs_with_workers_promises_and_child_processes(tmp_path: Path) -> None:
    (tmp_path / "job.js").write_text(
        "const {Worker, isMainThread, parentPort} = require('worker_threads'); const fs = require('fs');\n"
        "if (!isMainThread) { parentPort.postMessage(41); } else { (async () => {\n"
        "await fs.promises.writeFile('/tmp/x', 'file'); console.log(await fs.promises.readFile('/tmp/x', 'utf8'));\n"
        "console.log(require('child_process').execSync('echo child').toString().trim());\n"
        "new Worker(__filename).on('message', m => console.log(m + 1)); })(); }\n"
    )
    assert fine(run(["node", str(tmp_path / "job.js")])) == "file\nchild\n42\n"


JAVA = """public class A { public static void main(String[] a) throws Exception {
  long[] s = new long[1]; Thread[] t = new Thread[4];
  for (int i = 0; i < 4; i++) {
    t[i] = new Thread(() -> { for (int j = 0; j < 2000000; j++) synchronized (s) { s[0]++; } });
    t[i].start(); }
  for (Thread x : t) x.join();
  System.out.println(s[0]); } }
"""


@needs_java
def test_java_compiles_and_runs_with_threads(tmp_path: Path) -> None:
    (tmp_path / "A.java").write_text(JAVA)
    done = run(["bash", "-c", 'javac -d /tmp "$1" && java -cp /tmp A', "bash", str(tmp_path / "A.java")], timeout_s=120)
    assert fine(done) == "8000000\n"


@needs_perl
def test_perl_forks_and_pipes() -> None:
    script = "$|=1; print `echo hi`; if (!fork) { exit 3 } wait; print $? >> 8, qq(\\n);"
    script += "open F, '|cat'; print F qq(piped\\n);"
    assert fine(run(["perl", "-e", script])) == "hi\n3\npiped\n"


@needs_sqlite
def test_the_sqlite_shell_works(project: Path) -> None:
    script = "create table a(b); insert into a values (1), (2); select sum(b) from a"
    assert fine(run(["sqlite3", str(project / "x.db"), script], ["--write", project])) == "3\n"


# --- programs that behave oddly -----------------------------------------------------------------------------------


def test_a_daemon_ends_with_its_program() -> None:
    marker = "98.7131"
    done = shell(f"(setsid sleep {marker} </dev/null >/dev/null 2>&1 &) ; exit 3")
    assert done.returncode == 3
    assert_gone(marker)


def test_one_that_closes_every_descriptor_ends_with_its_own_code() -> None:
    assert run([PYTHON, "-c", "import os; os.closerange(0, 4096); os._exit(6)"]).returncode == 6


def test_one_that_makes_a_session_and_groups_of_its_own_runs() -> None:
    script = "import os; p = os.fork()\nif p == 0: os.setsid(); os._exit(os.getsid(0) == os.getpid())\n"
    script += "print(os.wait()[1] >> 8)"
    assert fine(run([PYTHON, "-c", script])) == "1\n"
    assert shell("set -m; (sleep .1 & wait) & wait; echo done").stdout == b"done\n"


def test_orphans_are_reaped_while_the_program_runs() -> None:
    script = "for i in $(seq 30); do (sleep .01 &) ; done; sleep .5; ps -eo stat= | grep -c Z"
    assert shell(script).stdout == b"0\n"


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    for name, text in (
        ("plain", "echo plain $1\n"),
        ("options", "#!/bin/sh -e\necho $0 $1; false; echo not here\n"),
        ("env", "#!/usr/bin/env -S python3 -u\nimport sys; print(sys.argv)\n"),
        ("no-interpreter", "#!/no/such/interpreter\n"),
        ("binary", "\x7fELF\x02\x01\x01\x00junk"),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "data").write_text("not a program\n")
    (tmp_path / "data").chmod(0o644)
    return tmp_path


def test_scripts_run_with_and_without_a_first_line(scripts: Path) -> None:
    assert fine(run(["./plain", "a b"], cwd=scripts)) == "plain a b\n"
    done = run([str(scripts / "options"), "x"])
    assert (done.returncode, done.stdout.decode()) == (1, f"{scripts}/options x\n")
    assert fine(run(["./env", "x"], cwd=scripts)) == "['./env', 'x']\n"


@pytest.mark.parametrize(
    ("program", "code", "says"),
    [
        ("./no-interpreter", 126, "its interpreter /no/such/interpreter is not there"),
        ("./binary", 126, "no program of this machine"),
        ("./data", 126, "not executable"),
        ("./missing", 127, "No such file"),
        ("missing-from-path", 127, "no folder of PATH"),
        ("/usr", 126, "is a directory"),
        ("./data/below", 127, "Not a directory"),
    ],
)
def test_what_cannot_be_executed_is_told_with_the_code_of_shells(
    scripts: Path, program: str, code: int, says: str
) -> None:
    done = run([program], cwd=scripts)
    assert done.returncode == code
    assert done.stderr.decode().startswith(f"error: {program}: ")
    assert says in done.stderr.decode()


def test_a_program_outside_of_the_system_is_named_with_the_option_that_shows_it(scripts: Path) -> None:
    done = run(["plain"], env={"PATH": f"{scripts}:{os.environ['PATH']}"})
    assert done.returncode == 127
    assert f"--read {scripts}" in done.stderr.decode()
    assert fine(run(["plain"], ["--read", scripts], env={"PATH": f"{scripts}:{os.environ['PATH']}"})) == "plain\n"


def test_arguments_arrive_as_they_are() -> None:
    odd = [b"", b"a b", b"\xff\xfe", "ü\n".encode(), b"--read", b"x" * 100_000]
    script = "import sys, os; sys.stdout.buffer.write(b'|'.join(map(os.fsencode, sys.argv[1:])))"
    done = run([PYTHON, "-c", script, *odd])
    assert (done.returncode, done.stdout) == (0, b"|".join(odd)), done.stderr


def test_environment_holds_what_is_given_and_nothing_else() -> None:
    done = run(["env", "-0"], ["--env", "SECRET", "--env", b"RAW=\xff"], env={"SECRET": "s", "OTHER": "o", "LANG": "C"})
    names = dict(pair.split(b"=", 1) for pair in done.stdout.split(b"\0") if pair)
    assert names.keys() - {b"TZ", b"TERM"} == {b"PATH", b"HOME", b"LANG", b"TMPDIR", b"SECRET", b"RAW"}
    assert (names[b"SECRET"], names[b"RAW"], names[b"TMPDIR"]) == (b"s", b"\xff", b"/tmp")


def test_options_after_the_program_are_the_programs() -> None:
    assert fine(run(["echo", "--read", "/", "--json"])) == "--read / --json\n"


# --- what is granted ----------------------------------------------------------------------------------------------


def test_a_file_named_on_the_command_line_is_readable_unless_that_is_turned_off(tmp_path: Path) -> None:
    (tmp_path / "named").write_text("named\n")
    (tmp_path / "other").write_text("other\n")
    assert fine(run(["cat", "named"], cwd=tmp_path)) == "named\n"
    for refused in (
        ["sh", "-c", "cat other"],
        ["ls", str(tmp_path / "other") + "/.."],
        ["sh", "-c", "echo x >>$1", "sh", "named"],
    ):
        assert run(refused, cwd=tmp_path).returncode != 0, refused
    assert run(["cat", "named"], ["--no-designate"], cwd=tmp_path).returncode == 1
    assert (tmp_path / "named").read_text() == "named\n"


def test_what_is_granted_stands_in_the_place_of_what_is_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "here").write_text("")
    env = {"HOME": str(home)}
    assert fine(run(["ls", "-A", str(home)], env=env)) == ""
    assert fine(run(["ls", "-A", str(home)], ["--read", home], env=env)) == "here\n"
    assert shell("touch ~/new", ["--read", home], env=env).returncode == 1
    assert fine(shell("touch ~/new", ["--write", home], env=env)) == ""
    assert (home / "new").exists()
    assert fine(shell("cat /etc/hosts")) == "127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\tfoxden\n"
    assert run(["cat", "/etc/hosts"], ["--read", "/etc"]).stdout == Path("/etc/hosts").read_bytes()


def test_what_is_granted_through_a_link_has_both_names(project: Path, tmp_path: Path) -> None:
    (project / "f").write_text("in it\n")
    (tmp_path / "link").symlink_to(project)
    for path in (tmp_path / "link" / "f", project / "f"):
        assert fine(shell(f"cat {path}", ["--read", tmp_path / "link"])) == "in it\n"
        assert fine(run(["cat", str(path)], ["--read", tmp_path / "link"])) == "in it\n"
    fine(shell("echo new >link/g", ["--write", "link"], cwd=tmp_path))
    assert (project / "g").read_text() == "new\n"


def test_what_is_granted_for_reading_cannot_be_written(project: Path) -> None:
    (project / "f").write_text("kept")
    acts = "echo x >f; rm f; mv f g; chmod 777 f; touch new; mkdir d; ln -s a b; truncate -s 0 f; touch -d 2001-01-01 f"
    for act in acts.split("; "):
        done = shell(act, ["--read", project, "--cwd", project])
        assert done.returncode != 0, act
        assert f"--write {project}" in done.stderr.decode(), done
    assert (project / "f").read_text() == "kept"
    assert sorted(path.name for path in project.iterdir()) == ["f"]
    fine(shell(acts.replace("rm f; mv f g; ", ""), ["--write", project, "--cwd", project]))
    assert (project / "new").exists()


def test_files_that_it_makes_are_the_callers_with_the_modes_it_asked_for(project: Path) -> None:
    fine(shell("umask 027; echo x >f; mkdir d; ", ["--write", project, "--cwd", project]))
    run(["install", "-m", "4755", "/bin/true", "s"], ["--write", project, "--cwd", project])
    status = (project / "f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o640, os.getuid())
    assert stat.S_IMODE((project / "d").stat().st_mode) == 0o750
    assert not (project / "s").exists() or not (project / "s").stat().st_mode & stat.S_ISUID


def test_what_it_learns_is_what_it_needs(tmp_path: Path) -> None:
    policy = tmp_path / "learnt.toml"
    script = "cat /etc/shells && cat /etc/login.defs"  # readable by anyone, and nothing that programs are given
    for known in ([], ["--policy", policy]):  # what it does next is seen when it gets that far
        done = shell(script, [*known, "--learn", policy])
        assert done.returncode != 0
    assert '"/etc/shells" = "r"' in policy.read_text()
    assert fine(shell(script, ["--policy", policy])).encode() == (
        Path("/etc/shells").read_bytes() + Path("/etc/login.defs").read_bytes()
    )
