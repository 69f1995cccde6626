"""Functions that tests run in a box, about folders: descriptors of them, and paths that begin there.

Runs in: the test process, where it is named; utility processes, where it is run.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from typing import Any


def outcomes(acts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """What each act gave, or the name of its errno."""
    found: dict[str, Any] = {}
    for name, act in acts.items():
        try:
            found[name] = act()
        except OSError as error:
            found[name] = errno.errorcode.get(error.errno or 0, str(error.errno))
    return found


def read(path: Any, **options: Any) -> str:
    fd = os.open(path, os.O_RDONLY, **options)
    try:
        return os.read(fd, 100).decode()
    finally:
        os.close(fd)


def write(path: Any, text: str, **options: Any) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, **options)
    try:
        return os.write(fd, text.encode())
    finally:
        os.close(fd)


def _statx(fd: int) -> int:
    """As libraries in Rust ask for the size of what is open."""
    import ctypes

    libc, about = ctypes.CDLL(None, use_errno=True), ctypes.create_string_buffer(256)
    if libc.statx(fd, b"", 0x1000, 0x200, about):  # AT_EMPTY_PATH, STATX_SIZE
        raise OSError(ctypes.get_errno(), "statx")
    return int.from_bytes(about[40:48], "little")


def by_descriptor(folder: str) -> dict[str, Any]:
    """Everything in a granted folder, by a descriptor of it."""
    os.makedirs(f"{folder}/tree/deep")
    write(f"{folder}/tree/deep/leaf", "x")
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    file = os.open(f"{folder}/in.txt", os.O_RDWR)
    return outcomes({
        "make": lambda: write("y", "new", dir_fd=at),
        "read": lambda: read("y", dir_fd=at),
        "size": lambda: os.stat("y", dir_fd=at).st_size,
        "may": lambda: os.access("y", os.R_OK, dir_fd=at),
        "rename": lambda: os.rename("y", "z", src_dir_fd=at, dst_dir_fd=at),
        "unlink": lambda: os.unlink("z", dir_fd=at),
        "mkdir": lambda: os.mkdir("d", dir_fd=at),
        "rmdir": lambda: os.rmdir("d", dir_fd=at),
        "rmtree": lambda: shutil.rmtree(f"{folder}/tree"),
        "again": lambda: read(f"/proc/self/fd/{file}"),
        "statx": lambda: _statx(file),
        "fchmod": lambda: os.fchmod(file, 0o600),
        "times": lambda: os.utime(file),
        "left": lambda: sorted(os.listdir(at)),
    })  # fmt: skip


def out_by_descriptor(folder: str, secret: str) -> dict[str, Any]:
    """`folder` is granted for reading; beside it lies what is not."""
    at, file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), os.open(f"{folder}/in.txt", os.O_RDONLY)
    return outcomes({
        "inside": lambda: read("in.txt", dir_fd=at),
        "up and in": lambda: read(f"../{os.path.basename(folder)}/in.txt", dir_fd=at),
        "up": lambda: read(f"../{secret}", dir_fd=at),
        "down and up": lambda: read(f"sub/../../{secret}", dir_fd=at),
        "by the number": lambda: read(f"/proc/self/fd/{at}/../{secret}"),
        "not a folder": lambda: read("x", dir_fd=file),
        "not one": lambda: read("x", dir_fd=99),
        "make": lambda: write("y", "new", dir_fd=at),
        "unlink": lambda: os.unlink("in.txt", dir_fd=at),
        "more than it had": lambda: os.open(f"/proc/self/fd/{file}", os.O_RDWR),
        "fchmod": lambda: os.fchmod(file, 0o777),
    })  # fmt: skip


def swapped(read_only: str, own: str, times: int) -> dict[str, int]:
    """Open a number for writing while threads put one of both files there, in turn: how often which one was opened."""
    held = [os.open(read_only, os.O_RDONLY), os.open(own, os.O_RDWR)]
    inode, number, stop = os.fstat(held[0]).st_ino, os.dup(held[0]), False

    def flip() -> None:
        while not stop:
            for each in held:
                os.dup2(each, number)

    threads = [threading.Thread(target=flip) for _ in range(2)]
    for thread in threads:
        thread.start()
    seen = {"read-only": 0, "own": 0, "refused": 0}
    for _ in range(times):
        try:
            fd = os.open(f"/proc/self/fd/{number}", os.O_RDWR)
        except OSError:
            seen["refused"] += 1
            continue
        seen["read-only" if os.fstat(fd).st_ino == inode else "own"] += 1
        os.close(fd)
    stop = True
    for thread in threads:
        thread.join()
    return seen


def where() -> str:
    return os.getcwd()


def in_folder(folder: str) -> list[Any]:
    """`folder` is where the caller stood; it is granted."""
    os.mkdir("sub")
    write("sub/leaf", "leaf")
    found: list[Any] = [os.getcwd() == folder, read("in.txt"), sorted(os.listdir("."))]
    os.chdir("sub")
    found += [os.getcwd() == f"{folder}/sub", read("leaf"), read("../in.txt"), os.path.abspath("leaf")[-8:]]
    with tempfile.TemporaryDirectory() as own:  # below the worker's own folder
        os.chdir(own)
        write("own", "own")
        found += [read("own"), os.path.samefile(".", own)]
        os.chdir(folder)
    shutil.rmtree("sub")
    at = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.chdir("/")
    os.fchdir(at)
    return [*found, os.listdir(), _in_c("in.txt") == [os.path.basename(folder), "hello"]]


def _in_c(name: str) -> list[str]:
    """What a library in C sees: where it stands, and a file there."""
    import ctypes

    libc, buffer = ctypes.CDLL(None), ctypes.create_string_buffer(4096)
    libc.getcwd.restype = ctypes.c_char_p
    fd = libc.open(name.encode(), os.O_RDONLY)
    return [os.path.basename(libc.getcwd(buffer, 4096)).decode(), os.read(fd, 100).decode()]


def of_two_grants() -> dict[str, Any]:
    """`in.txt` may be read, and `od` written to; the folder of both is not granted."""
    return outcomes({
        "where": lambda: os.path.basename(os.getcwd()),
        "read": lambda: read("in.txt"),
        "by dots": lambda: read("./od/../in.txt"),
        "make": lambda: write("od/new", "new"),
        "beside": lambda: read("secret"),
        "list": lambda: os.listdir("."),
        "make beside": lambda: write("new", "new"),
        "change": lambda: write("in.txt", "new"),
        "into": lambda: os.chdir("od"),
        "there": lambda: sorted(os.listdir()),
        "up": lambda: read("../secret"),
        "up and in": lambda: read("../in.txt"),
    })  # fmt: skip


def out_by_standing(folder: str) -> dict[str, Any]:
    """`folder`/shown is granted for reading, and `folder`/own for writing."""
    os.chdir(f"{folder}/own")
    os.symlink("../own/file", "inner")
    file = os.open("file", os.O_RDONLY)
    return outcomes({
        "by a link": lambda: read("inner"),
        "a link out": lambda: os.symlink("../out", "link"),
        "by the host's link": lambda: read("away/file"),
        "into the host's link": lambda: os.chdir("away"),
        "up": lambda: read("../secret"),
        "up twice": lambda: read("../../../../etc/passwd"),
        "aside": lambda: read("../shown/in.txt"),
        "write aside": lambda: write("../shown/in.txt", "x"),
        "beside": lambda: os.chdir("../out"),
        "a file": lambda: os.chdir("file"),
        "by a file": lambda: os.fchdir(file),
        "cwd link": lambda: read("/proc/self/cwd/file"),
        "still": lambda: os.getcwd() == f"{folder}/own",
        "above": lambda: os.chdir(".."),
        "what is there": lambda: os.listdir("."),
        "the secret there": lambda: read("secret"),
        "back": lambda: read("own/file"),
        "no root": lambda: os.chroot("own"),
    })  # fmt: skip


def sizes_by_descriptor(folder: str, *paths: str) -> dict[str, Any]:
    """What newfstatat with AT_EMPTY_PATH, which is fstat where the path is empty, says from there; by its number."""
    import ctypes
    import platform

    number = {"x86_64": 262, "aarch64": 79}[platform.machine()]
    libc, about = ctypes.CDLL(None, use_errno=True), (ctypes.c_int64 * 18)()
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)

    def size(path: str) -> int:
        if libc.syscall(number, place, path.encode(), about, 0x1000):  # AT_EMPTY_PATH
            raise OSError(ctypes.get_errno(), "newfstatat")
        return int(about[6])

    try:
        found = outcomes({path: functools.partial(size, path) for path in paths})
        return {**found, "fstat": os.fstat(place).st_size}
    finally:
        os.close(place)
