"""Named constants that a policy's conditions may use, and errno names.

Runs in: every process; pure.  Trusts: nothing, it is data.
Flow: a name in a policy text → `value_of(name, arch)` → the number that the filter compares.
Source: Linux 6.18 include/uapi (sched.h, prctl.h, mman.h, fcntl.h, socket.h, in.h …), glibc's names of the same.
"""

from __future__ import annotations

ARCHES = ("x86_64", "aarch64")

# AUDIT_ARCH_*: what seccomp_data.arch holds (linux/audit.h).
AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}

# Calls of the x32 ABI carry this bit in the number, under x86_64's AUDIT_ARCH.
X32_BIT = 0x4000_0000

_CLONE = {
    "CLONE_NEWTIME": 0x80,
    "CLONE_VM": 0x100,
    "CLONE_FS": 0x200,
    "CLONE_FILES": 0x400,
    "CLONE_SIGHAND": 0x800,
    "CLONE_PIDFD": 0x1000,
    "CLONE_PTRACE": 0x2000,
    "CLONE_VFORK": 0x4000,
    "CLONE_PARENT": 0x8000,
    "CLONE_THREAD": 0x1_0000,
    "CLONE_NEWNS": 0x2_0000,
    "CLONE_SYSVSEM": 0x4_0000,
    "CLONE_SETTLS": 0x8_0000,
    "CLONE_PARENT_SETTID": 0x10_0000,
    "CLONE_CHILD_CLEARTID": 0x20_0000,
    "CLONE_DETACHED": 0x40_0000,
    "CLONE_UNTRACED": 0x80_0000,
    "CLONE_CHILD_SETTID": 0x100_0000,
    "CLONE_NEWCGROUP": 0x200_0000,
    "CLONE_NEWUTS": 0x400_0000,
    "CLONE_NEWIPC": 0x800_0000,
    "CLONE_NEWUSER": 0x1000_0000,
    "CLONE_NEWPID": 0x2000_0000,
    "CLONE_NEWNET": 0x4000_0000,
    "CLONE_IO": 0x8000_0000,
    # What pthread_create asks for, to the bit: glibc's, and musl's, which adds CLONE_DETACHED.
    "CLONE_PTHREAD": 0x3D_0F00,
    "CLONE_PTHREAD_MUSL": 0x7D_0F00,
    # Every namespace that clone can make.  (CLONE_NEWTIME is unshare's and clone3's: clone reads it as a signal.)
    "CLONE_NAMESPACES": 0x7E02_0000,
}

_PRCTL = {
    "PR_SET_PDEATHSIG": 1,
    "PR_GET_PDEATHSIG": 2,
    "PR_GET_DUMPABLE": 3,
    "PR_SET_DUMPABLE": 4,
    "PR_SET_KEEPCAPS": 8,
    "PR_GET_KEEPCAPS": 7,
    "PR_GET_TIMING": 13,
    "PR_SET_NAME": 15,
    "PR_GET_NAME": 16,
    "PR_GET_SECCOMP": 21,
    "PR_SET_SECCOMP": 22,
    "PR_CAPBSET_READ": 23,
    "PR_CAPBSET_DROP": 24,
    "PR_GET_SECUREBITS": 27,
    "PR_SET_SECUREBITS": 28,
    "PR_SET_TIMERSLACK": 29,
    "PR_GET_TIMERSLACK": 30,
    "PR_SET_MM": 35,
    "PR_SET_CHILD_SUBREAPER": 36,
    "PR_GET_CHILD_SUBREAPER": 37,
    "PR_SET_NO_NEW_PRIVS": 38,
    "PR_GET_NO_NEW_PRIVS": 39,
    "PR_GET_TID_ADDRESS": 40,
    "PR_SET_THP_DISABLE": 41,
    "PR_GET_THP_DISABLE": 42,
    "PR_CAP_AMBIENT": 47,
    "PR_GET_SPECULATION_CTRL": 52,
    "PR_SET_SYSCALL_USER_DISPATCH": 59,
    "PR_SET_VMA": 0x5356_4D41,
    "PR_SET_VMA_ANON_NAME": 0,
    "PR_SET_PTRACER": 0x5961_6D61,
}

_FILES = {
    "O_RDONLY": 0,
    "O_WRONLY": 1,
    "O_RDWR": 2,
    "O_ACCMODE": 3,
    "O_CREAT": 0x40,
    "O_EXCL": 0x80,
    "O_TRUNC": 0x200,
    "O_APPEND": 0x400,
    "O_NONBLOCK": 0x800,
    "O_CLOEXEC": 0x8_0000,
    "O_PATH": 0x20_0000,
    "O_TMPFILE_BIT": 0x40_0000,  # the kernel's __O_TMPFILE: O_TMPFILE without the O_DIRECTORY it needs
    "AT_FDCWD": -100,
    "AT_SYMLINK_NOFOLLOW": 0x100,
    "AT_REMOVEDIR": 0x200,
    "AT_SYMLINK_FOLLOW": 0x400,
    "AT_NO_AUTOMOUNT": 0x800,
    "AT_EMPTY_PATH": 0x1000,
    "CLOSE_RANGE_UNSHARE": 2,
    "CLOSE_RANGE_CLOEXEC": 4,
    "F_DUPFD": 0,
    "F_GETFD": 1,
    "F_SETFD": 2,
    "F_GETFL": 3,
    "F_SETFL": 4,
    "F_GETLK": 5,
    "F_SETLK": 6,
    "F_SETLKW": 7,
    "F_SETOWN": 8,
    "F_SETSIG": 10,
    "F_SETLEASE": 1024,
    "F_NOTIFY": 1026,
    "F_DUPFD_CLOEXEC": 1030,
    "F_SETPIPE_SZ": 1031,
    "F_GETPIPE_SZ": 1032,
    "F_ADD_SEALS": 1033,
    "F_GET_SEALS": 1034,
    "FD_CLOEXEC": 1,
    "MFD_CLOEXEC": 1,
    "MFD_ALLOW_SEALING": 2,
    "MFD_HUGETLB": 4,
    "MFD_NOEXEC_SEAL": 8,
    "MFD_EXEC": 16,
}

_MEMORY = {
    "PROT_READ": 1,
    "PROT_WRITE": 2,
    "PROT_EXEC": 4,
    "MAP_SHARED": 1,
    "MAP_PRIVATE": 2,
    "MAP_FIXED": 0x10,
    "MAP_ANONYMOUS": 0x20,
    "MAP_GROWSDOWN": 0x100,
    "MAP_LOCKED": 0x2000,
    "MAP_HUGETLB": 0x4_0000,
    "MREMAP_MAYMOVE": 1,
    "MREMAP_FIXED": 2,
    "MREMAP_DONTUNMAP": 4,
    "MADV_NORMAL": 0,
    "MADV_RANDOM": 1,
    "MADV_SEQUENTIAL": 2,
    "MADV_WILLNEED": 3,
    "MADV_DONTNEED": 4,
    "MADV_FREE": 8,
    "MADV_MERGEABLE": 12,
    "MADV_UNMERGEABLE": 13,
    "MADV_HUGEPAGE": 14,
    "MADV_NOHUGEPAGE": 15,
    "MADV_DONTDUMP": 16,
    "MADV_DODUMP": 17,
    "MADV_COLD": 20,
    "MADV_PAGEOUT": 21,
    "MADV_POPULATE_READ": 22,
    "MADV_POPULATE_WRITE": 23,
    "MADV_HWPOISON": 100,
    "MADV_SOFT_OFFLINE": 101,
}

_SOCKETS = {
    "AF_UNSPEC": 0,
    "AF_UNIX": 1,
    "AF_INET": 2,
    "AF_INET6": 10,
    "AF_KEY": 15,
    "AF_NETLINK": 16,
    "AF_PACKET": 17,
    "AF_CAN": 29,
    "AF_BLUETOOTH": 31,
    "AF_ALG": 38,
    "AF_VSOCK": 40,
    "AF_SMC": 43,
    "AF_XDP": 44,
    "NETLINK_ROUTE": 0,
    "SOCK_STREAM": 1,
    "SOCK_DGRAM": 2,
    "SOCK_RAW": 3,
    "SOCK_SEQPACKET": 5,
    "SOCK_TYPE_MASK": 0xF,  # linux/net.h: the rest of `type` is SOCK_CLOEXEC and SOCK_NONBLOCK
    "SOCK_NONBLOCK": 0x800,
    "SOCK_CLOEXEC": 0x8_0000,
    "IPPROTO_IP": 0,
    "IPPROTO_ICMP": 1,
    "IPPROTO_TCP": 6,
    "IPPROTO_UDP": 17,
    "IPPROTO_IPV6": 41,
    "IPPROTO_SCTP": 132,
    "IPPROTO_UDPLITE": 136,
    "IPPROTO_MPTCP": 262,
    "SOL_SOCKET": 1,
    "SO_REUSEADDR": 2,
    "SO_TYPE": 3,
    "SO_ERROR": 4,
    "SO_SNDBUF": 7,
    "SO_RCVBUF": 8,
    "SO_KEEPALIVE": 9,
    "SO_LINGER": 13,
    "SO_PASSCRED": 16,
    "SO_PEERCRED": 17,
    "SO_RCVTIMEO": 20,
    "SO_SNDTIMEO": 21,
    "SO_BINDTODEVICE": 25,
    "SO_ATTACH_FILTER": 26,
    "SO_ACCEPTCONN": 30,
    "SO_MARK": 36,
    "SO_PROTOCOL": 38,
    "SO_DOMAIN": 39,
    "SO_NETNS_COOKIE": 71,
    "TCP_NODELAY": 1,
    "TCP_MAXSEG": 2,
    "TCP_CORK": 3,
    "TCP_KEEPIDLE": 4,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 6,
    "TCP_INFO": 11,
    "TCP_QUICKACK": 12,
    "TCP_USER_TIMEOUT": 18,
    "TCP_REPAIR": 19,
    "TCP_NOTSENT_LOWAT": 25,
    "TCP_FASTOPEN_CONNECT": 30,
    "TCP_ULP": 31,
    "UDP_SEGMENT": 103,
    "UDP_GRO": 104,
    "IP_TOS": 1,
    "IP_TTL": 2,
    "IP_OPTIONS": 4,
    "IP_PKTINFO": 8,
    "IP_MTU_DISCOVER": 10,
    "IP_RECVERR": 11,
    "IP_RECVTOS": 13,
    "IP_TRANSPARENT": 19,
    "IP_BIND_ADDRESS_NO_PORT": 24,
    "IPV6_MTU_DISCOVER": 23,
    "IPV6_RECVERR": 25,
    "IPV6_V6ONLY": 26,
    "IPV6_RECVPKTINFO": 49,
    "IPV6_DONTFRAG": 62,
    "IPV6_RECVTCLASS": 66,
    "IPV6_TCLASS": 67,
    "MSG_OOB": 1,
}

_SECCOMP = {
    "SECCOMP_SET_MODE_STRICT": 0,
    "SECCOMP_SET_MODE_FILTER": 1,
    "SECCOMP_GET_ACTION_AVAIL": 2,
    "SECCOMP_GET_NOTIF_SIZES": 3,
}

_IOCTL = {
    "TCGETS": 0x5401,
    "TIOCSCTTY": 0x540E,
    "TIOCSTI": 0x5412,
    "SECCOMP_IOCTL_NOTIF_RECV": 0xC050_2100,
    "SECCOMP_IOCTL_NOTIF_SEND": 0xC018_2101,
    "SECCOMP_IOCTL_NOTIF_ID_VALID": 0x4008_2102,
    "SECCOMP_IOCTL_NOTIF_ADDFD": 0x4018_2103,
    "SECCOMP_IOCTL_NOTIF_SET_FLAGS": 0x4008_2104,
    "TIOCGWINSZ": 0x5413,
    "TIOCLINUX": 0x541C,
    "FIONREAD": 0x541B,
    "TIOCCONS": 0x541D,
    "FIONBIO": 0x5421,
    "TIOCSETD": 0x5423,
    "FIONCLEX": 0x5450,
    "FIOCLEX": 0x5451,
}

_CLOCKS = {
    "CLOCK_REALTIME": 0,
    "CLOCK_MONOTONIC": 1,
    "CLOCK_PROCESS_CPUTIME_ID": 2,
    "CLOCK_THREAD_CPUTIME_ID": 3,
    "CLOCK_MONOTONIC_RAW": 4,
    "CLOCK_REALTIME_COARSE": 5,
    "CLOCK_MONOTONIC_COARSE": 6,
    "CLOCK_BOOTTIME": 7,
    "CLOCK_TAI": 11,
}

NULL = {"NULL": 0}

_EVERYWHERE: dict[str, int] = {
    **_CLONE, **_PRCTL, **_FILES, **_MEMORY, **_SOCKETS, **_SECCOMP, **_IOCTL, **_CLOCKS, **NULL,
}  # fmt: skip

# fcntl.h of arm64 keeps the values of 32-bit ARM for these four.
_BY_ARCH: dict[str, dict[str, int]] = {
    "x86_64": {"O_DIRECT": 0x4000, "O_LARGEFILE": 0x8000, "O_DIRECTORY": 0x1_0000, "O_NOFOLLOW": 0x2_0000},
    "aarch64": {"O_DIRECT": 0x1_0000, "O_LARGEFILE": 0x2_0000, "O_DIRECTORY": 0x4000, "O_NOFOLLOW": 0x8000},
}
for _values in _BY_ARCH.values():
    _values["O_TMPFILE"] = _EVERYWHERE["O_TMPFILE_BIT"] | _values["O_DIRECTORY"]

# asm-generic/errno-base.h and errno.h, as far as a policy has use for them; the same on both architectures.
ERRNOS: dict[str, int] = {
    "EPERM": 1,
    "ENOENT": 2,
    "ESRCH": 3,
    "EINTR": 4,
    "EIO": 5,
    "ENXIO": 6,
    "EBADF": 9,
    "ECHILD": 10,
    "EAGAIN": 11,
    "ENOMEM": 12,
    "EACCES": 13,
    "EBUSY": 16,
    "EEXIST": 17,
    "ENODEV": 19,
    "ENOTDIR": 20,
    "EINVAL": 22,
    "EMFILE": 24,
    "ENOTTY": 25,
    "ETXTBSY": 26,
    "ENOSPC": 28,
    "EROFS": 30,
    "ENOSYS": 38,
    "EPROTONOSUPPORT": 93,
    "EOPNOTSUPP": 95,
    "ENOPROTOOPT": 92,
    "EAFNOSUPPORT": 97,
    "ENETUNREACH": 101,
    "ECONNREFUSED": 111,
}

NAMES: frozenset[str] = frozenset(_EVERYWHERE) | frozenset(_BY_ARCH["x86_64"])


def value_of(name: str, arch: str) -> int:
    """The number of a constant in `NAMES` on one architecture; negative where C's is."""
    by_arch = _BY_ARCH[arch]
    return by_arch[name] if name in by_arch else _EVERYWHERE[name]
