"""Memory files: memfd_create for programs, so that what is written there is never executed.

Runs in: the broker.  Trusts: nothing; the name is the child's and only shown.
Flow: Job → memfd_create with MFD_NOEXEC_SEAL → the seals that the child would have had → Given.
Source: memfd_create(2), fcntl(2) F_ADD_SEALS; hostile case 55: code that no path rule has seen.

The kernel's own switch, vm.memfd_noexec of a pid namespace, is root's to set; a seal is anybody's, and stays.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os

from foxden.broker.job import EINVAL, EPERM, Job
from foxden.broker.records import Given, Refused
from foxden.sandbox import linux

MFD_CLOEXEC, MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL, MFD_EXEC = 1, 2, 8, 16
_KNOWN = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC
_NAME_MAX = 250  # with its NUL, as the kernel has it


def memfd(job: Job) -> Given:
    flags = job.request.flags
    try:
        name = job.text(job.request.path, _NAME_MAX)
    except OSError as error:
        raise OSError(EINVAL if error.errno == errno.ENAMETOOLONG else error.errno, "name") from None
    if flags & MFD_EXEC:
        raise Refused(errno=EPERM, detail="memory that is to be executed: code that no path rule has seen")
    if flags & ~_KNOWN:  # MFD_HUGETLB: pages that no limit counts
        raise Refused(errno=EINVAL, detail=f"flags {flags & ~_KNOWN:#x} of memfd_create")
    job.check()
    fd = _create(name.encode("utf-8", "surrogateescape"))
    if not flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL)
    return Given(fd, bool(flags & MFD_CLOEXEC))


def _create(name: bytes) -> int:
    text = ctypes.create_string_buffer(name)
    try:
        return linux.syscall("memfd_create", text, MFD_CLOEXEC | MFD_NOEXEC_SEAL)
    except OSError as error:
        if error.errno == EINVAL:  # before Linux 6.3: then there are none, and programs take a file in /tmp
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
        raise
