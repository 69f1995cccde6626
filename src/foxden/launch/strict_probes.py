"""More acts that a strict sandbox refuses, by their names: what a child that was taken over would try next.

Runs in: every child, when the parent asks.  Trusts: the parent names the act; nothing here is harmful by itself.
Flow: PChildProcess.RunProbe("act", "NAME ARGUMENT") → one function → what the kernel answered.
Source: the hostile cases, tests/attack/cases.toml; tests/attack/strict.toml says what each one gets.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import mmap
import os
import resource
import signal
import socket
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Mapping

from foxden.sandbox import linux, seccomp

Act = Callable[[str], str]

_NEW_USER = 0x1000_0000
_HIGH = 1 << 32  # bits that the kernel does not look at, in an argument that is an int
_ALLOW_EVERYTHING = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF_0000)
_OTHER_SPACES = {
    "mount": 0x0002_0000, "pid": 0x2000_0000, "net": 0x4000_0000, "ipc": 0x0800_0000, "uts": 0x0400_0000,
    "cgroup": 0x0200_0000, "time": 0x80,
}  # fmt: skip
# Sockets that no process of foxden has, as (domain, type, protocol); where the kernel has no such family it says so.
_ODD_SOCKETS = {
    "netlink audit": (16, 3, 9), "netlink netfilter": (16, 3, 12), "netlink uevent": (16, 2, 15), "vsock": (40, 1, 0),
    "alg": (38, 5, 0), "xdp": (44, 3, 0), "key": (15, 3, 2), "bluetooth": (31, 3, 1), "can": (29, 3, 1),
    "sctp": (2, 1, 132), "mptcp": (2, 1, 262), "udplite": (2, 2, 136), "smc": (43, 1, 0), "ping": (2, 2, 1),
    "tipc": (30, 1, 0), "rds": (21, 5, 0),
}  # fmt: skip
# Each is called with -1 everywhere, which is harmless where it is allowed.
_ADMINISTRATION = (
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon", "swapoff",
    "acct", "quotactl", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname",
    "syslog",
)  # fmt: skip
_IN_FLIGHT = 100_000
_READS, _READ_S = 30_000, 1.5


def _call(name: str, *arguments: int | bytes) -> Act:
    return lambda argument: f"returned {linux.syscall(name, *arguments)}"


def _all_refused(attempts: Mapping[str, Callable[[], object]], refusal: int) -> str:
    """Raises OSError of `refusal` when it is what every one of them gets; else says which were answered otherwise."""
    others = []
    for name, attempt in attempts.items():
        try:
            attempt()
        except OSError as error:
            if error.errno == refusal:
                continue
            others.append(f"{name} {errno.errorcode.get(error.errno or 0)}")
        else:
            others.append(name)
    if not others:
        raise OSError(refusal, "all of them")
    return ", ".join(others)[:1000]


def _administration(argument: str) -> str:
    attempts = {name: functools.partial(linux.syscall, name, -1, -1, -1, -1) for name in _ADMINISTRATION}
    return _all_refused(attempts, errno.EPERM)


def _odd_sockets(argument: str) -> str:
    attempts = {name: functools.partial(_socket, *words) for name, words in _ODD_SOCKETS.items()}
    return _all_refused(attempts, errno.EACCES)


def _socket(domain: int, kind: int, protocol: int) -> None:
    """By numbers as they are: the socket module cuts high bits off."""
    os.close(linux.syscall("socket", domain, kind, protocol))


def _forked(flags: int) -> Act:
    def act(argument: str) -> str:
        pid = linux.syscall("clone", flags | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        return "made a process"

    return act


def _spawn(argument: str) -> str:
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    return "ran a program"


def _exec_memory(argument: str) -> str:
    """A program that is in no file system."""
    fd = os.memfd_create("probe", 0)
    os.write(fd, b"#!/bin/true\n")
    words = (ctypes.c_char_p * 2)(b"probe", None)
    linux.syscall("execveat", fd, b"", ctypes.addressof(words), 0, 0x1000)
    return "returned"


def _queue_signal(pid: str) -> str:
    information = struct.pack("=iii", 0, 0, -1) + bytes(116)  # si_code: SI_QUEUE
    linux.syscall("rt_sigqueueinfo", int(pid), 0, information)
    return "may signal it"


def _many_threads(count: str) -> str:
    """Raises RuntimeError at the limit."""
    gate = threading.Event()
    threads: list[threading.Thread] = []
    try:
        for _ in range(int(count)):
            threads.append(threading.Thread(target=gate.wait))
            threads[-1].start()
    finally:
        gate.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()
    return f"ran {len(threads)} threads"


def _many_descriptors(argument: str) -> str:
    """Raises OSError at the limit."""
    held: list[int] = []
    try:
        while len(held) < _IN_FLIGHT:
            held.append(os.dup(0))
    finally:
        for fd in held:
            os.close(fd)
    return f"held {len(held)}"


def _descriptors_in_flight(argument: str) -> str:
    """Sent to oneself and never received: in no table, and held by the kernel all the same."""
    sent = 0
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        ours.setblocking(False)
        while sent < _IN_FLIGHT:
            socket.send_fds(ours, [b"x"], [0] * 200)
            sent += 200
    return f"{sent} in flight"


def _large_memory_file(size: str) -> str:
    fd = os.memfd_create("probe", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, int(size))
    finally:
        os.close(fd)
    return f"{size} bytes"


def _mapped(**options: int) -> Act:
    def act(argument: str) -> str:
        mmap.mmap(-1, 4096, **options).close()
        return "mapped"

    return act


def _interface_name(argument: str) -> str:
    """SIOCGIFNAME works on any socket."""
    request = ctypes.create_string_buffer(struct.pack("=16si20x", b"", 1))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        linux.syscall("ioctl", ours.fileno(), 0x8910, request)
    return request.value.decode()


def _shared_segment(argument: str) -> str:
    segment = linux.syscall("shmget", 0, 4096, 0o600)
    linux.syscall("shmctl", segment, 0, 0)
    return "made"


def _message_queue(argument: str) -> str:
    queue = linux.syscall("msgget", 0, 0o600)
    linux.syscall("msgctl", queue, 0, 0)
    return "made"


def _semaphores(argument: str) -> str:
    semaphores = linux.syscall("semget", 0, 1, 0o600)
    linux.syscall("semctl", semaphores, 0, 0, 0)
    return "made"


def _named_queue(argument: str) -> str:
    name = b"foxden-probe-%d" % os.getpid()
    os.close(linux.syscall("mq_open", name, os.O_CREAT | os.O_RDWR, 0o600, 0))
    linux.syscall("mq_unlink", name)
    return "made"


def _own_filter(argument: str) -> str:
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    os.close(seccomp.load_with_listener(_ALLOW_EVERYTHING, killable=False))
    return "listens"


def _reuse_port(argument: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return "set"


def _tcp_listen(argument: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(1)
    return "listening"


def _trace_me_with_sigsys_ignored(argument: str) -> str:
    """Whoever kills by SIGSYS is not to be talked out of it."""
    signal.signal(signal.SIGSYS, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGSYS})
    return _call("ptrace", 0, 0, 0, 0)("")


def _trace_me_in_a_thread(argument: str) -> str:
    """Whoever kills, kills all threads."""
    got: list[str | OSError] = []

    def run() -> None:
        try:
            got.append(_call("ptrace", 0, 0, 0, 0)(""))
        except OSError as error:
            got.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(got[0], OSError):
        raise got[0]
    return got[0]


def _watch(path: str) -> str:
    fd = linux.syscall("inotify_init1", 0)
    try:
        linux.syscall("inotify_add_watch", fd, os.fsencode(path), 0xFFF)
    finally:
        os.close(fd)
    return "watching"


def _stat_of_nothing(path: str) -> str:
    """newfstatat with AT_EMPTY_PATH and a path that is not empty: a filter that sees flags alone takes it for fstat."""
    linux.syscall("newfstatat", -100, os.fsencode(path), ctypes.create_string_buffer(256), 0x1000)
    return "it is there"


def _name_to_handle(path: str) -> str:
    handle, mount = ctypes.create_string_buffer(struct.pack("=Ii128x", 128, 0), 136), ctypes.create_string_buffer(4)
    linux.syscall("name_to_handle_at", -100, os.fsencode(path), handle, mount, 0)
    return "has a handle"


def _link_of_own(path: str) -> str:
    """Read through a symbolic link made where the child may write."""
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        link = os.path.join(folder, "link")
        os.symlink(path, link)
        with open(link, "rb") as file:
            return f"read {len(file.read(64))} bytes"


def _write_through_link_of_own(path: str) -> str:
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        link = os.path.join(folder, "link")
        os.symlink(path, link)
        os.close(os.open(link, os.O_WRONLY))
        return "opened for writing"


def _hard_link_of_own(path: str) -> str:
    with tempfile.TemporaryDirectory(prefix="probe-") as folder:
        os.link(path, os.path.join(folder, "link"))
        return "linked"


def _move_out(path: str) -> str:
    """From where the child may write to somewhere else."""
    fd, name = tempfile.mkstemp(prefix="probe-")
    os.close(fd)
    try:
        os.rename(name, path)
    except OSError:
        os.unlink(name)
        raise
    return "moved"


def _read_many(path: str) -> str:
    """Read a file again and again for a while: how often each content was seen, or each errno."""
    seen: dict[str, int] = {}
    deadline = time.monotonic() + _READ_S
    for _ in range(_READS):
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError as error:
            word = errno.errorcode.get(error.errno or 0, "?")
        else:
            word = os.read(fd, 16).decode(errors="replace")
            os.close(fd)
        seen[word] = seen.get(word, 0) + 1
        if time.monotonic() > deadline:
            break
    return ",".join(f"{word}={count}" for word, count in sorted(seen.items()))


def _done(act: Callable[[str], object]) -> Act:
    def wrapped(argument: str) -> str:
        return f"done: {act(argument)}"

    return wrapped


def _truncate_a_reader(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


ACTS: dict[str, Act] = {
    # files: the argument is a path
    "stat": _done(os.stat),
    "lstat": _done(os.lstat),
    "access": lambda path: "may" if os.access(path, os.F_OK) else _not_there(path),
    "readlink": _done(os.readlink),
    "stat-of-nothing": _stat_of_nothing,
    "watch": _watch,
    "name-to-handle": _name_to_handle,
    "append": lambda path: _opened(path, os.O_WRONLY | os.O_APPEND),
    "empty": lambda path: _opened(path, os.O_RDONLY | os.O_TRUNC),
    "truncate": _done(lambda path: os.truncate(path, 0)),
    "truncate-a-reader": _done(_truncate_a_reader),
    "unlink": _done(os.unlink),
    "rename": _done(lambda path: os.rename(path, path + ".moved")),
    "link": _done(lambda path: os.link(path, path + ".link")),
    "symlink": _done(lambda path: os.symlink("x", path + ".symlink")),
    "make-node": _done(lambda path: os.mknod(path + ".fifo", stat.S_IFIFO | 0o600)),
    "make-device": _done(lambda path: os.mknod(path + ".device", stat.S_IFCHR | 0o600, os.makedev(1, 3))),
    "chmod": _done(lambda path: os.chmod(path, 0o600)),
    "chown": _done(lambda path: os.chown(path, -1, -1)),
    "utime": _done(lambda path: os.utime(path, (1, 1))),
    "attribute": _done(lambda path: os.setxattr(path, "user.probe", b"x")),
    "link-of-own": _link_of_own,
    "write-through-link-of-own": _write_through_link_of_own,
    "hard-link-of-own": _hard_link_of_own,
    "move-out": _move_out,
    "read-many": _read_many,
    "open-bytes": lambda path: _opened(os.fsencode(path).replace(b"?", b"\xff"), os.O_RDONLY),
    # processes
    "spawn": _spawn,
    "clone": _forked(0),
    "clone-high-bits": _forked(_HIGH),
    "clone-user": _forked(_NEW_USER),
    "exec-memory": _exec_memory,
    "kill-all": _call("kill", -1, 0),
    "queue-signal": _queue_signal,
    "pidfd-signal": _call("pidfd_send_signal", -1, 0, 0, 0),
    "pidfd-getfd": _call("pidfd_getfd", -1, 0, 0),
    "trace-me": _call("ptrace", 0, 0, 0, 0),
    "trace-me-in-a-thread": _trace_me_in_a_thread,
    "trace-me-with-sigsys-ignored": _trace_me_with_sigsys_ignored,
    "process-vm-writev": lambda pid: f"{linux.syscall('process_vm_writev', int(pid), 0, 0, 0, 0, 0)}",
    "process-madvise": _call("process_madvise", -1, 0, 0, 0, 0),
    "kcmp": lambda pid: f"{linux.syscall('kcmp', int(pid), int(pid), 1, 0, 0)}",
    "affinity": lambda pid: f"{sorted(os.sched_getaffinity(int(pid)))}",
    "new-session": _call("setsid"),
    "new-group": _call("setpgid", 0, 0),
    # privileges
    "dumpable": _call("prctl", 4, 1, 0, 0, 0),
    "dumpable-high-bits": _call("prctl", _HIGH | 4, 1, 0, 0, 0),
    "tracer-any": _call("prctl", 0x5961_6D61, -1, 0, 0, 0),
    "new-privileges": _call("prctl", 38, 0, 0, 0, 0),
    "filter-by-prctl": _call("prctl", 22, 2, 0, 0, 0),
    "ambient": _call("prctl", 47, 4, 0, 0, 0),
    "keep-capabilities": _call("prctl", 8, 1, 0, 0, 0),
    "memory-map": _call("prctl", 35, 1, 1, 0, 0),
    "capset": _call("capset", struct.pack("=Ii", 0x2008_0522, 0), bytes(24)),
    "setuid": _done(lambda _: os.setuid(os.getuid())),
    "setgid": _done(lambda _: os.setgid(os.getgid())),
    "setgroups": _done(lambda _: os.setgroups([])),
    "own-filter": _own_filter,
    # limits
    "core-limit": _call("prlimit64", 0, resource.RLIMIT_CORE, struct.pack("=QQ", 0, 0), 0),
    "priority": _done(lambda _: os.setpriority(os.PRIO_PROCESS, 0, 19)),
    "scheduler": _done(lambda _: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))),
    "disk-priority": _call("ioprio_set", 1, 0, (3 << 13) | 1),
    "threads": _many_threads,
    "many-descriptors": _many_descriptors,
    "descriptors-in-flight": _descriptors_in_flight,
    "large-memory-file": _large_memory_file,
    "pin-memory": _call("mlockall", 2),
    "pinned-mapping": _mapped(flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x2000),
    "secret-memory": _call("memfd_secret", 0),
    "writable-code": _mapped(
        flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    ),
    # the kernel
    **{f"unshare-{name}": _call("unshare", _NEW_USER | flag) for name, flag in _OTHER_SPACES.items()},
    "setns": _call("setns", -1, 0),
    "umount": _call("umount2", b"/nowhere", 0),
    "pivot-root": _call("pivot_root", b"/", b"/"),
    "open-tree": _call("open_tree", -100, b"/", 0),
    "fsopen": _call("fsopen", b"tmpfs", 0),
    "move-mount": _call("move_mount", -1, b"", -1, b"", 0x44),
    "mount-setattr": _call("mount_setattr", -1, b"", 0x1000, bytes(32), 32),
    "io-uring-enter": _call("io_uring_enter", -1, 0, 0, 0, 0, 0),
    "io-uring-register": _call("io_uring_register", -1, 0, 0, 0),
    "fanotify": _call("fanotify_init", 0, 0),
    "add-key": _call("add_key", b"user", b"foxden-probe", b"x", 1, -2),
    "request-key": _call("request_key", b"user", b"foxden-probe", 0, -2),
    "administration": _administration,
    "shared-segment": _shared_segment,
    "message-queue": _message_queue,
    "semaphores": _semaphores,
    "named-queue": _named_queue,
    # sockets
    "odd-sockets": _odd_sockets,
    "socket-high-bits": _done(lambda _: _socket(_HIGH | 2, 1, 0)),
    "interface-name": _interface_name,
    "tcp-listen": _tcp_listen,
    "reuse-port": _reuse_port,
    # what can be learnt
    "host-name": lambda argument: os.uname().nodename,
}


def _opened(path: str | bytes, flags: int) -> str:
    os.close(os.open(path, flags))
    return "opened"


def _not_there(path: str) -> str:
    linux.syscall("faccessat", -100, os.fsencode(path), 0)
    return "there after all"


def act(argument: str) -> str:
    """Do the act of this name.  Raises ValueError: there is none."""
    name, _, rest = argument.partition(" ")
    if name not in ACTS:
        raise ValueError(f"no act named {name}")
    return ACTS[name](rest)
