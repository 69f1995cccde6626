"""Children of foxden's own, on the real kernel: Gecko's broker table, and the threat list's cases on files.

Every refusal stands beside the same act where it is granted.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.broker import harness
from tests.unit.broker.harness import in_threads, opened, outcome, outcomes, raw, run

from foxden.sandbox import linux
from foxden.sandbox.syscall_numbers import NUMBERS

pytestmark = [pytest.mark.needs("seccomp"), pytest.mark.usefixtures("each_way")]

O_ASYNC = 0o20000


def accessed(path: str | Path, mode: int) -> int:
    return raw("faccessat", -100, os.fsencode(path), mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`granted` may be changed, `shown` read; beside them lies a secret."""
    for name in ("granted", "shown"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "secret").write_text("secret")
    return tmp_path


def rules(folder: Path, **more: str) -> dict[str, str]:
    return {str(folder / "granted"): "rwc", str(folder / "shown"): "r", **more}


# --- Gecko's TestBroker ----------------------------------------------------------------------------------------


def gecko_table(tmp: Path) -> tuple[dict[str, str], dict[str, tuple[Callable[[], Any], Any]]]:
    one, two, nope = tmp / "blublu", tmp / "blublublu", tmp / "nope"
    words = {
        "/dev/null": "rw", "/dev/zero": "r", "/var/empty/qwertyuiop": "r", "/etc": "rw",
        str(tmp / "listed"): "rw", str(one): "rwc", str(two): "rwc",
    }  # fmt: skip
    return words, {
        "open null R": (lambda: opened("/dev/null", os.O_RDONLY), "opened"),
        "open null W": (lambda: opened("/dev/null", os.O_WRONLY), "opened"),
        "open null RW": (lambda: opened("/dev/null", os.O_RDWR), "opened"),
        "open zero R": (lambda: opened("/dev/zero", os.O_RDONLY), "opened"),
        "open missing R": (lambda: opened("/var/empty/qwertyuiop", os.O_RDONLY), "ENOENT"),
        "open zero W": (lambda: opened("/dev/zero", os.O_WRONLY), "EACCES"),
        "open zero RW": (lambda: opened("/dev/zero", os.O_RDWR), "EACCES"),
        "open null O_CREAT": (lambda: opened("/dev/null", os.O_WRONLY | os.O_CREAT), "EACCES"),
        "open null O_TRUNC": (lambda: opened("/dev/null", os.O_WRONLY | os.O_TRUNC), "opened"),
        "open zero O_TRUNC": (lambda: opened("/dev/zero", os.O_RDONLY | os.O_TRUNC), "EACCES"),
        "open null O_ASYNC": (lambda: opened("/dev/null", os.O_RDWR | O_ASYNC), "EACCES"),
        "open null 1<<30": (lambda: opened("/dev/null", os.O_RDWR | 0x4000_0000), "EACCES"),
        "open null O_PATH": (lambda: opened("/dev/null", os.O_PATH), "EACCES"),
        "access null F": (lambda: accessed("/dev/null", 0), 0),
        "access null RW": (lambda: accessed("/dev/null", 6), 0),
        "access null X": (lambda: accessed("/dev/null", 1), "EACCES"),
        "access null RX": (lambda: accessed("/dev/null", 5), "EACCES"),
        "access zero R": (lambda: accessed("/dev/zero", 4), 0),
        "access zero W": (lambda: accessed("/dev/zero", 2), "EACCES"),
        "access missing R": (lambda: accessed("/var/empty/qwertyuiop", 4), "ENOENT"),
        "access missing W": (lambda: accessed("/var/empty/qwertyuiop", 2), "EACCES"),
        "access ungranted F": (lambda: accessed("/proc/self/stat", 0), "EACCES"),
        "access folder RX": (lambda: accessed("/etc", 5), 0),
        "access other bits": (lambda: accessed("/dev/null", 8), "EACCES"),
        "stat null": (lambda: stat.S_ISCHR(os.stat("/dev/null").st_mode), True),
        "stat NULL": (lambda: raw("newfstatat", -100, None, bytes(256), 0), "EFAULT"),
        "stat missing": (lambda: os.stat("/var/empty/qwertyuiop"), "ENOENT"),
        "stat ungranted": (lambda: os.stat("/dev"), "EACCES"),
        "make": (lambda: opened(one, os.O_CREAT | os.O_WRONLY | os.O_EXCL), "opened"),
        "make again": (lambda: opened(one, os.O_CREAT | os.O_WRONLY | os.O_EXCL), "EEXIST"),
        "chmod": (lambda: os.chmod(one, 0o400), None),
        "chmod back": (lambda: os.chmod(one, 0o600), None),
        "link": (lambda: os.link(one, two), None),
        "link nope": (lambda: os.link(one, nope), "EACCES"),
        "unlink link": (lambda: os.unlink(two), None),
        "symlink": (lambda: os.symlink(one, two), None),
        "readlink": (lambda: os.readlink(two), str(one)),
        "readlink 1 byte": (lambda: raw("readlinkat", -100, os.fsencode(two), bytes(9), 1), 1),
        "symlink nope": (lambda: os.symlink(one, nope), "EACCES"),
        "symlink to nope": (lambda: (os.unlink(two), os.symlink(nope, two)), "EACCES"),
        "mkdir nope": (lambda: os.mkdir(nope), "EACCES"),
        "mkdir zero": (lambda: os.mkdir("/dev/zero"), "EEXIST"),
        "rename": (lambda: os.rename(one, two), None),
        "rename nope": (lambda: os.rename(two, nope), "EACCES"),
        "mkdir": (lambda: os.mkdir(one), None),
        "rmdir": (lambda: os.rmdir(one), None),
        "rmdir nope": (lambda: os.rmdir(nope), "EACCES"),
        "unlink": (lambda: os.unlink(two), None),
        "unlink nope": (lambda: os.unlink(nope), "EACCES"),
        "then access": (lambda: accessed(two, 0), "ENOENT"),
    }  # fmt: skip


def test_geckos_broker_table_holds(tmp_path: Path) -> None:
    words, table = gecko_table(tmp_path)
    got = run(lambda: outcomes({name: act for name, (act, _) in table.items()}), words).value
    assert got == {name: wanted for name, (_, wanted) in table.items()}


def test_without_a_broker_the_refused_acts_of_the_table_succeed(tmp_path: Path) -> None:
    (tmp_path / "blublu").touch()
    nope = tmp_path / "nope"
    assert outcome(lambda: os.link(tmp_path / "blublu", nope)) is None
    assert outcome(lambda: os.unlink(nope)) is None
    assert outcome(lambda: opened("/dev/zero", os.O_WRONLY)) == "opened"
    assert stat.S_ISDIR(os.stat("/dev").st_mode)


def test_threads_that_open_and_stat_all_get_what_they_asked_for(folder: Path) -> None:
    path = folder / "shown" / "file"
    inode = path.stat().st_ino

    def work() -> bool:
        for _ in range(400):
            fd = os.open(path, os.O_RDONLY)
            same = os.fstat(fd).st_ino == inode == os.stat(path).st_ino
            os.close(fd)
            if not same:
                return False
        return True

    assert run(lambda: in_threads(5, work), rules(folder)).value == [True] * 5


# --- what is given ----------------------------------------------------------------------------------------------


def test_new_files_are_private_and_descriptors_have_the_flags_that_were_asked_for(folder: Path) -> None:
    path = folder / "granted" / "new"

    def act() -> dict[str, Any]:
        fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_APPEND, 0o777)
        raw_fd = raw("openat", -100, os.fsencode(path), os.O_RDONLY, 0)
        nonblocking = raw("openat", -100, os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, 0)
        return {
            "mode": stat.S_IMODE(os.fstat(fd).st_mode),
            "flags": fcntl.fcntl(fd, fcntl.F_GETFL) & (os.O_APPEND | os.O_NONBLOCK | os.O_ACCMODE),
            "inherited": fcntl.fcntl(raw_fd, fcntl.F_GETFD),
            "nonblocking": fcntl.fcntl(nonblocking, fcntl.F_GETFL) & os.O_NONBLOCK,
            "close": fcntl.fcntl(nonblocking, fcntl.F_GETFD),
            "blocking": fcntl.fcntl(raw_fd, fcntl.F_GETFL) & os.O_NONBLOCK,
        }

    assert run(act, rules(folder)).value == {
        "mode": 0o600, "flags": os.O_APPEND | os.O_RDWR, "inherited": 0, "nonblocking": os.O_NONBLOCK, "close": 1,
        "blocking": 0,
    }  # fmt: skip


def test_what_stat_and_statx_write_is_what_the_kernel_says(folder: Path) -> None:
    path = folder / "shown" / "file"
    expected = os.stat(path)

    def act() -> list[Any]:
        found = os.stat(path)
        buffer = harness.ctypes.create_string_buffer(256)
        raw("statx", -100, os.fsencode(path), 0, 0x7FF, buffer)
        size, inode = struct.unpack_from("=Q", buffer, 40)[0], struct.unpack_from("=Q", buffer, 32)[0]
        fields = [found.st_ino, found.st_dev, found.st_size, found.st_mode, found.st_mtime_ns, found.st_uid]
        return [*fields, size, inode]

    assert run(act, rules(folder)).value == [
        expected.st_ino, expected.st_dev, expected.st_size, expected.st_mode, expected.st_mtime_ns, expected.st_uid,
        expected.st_size, expected.st_ino,
    ]  # fmt: skip



@pytest.mark.needs("userns")
def test_stat_shows_ids_as_the_childs_namespace_numbers_them(folder: Path) -> None:
    uid, gid = os.getuid(), os.getgid()

    def prepare() -> None:
        linux.syscall("unshare", harness.CLONE_NEWUSER)
        for name, text in (("setgroups", "deny"), ("uid_map", f"7 {uid} 1"), ("gid_map", f"9 {gid} 1")):
            Path(f"/proc/self/{name}").write_text(text)

    def act() -> list[Any]:
        found = [os.stat(path) for path in (folder / "shown" / "file", "/usr") for _ in range(4)]
        return [[each.st_uid, each.st_gid] for each in found]

    os.chown(folder / "shown" / "file", uid, gid)
    of_root = [7 if uid == 0 else 65534, 9 if gid == 0 else 65534]
    assert run(act, rules(folder, **{"/usr": "r"}), prepare=prepare).value == [[7, 9]] * 4 + [of_root] * 4


def test_attributes_change_where_it_is_granted(folder: Path) -> None:
    path = folder / "granted" / "file"

    def act() -> dict[str, Any]:
        return outcomes({
            "utime": lambda: os.utime(path, ns=(1_000_000_007, 2_000_000_009)),
            "times": lambda: [os.stat(path).st_atime_ns, os.stat(path).st_mtime_ns],
            "truncate": lambda: os.truncate(path, 3),
            "size": lambda: os.stat(path).st_size,
            "chmod": lambda: os.chmod(path, 0o640),
            "set-id": lambda: os.chmod(path, 0o4755),
            "chown": lambda: os.chown(path, -1, -1),
            "chown away": lambda: os.chown(path, 12345, -1) if os.getuid() else None,
            "listxattr": lambda: isinstance(os.listxattr(path), list),
            "security": lambda: os.setxattr(path, "security.capability", b"x"),
            "statfs": lambda: os.statvfs(path).f_bsize > 0,
        })  # fmt: skip

    got = run(act, rules(folder)).value
    assert got == {
        "utime": None, "times": [1_000_000_007, 2_000_000_009], "truncate": None, "size": 3, "chmod": None,
        "set-id": "EPERM", "chown": None, "chown away": None if os.getuid() == 0 else "EPERM", "listxattr": True,
        "security": "EPERM", "statfs": True,
    }  # fmt: skip
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


# --- hostile: reading -------------------------------------------------------------------------------------------


def test_what_is_not_granted_answers_alike_whether_it_exists_or_not(folder: Path) -> None:
    secret, missing = folder / "secret", folder / "missing"

    def act() -> dict[str, Any]:
        acts = {
            "open": lambda p: opened(p, os.O_RDONLY),
            "stat": os.stat,
            "lstat": os.lstat,
            "access": lambda p: accessed(p, 0),
            "readlink": os.readlink,
            "below": lambda p: os.stat(p / "x"),
            "slash": lambda p: os.stat(f"{p}/"),
            "write": lambda p: opened(p, os.O_WRONLY),
            "make": lambda p: opened(p, os.O_WRONLY | os.O_CREAT),
            "unlink": os.unlink,
            "mkdir": os.mkdir,
        }
        return {name: [outcome(lambda a=a, p=p: a(p)) for p in (secret, missing)] for name, a in acts.items()}  # type: ignore[misc]

    got = run(act, rules(folder)).value
    assert got == {name: ["EACCES", "EACCES"] for name in got}
    assert run(lambda: Path(secret).read_text(), rules(folder, **{str(secret): "r"})).value == "secret"


@pytest.mark.parametrize(
    "written",
    ["{f}/secret", "{f}/shown/../secret", "{f}//secret", "{f}/./secret", "{f}/granted/../granted/../secret",
     "/proc/self/root{f}/secret", "/proc/self/cwd/../../../../../../..{f}/secret", "{f}/shown/../../{n}/secret",
     "{f}/shown/file/../../secret", "//{f}/secret", "{f}/secret/"],
)  # fmt: skip
def test_no_way_of_writing_a_path_leads_out_of_what_is_granted(folder: Path, written: str) -> None:
    path = written.format(f=folder, n=folder.name)
    assert run(lambda: outcome(lambda: Path(path).read_bytes()), rules(folder)).value in ("EACCES", "ENOTDIR", "ENOENT")


@pytest.mark.parametrize("written", ["{f}/shown//file", "{f}/./shown/./file", "{f}/granted/../shown/file"])
def test_other_ways_of_writing_a_granted_path_lead_to_it(folder: Path, written: str) -> None:
    path = written.format(f=folder)
    assert run(lambda: os.stat(path).st_size, rules(folder)).value == len("shown")


def test_links_are_followed_to_what_is_granted_and_to_nothing_else(folder: Path) -> None:
    links = folder / "shown"
    (links / "in").symlink_to("file")
    (links / "absolute").symlink_to(folder / "granted" / "file")
    (links / "out").symlink_to(folder / "secret")
    (links / "up").symlink_to("../secret")
    (links / "chain").symlink_to("out")
    (links / "folder").symlink_to("..")
    (links / "loop").symlink_to("loop")
    for number in range(41):
        (links / f"l{number}").symlink_to(f"l{number + 1}" if number < 40 else "file")

    def act() -> dict[str, Any]:
        names = ("in", "absolute", "out", "up", "chain", "folder/secret", "folder/shown/file", "loop", "l0", "l1")
        return {name: outcome(lambda name=name: (links / name).read_text()) for name in names}  # type: ignore[misc]

    assert run(act, rules(folder)).value == {
        "in": "shown", "absolute": "granted", "out": "EACCES", "up": "EACCES", "chain": "EACCES",
        "folder/secret": "EACCES", "folder/shown/file": "shown", "loop": "ELOOP", "l0": "ELOOP", "l1": "shown",
    }  # fmt: skip


def test_a_link_that_a_child_made_leads_nowhere_that_it_may_not_go(folder: Path) -> None:
    (folder / "granted" / "made").symlink_to(folder / "secret")  # as if the child had; it is not let, see Gecko's table

    def act() -> dict[str, Any]:
        link = folder / "granted" / "made"
        return outcomes({
            "read": link.read_text, "write": lambda: opened(link, os.O_WRONLY), "chmod": lambda: os.chmod(link, 0o777),
            "nofollow": lambda: opened(link, os.O_RDONLY | os.O_NOFOLLOW), "lstat": lambda: os.lstat(link).st_mode > 0,
            "unlink": lambda: os.unlink(link),
        })  # fmt: skip

    assert run(act, rules(folder)).value == {
        "read": "EACCES",
        "write": "EACCES",
        "chmod": "EACCES",
        "nofollow": "ELOOP",
        "lstat": True,
        "unlink": None,
    }
    assert (folder / "secret").read_text() == "secret"


def test_hard_links_need_rights_on_both_sides(folder: Path) -> None:
    inside = folder / "granted" / "hard"

    def act() -> dict[str, Any]:
        return outcomes({
            "secret": lambda: os.link(folder / "secret", inside),
            "read-only": lambda: os.link(folder / "shown" / "file", inside),
            "own": lambda: os.link(folder / "granted" / "file", inside),
        })  # fmt: skip

    assert run(act, rules(folder)).value == {"secret": "EACCES", "read-only": "EACCES", "own": None}


def test_descriptors_of_a_child_are_where_they_are_and_no_step_further(folder: Path) -> None:
    outside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # as if it came over a socket
    (folder / "shown" / "sub").mkdir()

    def act() -> dict[str, Any]:
        granted = os.open(folder / "shown", os.O_RDONLY)
        return outcomes({
            "relative": lambda: os.stat("file", dir_fd=granted).st_size,
            "up and in": lambda: os.stat("sub/../file", dir_fd=granted).st_size,
            "up": lambda: os.stat("../secret", dir_fd=granted),
            "outside": lambda: os.stat("secret", dir_fd=outside),
            "not one": lambda: os.stat("x", dir_fd=999),
            "not a folder": lambda: os.stat("x", dir_fd=os.open(folder / "shown" / "file", os.O_RDONLY)),
            "its own again": lambda: opened(f"/proc/self/fd/{granted}", os.O_RDONLY),
            "dev fd": lambda: opened(f"/dev/fd/{granted}", os.O_RDONLY),
            "more than it had": lambda: opened(
                f"/proc/self/fd/{os.open(folder / 'granted' / 'file', os.O_RDONLY)}", os.O_RDWR),
            "memory": lambda: raw("fchownat", os.memfd_create("m"), b"", -1, -1, 0x1000),
            "its stat": lambda: raw("newfstatat", os.memfd_create("m"), b"", bytes(256), 0x1000),
            "fd/..": lambda: os.stat(f"/proc/self/fd/{granted}/../secret"),
        })  # fmt: skip

    try:
        got = run(act, rules(folder)).value
    finally:
        os.close(outside)
    assert got == {
        "relative": 5, "up and in": 5, "up": "EACCES", "outside": "EACCES", "not one": "EBADF",
        "not a folder": "ENOTDIR", "its own again": "opened", "dev fd": "opened", "more than it had": "EACCES",
        "fd/..": "EACCES", "memory": 0, "its stat": 0,
    }  # fmt: skip


# --- hostile: writing -------------------------------------------------------------------------------------------


def test_nothing_changes_below_a_read_only_grant(folder: Path) -> None:
    shown, own = folder / "shown", folder / "granted"

    def act(base: Path) -> dict[str, Any]:
        return outcomes({
            "write": lambda: opened(base / "file", os.O_WRONLY),
            "append": lambda: opened(base / "file", os.O_WRONLY | os.O_APPEND),
            "truncate by open": lambda: opened(base / "file", os.O_RDONLY | os.O_TRUNC),
            "truncate": lambda: os.truncate(base / "file", 0),
            "mkdir": lambda: os.mkdir(base / "dir"),
            "rmdir": lambda: os.rmdir(base / "dir"),
            "mkfifo": lambda: os.mkfifo(base / "fifo"),
            "symlink": lambda: os.symlink(base / "file", base / "sym"),
            "link": lambda: os.link(base / "file", base / "hard"),
            "rename": lambda: os.rename(base / "file", base / "moved"),
            "rename back": lambda: os.rename(base / "moved", base / "file"),
            "chmod": lambda: os.chmod(base / "file", 0o666),
            "chown": lambda: os.chown(base / "file", -1, -1),
            "utime": lambda: os.utime(base / "file"),
            "setxattr": lambda: os.setxattr(base / "file", "trusted.x", b"x"),
            "unlink": lambda: os.unlink(base / "file"),
        })  # fmt: skip

    refused, granted = run(lambda: [act(shown), act(own)], rules(folder)).value
    assert set(refused.values()) == {"EACCES"}
    assert granted.pop("setxattr") == "EPERM"  # trusted attributes are nobody's
    assert {name: got for name, got in granted.items() if got not in (None, "opened")} == {}
    assert (shown / "file").read_text() == "shown"


def test_nothing_is_moved_out_of_the_grant_or_into_it(folder: Path) -> None:
    own = folder / "granted" / "file"

    def act() -> dict[str, Any]:
        return outcomes({
            "out": lambda: os.rename(own, folder / "out"),
            "over": lambda: os.rename(own, folder / "secret"),
            "in": lambda: os.rename(folder / "secret", folder / "granted" / "in"),
            "exchange": lambda: raw("renameat2", -100, os.fsencode(own), -100, os.fsencode(folder / "shown/file"), 2),
            "whiteout": lambda: raw("renameat2", -100, os.fsencode(own), -100, os.fsencode(f"{own}2"), 4),
            "unknown flag": lambda: raw("renameat2", -100, os.fsencode(own), -100, os.fsencode(f"{own}2"), 8),
            "noreplace": lambda: raw("renameat2", -100, os.fsencode(own), -100, os.fsencode(f"{own}2"), 1),
        })  # fmt: skip

    assert run(act, rules(folder)).value == {
        "out": "EACCES", "over": "EACCES", "in": "EACCES", "exchange": "EACCES", "whiteout": "EPERM",
        "unknown flag": "EINVAL", "noreplace": 0,
    }  # fmt: skip


def test_devices_are_never_made_and_only_opened_where_a_rule_names_them(folder: Path) -> None:
    def act() -> dict[str, Any]:
        base = folder / "granted"
        return outcomes({
            "char": lambda: os.mknod(base / "c", stat.S_IFCHR | 0o600, os.makedev(1, 3)),
            "block": lambda: os.mknod(base / "b", stat.S_IFBLK | 0o600, os.makedev(7, 0)),
            "socket": lambda: os.mknod(base / "s", stat.S_IFSOCK | 0o600),
            "named": lambda: opened("/dev/null", os.O_RDONLY),
            "below": lambda: opened("/dev/zero", os.O_RDONLY),
        })  # fmt: skip

    assert run(act, rules(folder, **{"/dev": "rw", "/dev/null": "rw"})).value == {
        "char": "EPERM",
        "block": "EPERM",
        "socket": None,
        "named": "opened",
        "below": "EACCES",
    }


def test_a_folder_that_rules_speak_of_stays_where_it_is(folder: Path) -> None:
    own = folder / "granted"
    (own / "a" / "secret").mkdir(parents=True)
    (own / "b").mkdir()
    (own / "a" / "secret" / "x").write_text("x")

    def act() -> dict[str, Any]:
        return outcomes({
            "with a secret": lambda: os.rename(own / "a", own / "moved"),
            "without": lambda: os.rename(own / "b", own / "moved"),
            "read": lambda: (own / "moved" / "secret" / "x").read_text(),
        })  # fmt: skip

    got = run(act, rules(folder, **{str(own / "a" / "secret"): "deny"})).value
    assert got == {"with a secret": "EACCES", "without": None, "read": "ENOENT"}


# --- hostile: paths as bytes ------------------------------------------------------------------------------------


def test_paths_at_their_bounds_get_the_kernels_own_errors(folder: Path) -> None:
    base = os.fsencode(folder / "shown")

    def act() -> dict[str, Any]:
        return outcomes({
            "too long": lambda: raw("openat", -100, b"/" + b"a" * 4200, 0, 0),
            "4095": lambda: raw("openat", -100, (base + b"/" + b"./" * 3000)[:4090] + b"/file", 0, 0) > 0,
            "long name": lambda: raw("openat", -100, base + b"/" + b"n" * 256, 0, 0),
            "empty": lambda: raw("openat", -100, b"", 0, 0),
            "NULL": lambda: raw("openat", -100, None, 0, 0),
            "bad pointer": lambda: raw("openat", -100, 0x10, 0, 0),
            "relative": lambda: raw("openat", -100, b"file", 0, 0),
            "newline": lambda: raw("openat", -100, base + b"/a\nb", 0, 0) > 0,
            "bytes": lambda: raw("openat", -100, base + b"/\xff\xfe", 0, 0) > 0,
            "bad buffer": lambda: raw("newfstatat", -100, base + b"/file", 0x10, 0),
        })  # fmt: skip

    (folder / "shown" / "a\nb").touch()
    Path(os.fsdecode(base + b"/\xff\xfe")).touch()
    got = run(act, rules(folder)).value
    assert got == {
        "too long": "ENAMETOOLONG", "4095": True, "long name": "ENAMETOOLONG", "empty": "ENOENT", "NULL": "EFAULT",
        "bad pointer": "EFAULT", "relative": "EACCES", "newline": True, "bytes": True, "bad buffer": "EFAULT",
    }  # fmt: skip


def test_a_path_that_ends_where_its_memory_ends_is_read(folder: Path) -> None:
    import mmap

    path = os.fsencode(folder / "shown" / "file") + b"\0"

    def act() -> Any:
        area = mmap.mmap(-1, 2 * mmap.PAGESIZE)
        start = harness.ctypes.addressof(harness.ctypes.c_char.from_buffer(area))
        libc = harness.libc
        assert libc.munmap(harness.ctypes.c_void_p(start + mmap.PAGESIZE), mmap.PAGESIZE) == 0
        at = mmap.PAGESIZE - len(path)
        harness.ctypes.memmove(start + at, path, len(path))
        inside = raw("openat", -100, start + at, 0, 0) > 0
        harness.ctypes.memmove(start + at, b"x" * len(path), len(path))
        answers = [inside, outcome(lambda: raw("openat", -100, start + at, 0, 0))]
        os.write(1, b"")
        raw("exit_group", 0) if not inside else None
        return answers

    got = run(act, rules(folder)).value
    assert got == [True, "EFAULT"]


# --- connect ----------------------------------------------------------------------------------------------------


def test_unix_sockets_are_connected_where_a_rule_says_so_and_nowhere_else(folder: Path) -> None:
    names = [folder / "open.sock", folder / "closed.sock"]
    servers = []
    for name in names:
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(str(name))
        server.listen(4)
        servers.append(server)

    def echo() -> None:
        peer, _ = servers[0].accept()
        with peer:
            peer.sendall(peer.recv(16))

    thread = threading.Thread(target=echo)

    def talk(path: Path | str) -> str:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(5)
            sock.connect(str(path))
            sock.sendall(b"hello")
            return sock.recv(16).decode()

    def act() -> dict[str, Any]:
        with socket.socket(socket.AF_INET) as inet, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
            return outcomes({
                "granted": lambda: talk(names[0]),
                "other": lambda: talk(names[1]),
                "missing": lambda: talk(folder / "no"),
                "abstract": lambda: talk("\0foxden-nobody"), "internet": lambda: inet.connect(("127.0.0.1", 9)),
                "datagrams": lambda: datagrams.connect(str(names[0])), "no socket": lambda: raw(
                    "connect", 0, struct.pack("=H", socket.AF_UNIX) + os.fsencode(names[0]) + b"\0", 100),
                "not one": lambda: raw("connect", 999, struct.pack("=H", 1) + os.fsencode(names[0]) + b"\0", 100),
            })  # fmt: skip

    child_rules = rules(folder, **{str(names[0]): "connect"})
    thread.start()
    try:
        got = run(act, child_rules).value
        assert thread.join(5) is None
        assert not thread.is_alive()
    finally:
        for server in servers:
            server.close()
    assert got.pop("no socket") in ("ENOTSOCK", "EACCES")
    assert got == {
        "granted": "hello", "other": "EACCES", "missing": "EACCES", "abstract": "ENETUNREACH",
        "internet": "EAFNOSUPPORT", "datagrams": "EACCES", "not one": "EBADF",
    }  # fmt: skip


def test_calls_that_nobody_does_for_a_child_get_the_errno_of_its_policy(folder: Path) -> None:
    number = harness.NUMBERS[harness.linux.ARCH]["kill"]
    tries = {"kill": lambda: os.kill(os.getpid(), 0), "uring": lambda: raw("io_uring_setup", 1, bytes(120))}
    told = run(lambda: outcomes(tries), rules(folder), errnos={number: errno.EPERM})
    assert told.value == {"kill": "EPERM", "uring": "ENOSYS"}
    assert [(act.operation, act.errno) for act in told.acts] == [("", errno.EPERM), ("", errno.ENOSYS)]


# --- directories above what is granted --------------------------------------------------------------------------


def test_directories_above_what_is_granted_are_looked_at_and_nothing_beside_them(tmp_path: Path) -> None:
    for name in ("a/b/granted", "a/beside", "real/deep/granted"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a/secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "other").symlink_to(tmp_path / "real")

    def acts() -> dict[str, Any]:
        found = outcomes({
            **{f"stat {name}": lambda name=name: bool(os.stat(tmp_path / name)) for name in (
                "a", "a/b", "a/b/granted", "link", "real/deep", "a/secret", "a/beside", "a/none", "real/none",
                "a/b/../secret")},
            "links on the way": lambda: [raw_link(tmp_path / name) for name in ("a", "a/b", "link")],
            "a link beside": lambda: os.readlink(tmp_path / "other"),
            "list": lambda: os.listdir(tmp_path / "a"),
            "open": lambda: opened(tmp_path / "a", os.O_RDONLY | os.O_DIRECTORY),
            "read": lambda: (tmp_path / "a/secret").read_text(),
            "write": lambda: opened(tmp_path / "a/new", os.O_WRONLY | os.O_CREAT),
            "mkdir": lambda: os.mkdir(tmp_path / "a/new"),
            "chmod": lambda: os.chmod(tmp_path / "a", 0o777),
            "access w": lambda: accessed(tmp_path / "a", os.W_OK),
            "access beside": lambda: accessed(tmp_path / "a/secret", os.F_OK),
        })  # fmt: skip
        return found

    def raw_link(path: Path) -> str:
        return str(outcome(lambda: os.readlink(path)))

    words = {"/": "deny", str(tmp_path / "a/b/granted"): "r", str(tmp_path / "link/deep/granted"): "r"}
    nothing = {NUMBERS[linux.ARCH][name]: errno.ENOENT for name in LOOKING if name in NUMBERS[linux.ARCH]}
    shown = run(acts, words, show_ancestors=True, errnos=nothing).value
    there = ("a", "a/b", "a/b/granted", "link", "real/deep")
    beside = ("a/secret", "a/beside", "a/none", "real/none", "a/b/../secret")
    assert {shown[f"stat {name}"] for name in there} == {True}
    assert {shown[f"stat {name}"] for name in beside} == {"ENOENT"}
    assert shown["links on the way"] == ["EINVAL", "EINVAL", str(tmp_path / "real")]
    assert (shown["a link beside"], shown["access beside"]) == ("ENOENT", "ENOENT")
    assert {shown[act] for act in ("list", "open", "read", "write", "mkdir", "chmod", "access w")} == {"EACCES"}
    hidden = run(acts, words, errnos=nothing).value
    assert {hidden[f"stat {name}"] for name in ("a", "a/b", "link", "real/deep")} == {"ENOENT"}
    assert hidden["stat a/b/granted"] is True


LOOKING = ("stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat")
