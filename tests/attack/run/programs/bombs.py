"""Case 67: take memory of one kind until something says no.  argv[1]: the kind.  Prints how it ended, if it did."""

import ctypes
import errno
import mmap
import os
import signal
import socket
import sys
import time

MIB = 1 << 20
BLOCK = b"x" * (8 * MIB)
LIMIT = 4096 * MIB  # what is taken at most, should nothing say no
held = []


def touched():
    while sum(map(len, held)) < LIMIT:
        area = mmap.mmap(-1, 32 * MIB)
        for place in range(0, len(area), 4096):
            area[place] = 1
        held.append(area)


def heap():
    while len(held) * 8 * MIB < LIMIT:
        held.append(bytearray(BLOCK))


def into(fd):
    for _ in range(LIMIT // len(BLOCK)):
        os.write(fd, BLOCK)


def memory_file():
    for _ in range(LIMIT // (128 * MIB)):
        fd = os.memfd_create("bomb")
        held.append([0])
        for _ in range(16):
            os.write(fd, BLOCK)


def shared_segments():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    for _ in range(100_000):
        segment = libc.shmget(0, 65_535, 0o1600)
        if segment < 0:
            raise OSError(ctypes.get_errno(), "shmget")
        ctypes.memset(libc.shmat(segment, None, 0), 1, 65_535)


def pipes():
    for _ in range(100_000):
        _, writer = os.pipe()
        os.set_blocking(writer, False)
        os.write(writer, bytes(65_536))


def sockets():
    for _ in range(100_000):
        one, other = socket.socketpair()
        one.setblocking(False)
        held.append((one, other))
        try:
            while True:
                one.send(bytes(65_536))
        except BlockingIOError:
            continue


def children():
    for _ in range(64):
        if os.fork() == 0:
            held.append(bytearray(b"y" * (64 * MIB)))
            time.sleep(60)
            os._exit(0)
    time.sleep(60)


def tables():
    """One page here and there: page tables and pages."""
    for _ in range(4):
        area = mmap.mmap(-1, 1 << 32, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x4000)
        held.append(area)
        for place in range(0, 1 << 32, 1 << 16):
            area[place] = 1


KINDS = {
    "touched": touched,
    "heap": heap,
    "memory file": memory_file,
    "shm": lambda: into(os.open("/dev/shm/b", os.O_CREAT | os.O_WRONLY)),
    "tmp": lambda: into(os.open("/tmp/b", os.O_CREAT | os.O_WRONLY)),
    "segments": shared_segments,
    "pipes": pipes,
    "sockets": sockets,
    "children": children,
    "tables": tables,
}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    KINDS[sys.argv[1]]()
except MemoryError:
    print("MemoryError")
except OSError as error:
    print(errno.errorcode[error.errno])
else:
    print("no end")
sys.stdout.flush()
os._exit(0)
