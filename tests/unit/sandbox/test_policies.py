"""What a reviewer wants of every committed policy, asked of the compiled filters of both architectures."""

from __future__ import annotations

import random
import time

import pytest
from tests.support import bpf_interpreter
from tests.unit.sandbox.support import NAMES, committed, highest, program, resolved, say, table, word_of

from foxden.model.process_types import PROCESS_TYPES, SERVER_POLICIES, child_rows
from foxden.sandbox import bpf, filter
from foxden.sandbox.constants import AUDIT_ARCH
from foxden.sandbox.paths import AbsPath, Access, lookup
from foxden.sandbox.syscall_numbers import NUMBERS
from foxden.sandbox.syscalls import Action

ARCHES = list(NUMBERS)
LEVELS = [(name, level) for name in NAMES for level in range(1, highest(name) + 1)]
BYPASSES = ("io_uring_setup", "io_uring_enter", "io_uring_register")
REACHING = ("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp", "bpf",
            "perf_event_open", "userfaultfd", "keyctl", "add_key", "request_key", "kexec_load", "init_module",
            "finit_module", "open_by_handle_at", "setns", "personality 0x40000", "reboot", "swapon")  # fmt: skip
INTERNET = ("socket AF_INET SOCK_STREAM", "socket AF_INET6 SOCK_DGRAM", "socket AF_INET SOCK_STREAM|SOCK_CLOEXEC",
            "socket AF_NETLINK SOCK_RAW", "socket AF_PACKET SOCK_RAW", "socket AF_VSOCK SOCK_STREAM",
            "socket AF_ALG SOCK_SEQPACKET", "socket AF_XDP SOCK_RAW", "socket AF_BLUETOOTH SOCK_RAW",
            "socket 0x100000002 SOCK_STREAM")  # fmt: skip
SERVERS = set(SERVER_POLICIES.values())
PROGRAMS = {"plugin", "plugin-explain"}  # they make processes and execute; tests/unit/sandbox/test_program_policy.py
TRUSTED = {"parent"} | SERVERS  # allow by default
CHILDREN = [(name, level) for name, level in LEVELS if name not in TRUSTED | PROGRAMS]
WITH_FILES = {"content", "socket", "broker"}
STRICT = [("content", 4), *((name, 1) for name in NAMES if name not in TRUSTED | WITH_FILES | PROGRAMS)]
FILTERED_BY = {row.policy: SERVER_POLICIES[row.family] for row in child_rows() if row.family in SERVER_POLICIES}
# Who has what by its work: nobody else does.
ALLOWED = {
    ("broker", "process_vm_readv"), ("broker", "process_vm_writev"), ("broker", "pidfd_getfd"),
    ("forkserver-broker", "process_vm_readv"), ("forkserver-broker", "process_vm_writev"),
    ("forkserver-broker", "pidfd_getfd"),  # a program's socket, to connect it to the program's own loopback
    *(("forkserver-plugin", call) for call in REACHING if call not in ("open_by_handle_at", "setns")),
    *((name, call) for name in PROGRAMS for call in ("execve", "execveat", *INTERNET[:4], INTERNET[-1])),
    *(("forkserver-plugin", call) for call in ("execve", "execveat", *INTERNET) if "AF_PACKET" not in call),
}  # fmt: skip


def test_every_process_type_has_a_policy_and_every_policy_a_type() -> None:
    assert sorted({row.policy for row in PROCESS_TYPES} | SERVERS | PROGRAMS) == NAMES


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_every_policy(name: str, level: int, arch: str) -> None:
    """What holds without exception."""
    refused = ("EPERM", "EACCES", "kill")
    for call in (*BYPASSES, *REACHING):
        assert say(name, level, arch, call) in (("allow",) if (name, call) in ALLOWED else refused), call
    if name != "socket":
        for call in INTERNET:
            assert say(name, level, arch, call) == ("allow" if (name, call) in ALLOWED else "EACCES"), call
    assert say(name, level, arch, "600") == "ENOSYS"
    assert say(name, level, arch, "0x40000027") == "ENOSYS", "x32"
    assert say(name, level, arch, "0xffffffff") == "ENOSYS"
    for call in ("execve", "execveat"):
        assert say(name, level, arch, call) in (("allow",) if (name, call) in ALLOWED else ("EPERM", "EACCES")), call
    assert say(name, level, arch, "clone CLONE_PTHREAD") == "allow"
    other = next(number for known, number in AUDIT_ARCH.items() if known != arch)
    for foreign in (other, 0x4000_0003, 0x4000_0028):
        code = program(name, level, arch, False)
        assert bpf_interpreter.run(code, 39, (0,) * 6, foreign) == bpf.RET_KILL_PROCESS


NEEDED = (
    "read", "write 1", "readv", "writev", "pread64", "close 3", "fstat", "lseek", "dup", "dup3",
    "newfstatat 3 0 0 AT_EMPTY_PATH", "newfstatat 3 0 0 0xdeadbeef00001000",
    "sendmsg", "recvmsg", "sendto", "recvfrom", "poll", "ppoll", "epoll_pwait", "getsockname",
    "getsockopt 3 SOL_SOCKET SO_TYPE", "getsockopt 3 SOL_SOCKET SO_PROTOCOL",
    "mmap 0 4096 PROT_READ|PROT_WRITE", "mmap 0 4096 PROT_READ|PROT_EXEC", "munmap", "mprotect", "brk",
    "mremap 0 1 2 MREMAP_MAYMOVE", "madvise 0 1 MADV_DONTNEED", "madvise 0 1 MADV_FREE",
    "futex", "set_robust_list", "rseq", "gettid", "sched_yield", "membarrier",
    "clone CLONE_PTHREAD_MUSL", "clone 0xffffffff003d0f00",
    "clock_gettime CLOCK_MONOTONIC", "clock_nanosleep CLOCK_REALTIME", "clock_gettime 0x100000001", "gettimeofday",
    "getrandom", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall",
    "exit", "exit_group", "getpid", "getppid", "getuid", "sched_getaffinity 0",
    "prctl PR_SET_NAME", "prctl PR_SET_VMA PR_SET_VMA_ANON_NAME",
    "memfd_create 0 MFD_CLOEXEC|MFD_ALLOW_SEALING", "ftruncate", "fcntl 3 F_ADD_SEALS 15", "fcntl 3 F_GET_SEALS",
    "fcntl 3 F_GETFL", "fcntl 3 F_SETFL O_NONBLOCK|O_RDWR", "fcntl 3 F_DUPFD_CLOEXEC 3", "fcntl 3 F_SETFD FD_CLOEXEC",
    "ioctl 3 FIOCLEX", "ioctl 3 FIONBIO",
)  # fmt: skip

DENIED = {
    "clone 17": "EPERM",  # fork
    "clone CLONE_VM|CLONE_VFORK|0x11": "EPERM",  # posix_spawn
    "clone CLONE_PTHREAD|CLONE_NEWUSER": "EPERM",
    "clone CLONE_PTHREAD|CLONE_PTRACE": "EPERM",
    "clone CLONE_NEWUSER|CLONE_VM": "EPERM",
    "clone3": "ENOSYS",
    "openat2": "ENOSYS",
    "kill 1 9": "EPERM",
    "ioctl 0 TIOCGWINSZ": "ENOTTY",
    "ioctl 0 TCGETS": "ENOTTY",
    "ioctl 0 TIOCSTI": "ENOTTY",
    "ioctl 0 0x100005412": "ENOTTY",  # CVE-2019-10063
    "ioctl 0 TIOCLINUX": "ENOTTY",
    "ioctl 0 0x8933": "ENOTTY",  # SIOCGIFINDEX
    "prctl PR_CAPBSET_READ": "EINVAL",
    "madvise 0 1 MADV_MERGEABLE": "EINVAL",
    "madvise 0 1 MADV_HWPOISON": "EINVAL",
}

REFUSED = (
    "prctl PR_SET_DUMPABLE 1", "prctl PR_SET_PTRACER -1", "prctl PR_SET_NO_NEW_PRIVS", "prctl PR_SET_SECCOMP",
    "prctl PR_CAP_AMBIENT", "prctl PR_SET_MM", "prctl PR_SET_VMA 1", "prctl PR_SET_VMA 0x100000000",
    "prctl PR_SET_SYSCALL_USER_DISPATCH", "seccomp", "landlock_restrict_self",
    "unshare CLONE_NEWUSER", "mount", "umount2", "pivot_root", "chroot", "fsopen", "move_mount", "open_tree",
    "mount_setattr", "pidfd_send_signal", "rt_sigqueueinfo", "tkill", "sched_setscheduler", "setpriority",
    "sched_setaffinity", "ioprio_set", "mlock", "mlockall", "memfd_secret", "shmget", "msgget", "semget", "mq_open",
    "setuid", "setgid", "setgroups", "capset", "inotify_init1", "fanotify_init", "name_to_handle_at",
    "settimeofday", "clock_settime", "sethostname", "syslog", "quotactl", "acct",
    "fcntl 3 F_SETOWN", "fcntl 3 F_SETSIG", "fcntl 3 F_NOTIFY", "fcntl 3 F_SETLEASE", "fcntl 3 F_SETFL 0x2000",
    "memfd_create 0 MFD_HUGETLB", "memfd_create 0 MFD_EXEC", "mremap 0 1 1 MREMAP_MAYMOVE|MREMAP_DONTUNMAP",
    "pipe2 0 O_EXCL", "clock_gettime -6", "prlimit64 0 7 1", "prlimit64 0 7 0x100000000", "prlimit64 1 7 0",
    "sched_getaffinity 1", "sched_getaffinity 2", "getsockopt 3 IPPROTO_IP IP_OPTIONS 1",
    "socketpair AF_UNIX SOCK_DGRAM", "socketpair AF_INET SOCK_STREAM", "process_mrelease", "io_setup",
    "mseal", "map_shadow_stack", "statmount",
    "lsm_set_self_attr", "cachestat", "setns", "vhangup", "pidfd_open", "timer_create", "splice", "vmsplice", "tee",
)  # fmt: skip


OWN_WORK = {
    ("socket", "getsockopt 3 IPPROTO_IP IP_OPTIONS 1"), ("broker", "openat2"), ("broker", "fcntl 3 F_SETFL 0x2000"),
    ("broker", "pidfd_open"), ("utility", "sched_getaffinity 1"),
}  # fmt: skip


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("name", "level"), CHILDREN)
def test_every_child(name: str, level: int, arch: str) -> None:
    """What a Python child needs to run is there; what no child does is not."""
    known = NUMBERS[arch]
    for call in NEEDED:
        if (name, level) in (("content", 3), ("utility", 1)) and call.startswith("newfstatat"):
            # The path may be any, below the host's root or a folder of it: the broker knows whether it is empty.
            assert say(name, level, arch, call, listener=True) == "notify"
        elif call.split()[0] in known:
            assert say(name, level, arch, call) == "allow", call
    for call, expected in DENIED.items():
        assert say(name, level, arch, call) == ("allow" if (name, call) in OWN_WORK else expected), call
    for call in REFUSED:
        if (name, call) not in OWN_WORK:
            assert say(name, level, arch, call) in ("EPERM", "EINVAL", "EACCES", "kill"), call


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("name", "level"), STRICT)
def test_every_child_without_a_network(name: str, level: int, arch: str) -> None:
    for call in ("socket AF_UNIX SOCK_STREAM", "connect", "bind", "listen", "accept4"):
        assert say(name, level, arch, call) == "EACCES", call
    for call in ("openat AT_FDCWD 0 O_RDONLY", "openat AT_FDCWD 0 O_RDWR|O_CREAT", "unlinkat", "renameat2", "mkdirat",
                 "fchmodat2"):  # fmt: skip
        assert say(name, level, arch, call) == "EACCES", call
    looked_for = "ENOENT" if name == "utility" else "EACCES"  # to code that asks whether something is there it is not
    for call in ("newfstatat", "statx", "readlinkat", "faccessat2",
                 "newfstatat 3 0 0 AT_EMPTY_PATH|AT_SYMLINK_NOFOLLOW"):  # fmt: skip
        assert say(name, level, arch, call) == looked_for, call
    assert say(name, level, arch, "tgkill 1 1 6") == "allow"
    got = resolved(name, level)
    assert len(got.namespaces) == 7
    assert (got.root, got.network, got.capabilities, got.reads, got.landlock) == (
        "empty", "none", "drop", "broker", True)  # fmt: skip


@pytest.mark.parametrize(
    ("call", "verdicts"),
    [  # at content's levels 1, 2, 3, 4, where a broker listens
        ("openat AT_FDCWD 0 O_RDONLY", "allow allow notify notify"),
        ("openat AT_FDCWD 0 O_WRONLY", "allow notify notify notify"),
        ("openat AT_FDCWD 0 O_RDONLY|O_CREAT", "allow notify notify notify"),
        ("openat AT_FDCWD 0 O_RDONLY|O_TRUNC", "allow notify notify notify"),
        ("openat AT_FDCWD 0 O_TMPFILE", "allow notify notify notify"),
        ("openat AT_FDCWD 0 O_RDONLY|O_DIRECTORY|O_CLOEXEC", "allow allow notify notify"),
        ("unlinkat", "allow notify notify notify"),
        ("newfstatat", "allow allow notify notify"),
        ("statx", "allow allow notify notify"),
        ("fstat", "allow allow allow allow"),
        ("newfstatat 3 0 0 AT_EMPTY_PATH", "allow allow notify allow"),
        ("socket AF_UNIX SOCK_STREAM", "allow allow allow notify"),
        ("connect", "allow allow allow notify"),
        ("socket AF_INET SOCK_STREAM", "notify notify notify notify"),
        ("socketpair AF_UNIX SOCK_SEQPACKET|SOCK_CLOEXEC", "allow allow allow allow"),
        ("listen", "notify notify notify notify"),
        ("tgkill", "notify notify notify allow"),
        ("clone 17", "notify notify notify notify"),
        ("execve", "notify notify notify notify"),
        ("ptrace", "notify notify notify notify"),
        ("flock", "notify notify notify notify"),
        ("fcntl 3 F_SETLK", "notify allow allow allow"),
        ("sendfile", "ENOSYS ENOSYS ENOSYS ENOSYS"),
        ("copy_file_range", "ENOSYS ENOSYS ENOSYS ENOSYS"),
        ("fcntl 3 F_SETLEASE", "notify notify notify notify"),
    ],
)
def test_content_by_level(call: str, verdicts: str) -> None:
    for arch in ARCHES:
        assert [say("content", level, arch, call, listener=True) for level in (1, 2, 3, 4)] == verdicts.split()


# A higher level takes away.  What it gives as well, and a lower one has no need of or has otherwise:
GIVEN_BY_A_LEVEL = {
    "newfstatat": "4: fstat again, now that the root is empty",
    "tgkill": "4: the pid namespace holds nobody else",
    "fcntl": "2: locks, for temporary files that it mediates",
}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("level", [2, 3, 4])
def test_level_keeps_what_the_one_below_takes_away(level: int, arch: str) -> None:
    lower, upper = table("content", level - 1, arch), table("content", level, arch)
    names = {number: name for name, number in NUMBERS[arch].items()}
    looser = set()
    for number, entry in upper.entries.items():
        known = [arguments_for(branch) for each in (entry, lower.entries[number]) for branch in each.branches]
        for args in ((0,) * 6, ((1 << 64) - 1,) * 6, *known):
            verdicts = [filter.evaluate(each, number, args, AUDIT_ARCH[arch]) for each in (lower, upper)]
            if verdicts[1].action < verdicts[0].action:
                looser.add(names[number])
    assert looser == {name for name, why in GIVEN_BY_A_LEVEL.items() if why.startswith(f"{level}:")}


def test_layers_of_content_by_level() -> None:
    levels = [resolved("content", level) for level in range(5)]
    assert [len(got.namespaces) for got in levels] == [0, 0, 0, 0, 7]
    assert [got.root for got in levels] == ["host", "host", "host", "host", "empty"]
    assert [got.network for got in levels] == ["host", "host", "host", "host", "none"]
    assert [got.landlock for got in levels] == [False, False, True, True, True]
    assert [got.reads for got in levels] == ["kernel", "kernel", "kernel", "broker", "broker"]


@pytest.mark.parametrize(
    ("path", "web", "file"),
    [
        ("/etc/passwd", Access.DENY, Access.READ),
        ("/home/u/letter.html", Access.DENY, Access.READ),
        ("/home/u/.ssh/id_rsa", Access.DENY, Access.DENY),
        ("/home/u/.sshlol/x", Access.DENY, Access.READ),
        ("/home/u/.gnupg/x", Access.DENY, Access.DENY),
        ("/home/u/.aws/credentials", Access.DENY, Access.DENY),
        ("/home/u/.config/mozilla/firefox", Access.DENY, Access.DENY),
        ("/home/u/.mozilla", Access.DENY, Access.DENY),
        ("/home/u/settings/mozilla/firefox", Access.DENY, Access.DENY),
        ("/home/u/settings/fontconfig/fonts.conf", Access.READ, Access.READ),
        ("/home/u/settings/other", Access.DENY, Access.READ),
        ("/home/u/.foxden/chrome/userContent.css", Access.READ, Access.READ),
        ("/home/u/.foxden/cookies.sqlite", Access.DENY, Access.DENY),
        ("/home/u/.foxden/extensions/x.js", Access.READ, Access.READ),
        ("/home/u/.foxden/extensions_of_others", Access.DENY, Access.DENY),
        ("/proc/1/environ", Access.DENY, Access.DENY),
        ("/dev/mem", Access.DENY, Access.DENY),
        ("/dev/null", Access.READ | Access.WRITE, Access.READ | Access.WRITE),
        ("/dev/shm/x", Access.DENY, Access.DENY),
        ("/proc/cpuinfo", Access.READ, Access.READ),
        ("/proc/self/maps", Access.DENY, Access.DENY),
        ("/sys/devices/system/cpu/online", Access.READ, Access.READ),
        ("/sys/devices/virtual", Access.DENY, Access.DENY),
        ("/usr/share/fonts/a.ttf", Access.READ, Access.READ),
        ("/usr/share/zoneinfo/UTC", Access.READ, Access.READ),
        ("/opt/foxden/x.py", Access.READ, Access.READ),
    ],
)
def test_files_of_content(path: str, web: Access, file: Access) -> None:
    for level in (3, 4):
        assert lookup(resolved("content", level, "web").files, AbsPath.parse(path)) is web
        assert lookup(resolved("content", level, "file").files, AbsPath.parse(path)) is file
    assert lookup(resolved("content", 2, "web").files, AbsPath.parse(path)) is Access.READ


TMP = Access.READ | Access.WRITE | Access.CREATE


def test_content_writes_its_own_temporary_files_and_the_null_device_only() -> None:
    for level in (2, 3, 4):
        for remote in ("web", "file", "privileged", "extension"):
            rules = resolved("content", level, remote).files
            assert lookup(rules, AbsPath("/tmp/own/new")) is TMP
            assert lookup(rules, AbsPath("/tmp/other")) in (Access.READ, Access.DENY)
            writable = {rule.path for rule in rules.rules() if rule.access & (Access.WRITE | Access.CREATE)}
            assert writable == {"/tmp/own"} | ({"/dev/null"} if level > 2 else set())


@pytest.mark.parametrize(
    ("name", "path", "access"),
    [
        ("gmp", "/lib/libc.so.6", Access.READ),
        ("gmp", "/etc/ld.so.cache", Access.READ),
        ("gmp", "/proc/cpuinfo", Access.READ),
        ("gmp", "/etc/hostname", Access.DENY),
        ("gmp", "/proc/self/maps", Access.DENY),
        ("gmp", "/opt/foxden/x.py", Access.DENY),
        ("rdd", "/opt/foxden/x.py", Access.READ),
        ("rdd", "/sys/devices/system/node/online", Access.READ),
        ("rdd", "/dev/dri/card0", Access.DENY),
        ("gpu", "/usr/share/fonts/a.ttf", Access.READ),
        ("gpu", "/dev/dri/card0", Access.DENY),
        ("vr", "/opt/foxden/x.py", Access.READ),
        ("vr", "/usr/share/fonts/a.ttf", Access.DENY),
        ("utility", "/usr/share/zoneinfo/UTC", Access.READ),
        ("utility", "/tmp/own/new", TMP),
        ("utility", "/tmp/other", Access.DENY),
        ("utility", "/etc/passwd", Access.DENY),
        ("ipdlunittest", "/dev/null", Access.READ | Access.WRITE),
        ("ipdlunittest", "/tmp/own/new", Access.DENY),
        ("socket", "/etc/hosts", Access.READ),
        ("socket", "/home/u/.foxden/prefs.js", Access.NONE),
        ("socket", "/usr/share/fonts/a.ttf", Access.NONE),
    ],
)
def test_files_of_the_types_with_one_level(name: str, path: str, access: Access) -> None:
    assert lookup(resolved(name, 1).files, AbsPath(path)) is access


RECORDED = (  # where a broker listens: refused by its errno, and known
    "clone 17", "clone CLONE_NEWUSER", "execve", "execveat", "kill 1 9", "socket AF_INET SOCK_RAW",
    "socket AF_NETLINK SOCK_RAW 9", "listen", "accept4", "ioctl 0 TIOCSTI", "ioctl 0 0x100005412",
    "mkdirat", "unlinkat", "renameat2",
)  # fmt: skip
UNHEARD = {  # probes that every program makes
    "ioctl 0 TCGETS": "ENOTTY", "ioctl 0 TIOCGWINSZ": "ENOTTY", "madvise 0 1 MADV_MERGEABLE": "EINVAL",
    "prctl PR_CAPBSET_READ": "EINVAL", "clone3": "ENOSYS", "600": "ENOSYS",
}  # fmt: skip


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("name", "level"), [row for row in CHILDREN if row[0] != "broker"])
def test_refusals_worth_a_record_are_told_to_the_broker(name: str, level: int, arch: str) -> None:
    for call in RECORDED:
        if (name, level) == ("content", 1) and call in ("mkdirat", "unlinkat", "renameat2"):
            continue  # files as the user has them
        assert say(name, level, arch, call, listener=True) == "notify", call
    for call, expected in UNHEARD.items():
        assert say(name, level, arch, call, listener=True) == expected, call


SOCKET = {
    "socket AF_INET SOCK_STREAM": "allow",
    "socket AF_INET6 SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC IPPROTO_TCP": "allow",
    "socket AF_INET SOCK_DGRAM IPPROTO_UDP": "allow",
    "socket AF_NETLINK SOCK_RAW|SOCK_CLOEXEC NETLINK_ROUTE": "allow",
    "socketpair AF_UNIX SOCK_STREAM": "allow",
    "connect": "allow",
    "bind": "allow",
    "sendmmsg": "allow",
    "setsockopt 3 IPPROTO_TCP TCP_NODELAY": "allow",
    "setsockopt 3 SOL_SOCKET SO_KEEPALIVE": "allow",
    "setsockopt 3 SOL_SOCKET SO_SNDBUF": "allow",
    "getsockopt 3 IPPROTO_TCP TCP_INFO": "allow",
    "openat AT_FDCWD 0 O_RDONLY|O_CLOEXEC": "allow",
    "ioctl 3 FIONREAD": "allow",
    "socket AF_UNIX SOCK_STREAM": "EACCES",
    "socket AF_INET SOCK_RAW": "EACCES",
    "socket AF_INET SOCK_DGRAM IPPROTO_ICMP": "EACCES",
    "socket AF_INET SOCK_STREAM IPPROTO_MPTCP": "EACCES",
    "socket AF_INET SOCK_STREAM IPPROTO_SCTP": "EACCES",
    "socket AF_INET SOCK_SEQPACKET": "EACCES",
    "socket AF_INET SOCK_DGRAM IPPROTO_UDPLITE": "EACCES",
    "socket AF_NETLINK SOCK_RAW 9": "EACCES",
    "socket AF_PACKET SOCK_RAW": "EACCES",
    "socket AF_VSOCK SOCK_STREAM": "EACCES",
    "socket AF_ALG SOCK_SEQPACKET": "EACCES",
    "listen": "EACCES",
    "accept": "EACCES",
    "accept4": "EACCES",
    "setsockopt 3 SOL_SOCKET SO_ATTACH_FILTER": "ENOPROTOOPT",
    "setsockopt 3 SOL_SOCKET SO_BINDTODEVICE": "ENOPROTOOPT",
    "setsockopt 3 IPPROTO_TCP TCP_ULP": "ENOPROTOOPT",
    "setsockopt 3 IPPROTO_TCP TCP_REPAIR": "ENOPROTOOPT",
    "setsockopt 3 IPPROTO_IP IP_TRANSPARENT": "ENOPROTOOPT",
    "openat AT_FDCWD 0 O_RDWR": "EACCES",
    "ioctl 3 0x8933": "ENOTTY",
}


@pytest.mark.parametrize("arch", ARCHES)
def test_socket_process_has_client_sockets_and_nothing_else(arch: str) -> None:
    assert {call: say("socket", 1, arch, call) for call in SOCKET} == SOCKET
    assert resolved("socket", 1).namespaces == ("user", "pid", "mount", "ipc", "uts", "cgroup")
    assert lookup(resolved("socket", 1).files, AbsPath("/home/u/.foxden/cookies.sqlite")) is Access.NONE


@pytest.mark.parametrize("arch", ARCHES)
def test_gmp_kills_what_it_does_not_list(arch: str) -> None:
    for call in (*BYPASSES, *REACHING, "mount", "flock", "inotify_init1", "prctl PR_SET_DUMPABLE", "splice"):
        assert say("gmp", 1, arch, call) == "kill", call
    assert say("gmp", 1, arch, "openat AT_FDCWD 0 O_RDONLY", listener=True) == "notify"
    assert say("gmp", 1, arch, "openat AT_FDCWD 0 O_RDWR", listener=True) == "notify"
    assert say("gmp", 1, arch, "openat AT_FDCWD 0 O_RDWR") == "EACCES"
    assert say("gmp", 1, arch, "mmap 0 4096 PROT_WRITE|PROT_EXEC") == "EACCES"
    assert say("gmp", 1, arch, "uname") == "EPERM"


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("name", sorted(TRUSTED))
def test_parent_and_fork_server_keep_files_and_unix_sockets(name: str, arch: str) -> None:
    for call in ("openat AT_FDCWD 0 O_RDWR|O_CREAT", "socket AF_UNIX SOCK_SEQPACKET", "socketpair AF_UNIX SOCK_DGRAM",
                 "bind", "listen", "unlinkat", "kill 5 9", "clone 17", "pidfd_send_signal", "waitid"):  # fmt: skip
        assert say(name, 1, arch, call) == "allow", call
    # Without a listener, so that a child's own "notify" is not outranked by an errno of its server.
    assert table(name, 1, arch).may_notify() == (name in SERVERS)


@pytest.mark.parametrize("arch", ARCHES)
def test_parent_cannot_get_its_rights_back_through_a_namespace(arch: str) -> None:
    calls = ("clone CLONE_NEWUSER", "clone CLONE_NEWNET|17", "unshare", "setns", "mount", "fsopen", "pivot_root")
    assert {say("parent", 1, arch, call) for call in calls} == {"EPERM"}
    assert say("parent", 1, arch, "clone3") == "ENOSYS"


@pytest.mark.parametrize("arch", ARCHES)
def test_fork_server_can_make_sandboxes(arch: str) -> None:
    for call in ("clone3", "mount", "umount2", "pivot_root", "unshare", "seccomp", "prctl PR_SET_SECCOMP", "capset",
                 "landlock_restrict_self", "prlimit64 0 7 1", "prctl PR_SET_NO_NEW_PRIVS 1"):  # fmt: skip
        assert say("forkserver", 1, arch, call) == "allow", call


def arguments_for(branch: filter.Branch) -> tuple[int, ...]:
    """Arguments that pass the branch, where its comparisons are of equality."""
    args = [0] * 6
    for compare in branch.compares:
        args[compare.index] |= compare.values[0]
    return tuple(args)


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("name", "level"), [row for row in CHILDREN if row[0] != "socket"])
def test_fork_server_takes_nothing_that_a_child_of_it_has(name: str, level: int, arch: str) -> None:
    """Filters are inherited: what the fork server refuses, its children cannot have."""
    server = table(FILTERED_BY[name], 1, arch)
    child = table(name, level, arch)
    for number, entry in child.entries.items():
        tried = [(branch.verdict, arguments_for(branch)) for branch in entry.branches]
        if not server.entries[number].branches:
            tried.append((entry.otherwise, (0,) * 6))
        for verdict, args in tried:
            if verdict.action is Action.ALLOW:
                got = filter.evaluate(server, number, args, AUDIT_ARCH[arch])
                assert got.action is Action.ALLOW, (number, args)


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("name", "level"), LEVELS)
def test_compiled_filter_says_what_the_table_says(name: str, level: int, arch: str) -> None:
    """Every number, with arguments at and around every value that the policy names."""
    compiled = program(name, level, arch, True)
    verdicts = table(name, level, arch)
    dice = random.Random(f"{name}{level}{arch}")
    for number in (*range(-1, 480), 0x4000_0000, 0x8000_0000):
        nr = number & 0xFFFF_FFFF
        entry = verdicts.entries.get(nr)
        known = [arguments_for(branch) for branch in entry.branches] if entry else []
        noise = [tuple(value ^ dice.choice((0, 0, 1, 1 << 32, 1 << 63)) for value in args) for args in known]
        for args in ((0,) * 6, ((1 << 64) - 1,) * 6, *known, *noise):
            expected = filter.evaluate(verdicts, nr, args, AUDIT_ARCH[arch])
            got = bpf_interpreter.run(compiled, nr, args, AUDIT_ARCH[arch])
            assert word_of(got) == str(expected).removeprefix("errno.").partition(".")[0], (nr, args)


def test_content_filter_is_built_within_a_few_milliseconds() -> None:
    verdicts = table("content", 4, "x86_64")
    took_s = []
    for _ in range(20):
        start = time.perf_counter()
        bpf.compile_filter(verdicts, listener=True)
        took_s.append(time.perf_counter() - start)
    assert min(took_s) < 0.005, "0.5 ms when measured; ten times that is a change of kind"


def test_level_zero_is_no_sandbox() -> None:
    for name in NAMES:
        got = resolved(name, 0)
        assert (got.default, got.namespaces, got.limits, got.calls) == (None, (), {}, {})
        assert committed(name).max_level == (4 if name == "content" else 1)
