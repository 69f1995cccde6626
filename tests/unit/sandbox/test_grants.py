"""Grants and the text of a user's policy file: what is given, and every way of asking for too much or nonsense."""

from __future__ import annotations

import subprocess
import sys

import pytest

from foxden.errors import PolicyError
from foxden.sandbox.grants import (
    Grants,
    checked_connect,
    checked_environment,
    checked_names,
    checked_path,
    file_rules,
    parse_size,
)
from foxden.sandbox.grants_text import parse_grants, parsed_calls
from foxden.sandbox.paths import Access
from foxden.sandbox.policy_files import read_policy
from foxden.sandbox.syscalls import Call

RWC = Access.READ | Access.WRITE | Access.CREATE

# A small disk: what is there leads to where the second column says.
DISK = {
    "/": "/", "/data": "/data", "/data/in": "/data/in", "/project": "/project", "/link": "/data",
    "/link/in": "/data/in",
    "/proc": "/proc", "/proc/1": "/proc/1", "/sys": "/sys", "/dev": "/dev", "/dev/kvm": "/dev/kvm", "/loop": "/",
}  # fmt: skip


def parse(text: str) -> Grants:
    return parse_grants("f.toml", text, real=DISK.get, read=read_policy)


WHOLE = """
extends = "plugin"
[files]
"/data" = "r"
"/project" = "rwc"
"/data/secret" = "deny"
[env]
LANG = "C.UTF-8"
SSH_AUTH_SOCK = true
[network]
connect = ["API.example:443", "[2001:db8::1]"]
[syscalls]
allow = ["sched_setaffinity(pid == 0)", "mlock"]
[limits]
memory = "2 GiB"
cpu_time = 30
timeout = 1.5
processes = 64
file_size = "10M"
output = "1 MiB"
[protect]
names = ["secrets"]
except = [".git/hooks"]
"""


def test_every_part_of_a_policy_file_is_read() -> None:
    assert parse(WHOLE) == Grants(
        files=(("/data", Access.READ), ("/project", RWC), ("/data/secret", Access.DENY)),
        connect=("api.example:443", "[2001:db8::1]"),
        environment=(("LANG", "C.UTF-8"), ("SSH_AUTH_SOCK", None)),
        syscalls=("sched_setaffinity(pid == 0)", "mlock"),
        memory=2 << 30, cpu_time_s=30.0, timeout_s=1.5, processes=64, file_size=10 << 20, output=1 << 20,
        protect=("secrets",), unprotected=(".git/hooks",), extends="plugin",
    )  # fmt: skip
    assert parsed_calls(parse(WHOLE))[1] == Call("mlock")


def test_an_empty_file_grants_nothing() -> None:
    assert parse("").is_empty()
    assert not parse('[files]\n"/data" = "r"').is_empty()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[files", "expected TOML"),
        ("file = 1", "one of the keys extends, files"),
        ('extends = "content"', "extends: expected 'plugin'"),
        ("files = 3", "files: expected a table"),
        ('[files]\n"/data" = "q"', "letters of 'rwcx'"),
        ('[files]\n"/data" = 7', "letters of 'rwcx'"),
        ('[files]\n"data" = "r"', "expected an absolute path, got 'data'"),
        ('[files]\n"~/x" = "r"', "expected an absolute path, got '~/x'"),
        ('[files]\n"/nothing" = "r"', "that exists, got '/nothing'"),
        ('[files]\n"/link/in" = "r"', "through a symbolic link, '/link/in'"),
        ('[files]\n"/" = "r"', "less than '/', which is never granted"),
        ('[files]\n"/loop" = "r"', "through a symbolic link, '/loop'"),
        ('[files]\n"/proc/1" = "r"', "less than '/proc/1'"),
        ('[files]\n"/dev" = "rw"', "less than '/dev'"),
        ('[files]\n"/data" = "r"\n"/data/" = "w"', "one rule for a path, got '/data' too"),
        ('[files]\n"/data" = "r"\n"/data" = "w"', "expected TOML"),
        ('[files]\n"relative" = "deny"', "expected an absolute path"),
        ("[env]\nA = 3", "env.A: expected a string, or true"),
        ("[env]\nA = false", "env.A: expected a string, or true"),
        ('[env]\n"A=B" = "x"', "the name of an environment variable"),
        ("[env]\nLD_PRELOAD = true", "expected LD_PRELOAD with its value"),
        ("[network]\nhosts = []", "one of the keys network.connect"),
        ('[network]\nconnect = "x"', "a list of strings"),
        ('[network]\nconnect = ["https://x/"]', "expected HOST or HOST:PORT"),
        ('[syscalls]\nallow = ["ptrace"]', "a call that can be granted, got 'ptrace'"),
        ('[syscalls]\nallow = ["io_uring_setup"]', "a call that can be granted"),
        ('[syscalls]\nallow = ["openat2"]', "a call that can be granted"),
        ('[syscalls]\nallow = ["frobnicate"]', "the name of a system call"),
        ('[syscalls]\nkill = ["read"]', "one of the keys syscalls.allow"),
        ("[limits]\nmemory = 5", "limits.memory: expected a size"),
        ('[limits]\nmemory = "5 parsecs"', "limits.memory: expected a size"),
        ('[limits]\nmemory = "0 B"', "limits.memory: expected a size"),
        ("[limits]\nprocesses = 0", "a number from 1 to 65536"),
        ("[limits]\nprocesses = true", "a number from 1 to 65536"),
        ("[limits]\ntimeout = -1", "limits.timeout: expected seconds"),
        ("[limits]\ntimeout = nan", "limits.timeout: expected seconds"),
        ('[protect]\nnames = ["/etc"]', "protect.names: expected a name"),
        ('[protect]\nexcept = [".."]', "protect.except: expected a name"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse(text)
    assert words in str(caught.value)
    assert str(caught.value).startswith("f.toml")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('[files]\n"/nothing" = "r"', "grant the directory: /"),
        ('[files]\n"/link" = "r"', "it leads to '/data': grant that"),
        ('[files]\n"/" = "r"', "the system's programs and libraries are readable without a grant"),
        ('[syscalls]\nallow = ["ptrace"]', "no option allows this: it reaches into other processes"),
        ("[filez]", "did you mean 'files'?"),
        ("[limits]\nmemroy = 1", "did you mean 'memory'?"),
    ],
)
def test_what_is_wrong_comes_with_what_to_do(text: str, hint: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse(text)
    assert hint in caught.value.hint


def test_a_link_can_be_followed_where_the_caller_says_so() -> None:
    assert checked_path("--read", "/link/in", DISK.get, follow=True) == "/data/in"
    with pytest.raises(PolicyError, match="never granted"):
        checked_path("--read", "/loop", DISK.get, follow=True)


def test_a_single_device_can_be_granted() -> None:
    assert checked_path("--read", "/dev//kvm/", DISK.get) == "/dev/kvm"


def test_what_was_said_nearer_wins_and_lists_add_up() -> None:
    outer = Grants(read=("/data",), memory=1, environment=(("A", "1"),))
    inner = Grants(read=("/data", "/project"), memory=2, timeout_s=1.0)
    assert inner.over(outer) == Grants(read=("/data", "/project"), memory=2, timeout_s=1.0, environment=(("A", "1"),))


def test_grants_of_one_path_add_up_to_one_rule() -> None:
    grants = Grants(
        read=("/project",), write=("/project",), files=(("/data", Access.STAT), ("/project", Access.EXECUTE))
    )
    assert file_rules(grants) == (("/data", Access.STAT), ("/project", RWC | Access.EXECUTE))


def test_a_path_that_is_both_given_and_denied_is_an_error() -> None:
    with pytest.raises(PolicyError, match="got --read /project and"):
        file_rules(Grants(read=("/project",), files=(("/project", Access.DENY),)))
    assert file_rules(Grants(read=("/project",), files=(("/project/x", Access.DENY),)))


@pytest.mark.parametrize("text", ["example.org", "a-b.c:1", "192.0.2.1:80", "[::1]", "[2001:db8::1]:443", "localhost"])
def test_places_to_connect_to(text: str) -> None:
    assert checked_connect("--connect", text.upper()) == text


@pytest.mark.parametrize(
    "text",
    ["", ":80", "a:", "a:0", "a:65536", "a:x", "http://a", "a/b", "a b", "[::1", "[::1]x", "[::1]:", "[fe80::1%eth0]",
     "::1", "a..b", "-a.b", "a\n", "ä.example", "a:\u0664\u0664"],
)  # fmt: skip
def test_no_places_to_connect_to(text: str) -> None:
    with pytest.raises(PolicyError, match="expected HOST or HOST:PORT"):
        checked_connect("--connect", text)


def test_environment_by_value_may_load_code_and_by_name_may_not() -> None:
    assert checked_environment("--env", "LD_PRELOAD", "/x.so") == ("LD_PRELOAD", "/x.so")
    with pytest.raises(PolicyError, match="without NUL"):
        checked_environment("--env", "A", "x\0y")


def test_protected_names() -> None:
    assert checked_names("x", [".env", ".git/hooks", "*.pem"]) == (".env", ".git/hooks", "*.pem")


@pytest.mark.parametrize(("text", "size"), [("1", 1), ("64M", 64 << 20), ("1 gib", 1 << 30), (" 5k ", 5120), ("7B", 7)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size("--memory", text) == size


def test_grants_load_nothing_heavy() -> None:
    code = "import sys, foxden.sandbox.grants as g; g.Grants(); print(sorted(m for m in sys.modules if m in " \
           "('dataclasses','pathlib','tomllib','ipaddress','foxden.sandbox.paths')))"  # fmt: skip
    done = subprocess.run([sys.executable, "-S", "-c", code], env={"PYTHONPATH": ":".join(p for p in sys.path if p)},
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout == "[]\n"
