"""The text of a policy: every word of it is known, or an error that names file, key and value."""

from __future__ import annotations

import re

import pytest

from foxden.errors import PolicyError
from foxden.sandbox.paths import Access
from foxden.sandbox.policy_text import VARIABLES, parse, parse_sets
from foxden.sandbox.syscalls import ALLOW, Action, Call, Verdict

WHOLE = """
include = ["common"]
[syscalls]
default = "notify.EPERM"
allow = ["read", "@threads"]
errno.EPERM = ["fork"]
notify.EACCES = ["openat"]
kill = ["ptrace"]
[files]
"{profile}/chrome" = "r"
"/" = "deny"
[files.when-remote-type.file]
"/" = "r"
[[level]]
from = 2
namespaces = ["net", "user"]
root = "empty"
network = "none"
capabilities = "drop"
reads = "broker"
landlock = true
default = "errno.EPERM"
errno.ENOSYS = ["clone3"]
[level.files]
"{home}" = "deny"
[limits]
memory = "1 GiB"
file_size = "64 MiB"
locked_memory = "0 B"
address_space = "4096 KiB"
descriptors = 256
tasks = 64
oom_score_adj = 1000
"""


def test_every_part_of_a_text_is_read() -> None:
    source = parse("x", WHOLE)
    base, level = source.places
    assert (source.name, source.include) == ("x", ("common",))
    assert base.level == 1
    assert str(base.default) == "notify.EPERM"
    assert [(str(line.verdict), line.call, line.set_name) for line in base.calls] == [
        ("allow", Call("read"), ""),
        ("allow", None, "threads"),
        ("errno.EPERM", Call("fork"), ""),
        ("notify.EACCES", Call("openat"), ""),
        ("kill", Call("ptrace"), ""),
    ]
    assert [(line.variable, line.rest, line.access, line.remote_type) for line in base.files] == [
        ("profile", "/chrome", Access.READ, None),
        ("", "/", Access.DENY, None),
        ("", "/", Access.READ, "file"),
    ]
    assert (level.level, level.default) == (2, Verdict(Action.ERRNO, 1))
    assert level.namespaces == ("user", "net"), "in the order of NAMESPACES"
    assert level.choices == {
        "root": "empty", "network": "none", "capabilities": "drop", "reads": "broker", "landlock": True,
    }  # fmt: skip
    assert level.calls[0].verdict == Verdict(Action.ERRNO, 38)
    assert level.files[0].variable == "home"
    assert source.limits == {
        "memory": 1 << 30, "file_size": 64 << 20, "locked_memory": 0, "address_space": 4 << 20,
        "descriptors": 256, "tasks": 64, "oom_score_adj": 1000,
    }  # fmt: skip


def test_empty_text_is_a_policy_that_says_nothing() -> None:
    source = parse("x", "")
    assert (source.include, source.limits, len(source.places)) == ((), {}, 1)


def test_where_of_a_line_names_file_and_key() -> None:
    source = parse("x", '[syscalls]\nerrno.EPERM = ["fork"]\n[[level]]\nfrom = 1\nallow = ["read"]')
    assert [line.where for place in source.places for line in place.calls] == [
        "x.toml: syscalls.errno.EPERM",
        "x.toml: level[0].allow",
    ]


_ACCESSES = "expected 'deny', 'stat', 'connect' or letters of 'rwcx'"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a b", "x.toml: expected TOML, got an error of its grammar", ""),
        ("[limit]", "x.toml: expected one of the keys include, syscalls, files, level, limits, got 'limit'", "limits"),
        ("include = 'common'", "x.toml: include: expected a list of strings, got 'common'", ""),
        ("include = [1]", "x.toml: include: expected a list of strings, got [1]", ""),
        ("syscalls = 1", "x.toml: syscalls: expected a table, got 1", ""),
        ("files = 1", "x.toml: files: expected a table, got 1", ""),
        ("limits = 1", "x.toml: limits: expected a table, got 1", ""),
        ("[syscalls]\nalow = []", "x.toml: syscalls: expected one of the keys default, allow, errno", "allow"),
        ("[syscalls]\nallow = 'read'", "x.toml: syscalls.allow: expected a list of strings, got 'read'", ""),
        ("[syscalls]\nallow = ['raed']",
         "x.toml: syscalls.allow: expected the name of a system call, got 'raed'", "read"),
        ("[syscalls]\ndefault = 'deny'", "x.toml: syscalls.default: expected 'allow', 'kill'", ""),
        ("[syscalls]\nerrno = ['fork']", "x.toml: syscalls.errno: expected a table, got ['fork']", ""),
        ("[syscalls]\nerrno.EPREM = []", "x.toml: syscalls.errno: expected the name of an errno, got 'EPREM'", "EPERM"),
        ("[syscalls]\ntrap = ['fork']", "x.toml: syscalls.trap: expected 'allow', 'kill'", ""),
        ("[syscalls]\nfrom = 1", "x.toml: syscalls: expected one of the keys", ""),
        ("[level]\nfrom = 1", "x.toml: level: expected [[level]], not [level]", ""),
        ("level = [1]", "x.toml: level[0]: expected a table, got 1", ""),
        ("[[level]]\nroot = 'empty'", "x.toml: level[0].from: expected a level from 1 to 4", ""),
        ("[[level]]\nfrom = 0", "x.toml: level[0].from: expected a level from 1 to 4 (0 is no sandbox), got 0", ""),
        ("[[level]]\nfrom = 5", "x.toml: level[0].from: expected a level from 1 to 4 (0 is no sandbox), got 5", ""),
        ("[[level]]\nfrom = true", "x.toml: level[0].from: expected a level", ""),
        ("[[level]]\nfrom = '1'", "x.toml: level[0].from: expected a level", ""),
        ("[[level]]\nfrom = 2\n[[level]]\nfrom = 2", "x.toml: level[1].from: expected a level above 2", ""),
        ("[[level]]\nfrom = 2\n[[level]]\nfrom = 1", "x.toml: level[1].from: expected a level above 2", ""),
        ("[[level]]\nfrom = 1\nrot = 'empty'", "x.toml: level[0]: expected one of the keys", "root"),
        ("[[level]]\nfrom = 1\nroot = 'emtpy'",
         "x.toml: level[0].root: expected 'host' or 'empty', got 'emtpy'", "empty"),
        ("[[level]]\nfrom = 1\nroot = true", "x.toml: level[0].root: expected 'host' or 'empty', got True", ""),
        ("[[level]]\nfrom = 1\nlandlock = 'yes'", "x.toml: level[0].landlock: expected true or false, got 'yes'", ""),
        ("[[level]]\nfrom = 1\nnamespaces = 'net'", "x.toml: level[0].namespaces: expected a list of strings", ""),
        ("[[level]]\nfrom = 1\nnamespaces = ['nte']", "x.toml: level[0].namespaces: expected one of user, pid", "net"),
        ("[files]\n'/a' = 'rr'", f"x.toml: files.'/a': {_ACCESSES}, got 'rr'", ""),
        ("[files]\n'/a' = true", f"x.toml: files.'/a': {_ACCESSES}, got True", ""),
        ("[files]\n'a' = 'r'", "x.toml: files.'a': expected an absolute path, got 'a'", ""),
        ("[files]\n'/a/../b' = 'r'", "x.toml: files.'/a/../b': expected a path without '.', '..'", ""),
        ("[files]\n'{home}/' = 'r'", "x.toml: files.'{home}/': expected a path without", ""),
        ("[files]\n'{home}x' = 'r'", "x.toml: files.'{home}x': expected an absolute path, got 'x'", ""),
        ("[files]\n'/a/{home}' = 'r'\n'{hoem}' = 'r'", "x.toml: files.'{hoem}': expected one of the variables", "home"),
        ("[files]\n'' = 'r'", "x.toml: files.'': expected an absolute path", ""),
        ("[files.when-remote-type.flie]\n'/' = 'r'", "x.toml: files.when-remote-type: expected a remote type", "file"),
        ("[files]\nwhen-remote-type = 1", "x.toml: files.when-remote-type: expected a table, got 1", ""),
        ("[files.when-remote-type]\nfile = 1", "x.toml: files.when-remote-type.file: expected a table, got 1", ""),
        ("[limits]\nmemry = '1 GiB'", "x.toml: limits: expected one of the keys memory", "memory"),
        ("[limits]\nmemory = '1 GB'",
         "x.toml: limits.memory: expected a size as '64 MiB' in one of B, KiB, MiB, GiB", ""),
        ("[limits]\nmemory = 1024", "x.toml: limits.memory: expected a size", ""),
        ("[limits]\nmemory = '1GiB'", "x.toml: limits.memory: expected a size", ""),
        ("[limits]\nmemory = '-1 GiB'", "x.toml: limits.memory: expected a size", ""),
        ("[limits]\nmemory = '1048577 GiB'", "x.toml: limits.memory: expected at most 1048576 GiB", ""),
        ("[limits]\ndescriptors = '256'", "x.toml: limits.descriptors: expected a number from 0 to 1048576", ""),
        ("[limits]\ndescriptors = true", "x.toml: limits.descriptors: expected a number", ""),
        ("[limits]\ntasks = -1", "x.toml: limits.tasks: expected a number from 0 to 65536, got -1", ""),
        ("[limits]\noom_score_adj = 1001", "x.toml: limits.oom_score_adj: expected a number from 0 to 1000", ""),
    ],
)  # fmt: skip
def test_wrong_texts_name_file_key_and_value(text: str, message: str, hint: str) -> None:
    with pytest.raises(PolicyError, match=re.escape(message)) as caught:
        parse("x", text)
    if hint:
        assert caught.value.hint == f"did you mean {hint!r}?"


def test_sets_are_lists_of_calls() -> None:
    assert parse_sets("sets", 'time = ["nanosleep", "clone(flags == 0)"]').keys() == {"time"}
    with pytest.raises(PolicyError, match=re.escape("sets.toml: time: expected a list of strings, got 'nanosleep'")):
        parse_sets("sets", 'time = "nanosleep"')
    with pytest.raises(PolicyError, match=re.escape("sets.toml: time: expected a call as `name`")):
        parse_sets("sets", 'time = ["@x"]')


def test_variables_are_documented_names() -> None:
    assert all(name.isidentifier() for name in VARIABLES)
    assert ALLOW.errno == 0
