"""No process but the socket process can make an internet socket: shown by trying, never by reading a log.

Who may still make one, and why:
- the **socket process** (TCP and UDP as a client): it is the network.
- the **network's fork server**: a filter is inherited for good, and the socket process is forked from it.  It runs no
  input of anybody, reads no message but its parent's, and forks nothing but the socket process.
- the **starter**: it executes the fork servers, so nothing may bind it that would bind what it starts.  Likewise.
- the **parent** of a library user, unless `lock_parent=True`: it is the user's own process.
- **programs**: sockets of a network namespace that holds nothing but their own loopback (tests/attack/run).
A fork server's own filter shows in its child at level 0, which has no other.  What it refuses is "no such call":
"notify" without a listener, so that a child's own filter may answer, and record, instead (policies/forkserver.toml).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.support import den as dens
from tests.support.servers import ScriptedServer

from foxden import Den
from foxden.model.process_types import BY_NAME, RemoteType, family_of

pytestmark = [
    pytest.mark.needs("userns", "landlock", "seccomp"),
    pytest.mark.leaks_ok("the den is shared; shared_den looks for leaks when it closes it"),
]

SOCKETS = ("tcp-socket", "tcp6-socket", "udp-socket", "udp6-socket", "raw-socket", "packet-socket", "netlink-socket")
AROUND = {"io-uring": "EPERM", "exec": "EPERM", "ptrace": "EPERM", "pidfd-open": "EPERM"}  # ways to come by one
BROKERS = {"pidfd-open": "allowed"}  # it connects a program's own socket for it, in the program's own network
OTHERS = [kind for kind in dens.KINDS if kind[0] not in ("socket", "gmp", "plugin")]
SWITCHED = [kind for kind in OTHERS if BY_NAME[kind[0]].disable_env] + [("gmp", "")]


@pytest.fixture(scope="module")
def without_sandboxes() -> Iterator[Den]:
    with dens.shared_den(dens.switched_off()) as den:
        yield den


@pytest.mark.parametrize("kind", [*OTHERS, ("gmp", "")], ids=dens.kind_name)
def test_no_child_makes_a_socket_at_its_level(den: Den, kind: tuple[str, str]) -> None:
    with dens.child_of(den, *kind) as child:
        assert {name: dens.outcome(den, child, name) for name in SOCKETS} == dict.fromkeys(SOCKETS, "EACCES")
        assert dens.outcome(den, child, "connect", "127.0.0.1:9") == "EACCES"
        assert dens.outcome(den, child, "exec", "/bin/true") == "EPERM"


@pytest.mark.parametrize("kind", OTHERS, ids=dens.kind_name)
def test_no_child_gets_round_its_filter(den: Den, kind: tuple[str, str]) -> None:
    with dens.child_of(den, *kind) as child:
        argument = {"exec": "/bin/true", "ptrace": "1"}
        expected = AROUND | (BROKERS if kind[0] == "broker" else {})
        assert {name: dens.outcome(den, child, name, argument.get(name, "")) for name in AROUND} == expected


@pytest.mark.parametrize("kind", SWITCHED, ids=dens.kind_name)
def test_no_child_makes_a_socket_even_with_its_sandbox_off(without_sandboxes: Den, kind: tuple[str, str]) -> None:
    """And so its fork server cannot either: this child has the server's filter alone."""
    den = without_sandboxes
    with dens.child_of(den, *kind) as child:
        assert (child.level, child.enforcement.summary() if child.enforcement else "") == (0, "NONE")
        assert dens.outcome(den, child, "read-file", "/etc/passwd") == "allowed", "the control: its sandbox is off"
        assert dens.outcome(den, child, "abstract-listen") == "allowed", "and sockets that are no network's are made"
        assert {name: dens.outcome(den, child, name) for name in SOCKETS} == dict.fromkeys(SOCKETS, "ENOSYS")
        assert dens.outcome(den, child, "io-uring") == "ENOSYS"
        assert dens.outcome(den, child, "exec", "/bin/true") == "ENOSYS"
        assert dens.outcome(den, child, "ptrace", str(child.pid)) == "ENOSYS"


def test_every_fork_server_but_those_of_the_network_and_of_programs_was_tried() -> None:
    families = {family_of(BY_NAME[name], RemoteType(remote) if remote else None) for name, remote in SWITCHED}
    assert {family.value for family in families} == {"web", "file", "extension", "media", "utility"}


def test_socket_process_makes_client_sockets_and_no_others(den: Den) -> None:
    with dens.child_of(den, "socket") as child:
        got = {name: dens.outcome(den, child, name) for name in SOCKETS}
        allowed = {name for name, outcome in got.items() if outcome == "allowed"}
        assert allowed == {"tcp-socket", "tcp6-socket", "udp-socket", "udp6-socket", "netlink-socket"}
        assert got["raw-socket"] == got["packet-socket"] == "EACCES"
        assert dens.outcome(den, child, "abstract-listen") == "EACCES", "it is nobody's server"


_LOCK = """
import ctypes, json, queue, socket, subprocess
from foxden.sandbox import linux

def attempts():
    def spawn():
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    acts = {
        "tcp": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
        "udp6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close(),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
        "high bits": lambda: linux.syscall("socket", 0x1_0000_0002, 1, 0),
        "unix": lambda: socket.socket(socket.AF_UNIX).close(),
        "spawn": spawn,
        "run": lambda: subprocess.run(["/bin/true"], check=True),
        "uring": lambda: linux.syscall("io_uring_setup", 1, bytes(120)),
        "userns": lambda: linux.syscall("unshare", 0x1000_0000) if locked else None,
        "vm": lambda: linux.syscall("process_vm_readv", os.getpid(), 0, 0, 0, 0, 0),
    }
    got = {}
    for name, act in acts.items():
        try:
            act()
            got[name] = 0
        except OSError as error:
            got[name] = error.errno
    return got

def forked():
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, json.dumps(attempts()).encode())
        os._exit(0)
    os.close(writer)
    os.wait()
    return json.loads(os.fdopen(reader).read())

class Worker(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.asked, self.answers = queue.Queue(), queue.Queue()
        self.start()
    def run(self):
        while self.asked.get():
            self.answers.put(attempts())
    def ask(self):
        self.asked.put(True)
        return self.answers.get()

locked = False
old = Worker()
said = {"before": [attempts(), old.ask()]}
den = Den(lock_parent=True)
locked = True
said["after"] = [attempts(), old.ask(), Worker().ask(), forked()]
said["works"] = [den.open(sys.argv[1]).title, den.fetch(sys.argv[1]).status, len(den.processes()) > 4]
for record in den.processes():
    if record.process_type in ("socket", "content"):
        os.kill(record.pid, signal.SIGKILL)
said["restarts"] = [den.open(sys.argv[1]).title]
said["status"] = [line.split()[1] for line in open("/proc/self/status") if line.startswith(("NoNewPrivs", "Seccomp:"))]
den.close()
print(json.dumps(said))
"""


def test_locked_parent_has_no_network_and_no_programs_in_any_thread() -> None:
    """Threads from before the lock, from after it, and forks; with the same acts before it as control."""
    with ScriptedServer(dens.routes({"/": dens.title_page("root")})) as pages:
        said = json.loads(dens.run_script(_LOCK, f"{pages.url}/"))
    free = dict.fromkeys(said["before"][0], 0)
    assert said["before"] == [free, free]
    locked = {**dict.fromkeys(free, 13), "unix": 0, "uring": 1, "userns": 1, "vm": 1}
    assert said["after"] == [locked] * 4
    assert said["works"] == ["root", 200, True]
    assert said["restarts"] == ["root"]
    assert said["status"] == ["1", "2"]
