"""Acts that a sandbox must refuse, tried from inside the real one: the self-test of every process type.

Runs in: every child, when the parent asks.  Trusts: the parent names the act; nothing here is harmful by itself.
Flow: PChildProcess.RunProbe → one function → what the kernel answered → tests, `foxden demo`, `foxden support`.
Source: Gecko's SandboxTestingChildTests.h; cases of the threat list.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import tempfile
from collections.abc import Callable

from foxden.launch import kernel_probes, strict_probes
from foxden.protocols.process import PChildProcess
from foxden.sandbox import linux

Probe = Callable[[str], str]


def _read_file(path: str) -> str:
    with open(path, "rb") as file:
        return f"read {len(file.read(64))} bytes"


def _write_file(path: str) -> str:
    """Without a path: a temporary file, wherever the child may have one."""
    if not path:
        with tempfile.NamedTemporaryFile(prefix="probe-") as file:
            file.write(b"temporary")
            return file.name
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    return "opened for writing"


def _list_folder(path: str) -> str:
    return f"{len(os.listdir(path))} entries"


def _make_folder(path: str) -> str:
    os.mkdir(path)
    return "made"


def _internet_socket(family: socket.AddressFamily, kind: socket.SocketKind) -> Probe:
    def probe(argument: str) -> str:
        socket.socket(family, kind).close()
        return "got a socket"

    return probe


def _connect(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect((host, int(port)))
    return "connected"


def _unix_connect(path: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.connect(path if path.startswith("/") else "\0" + path)
    return "connected"


def _fork(argument: str) -> str:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return f"made process {pid}"


def _exec(path: str) -> str:
    os.execv(path, [path])  # noqa: S606 - the act under test; on success this process is gone


def _kill(pid: str) -> str:
    os.kill(int(pid), 0)
    return "may signal it"


def _signal_thread(pid: str) -> str:
    own = os.getpid()
    linux.syscall("tgkill", int(pid or own), int(pid or own), 0)
    return "may signal it"


def _ptrace(pid: str) -> str:
    linux.syscall("ptrace", 0x4206, int(pid), 0, 0)  # PTRACE_SEIZE
    return "attached"


def _call(name: str, *arguments: int | bytes) -> Probe:
    def probe(argument: str) -> str:
        return f"returned {linux.syscall(name, *arguments)}"

    return probe


def _abstract_listen(argument: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind("\0foxden-probe")
        sock.listen(1)
    return "listening"


def _thread(argument: str) -> str:
    import threading

    ran = []
    thread = threading.Thread(target=lambda: ran.append(1))
    thread.start()
    thread.join()
    return "ran a thread" if ran else "did not run"


def _memory(argument: str) -> str:
    blocks = [bytearray(1 << 20) for _ in range(int(argument))]
    return f"took {len(blocks)} MiB"


def _descriptors(argument: str) -> str:
    """Which descriptors are open, by trying each: there is no /proc in here."""
    held = []
    for fd in range(1024):
        try:
            os.fstat(fd)
        except OSError:
            continue
        held.append(fd)
    return ",".join(map(str, held))


_INET, _INET6, _STREAM, _DGRAM = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM, socket.SOCK_DGRAM

PROBES: dict[str, Probe] = {
    "read-file": _read_file,
    "write-file": _write_file,
    "list-folder": _list_folder,
    "make-folder": _make_folder,
    "tcp-socket": _internet_socket(_INET, _STREAM),
    "tcp6-socket": _internet_socket(_INET6, _STREAM),
    "udp-socket": _internet_socket(_INET, _DGRAM),
    "udp6-socket": _internet_socket(_INET6, _DGRAM),
    "raw-socket": _internet_socket(_INET, socket.SOCK_RAW),
    "packet-socket": _internet_socket(socket.AF_PACKET, socket.SOCK_RAW),
    "netlink-socket": _internet_socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "connect": _connect,
    "unix-connect": _unix_connect,
    "abstract-listen": _abstract_listen,
    "fork": _fork,
    "exec": _exec,
    "kill": _kill,
    "signal-thread": _signal_thread,
    "ptrace": _ptrace,
    "unshare-user": _call("unshare", 0x1000_0000),
    "mount": _call("mount", b"none", b"/", b"tmpfs", 0, 0),
    "chroot": _call("chroot", b"/"),
    "bpf": _call("bpf", 0, 0, 0),
    "io-uring": _call("io_uring_setup", 1, bytes(120)),
    "userfaultfd": _call("userfaultfd", 1),
    "perf": _call("perf_event_open", bytes(128), 0, -1, -1, 0),
    "keyctl": _call("keyctl", 0, -3, 0, 0, 0),
    "process-vm-readv": _call("process_vm_readv", 1, 0, 0, 0, 0, 0),
    "pidfd-open": _call("pidfd_open", 1, 0),
    "open-by-handle": _call("open_by_handle_at", -100, bytes(16), 0),
    "clone3": _call("clone3", bytes(88), 88),
    "seccomp-off": _call("seccomp", 1, 0, 0),
    "tiocsti": _call("ioctl", 0, 0x5412, b"x"),
    "tiocsti-high-bits": _call("ioctl", 0, 0x1_0000_5412, b"x"),
    "unknown-call": lambda argument: f"returned {_raw(600)}",
    "thread": _thread,
    "memory": _memory,
    "descriptors": _descriptors,
    "act": strict_probes.act,
    "identity": lambda argument: f"uid {os.getuid()} pid {os.getpid()} groups {os.getgroups()}",
}


# Asked of a child without a sandbox: what the kernel can do, not what a sandbox refuses.
_OF_THE_KERNEL: dict[str, Probe] = {"kernel-notify": kernel_probes.notify}


def _raw(number: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(ctypes.c_long(number))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def run(message: PChildProcess.RunProbe) -> PChildProcess.RunProbe.Returns:
    """Try the act and say what it got."""
    probe = PROBES.get(message.probe) or _OF_THE_KERNEL.get(message.probe)
    if probe is None:
        return PChildProcess.RunProbe.Returns(succeeded=False, errno=0, detail=f"no probe named {message.probe}")
    try:
        detail = probe(message.argument)
    except MemoryError:
        return PChildProcess.RunProbe.Returns(succeeded=False, errno=12, detail="MemoryError")
    except OSError as error:
        return PChildProcess.RunProbe.Returns(succeeded=False, errno=error.errno or 0, detail=str(error)[:1024])
    except (ValueError, RuntimeError) as error:  # can't start new thread; a bad argument
        return PChildProcess.RunProbe.Returns(succeeded=False, errno=0, detail=str(error)[:1024])
    return PChildProcess.RunProbe.Returns(succeeded=True, errno=0, detail=detail)


def prewarm() -> None:
    """Resolve what the acts would load late."""
    import threading

    threading.current_thread()
    signal.strsignal(1)
    ctypes.CDLL(None, use_errno=True)
