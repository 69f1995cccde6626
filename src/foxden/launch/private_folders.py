"""File systems of their own for children's temporary files: what one fills is not the disk.

Runs in: the broker's fork server, first thing; kept by the broker, which is forked from it.
Trusts: the kernel, which keeps each to its size.
Flow: fork a helper → it enters namespaces of its own → mounts → their descriptors come back → child_main.KEPT.
Source: fsopen(2), fsmount(2), tmpfs(5); hostile case 32.

A mount that stands nowhere is reached by its descriptor alone, and gone with it; who holds it needs no right to mount.
The helper maps its user's id to itself, so the user's own process may make files there.
"""

from __future__ import annotations

import _socket
import os
import struct

from foxden.sandbox import linux, namespaces

COUNT = 32  # children with one at a time; further ones have a folder on the disk
SIZE = 1 << 30  # bytes of each, as a program's /tmp has
INODES = 65_536
_INT = struct.Struct("i")
_STRING, _CREATE, _CLOEXEC = 1, 6, 1  # fsconfig's commands; FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
_NOSUID_NODEV = 2 | 4  # MOUNT_ATTR_…; code may be loaded from there, as it may be from memory


class Making:
    """They are made while the fork server loads its modules."""

    def __init__(self) -> None:
        self._ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._helper = os.fork()
        if self._helper == 0:
            _be_helper(theirs)
        theirs.close()

    def finish(self) -> list[int]:
        """Wait for the helper.  Where it could make none there are none."""
        _, sent, _, _ = self._ours.recvmsg(1, _socket.CMSG_LEN(COUNT * _INT.size), _socket.MSG_CMSG_CLOEXEC)
        self._ours.close()
        os.waitpid(self._helper, 0)
        return [fd for _, _, words in sent for (fd,) in _INT.iter_unpack(words)]


def _be_helper(theirs: _socket.socket) -> None:
    """Never returns."""
    try:
        linux.die_with_parent()
        linux.syscall("unshare", namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS)
        namespaces.map_own_ids()
        words = b"".join(_INT.pack(_mounted()) for _ in range(COUNT))
        theirs.sendmsg([b"m"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, words)])
    except OSError:
        pass  # a kernel or a container that gives no such namespace: see Limits in docs/concepts/broker.md
    finally:
        os._exit(0)


def _mounted() -> int:
    made = linux.syscall("fsopen", b"tmpfs\0", _CLOEXEC)
    try:
        for name, value in ((b"size", str(SIZE)), (b"nr_inodes", str(INODES)), (b"mode", "0700")):
            linux.syscall("fsconfig", made, _STRING, name + b"\0", value.encode() + b"\0", 0)
        linux.syscall("fsconfig", made, _CREATE, None, None, 0)
        return linux.syscall("fsmount", made, _CLOEXEC, _NOSUID_NODEV)
    finally:
        os.close(made)
