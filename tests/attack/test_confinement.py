"""What a child is, seen from outside by /proc: ids, namespaces, root, limits; and that no secret came along with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support import den as dens
from tests.support import users

from foxden import Den
from foxden.launch import private_folders
from foxden.model.process_types import BY_NAME, KEEP_CALLERS_IDS

pytestmark = [
    pytest.mark.needs("userns", "landlock", "seccomp"),
    pytest.mark.leaks_ok("the den is shared; shared_den looks for leaks when it closes it"),
]

OWN_NAMESPACES = {"user", "pid", "mnt", "net", "ipc", "uts", "cgroup"}
# The socket process sees these and nothing else, beside the system's libraries.
SOCKET_FILES = {"resolv.conf", "hosts", "nsswitch.conf", "host.conf", "gai.conf", "services", "protocols"}

# The broker is confined by its filter and its lack of privilege: it sees files and memory as the user does.
ISOLATED = tuple(kind for kind in dens.KINDS if kind != ("broker", ""))
# A program has a root of its own with what it needs to run: tests/attack/run looks at that.
STRICT = tuple(kind for kind in ISOLATED if kind != ("plugin", ""))
BROKERS_OWN = {"/", "anon_inode:[eventfd]"}  # the root that it finds paths from; what wakes it


@pytest.mark.parametrize("kind", ISOLATED, ids=dens.kind_name)
def test_child_has_no_privilege_and_namespaces_of_its_own(den: Den, kind: tuple[str, str]) -> None:
    if kind[0] == "plugin" and not users.is_root():
        pytest.skip("needs root: a program's starter lets nobody of its own user look into it")
    with dens.child_of(den, *kind) as child, dens.child_of(den, *kind) as sibling:
        status = dens.status(child.pid)
        assert {int(status[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
        assert (status["NoNewPrivs"], status["Seccomp"], status["TracerPid"]) == ("1", "2", "0")
        assert status["NSpid"].split()[1:] == ["1"], "the first and only process of its pid namespace"
        uids, gids = set(status["Uid"].split()), set(status["Gid"].split())
        if users.is_root() and BY_NAME[kind[0]].family in KEEP_CALLERS_IDS:
            assert uids == gids == {"0"}, "a program works on the caller's own files, with its ids and no capability"
        elif users.is_root():
            assert "0" not in uids | gids
            assert status["Groups"].split() == []
            assert uids != set(dens.status(sibling.pid)["Uid"].split()), "as root each child has a uid of its own"
        else:
            assert uids == {str(os.getuid())}
            assert set(status["Groups"].split()) <= {str(group) for group in os.getgroups()}
        ours, its, other = dens.namespaces("self"), dens.namespaces(child.pid), dens.namespaces(sibling.pid)
        shared = {"net"} if kind[0] == "socket" else set()
        assert {name for name in OWN_NAMESPACES if its[name] == ours[name]} == shared
        assert {name for name in OWN_NAMESPACES if its[name] == other[name]} == shared


@pytest.mark.parametrize("kind", STRICT, ids=dens.kind_name)
def test_root_of_a_child_is_empty_and_read_only(den: Den, kind: tuple[str, str]) -> None:
    with dens.child_of(den, *kind) as child:
        root = Path(f"/proc/{child.pid}/root")
        mounts = [line.split() for line in Path(f"/proc/{child.pid}/mountinfo").read_text().splitlines()]
        assert all("ro" in mount[5].split(",") for mount in mounts)
        assert all({"nosuid", "nodev"} <= set(mount[5].split(",")) for mount in mounts)
        if kind[0] != "socket":
            assert os.listdir(root) == []
            assert len(mounts) == 1
            return
        assert set(os.listdir(root)) <= {"etc", "usr", "lib", "lib64"}
        etc = {path.name for path in (root / "etc").iterdir()}
        assert etc <= SOCKET_FILES | {"ssl", "pki"}
        assert "passwd" not in etc
        with pytest.raises(OSError, match=r"Read-only|Permission"):
            (root / "etc" / "new").write_text("x")
        for name in ("etc/resolv.conf", "etc/passwd", "etc/shadow"):
            assert dens.outcome(den, child, "write-file", f"/{name}") == "EACCES"
        assert dens.outcome(den, child, "read-file", "/etc/hosts") == "allowed"


def test_limits_of_a_content_process_are_hard(den: Den) -> None:
    with dens.child_of(den, "content", "web") as child:
        rows = Path(f"/proc/{child.pid}/limits").read_text().splitlines()[1:]
        limits = {row[:26].strip(): row[26:].split()[:2] for row in rows}
        # Core files: 1 byte is none, and the kernel gives none to a program either, which it does where 0 is the limit.
        wanted = {"Max open files": "256", "Max core file size": "1", "Max locked memory": "0", "Max processes": "64",
                  "Max file size": str(64 << 20)}  # fmt: skip
        assert {name: limits[name] for name in wanted} == {name: [value, value] for name, value in wanted.items()}
        assert int(Path(f"/proc/{child.pid}/oom_score_adj").read_text()) >= 500


@pytest.mark.parametrize("kind", [("content", "web"), ("socket", ""), ("utility", "")], ids=dens.kind_name)
def test_memory_bomb_ends_inside_its_process(den: Den, kind: tuple[str, str]) -> None:
    with dens.child_of(den, *kind) as child:
        assert dens.outcome(den, child, "memory", "64") == "allowed"
        assert dens.outcome(den, child, "memory", "4096") == "ENOMEM"
        assert dens.outcome(den, child, "memory", "64") == "allowed", "it goes on, and gave the memory back"
        dens.inside(den, child.ping(10))


@pytest.mark.parametrize("kind", [("content", "web"), ("socket", ""), ("rdd", "")], ids=dens.kind_name)
def test_child_cannot_signal_or_trace_anybody(den: Den, kind: tuple[str, str]) -> None:
    with dens.child_of(den, *kind) as child, dens.child_of(den, "utility") as sibling:
        (server, *_) = dens.pids(den, "forkserver")
        for pid in (os.getpid(), os.getppid(), sibling.pid, server, 1, 0, -1, -os.getpid()):
            assert dens.outcome(den, child, "kill", str(pid)) == "EPERM"
        for pid in (os.getpid(), sibling.pid, server, 1):
            assert dens.outcome(den, child, "ptrace", str(pid)) == "EPERM"
        dens.inside(den, sibling.ping(10))


@pytest.mark.parametrize("kind", dens.KINDS, ids=dens.kind_name)
def test_child_holds_its_pipe_and_its_log_and_nothing_else(den: Den, kind: tuple[str, str]) -> None:
    if kind[0] == "plugin" and not users.is_root():
        pytest.skip("needs root: a program's starter lets nobody of its own user look into it")
    with dens.child_of(den, *kind) as child:
        dens.inside(den, child.ping(10))  # it has let go of what it handed over
        held = {fd: os.readlink(f"/proc/{child.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{child.pid}/fd")}
        assert held.pop("0") == "/dev/null"
        others = [target for target in held.values() if not target.startswith("socket:")]
        pipes = [target for target in others if target.startswith("pipe:")]
        assert len(pipes) == (0 if kind[0] == "broker" else 1), "where it writes its stack when it is asked"
        # With the extension a broker holds its own list of descriptors: what it found is opened again from there.
        own = BROKERS_OWN | {f"/proc/{child.pid}/fd"}
        known = {"anon_inode:[eventpoll]", *pipes} | (own if kind[0] == "broker" else set())
        assert set(others) - known == set()
        most = {"socket": 9, "broker": 7 + private_folders.COUNT}  # roots of file systems for temporary files
        assert len(held) <= most.get(kind[0], 4)


_SECRETS = """
import ctypes
secret, fd = sys.argv[1].encode(), int(sys.argv[2])
os.set_inheritable(fd, True)
kept = secret * 50  # on the heap
den = Den()
children = [den._run(den._runtime.launch(name)) for name in ("utility", "gmp", "socket")]
from foxden.model.process_types import RemoteType
children += [den._run(den._runtime.launch("content", RemoteType.WEB))]

def where(pid):
    found = []
    for name in ("environ", "cmdline"):
        if secret in open(f"/proc/{pid}/{name}", "rb").read():
            found.append(name)
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{number}")
        except FileNotFoundError:
            continue  # the listing's own
        if "secret-file" in target:
            found.append("descriptor")
    with open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in open(f"/proc/{pid}/maps"):
            place, mode = line.split()[:2]
            if "rw" not in mode or "[v" in line:
                continue
            start, end = (int(word, 16) for word in place.split("-"))
            try:
                memory.seek(start)
                if secret in memory.read(end - start):
                    found.append("memory")
                    break
            except OSError:
                pass
    return sorted(set(found))

for record in den.processes():
    print(record.process_type, record.name or "-", *where(record.pid))
den.close()
"""


def test_secrets_of_the_parent_are_in_no_other_process(tmp_path: Path) -> None:
    """Environment, arguments, an open and inheritable descriptor, memory: of children, fork servers, the starter."""
    with (tmp_path / "secret-file").open("wb") as file:
        out = dens.run_script(
            _SECRETS, "s3cr3t-of-th3-par3nt", str(file.fileno()),
            env={"TOKEN": "s3cr3t-of-th3-par3nt"}, pass_fds=[file.fileno()],
        )  # fmt: skip
    parent, *others = out.splitlines()
    assert parent == "default parent cmdline descriptor environ memory", "the control: they can be found"
    assert len(others) >= 8
    assert [line for line in others if len(line.split()) > 2] == []
