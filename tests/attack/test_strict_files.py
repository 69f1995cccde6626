"""Files and a strict child: what is granted to it through the real broker, and every way round that it may try.

Each refusal has its control beside it: the same act on what is granted, or with a wider grant.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import den as dens

from foxden import Den, FoxdenError
from foxden.parent.hosts import ChildHost

pytestmark = [
    pytest.mark.needs("userns", "landlock", "seccomp"),
    pytest.mark.leaks_ok("the dens of this module are shared; shared_den looks for leaks when it closes them"),
]

SECRET = "CANARY-4711"
# Of the types that a broker serves: content at the levels that have one, and a type with one strict level.
SERVED = [(2, "content", "web"), (3, "content", "web"), (4, "content", "web"), (4, "content", "file"),
          (4, "content", "extension"), (4, "utility", ""), (4, "gmp", "")]  # fmt: skip
CASES = pytest.mark.parametrize(("leveled", "name", "remote"), SERVED, indirect=["leveled"], ids=str)
# What changes a file, by the acts' names.
CHANGES = ("append", "empty", "truncate", "rename", "link", "symlink", "make-node", "chmod", "utime", "unlink")
OWN_FOLDER = {"content", "utility"}  # have a folder for temporary files


@pytest.fixture(scope="module")
def leveled(request: pytest.FixtureRequest, victim: int) -> Iterator[Den]:
    with dens.shared_den(level=request.param) as den:
        yield den


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`ground` is what gets granted, `out` is not; links lead from one to the other in every manner."""
    ground, out = tmp_path / "ground", tmp_path / "out"
    for each in (ground / "deep", out):
        each.mkdir(parents=True)
    (out / "secret").write_text(SECRET)
    (ground / "good").write_text("good")
    (ground / "to-good").symlink_to("good")
    (ground / "to-secret").symlink_to(out / "secret")
    (ground / "deep" / "back").symlink_to("../../out")
    (ground / "chain-1").symlink_to("chain-2")
    (ground / "chain-2").symlink_to(ground / "deep" / ".." / "chain-3")
    (ground / "chain-3").symlink_to("deep/back/secret")
    for number in range(42):
        (ground / f"loop-{number}").symlink_to(f"loop-{(number + 1) % 42}")
    (ground / "self").symlink_to("self")
    return tmp_path


def reads(den: Den, child: ChildHost, path: str) -> str:
    return dens.outcome(den, child, "read-file", path)


@CASES
def test_no_way_of_naming_the_secret_reads_it(leveled: Den, name: str, remote: str, folder: Path) -> None:
    """Cases 1-6, 21, 30: by /proc, by links that are there, by chains and loops, by odd spellings."""
    ground, secret = folder / "ground", folder / "out" / "secret"
    with dens.child_of(leveled, name, remote) as child:
        free = child.level == 2 or remote == "file"  # which read every file, by design
        leveled.grant(child.pid, str(ground), "r")
        for good in ("good", "to-good", "deep/../good", "./good", "/good", "deep/back/../ground/good"):
            wanted = "EACCES" if "back" in good and not free else "allowed"  # it would tell what is there
            assert reads(leveled, child, f"{ground}/{good}") == wanted, good
        if free:
            return
        ways = [
            f"{secret}", f"//{secret}", f"{folder}/./out//secret", f"{ground}/../out/secret", f"{ground}/to-secret",
            f"{ground}/deep/back/secret", f"{ground}/chain-1", f"/proc/self/root{secret}", f"/proc/1/root{secret}",
            f"/proc/self/cwd/../../../../../../../..{secret}", f"/proc/self/fd/0/../..{secret}",
            f"/proc/thread-self/root{secret}", f"{secret}/", f"{secret}/.", f"{ground}/good/../../out/secret",
            f"{str(secret).upper()}", f"{secret}\n", f"/dev/fd/0/..{secret}",
        ]  # fmt: skip
        got = {way: reads(leveled, child, way) for way in ways}
        assert {way: word for way, word in got.items() if word not in ("EACCES", "ENOENT", "ENOTDIR", "ELOOP")} == {}
        assert reads(leveled, child, f"{ground}/loop-0") == "ELOOP"
        assert reads(leveled, child, f"{ground}/self") == "ELOOP"
        assert reads(leveled, child, f"{ground}/{'n' * 256}") == "ENAMETOOLONG"
        missing = folder / "out" / "nothing"
        for act in ("stat", "lstat", "access", "readlink", "stat-of-nothing"):
            there, not_there = (dens.outcome(leveled, child, "act", f"{act} {path}") for path in (secret, missing))
            assert there == not_there != "allowed", act
        assert reads(leveled, child, str(secret)) == reads(leveled, child, str(missing))
        assert dens.outcome(leveled, child, "act", f"stat {ground}/good") == "allowed", "the control"
        there, not_there = (reads(leveled, child, f"{path}/../ground/good") for path in (secret.parent, missing))
        assert there == not_there, "nor by a way that leads through it and back"


def looks_of(folder: Path) -> dict[Path, tuple[int, ...]]:
    """All that a change of a file below would change."""
    names = ("st_mode", "st_uid", "st_nlink", "st_size", "st_mtime_ns", "st_ctime_ns")
    return {path: tuple(getattr(path.lstat(), name) for name in names) for path in folder.rglob("*")}


@CASES
def test_what_is_granted_to_read_is_not_changed(leveled: Den, name: str, remote: str, folder: Path) -> None:
    """Cases 14-18."""
    ground = folder / "ground"
    with dens.child_of(leveled, name, remote) as child:
        leveled.grant(child.pid, str(ground), "r")
        before = looks_of(ground)
        for act in (*CHANGES, "chown", "attribute"):
            assert dens.outcome(leveled, child, "act", f"{act} {ground}/good") == "EACCES", act
        assert dens.outcome(leveled, child, "act", f"make-device {ground}/good") == "EPERM"
        assert dens.outcome(leveled, child, "act", f"truncate-a-reader {ground}/good") == "EINVAL"
        assert dens.outcome(leveled, child, "make-folder", f"{ground}/made") == "EACCES"
        assert dens.outcome(leveled, child, "write-file", f"{ground}/made") == "EACCES"
        after = looks_of(ground)
        assert after == before
        leveled.grant(child.pid, str(ground), "rwc")
        for act in CHANGES:
            (ground / "good").write_text("good")
            assert dens.outcome(leveled, child, "act", f"{act} {ground}/good") == "allowed", f"the control: {act}"
        assert dens.outcome(leveled, child, "act", f"make-device {ground}/x") in ("EPERM", "EACCES"), "never"
        assert not [path for path in ground.rglob("*") if stat.S_ISCHR(path.lstat().st_mode)]


@CASES
def test_a_folder_of_its_own_is_no_way_out(leveled: Den, name: str, remote: str, folder: Path) -> None:
    """Cases 4, 10, 18, 25, 45: links of either kind made where it may write, and moving from there."""
    if name not in OWN_FOLDER:
        pytest.skip("needs a type with a folder for temporary files")
    secret, good = folder / "out" / "secret", folder / "ground" / "good"
    with dens.child_of(leveled, name, remote) as child:
        leveled.grant(child.pid, str(good), "rwc")
        for act in ("write-through-link-of-own", "hard-link-of-own"):
            assert dens.outcome(leveled, child, "act", f"{act} {secret}") == "EACCES", act
        assert dens.outcome(leveled, child, "act", f"link-of-own {secret}") == "EACCES", "not even where it may read it"
        assert dens.outcome(leveled, child, "act", f"move-out {folder}/out/new") == "EACCES"
        assert dens.outcome(leveled, child, "write-file", f"{folder}/out/new") == "EACCES"
        assert sorted(path.name for path in (folder / "out").iterdir()) == ["secret"]
        assert (secret.read_text(), secret.stat().st_nlink) == (SECRET, 1)
        assert dens.outcome(leveled, child, "act", f"link-of-own {good}") == "allowed", "the control"
        assert dens.outcome(leveled, child, "act", f"write-through-link-of-own {good}") == "allowed", "the control"


# ---- the machine's own files

SHOWN_TO_NOBODY = (
    "/proc/{host}/environ", "/proc/{host}/cmdline", "/proc/{host}/maps", "/proc/{host}/mem",
    "/proc/{host}/{root}/etc/passwd",
    "/proc/{host}/cwd/x", "/proc/{broker}/mem", "/proc/{broker}/environ", "/proc/1/environ", "/proc/1/mem",
    "/proc/1/{root}/etc/passwd", "/proc/self/environ", "/proc/self/mem", "/proc/net/tcp", "/proc/net/dev",
    "/proc/cmdline", "/proc/mounts", "/proc/self/mountinfo", "/proc/kcore", "/proc/kallsyms",
    "/sys/class/net/lo/address",
    "/sys/class/dmi/id/product_uuid", "/sys/class/dmi/id/sys_vendor", "/sys/fs/cgroup/cgroup.controllers",
    "/etc/machine-id", "/etc/passwd", "/etc/shadow", "/etc/hostname", "/proc/sys/kernel/random/boot_id",
    "/proc/sys/kernel/hostname", "/proc/version", "/dev/mem", "/dev/kmsg", "/dev/kvm", "/dev/fuse", "/dev/net/tun",
    "/dev/tty", "/dev/ptmx", "/dev/console", "/dev/userfaultfd", "/dev/vhost-net", "/dev/loop0", "/dev/dri/card0",
    "/dev/snd/seq", "/dev/input/event0", "/dev/shm/foxden-strict", "/run/docker.sock",
)  # fmt: skip
NEVER_WRITTEN = (
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger",
    "/proc/sys/fs/binfmt_misc/register", "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups",
    "/proc/self/oom_score_adj", "/proc/self/coredump_filter", "/proc/self/loginuid", "/proc/self/comm",
    "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/release_agent", "/dev/shm/foxden-strict", "/dev/shm/foxden-new",
    "/dev/mem", "/dev/kmsg", "/dev/tty", "/dev/ptmx", "/dev/fuse", "/etc/ld.so.preload", "/etc/passwd",
    "/tmp/foxden-new",
)  # fmt: skip


@pytest.fixture(scope="module")
def host(victim: int) -> Iterator[dict[str, str]]:
    shared = Path("/dev/shm/foxden-strict")
    shared.write_text(SECRET)
    yield {"host": str(victim)}
    shared.unlink()


def readable(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return False
    os.close(fd)
    return True


STRICT = [(3, "content", "web"), *((4, *kind) for kind in dens.KINDS if kind[0] not in ("plugin", "broker"))]


@pytest.mark.parametrize(("leveled", "name", "remote"), STRICT, indirect=["leveled"], ids=str)
def test_nothing_of_the_machine_is_read_or_written(
    leveled: Den, name: str, remote: str, host: dict[str, str], folder: Path
) -> None:
    """Cases 34-46, 125, 128: other processes, the kernel's switches, devices, shared memory, identities."""
    with dens.child_of(leveled, "utility") as other:
        dens.outcome(leveled, other, "read-file", "/nowhere")  # has the broker started
    (broker,) = dens.pids(leveled, "broker")[:1]
    paths = [path.format(**host, broker=broker, root="root") for path in SHOWN_TO_NOBODY]
    assert sum(map(readable, paths)) >= 20, "the control: many of them can be read without a sandbox"
    with dens.child_of(leveled, name, remote) as child:
        file_page = remote == "file"  # reads what is no device and no process: file:// shows files
        got = {path: reads(leveled, child, path) for path in paths}
        kept = ("/proc", "/sys", "/dev") if file_page else ("/",)
        assert {p: w for p, w in got.items() if w not in ("EACCES", "ENOENT") and p.startswith(kept)} == {}
        got = {path: dens.outcome(leveled, child, "write-file", path) for path in NEVER_WRITTEN}
        assert {path: word for path, word in got.items() if word not in ("EACCES", "ENOENT")} == {}
        listed = {path: dens.outcome(leveled, child, "list-folder", path) for path in ("/proc", "/dev/shm", "/sys")}
        assert set(listed.values()) <= {"EACCES", "ENOENT"}, listed
        for pid in (broker, int(host["host"])):
            assert dens.outcome(leveled, child, "kill", str(pid)) == "EPERM"
    assert not Path("/dev/shm/foxden-new").exists()


def test_content_of_level_two_reads_files_and_no_process(host: dict[str, str], folder: Path) -> None:
    """Its reads are the kernel's: Landlock keeps it from the memory of processes, and the broker from writing."""
    with dens.shared_den(level=2) as den, dens.child_of(den, "content", "web") as child:
        assert reads(den, child, str(folder / "out" / "secret")) == "allowed", "as level 2 is meant"
        for path in ("environ", "mem", "maps", "root/etc/passwd", "cwd/x"):
            assert reads(den, child, f"/proc/{host['host']}/{path}") in ("EACCES", "EPERM"), path
        got = {path: dens.outcome(den, child, "write-file", path) for path in NEVER_WRITTEN}
        assert {path: word for path, word in got.items() if word not in ("EACCES", "ENOENT")} == {}


# ---- grants


@pytest.mark.parametrize("path", ["/a\0b", "/etc\0", "/a\udcff"])
def test_a_grant_of_a_path_that_no_kernel_can_name_is_an_error(path: str) -> None:
    """Case 22."""
    with dens.shared_den() as den, dens.child_of(den, "utility") as child:
        with pytest.raises(FoxdenError, match="grant: expected"):
            den.grant(child.pid, path, "r")
        assert reads(den, child, "/etc/passwd") == "EACCES"
        assert dens.outcome(den, child, "read-file", "/a\0b") == "refused", "Python itself says no"


def test_what_was_revoked_is_refused_and_what_was_not_is_not(folder: Path) -> None:
    ground = folder / "ground"
    with dens.shared_den() as den, dens.child_of(den, "utility") as child:
        den.grant(child.pid, str(ground), "r")
        den.grant(child.pid, str(ground / "deep"), "rwc")
        assert dens.outcome(den, child, "write-file", f"{ground}/deep/made") == "allowed"
        den.revoke(child.pid, str(ground / "deep"))
        assert dens.outcome(den, child, "write-file", f"{ground}/deep/more") == "EACCES"
        assert reads(den, child, f"{ground}/deep/made") == "allowed", "the wider grant is left"
        den.revoke(child.pid, str(ground))
        assert reads(den, child, f"{ground}/good") == "EACCES"
