"""What a policy answers, which line says so, and the hint: tables over every type, checked against the filter."""

from __future__ import annotations

import platform
from fnmatch import fnmatchcase

import pytest

from foxden.errors import PolicyError
from foxden.model.process_types import BY_NAME, PROCESS_TYPES, RemoteType
from foxden.parent.plans import Plans
from foxden.parent.prefs import Prefs
from foxden.sandbox import sensitive
from foxden.sandbox.constants import AUDIT_ARCH
from foxden.sandbox.explain import Explainer, errno_name, name_of, parse_act
from foxden.sandbox.explain_hints import WAYS, Hints
from foxden.sandbox.filter import evaluate, verdicts
from foxden.sandbox.hopeless import HOPELESS_SETS, NOTHING, hopeless_calls
from foxden.sandbox.paths import Access
from foxden.sandbox.policy import load, resolve
from foxden.sandbox.policy_files import read_policy
from foxden.sandbox.policy_text import parse_sets
from foxden.sandbox.sensitive import secret_reason
from foxden.sandbox.syscall_numbers import NUMBERS
from foxden.sandbox.syscalls import Action

ARCH = "x86_64"
VARIABLES = {
    "fonts": "/usr/share/fonts",
    "install": "/install",
    "profile": "/profile",
    "stdlib": "/stdlib",
    "home": "/home/me",
}
READ, WRITE, CREATE, EXECUTE, STAT = Access.READ, Access.WRITE, Access.CREATE, Access.EXECUTE, Access.STAT


def explainer(name: str, level: int = 1, remote: str | None = None, *, text: str = "", arch: str = ARCH) -> Explainer:
    """Of a committed policy, or of one whose text is given."""

    def read(asked: str) -> str:
        return text if text and asked == name else read_policy(asked)

    resolved = resolve(load(name, read), level=level, remote_type=remote, variables=VARIABLES)
    return Explainer(resolved, Hints(name, read_policy), arch=arch)


# --- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "level", "remote", "path", "access", "errno", "rule"),
    [
        ("content", 0, "web", "/etc/passwd", READ, "", "content.toml level 0: no sandbox at all"),
        ("content", 1, "web", "/etc/passwd", READ, "", "content.toml level 1: @path-reads = allow (then the kernel"),
        ("content", 1, "web", "/etc/passwd", WRITE, "", "content.toml level 1: @path-writes: openat("),
        ("content", 2, "web", "/etc/passwd", READ, "", 'content.toml level 2: files "/" = "r"'),
        ("content", 2, "web", "/etc/passwd", WRITE, "EACCES", 'content.toml level 2: files "/" = "r"'),
        ("content", 2, "web", "/etc/new", CREATE, "EACCES", 'content.toml level 2: files "/" = "r"'),
        ("content", 3, "web", "/etc/passwd", READ, "EACCES", 'content.toml level 3: files "/" = "deny"'),
        ("content", 3, "web", "/profile/cookies", READ, "EACCES", 'content.toml level 3: files "{profile}" = "deny"'),
        ("content", 3, "web", "/profile/chrome/x", READ, "", 'content.toml level 3: files "{profile}/chrome" = "r"'),
        ("content", 3, "web", "/usr/share/fonts/x", STAT, "", 'content.toml level 3: files "{fonts}" = "r"'),
        ("content", 4, "file", "/etc/passwd", READ, "", 'level 3: files.when-remote-type.file "/" = "r"'),
        ("content", 4, "file", "/proc/1/mem", READ, "EACCES", 'content.toml level 3: files "/proc" = "deny"'),
        ("content", 4, "web", "/bin/sh", EXECUTE, "EPERM", "common.toml: @exec = notify.EPERM"),
        ("utility", 1, None, "/etc/passwd", READ, "EACCES", 'strict.toml: files "/" = "deny"'),
        ("gmp", 1, None, "/etc/passwd", READ, "EACCES", 'gmp.toml: files "/" = "deny"'),
        ("socket", 1, None, "/etc/hosts", READ, "", 'socket.toml: files "/etc/hosts" = "r"'),
        ("socket", 1, None, "/etc/passwd", READ, "ENOENT", "socket.toml level 1: no file rule speaks of it"),
        ("socket", 1, None, "/etc/hosts", WRITE, "EACCES", 'socket.toml: files "/etc/hosts" = "r"'),
        ("content", 4, "file", "../x", READ, "EACCES", "content.toml level 4: expected an absolute path"),
    ],
)
def test_file_is_judged_by_its_line(
    policy: str, level: int, remote: str | None, path: str, access: Access, errno: str, rule: str
) -> None:
    answer = explainer(policy, level, remote).file(path, access)
    assert (answer.allowed, answer.errno) == (not errno, errno)
    assert rule in answer.rule


def test_of_several_wishes_the_refused_one_is_told() -> None:
    answer = explainer("content", 2, "web").file("/etc/passwd", READ | WRITE)
    assert (answer.allowed, answer.word()) == (False, "refused with EACCES")


def test_a_call_that_kills_is_told_for_files() -> None:
    text = 'include = ["gmp"]\n[syscalls]\nkill = ["openat"]'
    answer = explainer("x", text=text).file("/x", READ)
    assert (answer.kills, answer.word(), answer.rule) == (True, "kills the process", "x.toml: openat = kill")


def test_what_a_preference_added_is_told_with_its_name() -> None:
    prefs = Prefs(
        {
            "security.sandbox.content.read_path_whitelist": "/srv/data",
            "security.sandbox.content.syscall_whitelist": "mlock",
        },
        environment={},
    )
    resolved = Plans(prefs, None).resolved(BY_NAME["content"], RemoteType.WEB)
    judge = Explainer(resolved, Hints("content", read_policy), arch=ARCH)
    read = judge.file("/srv/data/x", READ)
    assert (read.allowed, read.rule) == (True, 'security.sandbox.content.read_path_whitelist: "/srv/data" = "r"')
    call = judge.call(NUMBERS[ARCH]["mlock"])
    assert (call.allowed, call.rule) == (True, "security.sandbox.content.syscall_whitelist: mlock = allow")


# --- calls ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "act", "word", "rule"),
    [
        ("content", "ptrace", "refused with EPERM", "common.toml: @other-processes = notify.EPERM"),
        ("content", "mlock", "refused with EPERM", "common.toml: default = notify.EPERM"),
        ("content", "read", "allowed", "common.toml: @own-descriptors = allow"),
        ("content", "clone3", "refused with ENOSYS", "common.toml: @unseen-flags = errno.ENOSYS"),
        ("content", "socket(domain=AF_INET)", "refused with EACCES", "content.toml level 4: @socket-calls"),
        ("content", "openat(flags=O_RDWR|O_CREAT)", "refused with EACCES", "level 2: @path-writes: openat("),
        ("content", "prctl(option=PR_CAPBSET_READ)", "refused with EINVAL", "prctl(option == PR_CAPBSET_READ) = errno"),
        ("content", "9999", "refused with ENOSYS", "content.toml level 4: no architecture of foxden's has this call"),
        ("gmp", "ptrace", "kills the process", "gmp.toml: @other-processes = kill"),
        ("gmp", "mlock", "kills the process", "gmp.toml: default = kill"),
    ],
)  # fmt: skip
def test_call_is_judged_by_its_line(policy: str, act: str, word: str, rule: str) -> None:
    asked = explainer(policy, 4 if policy == "content" else 1)
    number, args = parse_act(act, ARCH)
    answer = asked.call(number, args or ())
    assert answer.word() == word
    assert rule in answer.rule


def test_a_call_whose_arguments_matter_is_told_with_its_cases() -> None:
    answer = explainer("content", 2).call_in_general("openat")
    assert (answer.allowed, answer.rule) == (True, "content.toml level 1: @path-reads = allow")
    assert answer.cases[0][0] == "notify.EACCES"
    assert answer.cases[0][1].startswith("content.toml level 2: @path-writes: openat(flags & ")
    assert explainer("content", 2).call_in_general("ptrace").cases == ()


@pytest.mark.parametrize("arch", ["x86_64", "aarch64"])
@pytest.mark.parametrize("row", [row for row in PROCESS_TYPES if row.child], ids=lambda row: row.name)
def test_every_call_is_told_as_the_filter_has_it(row: object, arch: str) -> None:
    """Word for word: the explanation is of the filter that the child gets, and every refusal has its line and hint."""
    policy = row.policy  # type: ignore[attr-defined]
    level = load(policy, read_policy).max_level
    asked = explainer(policy, level, arch=arch)
    table = verdicts(asked.resolved, arch)
    for name, number in NUMBERS[arch].items():
        answer = asked.call(number)
        verdict = evaluate(table, number, (0,) * 6, AUDIT_ARCH[arch])
        assert answer.allowed == (verdict.action is Action.ALLOW), name
        assert answer.kills == (verdict.action is Action.KILL), name
        assert ".toml" in answer.rule, name
        assert bool(answer.hint) == (not answer.allowed), name


@pytest.mark.parametrize("text", ["frobnicate", "openat(flags", "openat(flag=1)", "openat(flags=O_NOPE)", "openat(1)",
                                  "getpid(x=1)"])  # fmt: skip
def test_act_that_is_none_is_refused_in_words(text: str) -> None:
    with pytest.raises(PolicyError, match="the call: expected"):
        parse_act(text, ARCH)


def test_act_is_read_by_name_number_and_arguments() -> None:
    assert parse_act("openat", ARCH) == (257, None)
    assert parse_act("0x101", ARCH) == (257, None)
    assert parse_act("openat(flags=O_RDWR|0x800, dirfd=-100)", ARCH) == (257, (2**64 - 100, 0, 0x802, 0, 0, 0))
    assert parse_act("openat()", ARCH) == (257, (0,) * 6)


def test_numbers_have_names() -> None:
    assert name_of(257, "x86_64") == "openat"
    assert name_of(56, "aarch64") == "openat"
    assert name_of(9999, platform.machine()) is None
    assert (errno_name(13), errno_name(0), errno_name(4000)) == ("EACCES", None, "errno 4000")


# --- hints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("process_type", "path", "access", "hint"),
    [
        ("plugin", "/data/x", READ, "--read /data/x"),
        ("plugin", "/data/a b", READ, "--read '/data/a b'"),
        ("plugin", "/data/$(id)", STAT, "--read '/data/$(id)'"),
        ("plugin", "/data/x", WRITE, "--write /data/x"),
        ("plugin", "/data/new", WRITE | CREATE, "--write /data"),
        ("plugin", "/data/tool", EXECUTE, "--read /data/tool"),
        ("plugin", "/home/me/.ssh/id_rsa", READ, "--read /home/me/.ssh/id_rsa  (beware: it seems to hold SSH keys)"),
        ("plugin", "/new", CREATE, NOTHING + "name the directories that are needed"),
        ("plugin", "/proc/1/environ", READ, NOTHING + "a program has a /proc of its own"),
        ("utility", "/data/it's", READ, 'read=["/data/it\'s"]'),
        ("utility", "/data/x", WRITE, "write=['/data/x']"),
        ("utility", "/bin/sh", EXECUTE, NOTHING + "programs are started by `foxden run`"),
        ("content", "/data/x", READ, "--pref security.sandbox.content.read_path_whitelist=/data/x"),
        ("content", "/data/x", WRITE, "--pref security.sandbox.content.write_path_whitelist=/data/x"),
        ("content", "/data/new", WRITE | CREATE, "--pref security.sandbox.content.write_path_whitelist=/data/"),
        ("content", "/proc/1/mem", READ, NOTHING + "it shows every process of the user"),
        ("utility", "/proc/1/mem", READ, NOTHING + "it shows every process of the user"),
        ("utility", "/proc/self/environ", READ, NOTHING + "it shows every process of the user"),
        ("utility", "/proc", READ, NOTHING + "it shows every process of the user"),
        ("utility", "/proc/vmstat", READ, "read=['/proc/vmstat']"),
        ("utility", "/proc/sys/vm/swappiness", WRITE, NOTHING + "what /proc says of the machine can be read"),
        ("plugin", "/proc/meminfo", READ, NOTHING + "a program has a /proc of its own"),
        ("gmp", "/data/x", READ, "den.grant(pid, '/data/x', 'r')"),
        ("gmp", "/data/x", WRITE, NOTHING + "a plugin sees its own files"),
        ("rdd", "/data/x", WRITE, "den.grant(pid, '/data/x', 'rw')"),
        ("vr", "/data/new", CREATE, "den.grant(pid, '/data', 'rwc')"),
        ("socket", "/data/x", READ, NOTHING + "the socket process reads the resolver's files"),
    ],
)
def test_hint_for_a_file(process_type: str, path: str, access: Access, hint: str) -> None:
    assert Hints(process_type, read_policy).for_file(path, access).startswith(hint)


@pytest.mark.parametrize(
    ("process_type", "call", "hint"),
    [
        ("plugin", "mlock", 'a policy file, `foxden run --policy F.toml`, with [syscalls] allow = ["mlock"]'),
        ("plugin", "socket", "--connect HOST"),
        ("plugin", "openat", "it depends on the path: --read PATH"),
        ("plugin", "ptrace", NOTHING + "it reaches into other processes"),
        ("plugin", "io_uring_setup", NOTHING + "it has the kernel do work that no filter sees"),
        ("content", "mlock", "--pref security.sandbox.content.syscall_whitelist=149"),
        ("content", "socket", NOTHING + "the socket process owns the network"),
        ("content", "fork", NOTHING + "programs are started by"),
        ("utility", "mlock", NOTHING + "a function gets files and hosts"),
        ("utility", "socket", "connect=[HOST]"),
        ("gmp", "mlock", NOTHING),
        ("content", "kill", NOTHING + "signals go to no process but its own"),
    ],
)
def test_hint_for_a_call(process_type: str, call: str, hint: str) -> None:
    assert Hints(process_type, read_policy).for_call(call, NUMBERS[ARCH][call]).startswith(hint)


@pytest.mark.parametrize(
    ("process_type", "host", "port", "code", "hint"),
    [
        ("plugin", "example.org", 443, "", "--connect example.org:443"),
        ("plugin", "2001:db8::1", 443, "", "--connect '[2001:db8::1]:443'"),
        ("plugin", "a;id", None, "", "--connect 'a;id'"),
        ("utility", "example.org", None, "", "connect=['example.org']"),
        ("content", "example.org", 443, "", NOTHING + "the socket process owns the network"),
        ("socket", "intra", 80, "NS_ERROR_LOCAL_NETWORK_ACCESS_DENIED", "--pref foxden.network.private-hosts=intra"),
        ("socket", "x", 25, "NS_ERROR_PORT_ACCESS_NOT_ALLOWED", NOTHING + "the port belongs to a service"),
    ],
)
def test_hint_for_a_host(process_type: str, host: str, port: int | None, code: str, hint: str) -> None:
    assert Hints(process_type, read_policy).for_host(host, port, code).startswith(hint)


def test_every_type_of_child_has_its_ways() -> None:
    assert {row.name for row in PROCESS_TYPES if row.child} <= WAYS.keys()


def test_no_call_of_a_hopeless_set_is_ever_hinted_at() -> None:
    sets = parse_sets("sets", read_policy("sets"))
    hopeless = hopeless_calls(sets)
    assert {call.name for name in HOPELESS_SETS for call in sets[name]} == hopeless.keys()
    for process_type in WAYS:
        hints = Hints(process_type, read_policy)
        assert all(hints.for_call(name, 1).startswith(NOTHING) for name in hopeless)


# --- secrets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/home/me/.ssh/id_rsa", "/home/me/.ssh", "/home/me/.aws/credentials", "/p/.env", "/p/.env.local", "/p/server.PEM",
     "/home/me/.docker/config.json", "/etc/shadow", "/home/me/.bash_history", "/home/me/.gnupg/x", "/run/secrets/db"],
)  # fmt: skip
def test_secret_is_known_by_its_name(path: str) -> None:
    assert secret_reason(path)


@pytest.mark.parametrize("path", ["/p/env", "/p/data.csv", "/home/me/ssh", "/p/keyboard", "/p/.docker/other", "/"])
def test_plain_file_is_no_secret(path: str) -> None:
    assert secret_reason(path) == ""


@pytest.mark.parametrize("pattern", sorted({*sensitive._NAMES, *sensitive._KEPT_BACK_FILES}))
def test_names_of_secrets_match_as_fnmatch_has_it(pattern: str) -> None:
    assert pattern.count("*") <= 1
    assert not set(pattern) & set("?[]")
    plain, any_name = pattern.replace("*", ""), pattern.replace("*", "x.y")
    for name in (plain, f"{plain}x", f"x{plain}", any_name, f"{any_name}x", plain[1:], ""):
        assert sensitive._matches(name, pattern) == fnmatchcase(name, pattern), name


def test_no_letter_of_a_name_counts_twice() -> None:
    assert sensitive._matches("abba", "ab*ba")
    assert not sensitive._matches("aba", "ab*ba")
