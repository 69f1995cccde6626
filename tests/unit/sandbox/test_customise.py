"""What preferences add to a committed policy: the rules, their warnings, and what never changes."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.unit.sandbox.support import args_of, committed, read, resolved

from foxden.model.preferences import PreferenceError
from foxden.sandbox import filter, policy
from foxden.sandbox.constants import AUDIT_ARCH
from foxden.sandbox.customise import CALLS, READ_PATHS, WRITE_PATHS, Wishes, customise, parse_calls, parse_paths
from foxden.sandbox.paths import AbsPath, Access, lookup
from foxden.sandbox.policy import SETS, ResolvedPolicy
from foxden.sandbox.policy_text import parse_sets
from foxden.sandbox.syscall_numbers import NUMBERS

SETS_OF_POLICIES = parse_sets(SETS, read(SETS))
R, RW, RWC = Access.READ, Access.READ | Access.WRITE, Access.READ | Access.WRITE | Access.CREATE


def reading(*paths: str) -> Wishes:
    return Wishes(read=parse_paths(READ_PATHS, paths, write=False))


def writing(*paths: str) -> Wishes:
    return Wishes(write=parse_paths(WRITE_PATHS, paths, write=True))


def calling(*calls: str) -> Wishes:
    return Wishes(calls=parse_calls(CALLS, calls, "x86_64"))


def with_wishes(wishes: Wishes, level: int = 4, remote_type: str = "web") -> ResolvedPolicy:
    return customise(resolved("content", level, remote_type), wishes, SETS_OF_POLICIES)


def access(got: ResolvedPolicy, path: str) -> Access:
    return lookup(got.files, AbsPath(path))


def say(got: ResolvedPolicy, call: str, arch: str = "x86_64") -> str:
    name, _, rest = call.partition(" ")
    table = filter.verdicts(got, arch)
    return str(filter.evaluate(table, NUMBERS[arch][name], args_of(rest, arch), AUDIT_ARCH[arch]))


@pytest.mark.parametrize("level", [3, 4])
def test_listed_paths_are_added_and_nothing_else(level: int) -> None:
    got = with_wishes(replace(reading("/srv/a", "/srv/tree/"), write=writing("/srv/w", "/srv/made/").write), level)
    plain = resolved("content", level, "web")
    wanted = {"/srv/a": R, "/srv/a/b": R, "/srv/tree/x": R, "/srv/w": RW, "/srv/made/new": RWC}
    assert {path: access(got, path) for path in wanted} == wanted
    assert access(got, "/srv/other") is Access.DENY
    assert {access(plain, path) for path in wanted} == {Access.DENY}
    assert replace(got, files=plain.files, added=()) == plain
    assert {rule.path for rule in got.files.rules()} - {rule.path for rule in plain.files.rules()} == {
        "/srv/a", "/srv/tree", "/srv/w", "/srv/made"}  # fmt: skip


def test_additions_keep_their_origin() -> None:
    got = with_wishes(Wishes(reading("/srv/a").read, writing("/srv/w/").write, calling("flock").calls))
    shown = [(entry.rule, entry.access, entry.origin, entry.warning) for entry in got.added]
    assert got.origins["/srv/a"] == f'{READ_PATHS}: "/srv/a" = "r"'
    assert got.calls["flock"].where == f"{CALLS}: flock = allow"
    assert shown == [("/srv/a", "r", READ_PATHS, ""), ("/srv/w", "rwc", WRITE_PATHS, ""), ("flock", "allow", CALLS, "")]


@pytest.mark.parametrize(
    ("path", "given", "words"),
    [
        ("/home/u/.foxden", Access.DENY, "no effect: the policy denies exactly this path"),
        ("/home/u/.ssh", Access.DENY, "no effect"),
        ("/home/u/.ssh/known_hosts", R, "opens a part of /home/u/.ssh, which the policy denies"),
        ("/home/u/.foxden/cookies.sqlite", R, "opens a part of /home/u/.foxden"),
        ("/proc/1/environ", R, "opens a part of /proc"),
        ("/home/u/pictures", R, ""),
        ("/proceedings", R, ""),
    ],
)
def test_path_that_the_policy_denies_is_warned_of(path: str, given: Access, words: str) -> None:
    got = with_wishes(reading(path))
    assert access(got, path) is given
    (entry,) = got.added
    assert words in entry.warning if words else not entry.warning


def test_listed_root_opens_what_no_longer_rule_denies() -> None:
    got = with_wishes(reading("/"))
    assert (access(got, "/etc/passwd"), access(got, "/home/u/.ssh/id")) == (R, Access.DENY)
    assert "opens all files" in got.added[0].warning


@pytest.mark.parametrize(
    ("items", "write", "words"),
    [
        (["srv/a"], False, "expected an absolute path"),
        (["~/a"], False, "expected an absolute path"),
        (["/srv/../etc"], False, "without '.', '..'"),
        (["/srv//a"], True, "without '.', '..'"),
        (["/a\0b"], False, "without NUL"),
        (["/" + "a" * 5000], False, "less than 4096"),
        (["/"], True, "expected a folder or a file"),
    ],
)
def test_wrong_path_is_an_error_that_names_the_preference(items: list[str], write: bool, words: str) -> None:
    with pytest.raises(PreferenceError, match=words) as caught:
        parse_paths(WRITE_PATHS if write else READ_PATHS, items, write=write)
    assert str(caught.value).startswith("security.sandbox.content.")
    assert caught.value.hint


@pytest.mark.parametrize("arch", list(NUMBERS))
def test_calls_are_given_by_number_of_the_architecture_or_by_name(arch: str) -> None:
    number = NUMBERS[arch]["flock"]
    assert parse_calls(CALLS, [str(number), "flock", "openat2"], arch) == ("flock", "flock", "openat2")


@pytest.mark.parametrize("item", ["100000", "-1", "flok", "0x49", "@memory", "flock()", "¹"])
def test_wrong_call_is_an_error_that_names_the_preference(item: str) -> None:
    with pytest.raises(PreferenceError, match="syscall_whitelist: expected the number or name") as caught:
        parse_calls(CALLS, [item], "x86_64")
    assert item != "flok" or caught.value.hint == "did you mean 'flock'?"


def test_listed_call_is_allowed_and_no_other() -> None:
    got = with_wishes(calling("flock"))
    assert say(resolved("content", 4, "web"), "flock") == "notify.EPERM"
    assert (say(got, "flock"), say(got, "ptrace")) == ("allow", "notify.EPERM")
    assert replace(got, calls={}, added=()) == replace(resolved("content", 4, "web"), calls={})


def test_listed_call_is_allowed_whatever_its_arguments() -> None:
    got = with_wishes(calling("ioctl"))
    assert {say(got, f"ioctl 0 {command}") for command in ("TCGETS", "TIOCSTI", "FIOCLEX")} == {"allow"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("execve", "starts programs"), ("fork", "makes processes"), ("io_uring_setup", "no filter sees"),
        ("ptrace", "other processes"), ("bpf", "exploits"), ("mount", "what files and processes there are"),
        ("reboot", "administers"), ("openat2", "no filter sees"), ("unlinkat", "no longer judged by the broker"),
        ("connect", "makes sockets"), ("flock", ""), ("mlock", ""),
    ],
)  # fmt: skip
def test_dangerous_call_is_warned_of(call: str, words: str) -> None:
    (entry,) = with_wishes(calling(call)).added
    assert (entry.warning.startswith("DANGEROUS") and words in entry.warning) if words else not entry.warning


def test_without_wishes_and_at_level_zero_nothing_changes() -> None:
    for level in range(5):
        assert with_wishes(Wishes(), level) is resolved("content", level, "web")
    assert with_wishes(Wishes(calls=("flock",), crash_on_error=True), 0) is resolved("content", 0, "web")


def test_crash_on_error_kills_what_would_be_recorded_and_leaves_files_to_the_broker() -> None:
    got = with_wishes(Wishes(crash_on_error=True))
    for call in ("ptrace", "execve", "clone 17", "kill 1 9", "socket AF_INET SOCK_STREAM", "ioctl 0 TIOCSTI", "flock"):
        assert say(resolved("content", 4, "web"), call).startswith("notify."), call
        assert say(got, call) == "kill", call
    for call in ("openat AT_FDCWD 0 O_RDONLY", "openat AT_FDCWD 0 O_RDWR", "statx", "mkdirat", "connect"):
        assert say(got, call) == "notify.EACCES", call
    others = {"ioctl 0 TCGETS": "errno.ENOTTY", "clone3": "errno.ENOSYS", "read": "allow"}
    assert {call: say(got, call) for call in others} == others
    assert [entry.origin for entry in got.added] == ["MOZ_SANDBOX_CRASH_ON_ERROR"]


# --- files that a preference adds to content ---------------------------------------------------------------------


def content(also: str, level: int, **variables: str) -> ResolvedPolicy:
    loaded = policy.load("content", read, also=[also])
    return policy.resolve(loaded, level=level, remote_type="web", variables=variables)


def test_display_is_reached_through_the_broker_only_where_it_is_asked_for() -> None:
    got = content("content-display", 4, runtime="/run/user/7", xauthority="/home/u/.Xauthority")
    wanted = {"/tmp/.X11-unix/X0": Access.CONNECT, "/run/user/7/wayland-0": Access.CONNECT,
              "/home/u/.Xauthority": R, "/run/user/7/bus": Access.DENY, "/tmp/x": Access.DENY}  # fmt: skip
    assert {path: access(got, path) for path in wanted} == wanted
    assert {access(resolved("content", 4, "web"), path) for path in wanted} == {Access.DENY}
    assert say(got, "socket AF_UNIX SOCK_STREAM|SOCK_CLOEXEC") == "allow"
    assert say(got, "connect") == "notify.EACCES"
    for call in ("socket AF_UNIX SOCK_DGRAM", "socket AF_INET SOCK_STREAM", "bind", "listen"):
        assert say(got, call) == "notify.EACCES", call
    assert say(resolved("content", 4, "web"), "socket AF_UNIX SOCK_STREAM") == "notify.EACCES"


def test_forced_namespaces_are_below_level_four_too_and_change_nothing_else() -> None:
    plain = policy.resolve(committed("content"), level=3, remote_type="web", variables={})
    got = content("content-namespaces", 3)
    assert got.namespaces == ("user", "pid", "ipc", "uts", "cgroup")
    assert replace(got, namespaces=()) == plain
    assert len(content("content-namespaces", 4).namespaces) == 7
