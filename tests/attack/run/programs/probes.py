"""Everything hostile that one program can try in one go; prints {name: outcome} as JSON.

Runs in: `foxden run` and, as a control, without any sandbox, under the system's own Python: it imports nothing of ours.
Flow: argv[1] is a folder laid out by the test (`Ground`) → one function a probe → "ok", "ok:<what>", or the errno.
Source: the list of hostile cases; the number of the case stands before each group.
"""

import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import time

BASE = sys.argv[1]
HOST_PID = int(sys.argv[2])  # of the test itself
ALONE = sys.argv[3] == "alone"  # without a sandbox: what would harm the machine is left out
SECRET = f"{BASE}/secret/secret.txt"
RO, RW = f"{BASE}/ro", f"{BASE}/rw"
X86 = os.uname().machine == "x86_64"
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
AT_FDCWD = -100

SLOW_S = 1.0  # a probe that takes longer is told of: every one of them ends
PROBES = {}
HARMFUL = set()


def probe(name, *, harmful=False):
    def keep(function):
        assert name not in PROBES, name
        PROBES[name] = function
        if harmful:
            HARMFUL.add(name)
        return function

    return keep


def say(name, act, *, harmful=False):
    probe(name, harmful=harmful)(act)


NUMBERS = {  # x86_64, aarch64
    "ioctl": (16, 29),
    "socket": (41, 198),
    "clone": (56, 220),
    "ptrace": (101, 117),
    "syslog": (103, 116),
    "rt_sigqueueinfo": (129, 138),
    "uselib": (134, None),
    "personality": (135, 92),
    "vhangup": (153, 58),
    "modify_ldt": (154, None),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "adjtimex": (159, 171),
    "chroot": (161, 51),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "quotactl": (179, 60),
    "tkill": (200, 130),
    "io_setup": (206, 0),
    "lookup_dcookie": (212, 18),
    "remap_file_pages": (216, 234),
    "clock_settime": (227, 112),
    "tgkill": (234, 131),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "ioprio_set": (251, 30),
    "inotify_add_watch": (254, 27),
    "migrate_pages": (256, 238),
    "unshare": (272, 97),
    "move_pages": (279, 239),
    "signalfd": (282, None),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "clock_adjtime": (305, 266),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "finit_module": (313, 273),
    "sched_setattr": (314, 274),
    "seccomp": (317, 277),
    "memfd_create": (319, 279),
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "execveat": (322, 281),
    "userfaultfd": (323, 282),
    "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "pidfd_open": (434, 434),
    "clone3": (435, 435),
    "openat2": (437, 437),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "mount_setattr": (442, 442),
    "quotactl_fd": (443, 443),
    "memfd_secret": (447, 447),
    "process_mrelease": (448, 448),
    "listmount": (458, 458),
    "statmount": (457, 457),
    "open_tree_attr": (467, 467),
    "lsm_set_self_attr": (460, 460),
    "capset": (126, 91),
    "shmget": (29, 194),
    "mq_open": (240, 180),
    "fchmod": (91, 52),
    "timer_create": (222, 107),
}


def call(name, *arguments):
    number = NUMBERS[name][0 if X86 else 1] if isinstance(name, str) else name
    if number is None:
        raise OSError(errno.ENOSYS, "not here")
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def after(_first, name, *arguments):
    """Two calls in a row: the arguments are made first."""
    call(name, *arguments)


def opened(path, flags=os.O_RDONLY, mode=0o644, **more):
    """Opens, closes, and tells the first bytes of what could be read."""
    fd = os.open(path, flags, mode, **more)
    try:
        if flags & os.O_ACCMODE == os.O_RDONLY and not flags & os.O_DIRECTORY:
            return os.read(fd, 20).decode("latin-1")
        return ""
    finally:
        os.close(fd)


def in_child(act, limit_s=10.0):
    """The outcome of an act in a process of its own, which may die of it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, outcome(act).encode())
        finally:
            os._exit(0)
    os.close(writer)
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if os.waitpid(pid, os.WNOHANG)[0]:
            break
        time.sleep(0.005)
    else:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reader)
        return "hang"
    words = os.read(reader, 4096).decode()
    os.close(reader)
    return words or "died"


def outcome(act):
    try:
        found = act()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno or error))
    except Exception as error:
        return type(error).__name__
    return f"ok:{found}" if isinstance(found, str) and found else "ok"


class Word(str):
    """An outcome that is one already."""


# ---- 1-8: reading past the grant -------------------------------------------------------------------------------
say("1 open secret", lambda: opened(SECRET))
say("1 list secret folder", lambda: str(len(os.listdir(f"{BASE}/secret"))))
say("1 open key in home", lambda: opened(os.path.expanduser("~/.ssh/id_rsa")))
say("1 write secret", lambda: opened(SECRET, os.O_WRONLY))
say("1 shadow", lambda: opened("/etc/shadow", os.O_RDONLY))
say("2 through proc self root", lambda: opened(f"/proc/self/root{SECRET}"))
say("2 write through proc self root", lambda: opened(f"/proc/self/root{SECRET}", os.O_WRONLY))


@probe("3 through proc self cwd")
def _():
    os.chdir(RW)
    try:
        return opened("/proc/self/cwd/../secret/secret.txt")
    finally:
        os.chdir(BASE)


def through_descriptor(flags):
    folder = os.open(RW, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return opened(f"/proc/self/fd/{folder}/../secret/secret.txt", flags)
    finally:
        os.close(folder)


say("3 through proc self fd", lambda: through_descriptor(os.O_RDONLY))
say("3 write through proc self fd", lambda: through_descriptor(os.O_WRONLY))


def through_own_link(name, text, flags, make=True):
    path = f"{RW}/{name}"
    if make:
        os.symlink(text, path)
    return opened(path, flags)


say("4 own link", lambda: through_own_link("link-r", SECRET, os.O_RDONLY))
say("4 write own link", lambda: through_own_link("link-w", SECRET, os.O_WRONLY))
say("4 own relative link", lambda: through_own_link("link-rel", "../secret/secret.txt", os.O_RDONLY))
say("5 link that was there", lambda: opened(f"{RO}/link-out"))
say("5 link that stays inside", lambda: opened(f"{RO}/link-in"))


def chain(flags):
    name = f"chain-{flags}"
    os.makedirs(f"{RW}/{name}/sub")
    os.symlink("../b", f"{RW}/{name}/sub/a")
    os.symlink(f"{RW}/{name}/c", f"{RW}/{name}/b")
    os.symlink("sub/../../../secret/secret.txt", f"{RW}/{name}/c")
    return opened(f"{RW}/{name}/sub/a", flags)


say("6 chain", lambda: chain(os.O_RDONLY))
say("6 write chain", lambda: chain(os.O_RDWR))


def loop(flags):
    path = f"{RW}/loop-{flags}-"
    for n in range(41):
        os.symlink(f"{path}{n + 1}", f"{path}{n}")
    opened(f"{path}41", os.O_WRONLY | os.O_CREAT)
    return opened(f"{path}0", flags)


say("6 loop of 41", lambda: loop(os.O_RDONLY))
say("6 write loop of 41", lambda: loop(os.O_RDWR))


@probe("6 link to itself")
def _():
    os.symlink("self", f"{RW}/self")
    return opened(f"{RW}/self", os.O_RDWR)


# ---- 10-18: links, handles, changing what may only be read -------------------------------------------------------
say("10 hard link to the secret", lambda: os.link(SECRET, f"{RW}/hard-made"))
say("10 hard link that was there", lambda: opened(f"{RW}/hard-before"))
say("12 dirfd with dots", lambda: opened("../secret/secret.txt", dir_fd=os.open(RW, os.O_RDONLY)))
say("12 write dirfd with dots", lambda: opened("../secret/secret.txt", os.O_WRONLY, dir_fd=os.open(RW, os.O_RDONLY)))


@probe("12 dirfd received over a socket")
def _():
    """The receiver gets what the sender may have opened, no more."""
    one, other = socket.socketpair()
    folder = os.open(RW, os.O_RDONLY)
    socket.send_fds(one, [b"x"], [folder])
    _, fds, _, _ = socket.recv_fds(other, 1, 1)
    return opened("../secret/secret.txt", dir_fd=fds[0])


HANDLE = struct.pack("Ii", 128, 0) + bytes(128)


@probe("13 name_to_handle_at")
def _():
    handle, mount = ctypes.create_string_buffer(HANDLE), ctypes.c_int()
    call("name_to_handle_at", AT_FDCWD, BASE.encode(), handle, ctypes.byref(mount), 0)


@probe("13 open_by_handle_at")
def _():
    handle = ctypes.create_string_buffer(struct.pack("IiII", 8, 1, 2, 0) + bytes(64))
    call("open_by_handle_at", os.open("/", os.O_RDONLY), handle, os.O_RDONLY)


def on_file(act):
    """An act on a file that may be read only."""
    return lambda: act(f"{RO}/file.txt")


say("14 map shared", on_file(lambda path: __import__("mmap").mmap(os.open(path, os.O_RDONLY), 4096)))
say("14 write", on_file(lambda path: opened(path, os.O_WRONLY)))
say("14 append", on_file(lambda path: opened(path, os.O_WRONLY | os.O_APPEND)))
say("14 truncate by open", on_file(lambda path: opened(path, os.O_RDONLY | os.O_TRUNC)))
say("14 create", lambda: opened(f"{RO}/new", os.O_WRONLY | os.O_CREAT))
say("14 unnamed", lambda: opened(RO, os.O_RDWR | os.O_TMPFILE))
say("14 ftruncate a reader", on_file(lambda path: os.ftruncate(os.open(path, os.O_RDONLY), 0)))
say("14 reopen a reader", on_file(lambda path: opened(f"/proc/self/fd/{os.open(path, os.O_RDONLY)}", os.O_WRONLY)))
say("15 truncate", on_file(lambda path: os.truncate(path, 0)))
say("16 unlink", lambda: os.unlink(f"{RO}/to-unlink"))
say("16 rename", lambda: os.rename(f"{RO}/to-rename", f"{RO}/renamed"))
say("16 rename into the writable", lambda: os.rename(f"{RO}/to-move", f"{RW}/moved"))
say("16 link", lambda: os.link(f"{RO}/file.txt", f"{RO}/linked"))
say("16 link into the writable", lambda: os.link(f"{RO}/file.txt", f"{RW}/linked-ro"))
say("16 symlink", lambda: os.symlink("file.txt", f"{RO}/symlink"))
say("16 mkdir", lambda: os.mkdir(f"{RO}/folder"))
say("16 rmdir", lambda: os.rmdir(f"{RO}/to-rmdir"))
say("16 mknod", lambda: os.mkfifo(f"{RO}/fifo"))
say("17 chmod", on_file(lambda path: os.chmod(path, 0o777)))
say("17 fchmod", on_file(lambda path: os.fchmod(os.open(path, os.O_RDONLY), 0o777)))
say("17 chown", on_file(lambda path: os.chown(path, os.getuid(), os.getgid())))
say("17 fchown", on_file(lambda path: os.fchown(os.open(path, os.O_RDONLY), os.getuid(), os.getgid())))
say("17 utime", on_file(lambda path: os.utime(path, (1, 1))))
say("17 futime", on_file(lambda path: os.utime(os.open(path, os.O_RDONLY), (1, 1))))
say("17 setxattr", on_file(lambda path: os.setxattr(path, "user.x", b"1")))
say("17 fsetxattr", on_file(lambda path: os.setxattr(os.open(path, os.O_RDONLY), "user.y", b"1")))
ACL = struct.pack(
    "<IHHIHHIHHIHHIHHI",
    2,
    1,
    6,
    -1 & 0xFFFFFFFF,
    2,
    7,
    65534,
    4,
    4,
    -1 & 0xFFFFFFFF,
    16,
    7,
    -1 & 0xFFFFFFFF,
    32,
    4,
    -1 & 0xFFFFFFFF,
)
say("17 access list", on_file(lambda path: os.setxattr(path, "system.posix_acl_access", ACL)))
say("17 attributes", on_file(lambda path: fcntl.ioctl(os.open(path, os.O_RDONLY), 0x4008_6602, struct.pack("q", 0x80))))
say("17 set-id bit on an own file", lambda: os.fchmod(os.open(f"{RW}/for-suid", os.O_RDONLY), 0o4755))
say("17 set-id bit by chmod", lambda: os.chmod(f"{RW}/for-suid", 0o4755))
say(
    "17 set-id bit at creation",
    lambda: oct(os.fstat(os.open(f"{RW}/made-suid", os.O_CREAT | os.O_WRONLY, 0o4755)).st_mode & 0o7000),
)
say(
    "17 access list on an own file",
    lambda: os.setxattr(os.open(f"{RW}/for-suid", os.O_RDONLY), "system.posix_acl_access", ACL),
)
say("17 fchmod of an own file", lambda: os.fchmod(os.open(f"{RW}/for-suid", os.O_RDONLY), 0o700))
say("17 fchmod of an unnamed file", lambda: os.fchmod(os.open("/tmp", os.O_RDWR | os.O_TMPFILE, 0o600), 0o700))
say("18 rename to etc", lambda: os.rename(f"{RW}/to-etc", "/etc/foxden-hostile-test"), harmful=True)
say("18 rename to the secret folder", lambda: os.rename(f"{RW}/to-secret", f"{BASE}/secret/moved"))
say("18 rename over the secret", lambda: os.rename(f"{RW}/to-over", f"{BASE}/secret/over.txt"))

# ---- 21, 25, 29, 30: spellings, hidden folders, watching, asking -------------------------------------------------
for spelling, path in {
    "double slash": SECRET.replace("/", "//"),
    "dot": SECRET.replace("/secret.txt", "/./secret.txt"),
    "dots": f"{BASE}/ro/../secret/secret.txt",
    "dots from root": f"/../../..{SECRET}",
}.items():
    say(f"21 {spelling}", lambda path=path: opened(path))
    say(f"21 write {spelling}", lambda path=path: opened(path, os.O_WRONLY))
say("21 slash after a file", lambda: opened(f"{RW}/for-suid/", os.O_WRONLY))
say("21 long path", lambda: opened(RW + "/." * 2100 + "/x", os.O_WRONLY | os.O_CREAT))
say("21 long name", lambda: opened(f"{RW}/" + "n" * 256, os.O_WRONLY | os.O_CREAT))
say("21 name at the limit", lambda: opened(f"{RW}/" + "n" * 255, os.O_WRONLY | os.O_CREAT))
say("21 newline", lambda: opened(f"{RW}/a\nrefused open x", os.O_WRONLY | os.O_CREAT))
say("21 newline outside", lambda: opened(f"{BASE}/secret/a\nb\x1b[31m", os.O_WRONLY | os.O_CREAT))
say("21 not utf-8", lambda: opened(os.fsencode(RW) + b"/\xff\xfe", os.O_WRONLY | os.O_CREAT))
say("21 empty", lambda: opened("", os.O_WRONLY))
say("25 write to a hidden folder", lambda: opened(f"{BASE}/secret/new", os.O_WRONLY | os.O_CREAT))
say("25 folder in a hidden folder", lambda: os.mkdir(f"{BASE}/secret/folder"))
say("25 write to the root", lambda: opened("/foxden-hostile-test", os.O_WRONLY | os.O_CREAT), harmful=True)


def watch(path):
    fd = libc.inotify_init1(0)
    if libc.inotify_add_watch(fd, path.encode(), 0xFFF) < 0:
        raise OSError(ctypes.get_errno(), path)


libc.inotify_add_watch.restype = ctypes.c_int
say("29 inotify on the secret folder", lambda: watch(f"{BASE}/secret"))
say("29 inotify on the writable", lambda: watch(RW))
say("29 fanotify", lambda: call("fanotify_init", 0, 0))
say("29 fanotify without rights", lambda: call("fanotify_init", 0x200, 0))
for name, act in {
    "stat": os.stat,
    "access": lambda path: None if os.access(path, os.F_OK) else stat_error(path),
    "readlink": os.readlink,
    "lstat": os.lstat,
    "statvfs": os.statvfs,
    "chdir": os.chdir,
    "listxattr": os.listxattr,
}.items():
    say(f"30 {name} of the secret", lambda act=act: act(SECRET))
    say(f"30 {name} of what is missing", lambda act=act: act(f"{BASE}/missing/missing.txt"))


def stat_error(path):
    raise OSError(errno.ENOENT if not os.path.lexists(path) else errno.EACCES, path)


# ---- 32, 33: disk -----------------------------------------------------------------------------------------------
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)


def sized(path, size, act):
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        act(fd, size)
    finally:
        os.close(fd)
        os.unlink(path)


say(
    "32 a TiB in tmp",
    lambda: sized("/tmp/foxden-hostile-big", 1 << 40, lambda fd, n: os.posix_fallocate(fd, 0, n)),
    harmful=True,
)
say(
    "32 a TiB in the writable",
    lambda: sized(f"{RW}/big", 1 << 40, lambda fd, n: os.posix_fallocate(fd, 0, n)),
    harmful=True,
)
say("33 a sparse TiB", lambda: sized(f"{RW}/sparse", 1 << 40, os.ftruncate))
say("33 a sparse MiB", lambda: sized(f"{RW}/sparse-small", 1 << 20, os.ftruncate))


def deep_folders():
    os.mkdir("/tmp/deep")
    os.chdir("/tmp/deep")
    try:
        for _ in range(3000):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
    finally:
        os.chdir(BASE)


say("32 deep folders", deep_folders, harmful=True)
say(
    "32 a MiB in tmp",
    lambda: sized(f"/tmp/foxden-hostile-{HOST_PID}", 1 << 20, lambda fd, n: os.posix_fallocate(fd, 0, n)),
)
say("32 inodes of tmp", lambda: "few" if os.statvfs("/tmp").f_files <= 65_536 else "many")
say("32 inodes of home", lambda: "few" if os.statvfs(os.path.expanduser("~")).f_files <= 65_536 else "many")
say(
    "32 bytes of tmp", lambda: "few" if os.statvfs("/tmp").f_blocks * os.statvfs("/tmp").f_frsize <= 1 << 30 else "many"
)
say(
    "32 two GiB in tmp",
    lambda: sized("/tmp/foxden-hostile-big", 2 << 30, lambda fd, n: os.posix_fallocate(fd, 0, n)),
    harmful=True,
)
say("33 core limit", lambda: str(resource.getrlimit(resource.RLIMIT_CORE)))
say("33 raise core limit", lambda: resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20)))

# ---- 34-46: /proc, /sys, /dev -------------------------------------------------------------------------------------
for name in ("environ", "cmdline", "maps", "status"):
    say(f"34 {name} of a host process", lambda name=name: opened(f"/proc/{HOST_PID}/{name}") and None)
for name in ("root", "cwd", "exe"):
    say(f"34 {name} of a host process", lambda name=name: os.readlink(f"/proc/{HOST_PID}/{name}") and None)
say("34 numbers in proc", lambda: str(len([n for n in os.listdir("/proc") if n.isdigit()])))
for name in ("environ", "maps", "auxv"):
    say(f"35 {name} of init", lambda name=name: opened(f"/proc/1/{name}") and None)
say("35 mem of init", lambda: opened("/proc/1/mem", os.O_RDWR), harmful=True)
say("35 read mem of init", lambda: os.close(os.open("/proc/1/mem", os.O_RDONLY)))
for name in ("root", "cwd", "exe"):
    say(f"35 {name} of init", lambda name=name: os.readlink(f"/proc/1/{name}") and None)
say("35 a descriptor of init", lambda: os.readlink("/proc/1/fd/3") and None)
say("35 secret through init's root", lambda: opened(f"/proc/1/root{SECRET}"))
say("35 environ of itself", lambda: opened("/proc/self/environ") and None)
say("35 environ of a child", lambda: Word(in_child(lambda: opened(f"/proc/{os.getppid()}/environ") and None)))
say("35 command line of init", lambda: open("/proc/1/cmdline", "rb").read().strip(b"\0").decode("latin-1"))
say("35 name of init", lambda: open("/proc/1/comm").read().strip())
say(
    "36 visible processes",
    lambda: ",".join(open(f"/proc/{n}/comm").read().strip() for n in os.listdir("/proc") if n.isdigit()),
)
for path in (
    "sys/kernel/core_pattern",
    "sys/kernel/modprobe",
    "sysrq-trigger",
    "sys/fs/binfmt_misc/register",
    "sys/vm/overcommit_memory",
    "sys/kernel/hostname",
    "sys/kernel/pid_max",
    "sys/net/ipv4/ip_forward",
    "sys/kernel/yama/ptrace_scope",
    "sys/user/max_user_namespaces",
):
    say(f"38 {path}", lambda path=path: opened(f"/proc/{path}", os.O_WRONLY))
for name in ("uid_map", "gid_map", "setgroups", "loginuid"):
    say(f"40 {name}", lambda name=name: os.write(os.open(f"/proc/self/{name}", os.O_WRONLY), b"0 0 1\n"), harmful=True)


@probe("40 lower oom_score_adj", harmful=True)
def _():
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("-500")


say("40 oom_score_adj", lambda: open("/proc/self/oom_score_adj").read().strip())
say(
    "41 interfaces",
    lambda: ",".join(sorted(line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:])),
)
say("41 tcp listeners", lambda: str(len(open("/proc/net/tcp").readlines()) - 1))
say("41 unix sockets", lambda: "canary" if "foxden-hostile" in open("/proc/net/unix").read() else "none")
say("41 routes", lambda: str(len(open("/proc/net/route").readlines()) - 1))
say("41 sys class net", lambda: ",".join(os.listdir("/sys/class/net")) and None)
say("42 serial", lambda: opened("/sys/class/dmi/id/product_uuid"))
say("42 sys", lambda: str(len(os.listdir("/sys"))) and None)
say("42 cgroup", lambda: opened("/sys/fs/cgroup/cgroup.procs", os.O_WRONLY))
say("43 secret in mountinfo", lambda: "seen" if "/secret" in open("/proc/self/mountinfo").read() else "no")
for name in (
    "mem",
    "kmsg",
    "kvm",
    "fuse",
    "net/tun",
    "vhost-net",
    "vhost-vsock",
    "loop0",
    "loop-control",
    "dri/card0",
    "snd/timer",
    "input/event0",
    "vda",
    "sda",
    "nvme0n1",
    "port",
    "userfaultfd",
    "uinput",
    "console",
    "tty0",
    "tty1",
    "vcs",
    "hwrng",
    "rtc0",
    "mapper/control",
    "btrfs-control",
    "cpu/0/msr",
):
    say(f"44 {name}", lambda name=name: opened(f"/dev/{name}", os.O_RDWR), harmful=True)
say("44 devices", lambda: ",".join(sorted(os.listdir("/dev"))))
say("44 host terminals", lambda: ",".join(sorted(os.listdir("/dev/pts"))))
say("45 mknod block", lambda: os.mknod(f"{RW}/block", 0o60600, os.makedev(7, 0)))
say("45 mknod null", lambda: os.mknod(f"{RW}/null", 0o20666, os.makedev(1, 3)))
say("45 mknod fifo", lambda: os.mknod(f"{RW}/fifo", 0o10600))
say("45 device that was there", lambda: opened(f"{RW}/device-before", os.O_WRONLY))
say("46 host segment", lambda: opened(f"/dev/shm/foxden-hostile-{HOST_PID}"))
say("46 own segment", lambda: opened(f"/dev/shm/foxden-hostile-{HOST_PID}-own", os.O_RDWR | os.O_CREAT))

# ---- 48-54: processes, tracing, rights ----------------------------------------------------------------------------
say("48 kill", lambda: os.kill(HOST_PID, 0))
say("48 tgkill", lambda: call("tgkill", HOST_PID, HOST_PID, 0))
say("48 tkill", lambda: call("tkill", HOST_PID, 0))
say(
    "48 rt_sigqueueinfo",
    lambda: call("rt_sigqueueinfo", HOST_PID, 10, ctypes.create_string_buffer(struct.pack("iii", 10, 0, -1), 128)),
    harmful=True,
)
say("48 pidfd_open", lambda: os.close(call("pidfd_open", HOST_PID, 0)))
say("48 own child", lambda: os.kill(os.getpid(), 0))


@probe("48 everyone", harmful=True)
def _():
    """Of its own namespace, but for init: this process is not told itself."""
    pid = os.fork()
    if pid == 0:
        time.sleep(20)
        os._exit(0)
    os.kill(-1, signal.SIGTERM)
    return "child " + str(os.WTERMSIG(os.waitpid(pid, 0)[1]))


for name, request in {"attach": 16, "seize": 0x4206}.items():
    say(f"49 {name} a host process", lambda request=request: call("ptrace", request, HOST_PID, 0, 0), harmful=True)
    say(f"49 {name} init", lambda request=request: call("ptrace", request, 1, 0, 0), harmful=True)
say("49 traceme", lambda: Word(in_child(lambda: call("ptrace", 0, 0, 0, 0))))


def vectors(pid, name):
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("PN", ctypes.addressof(buffer), 8)
    return lambda: call(name, pid, ctypes.create_string_buffer(vector), 1, ctypes.create_string_buffer(vector), 1, 0)


say("50 process_vm_readv of itself", vectors(os.getpid(), "process_vm_readv"))
say("50 process_vm_writev of itself", vectors(os.getpid(), "process_vm_writev"))
say("50 process_vm_readv of a host process", vectors(HOST_PID, "process_vm_readv"))
say("50 kcmp", lambda: call("kcmp", os.getpid(), os.getpid(), 0, 0, 1))
say("50 pidfd_getfd", lambda: os.close(call("pidfd_getfd", os.pidfd_open(os.getpid()), 0, 0)))
say("50 pidfd_getfd of init", lambda: call("pidfd_getfd", os.pidfd_open(1), 0, 0))
say(
    "50 process_madvise",
    lambda: call("process_madvise", os.pidfd_open(os.getpid()), ctypes.create_string_buffer(16), 0, 4, 0),
)
say("50 move_pages", lambda: call("move_pages", os.getpid(), 0, None, None, None, 0))


def prctl(option, *arguments):
    return lambda: call("prctl", option, *arguments, *([0] * (4 - len(arguments))))


say("52 dumpable", lambda: Word(in_child(prctl(4, 1))))
say("52 no new privileges off", prctl(38, 0))
say("52 seccomp off", prctl(22, 0))
say("52 ambient", prctl(47, 2, 21))
say("52 mm", prctl(35, 9, 0))
say("52 drop from the bounding set", lambda: Word(in_child(prctl(24, 21))))


def status_of(name):
    return ",".join(line.split()[1] for line in open("/proc/self/status") if line.startswith(name))


def mounts_without(option):
    """Where such an option is lacking; the devices that are shown stand below /dev."""
    rows = [line.split() for line in open("/proc/self/mountinfo")]
    return ",".join(row[4] for row in rows if option not in row[5] and not row[4].startswith("/dev/")) or "none"


say("53 no new privileges", lambda: status_of("NoNewPrivs"))
say("53 mounts that let set-id work", lambda: mounts_without("nosuid"))
say("53 mounts that let devices work", lambda: mounts_without("nodev"))
say("53 capabilities", lambda: status_of("Cap"))
for name, act in {
    "setuid": lambda: os.setuid(12345),
    "setgid": lambda: os.setgid(12345),
    "setresuid": lambda: os.setresuid(1, 1, 1),
    "setgroups": lambda: os.setgroups([4]),
}.items():
    say(f"54 {name}", lambda act=act: Word(in_child(act)))
say(
    "54 capset",
    lambda: Word(
        in_child(
            lambda: call(
                "capset",
                ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0)),
                ctypes.create_string_buffer(struct.pack("6I", 1 << 21, 1 << 21, 0, 0, 0, 0)),
            )
        )
    ),
)
say("54 groups", lambda: str(len(set(os.getgroups()) - {65534, os.getgid()})))


# ---- 55: executing ------------------------------------------------------------------------------------------------
def executed(path, arguments=None, act=None):
    """The exit code of a program, or why it is none."""

    def run():
        reader, writer = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            null = os.open("/dev/null", os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            try:
                (act or (lambda: os.execv(path, arguments or [path])))()
            except OSError as error:
                os.write(writer, struct.pack("i", error.errno))
            os._exit(126)
        os.close(writer)
        failed = os.read(reader, 4)
        os.close(reader)
        status = os.waitpid(pid, 0)[1]
        if failed:
            raise OSError(struct.unpack("i", failed)[0], path)
        if status:
            return f"exit {os.waitstatus_to_exitcode(status)}"
        return ""

    return run


def memory_file(flags):
    fd = call("memfd_create", b"code", flags)
    with open("/bin/true", "rb") as source:
        os.write(fd, source.read())
    return fd


LOADER = next(
    (path for path in ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1") if os.path.exists(path)), ""
)
say("55 program outside", executed(f"{BASE}/secret/program"))
say("55 program in the grant", executed(f"{RO}/program"))
say("55 loader with a program outside", executed(LOADER, [LOADER, f"{BASE}/secret/program"]))
say("55 loader with a program in the grant", executed(LOADER, [LOADER, f"{RO}/program"]))
say("55 script with an interpreter outside", executed(f"{RO}/script"))
say("55 memory file by path", lambda: (lambda fd: executed(f"/proc/self/fd/{fd}")())(memory_file(0)))
say("55 memory file with exec asked for", lambda: memory_file(16) and None)
say(
    "55 memory file by descriptor",
    lambda: (
        lambda fd: executed(
            "",
            act=lambda: call(
                "execveat", fd, b"", (ctypes.c_char_p * 2)(b"x", None), (ctypes.c_char_p * 1)(None), 0x1000
            ),
        )()
    )(memory_file(1)),
)
say("55 memory file made executable", lambda: os.fchmod(memory_file(0), 0o777))
say("55 memory file", lambda: os.close(memory_file(3)))
say("55 memory file of huge pages", lambda: os.close(call("memfd_create", b"huge", 4)))
say("55 itself", executed("/proc/self/exe", [sys.executable, "-S", "-c", ""]))

# ---- 66-69: processor, memory, descriptors -------------------------------------------------------------------------
say("66 realtime", lambda: Word(in_child(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))))
say("66 nice", lambda: Word(in_child(lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))))
say("66 nicer", lambda: Word(in_child(lambda: os.setpriority(os.PRIO_PROCESS, 0, 5))))
say("66 realtime io", lambda: Word(in_child(lambda: call("ioprio_set", 1, 0, 1 << 13))))
say(
    "66 deadline",
    lambda: Word(
        in_child(
            lambda: call(
                "sched_setattr",
                0,
                ctypes.create_string_buffer(struct.pack("IIQiIQQQ", 48, 6, 0, 0, 0, 10**6, 10**7, 10**7)),
                0,
            )
        )
    ),
)


def anonymous(size, flags=0x22):
    libc.mmap.restype = ctypes.c_void_p
    address = libc.mmap(None, ctypes.c_size_t(size), 3, flags, -1, ctypes.c_long(0))
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")
    return address


def locked(size):
    if libc.mlock(ctypes.c_void_p(anonymous(size)), ctypes.c_size_t(size)) < 0:
        raise OSError(ctypes.get_errno(), "mlock")


say("68 lock 16 MiB", lambda: Word(in_child(lambda: locked(16 << 20))))
say("68 lock a page", lambda: Word(in_child(lambda: locked(4096))))
say("68 map locked", lambda: Word(in_child(lambda: anonymous(16 << 20, 0x2022) and None)))
say("68 huge pages", lambda: Word(in_child(lambda: anonymous(1 << 30, 0x40022) and None)))
say("68 memfd_secret", lambda: os.close(call("memfd_secret", 0)))
say("68 large shared segment", lambda: call("shmget", 0, 64 << 20, 0o1600) and None)
say("68 small shared segment", lambda: call("shmget", 0, 4096, 0o1600) and None)


def descriptors():
    held = []
    try:
        while len(held) < 1_000_000:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return f"{errno.errorcode[error.errno]} at {len(held) // 1000} thousand"
    finally:
        for fd in held:
            os.close(fd)
    return "no end"


def in_flight():
    """Descriptors in sockets that nobody reads."""
    pairs, sent = [], 0
    try:
        for _ in range(400):
            one, other = socket.socketpair()
            one.setblocking(False)
            pairs.append((one, other))
            for _ in range(4):
                socket.send_fds(one, [b"x"], [0] * 250)
                sent += 250
    except OSError as error:
        return f"{errno.errorcode[error.errno]} below {10_000 if sent < 10_000 else sent}"
    finally:
        for pair in pairs:
            for each in pair:
                each.close()
    return "no end"


say("69 open descriptors", lambda: Word(in_child(descriptors)))
say("69 descriptors in flight", lambda: Word(in_child(in_flight)))
say("69 raise the limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1 << 20, 1 << 20)))

# ---- 71-91: kernel surface ------------------------------------------------------------------------------------------
say("72 x32 getpid", lambda: call(39 | 0x4000_0000) and None)
say("72 x32 execve", lambda: call(520 | 0x4000_0000, None, None, None))
say("73 call 600", lambda: call(600, 0, 0, 0))
say("73 call 511", lambda: call(511, 0, 0, 0))
say("73 call -1 in 32 bits", lambda: call(0xFFFF_FFF0, 0, 0, 0))
HIGH = 1 << 32
say("74 TIOCSTI", lambda: fcntl.ioctl(0, 0x5412, b"x"), harmful=True)
say("74 TIOCSTI with high bits", lambda: call("ioctl", 0, HIGH | 0x5412, b"x"), harmful=True)
say("74 packet socket with high bits", lambda: os.close(call("socket", HIGH | 17, 3, 0)))
say("74 seccomp off with high bits", lambda: call("prctl", HIGH | 22, 0, 0, 0, 0))
say("74 mm with high bits", lambda: call("prctl", HIGH | 35, 9, 0, 0, 0))
say("74 clone newuser with high bits", lambda: Word(in_child(lambda: cloned(HIGH | 0x1000_0000))))


def cloned(flags):
    pid = call("clone", flags | 17, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def cloned3(flags):
    words = ctypes.create_string_buffer(struct.pack("11Q", flags, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0))
    pid = call("clone3", words, 88)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


KINDS = {
    "user": 0x1000_0000,
    "mount": 0x2_0000,
    "pid": 0x2000_0000,
    "net": 0x4000_0000,
    "ipc": 0x800_0000,
    "uts": 0x400_0000,
    "cgroup": 0x200_0000,
    "time": 0x80,
}
say("75 clone3", lambda: Word(in_child(lambda: cloned3(0))))
say("75 clone3 with a user namespace", lambda: Word(in_child(lambda: cloned3(KINDS["user"]))))
say("76 plain clone", lambda: Word(in_child(lambda: cloned(0))))
for name, flag in KINDS.items():
    say(f"76 unshare {name}", lambda flag=flag: Word(in_child(lambda: call("unshare", flag))))
    if name != "time":
        say(f"76 clone {name}", lambda flag=flag: Word(in_child(lambda: cloned(flag))))
say("76 setns", lambda: Word(in_child(lambda: call("setns", os.open("/proc/self/ns/uts", os.O_RDONLY), 0))))
say(
    "77 user namespace, then mount",
    lambda: Word(
        in_child(lambda: after(call("unshare", 0x1002_0000), "mount", b"x", b"/tmp", b"tmpfs", 0, None))
    ),
)
for name, arguments in {
    "mount": (b"none", b"/tmp", b"tmpfs", 0, None),
    "umount2": (b"/foxden-none", 0),
    "pivot_root": (b"/foxden-none", b"/foxden-none"),
    "chroot": (b"/foxden-none",),
    "fsopen": (b"foxden-none", 0),
    "fsmount": (-1, 0, 0),
    "fsconfig": (-1, 0, 0, 0, 0),
    "move_mount": (-1, b"foxden", -1, b"foxden", 0),
    "open_tree": (-1, b"foxden", 1),
    "fspick": (-1, b"foxden", 0),
    "mount_setattr": (-1, b"foxden", 0, ctypes.create_string_buffer(32), 32),
}.items():
    say(f"78 {name}", lambda name=name, arguments=arguments: call(name, *arguments), harmful=name == "mount")
say("79 io_uring_setup", lambda: os.close(call("io_uring_setup", 1, ctypes.create_string_buffer(120))))
say("79 io_uring_enter", lambda: call("io_uring_enter", -1, 0, 0, 0, None, 0))
say("79 io_uring_register", lambda: call("io_uring_register", -1, 0, None, 0))
say("79 io_setup", lambda: call("io_setup", 1, ctypes.create_string_buffer(8)) and None)
say("80 bpf", lambda: call("bpf", 0, ctypes.create_string_buffer(struct.pack("4I", 2, 4, 8, 1), 128), 128) and None)
say(
    "80 perf",
    lambda: (
        call("perf_event_open", ctypes.create_string_buffer(struct.pack("IIQ", 1, 128, 0), 128), 0, -1, -1, 0) and None
    ),
)
say("80 userfaultfd", lambda: os.close(call("userfaultfd", 1)))
say("81 add_key", lambda: call("add_key", b"user", b"foxden-hostile", b"x", 1, -2) and None)
say("81 keyctl", lambda: call("keyctl", 0, -3, 0) and None)
say("81 request_key", lambda: call("request_key", b"user", b"foxden-hostile-none", None, 0) and None)
for name, arguments in {
    "kexec_load": (0, 0, None, 0),
    "kexec_file_load": (-1, -1, 0, None, 0),
    "init_module": (None, 0, b""),
    "finit_module": (-1, b"", 0),
    "delete_module": (b"foxden-none", 0),
    "reboot": (0, 0, 0, None),
    "swapon": (b"/foxden-none", 0),
    "swapoff": (b"/foxden-none",),
    "acct": (b"/foxden-none",),
    "quotactl": (0, None, 0, None),
    "settimeofday": (ctypes.create_string_buffer(b"\xff" * 16), None),
    "clock_settime": (0, ctypes.create_string_buffer(b"\xff" * 16)),
    "sethostname": (None, 5),
    "setdomainname": (None, 5),
    "syslog": (3, ctypes.create_string_buffer(8), 8),
    "uselib": (b"/foxden-none",),
    "lsm_set_self_attr": (0, None, 0, 0),
}.items():
    say(f"83 {name}", lambda name=name, arguments=arguments: call(name, *arguments))
say("83 vhangup", lambda: call("vhangup"), harmful=True)
say("83 adjtimex", lambda: call("adjtimex", ctypes.create_string_buffer(struct.pack("I", 0x4000), 208)), harmful=True)
say("83 iopl", lambda: call("iopl", 3))
say("83 modify_ldt", lambda: call("modify_ldt", 0, ctypes.create_string_buffer(16), 16))
say("83 personality", lambda: Word(in_child(lambda: call("personality", 0x40000) and None)))

ALLOW_ALL = struct.pack("HBBI", 6, 0, 0, 0x7FFF_0000)


def own_filter(flags, action=0x7FFF_0000):
    code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, action))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 1, ctypes.addressof(code)))
    call("prctl", 38, 1, 0, 0, 0)
    return call("seccomp", 1, flags, program)


say("84 own listener", lambda: Word(in_child(lambda: own_filter(8) and None)))
say("84 own filter", lambda: Word(in_child(lambda: own_filter(0) and None)))
say("84 own filter loosens", lambda: Word(in_child(lambda: after(own_filter(0), "fsopen", b"tmpfs", 0))))
say(
    "84 own tracing filter loosens",
    lambda: Word(in_child(lambda: after(own_filter(0, 0x7FF0_0000), "fsopen", b"tmpfs", 0))),
)
say("84 strict mode", lambda: Word(in_child(prctl(22, 1))))


def executable_memory():
    libc.mmap.restype = ctypes.c_void_p
    if libc.mmap(None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_long(0)) == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap")


say("87 writable code", executable_memory)
for name, number in {"TIOCLINUX": 0x541C, "TIOCCONS": 0x541D, "TIOCSETD": 0x5423}.items():
    say(f"89 {name}", lambda number=number: fcntl.ioctl(0, number, struct.pack("i", 2)), harmful=True)
say("89 interface addresses", lambda: Word(interface_address(b"eth0")))
say(
    "89 raise an interface",
    lambda: fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8914, struct.pack("16sh14x", b"lo", 0)),
    harmful=True,
)


def interface_address(name):
    fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8927, struct.pack("256s", name))
    return "ok"


say("90 host shared memory", lambda: call("shmget", 0x0F0C_5DE4, 0, 0) and None)
say("90 host message queue", lambda: os.close(call("mq_open", f"foxden-hostile-{HOST_PID}".encode(), 0, 0, 0)))
say("91 clocks", lambda: [time.clock_gettime(c) for c in (0, 1, 2, 3, 4, 5, 6, 7)] and None)


# ---- 108-115: sockets ------------------------------------------------------------------------------------------------
def made(family, kind, protocol=0):
    return lambda: os.close(call("socket", family, kind, protocol))


SOCKETS = {
    "raw": (2, 3, 1),
    "raw6": (10, 3, 58),
    "ping": (2, 2, 1),
    "packet": (17, 3, 0),
    "netfilter": (16, 3, 12),
    "audit": (16, 3, 9),
    "uevent": (16, 3, 15),
    "generic": (16, 3, 16),
    "crypto": (16, 3, 21),
    "vsock": (40, 1, 0),
    "alg": (38, 5, 0),
    "xdp": (44, 3, 0),
    "key": (15, 3, 2),
    "bluetooth": (31, 3, 1),
    "can": (29, 3, 1),
    "sctp": (2, 1, 132),
    "mptcp": (2, 1, 262),
    "udplite": (2, 2, 136),
    "smc": (43, 1, 0),
    "tipc": (30, 1, 0),
    "rds": (21, 5, 0),
    "ax25": (3, 5, 0),
    "x25": (9, 5, 0),
    "ppp": (24, 2, 0),
    "llc": (26, 1, 0),
    "iucv": (32, 1, 0),
    "rxrpc": (33, 2, 2),
    "phonet": (35, 2, 0),
    "nfc": (39, 5, 0),
    "kcm": (41, 2, 0),
    "qipcrtr": (42, 2, 0),
    "unix datagram": (1, 2, 0),
}
for name, words in SOCKETS.items():
    say(f"108 {name}", made(*words))
say("108 tcp", made(2, 1))
say("108 route", made(16, 3, 0))


def unix_connect(address):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(address)


say("109 host socket in the read grant", lambda: unix_connect(f"{RO}/host.sock"))
say("109 host socket in the write grant", lambda: unix_connect(f"{RW}/host.sock"))
say("109 host socket elsewhere", lambda: unix_connect(f"{BASE}/s.sock"))
say("109 docker", lambda: unix_connect("/run/docker.sock"))


def own_unix():
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/tmp/foxden-own-{HOST_PID}.sock")
        server.listen()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(f"/tmp/foxden-own-{HOST_PID}.sock")
            server.accept()[0].send(b"own")
            os.unlink(f"/tmp/foxden-own-{HOST_PID}.sock")
            return sock.recv(8).decode()


say("109 own socket in tmp", own_unix)
say("111 abstract name of the host", lambda: unix_connect(f"\0foxden-hostile-{HOST_PID}"))


def own_loopback(family, host, blocks=True):
    def run():
        with socket.socket(family) as server:
            server.bind((host, 0))
            server.listen()
            with socket.socket(family) as sock:
                sock.setblocking(blocks)
                try:
                    sock.connect(server.getsockname()[:2])
                except BlockingIOError:
                    if blocks:
                        raise
                    select.select([], [sock], [], 5)
                    failed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if failed:
                        raise OSError(failed, "connect") from None
                    sock.setblocking(True)
                server.accept()[0].send(b"own")
                return sock.recv(8).decode()

    return run


say("109 own loopback", own_loopback(socket.AF_INET, "127.0.0.1"))
say("109 own loopback, v6", own_loopback(socket.AF_INET6, "::1"))
say("109 own loopback, not blocking", own_loopback(socket.AF_INET, "127.0.0.1", blocks=False))
say("109 own loopback, all addresses", own_loopback(socket.AF_INET, "0.0.0.0"))


def connected(family, host, port, kind=socket.SOCK_STREAM):
    def run():
        with socket.socket(family, kind) as sock:
            sock.settimeout(2)
            sock.connect((host, port))

    return run


HOST_PORT = int(sys.argv[4])
say("109 host listener", connected(socket.AF_INET, "127.0.0.1", HOST_PORT))
say("109 host listener, mapped", connected(socket.AF_INET6, "::ffff:127.0.0.1", HOST_PORT))
say("109 elsewhere", connected(socket.AF_INET, "192.0.2.7", 80), harmful=True)
say("109 elsewhere, v6", connected(socket.AF_INET6, "2001:db8::7", 80), harmful=True)
say("109 elsewhere, mapped", connected(socket.AF_INET6, "::ffff:192.0.2.7", 80), harmful=True)
say("109 metadata", connected(socket.AF_INET, "169.254.169.254", 80), harmful=True)
say("109 elsewhere by datagram", connected(socket.AF_INET, "192.0.2.7", 53, socket.SOCK_DGRAM))
say(
    "109 send elsewhere",
    lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.7", 9)) and None,
)
say("109 name", lambda: socket.getaddrinfo("foxden-hostile.invalid", 80) and None, harmful=True)
say(
    "109 end an association",
    lambda: call(
        42 if X86 else 203,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach(),
        ctypes.create_string_buffer(16),
        16,
    ),
)
say("115 bind all addresses", lambda: socket.socket().bind(("0.0.0.0", 0)))
say("115 bind a system port", lambda: socket.socket().bind(("0.0.0.0", 80)))


@probe("115 bind the host's port")
def _():
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", HOST_PORT))
        sock.listen()


# ---- 112, 123-125: what came along -------------------------------------------------------------------------------
@probe("112 descriptors")
def _():
    """Above 2, but for the one by which they are listed."""
    folder = os.open("/proc/self/fd", os.O_RDONLY)
    found = sorted(int(name) for name in os.listdir(folder) if int(name) > 2)
    os.close(folder)
    return (
        ",".join(f"{fd}={os.readlink(f'/proc/self/fd/{fd}')}" for fd in found if fd not in (folder, folder + 1))
        or "none"
    )


say("123 environment", lambda: ",".join(sorted(os.environ)))
say("123 canary", lambda: "seen" if b"CANARY" in open("/proc/self/environ", "rb").read() else "no")
say("125 host name", lambda: os.uname().nodename)
say("125 machine id", lambda: opened("/etc/machine-id") and None)
say("125 passwd", lambda: str(len(open("/etc/passwd").readlines())))


def main():
    # What was held before the first probe: those open what they leave to the end.
    first = ["112 descriptors", "44 host terminals", "34 numbers in proc", "36 visible processes", "41 tcp listeners"]
    found = {}
    for name in [*first, *(name for name in PROBES if name not in first)]:
        if ALONE and name in HARMFUL:
            continue
        time.sleep(0.012)  # so many refusals a second are told, no more
        result = []

        def act(name=name, result=result):
            result.append(PROBES[name]())
            return result[0]

        began = time.monotonic()
        word = outcome(act)
        if time.monotonic() - began > SLOW_S:
            print(f"{name}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
        if result and isinstance(result[0], Word):
            word = str(result[0])
        found[name] = word
    found["still there"] = outcome(lambda: opened(f"{RW}/still", os.O_WRONLY | os.O_CREAT))
    print(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)


main()
