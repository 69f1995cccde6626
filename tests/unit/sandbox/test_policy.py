"""How the lines of a policy meet: places, includes, sets, levels, files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pytest
from tests.unit.sandbox.support import args_of, texts

from foxden.errors import PolicyError
from foxden.sandbox import filter, policy
from foxden.sandbox.constants import AUDIT_ARCH
from foxden.sandbox.paths import AbsPath, Access, FileRule
from foxden.sandbox.syscall_numbers import NUMBERS

Variables = Mapping[str, str | Sequence[str]]


def made(
    level: int = 1, remote_type: str | None = None, variables: Variables | None = None, **by_name: str
) -> policy.ResolvedPolicy:
    loaded = policy.load("x", texts(**by_name))
    return policy.resolve(loaded, level=level, remote_type=remote_type, variables=variables or {})


def say(resolved: policy.ResolvedPolicy, call: str) -> str:
    name, _, rest = call.partition(" ")
    arch = "x86_64"
    table = filter.verdicts(resolved, arch)
    return str(filter.evaluate(table, NUMBERS[arch][name], args_of(rest, arch), AUDIT_ARCH[arch]))


def calls(*lines: str, level: str = "") -> str:
    return "\n".join(["[syscalls]", 'default = "errno.EPERM"', *lines, level])


# ---- rule 1: conditional lines come first


def test_conditional_line_is_looked_at_before_the_unconditional_one() -> None:
    text = calls('errno.EACCES = ["socket"]', 'allow = ["socket(domain == AF_UNIX)"]')
    assert say(made(x=text), "socket AF_UNIX") == "allow"
    assert say(made(x=text), "socket AF_INET") == "errno.EACCES"


def test_call_with_conditional_lines_only_falls_to_the_default() -> None:
    assert say(made(x=calls('allow = ["socket(domain == AF_UNIX)"]')), "socket AF_INET") == "errno.EPERM"


def test_all_conditions_of_a_line_must_hold() -> None:
    resolved = made(x=calls('allow = ["socket(domain == AF_UNIX and type == SOCK_STREAM)"]'))
    assert say(resolved, "socket AF_UNIX SOCK_STREAM") == "allow"
    assert say(resolved, "socket AF_UNIX SOCK_DGRAM") == "errno.EPERM"
    assert say(resolved, "socket AF_INET SOCK_STREAM") == "errno.EPERM"


# ---- rule 2: the strictest of the conditional lines that match


@pytest.mark.parametrize(
    ("looser", "stricter"),
    [("allow", "errno.EACCES"), ("errno.EACCES", "notify.EPERM"), ("notify.EPERM", "kill"), ("allow", "kill")],
)
def test_strictest_of_several_matching_conditions_wins_in_any_order(looser: str, stricter: str) -> None:
    wide, narrow = 'socket(domain in AF_UNIX|AF_INET)', "socket(domain == AF_INET)"
    for first, second in ((looser, stricter), (stricter, looser)):
        lines = {first: wide if first == looser else narrow, second: wide if second == looser else narrow}
        resolved = made(x=calls(*(f'{verdict} = ["{line}"]' for verdict, line in lines.items())))
        assert say(resolved, "socket AF_INET") == stricter
        assert say(resolved, "socket AF_UNIX") == looser


def test_stricter_condition_of_a_lower_place_still_wins_over_a_condition_above() -> None:
    above = '[[level]]\nfrom = 2\nallow = ["socket(type == 1)"]'
    text = calls('errno.EACCES = ["socket(domain == AF_INET)"]', level=above)
    assert say(made(2, x=text), "socket AF_INET SOCK_STREAM") == "errno.EACCES"
    assert say(made(2, x=text), "socket AF_UNIX SOCK_STREAM") == "allow"


def test_at_equal_strictness_the_higher_place_wins_then_the_earlier_line() -> None:
    text = calls(
        'errno.EACCES = ["socket(domain == AF_INET)"]', 'errno.EINVAL = ["socket(domain == AF_INET)"]',
        level='[[level]]\nfrom = 2\nerrno.ENOSYS = ["socket(type == 1)"]',
    )  # fmt: skip
    assert say(made(1, x=text + "\n[[level]]\nfrom = 3"), "socket AF_INET SOCK_STREAM") == "errno.EACCES"
    assert say(made(2, x=text), "socket AF_INET SOCK_STREAM") == "errno.ENOSYS"


# ---- rule 3: places


def test_unconditional_line_of_a_higher_level_replaces_the_one_below() -> None:
    text = calls('allow = ["connect"]', level='[[level]]\nfrom = 2\nerrno.EACCES = ["connect"]')
    assert [say(made(level, x=text), "connect") for level in (1, 2)] == ["allow", "errno.EACCES"]


def test_unconditional_line_takes_away_looser_conditions_below_it() -> None:
    text = calls('allow = ["socket(domain == AF_UNIX)"]', level='[[level]]\nfrom = 2\nerrno.EACCES = ["socket"]')
    assert [say(made(level, x=text), "socket AF_UNIX") for level in (1, 2)] == ["allow", "errno.EACCES"]


def test_unconditional_line_never_takes_away_a_stricter_condition_below_it() -> None:
    text = calls('kill = ["ioctl(cmd == TIOCSTI)"]', level='[[level]]\nfrom = 2\nallow = ["ioctl"]')
    assert say(made(2, x=text), "ioctl 0 TIOCSTI") == "kill"
    assert say(made(2, x=text), "ioctl 0 TCGETS") == "allow"


def test_including_file_speaks_after_what_it_includes() -> None:
    common = calls('allow = ["connect"]')
    resolved = made(x='include = ["common"]\n[syscalls]\ndefault = "kill"\nerrno.EACCES = ["connect"]', common=common)
    assert say(resolved, "connect") == "errno.EACCES"
    assert say(resolved, "bind") == "kill"


def test_higher_level_of_an_included_file_speaks_after_a_lower_one_of_the_including_file() -> None:
    common = calls(level='[[level]]\nfrom = 2\nerrno.EACCES = ["connect"]')
    text = 'include = ["common"]\n[syscalls]\nallow = ["connect"]'
    assert [say(made(level, x=text, common=common), "connect") for level in (1, 2)] == ["allow", "errno.EACCES"]


def test_same_file_included_twice_is_no_contradiction() -> None:
    resolved = made(
        x='include = ["a", "b"]', a='include = ["common"]', b='include = ["common"]', common=calls('allow = ["bind"]')
    )
    assert say(resolved, "bind") == "allow"


def test_default_of_a_higher_place_replaces_the_one_below() -> None:
    text = calls(level='[[level]]\nfrom = 2\ndefault = "kill"')
    assert [say(made(level, x=text), "bind") for level in (1, 2)] == ["errno.EPERM", "kill"]


# ---- rule 4: contradictions


def test_two_verdicts_on_one_call_at_one_place_are_an_error_that_names_both() -> None:
    text = calls('allow = ["connect"]', 'errno.EACCES = ["connect"]')
    expected = (
        "x.toml: syscalls.errno.EACCES: expected one verdict on 'connect', got errno.EACCES here "
        "and allow at x.toml: syscalls.allow"
    )
    with pytest.raises(PolicyError, match=re.escape(expected)):
        made(x=text)


def test_contradiction_through_a_set_is_one_too() -> None:
    with pytest.raises(PolicyError, match=r"expected one verdict on 'clock_settime'"):
        made(x=calls('allow = ["@time"]', 'kill = ["clock_settime"]'), sets='time = ["clock_settime"]')


def test_same_verdict_twice_is_none() -> None:
    assert say(made(x=calls('allow = ["@net", "connect"]'), sets='net = ["connect"]'), "connect") == "allow"


# ---- sets and includes


def test_set_stands_for_its_calls_with_their_conditions() -> None:
    sets = 'threads = ["futex", "clone(flags == CLONE_PTHREAD)"]'
    resolved = made(x=calls('allow = ["@threads"]', 'errno.EINVAL = ["clone"]'), sets=sets)
    assert [say(resolved, call) for call in ("futex", "clone CLONE_PTHREAD", "clone 17")] == [
        "allow", "allow", "errno.EINVAL"]  # fmt: skip


def test_unknown_set_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(PolicyError, match=r"syscalls\.allow: expected the name of a set in sets\.toml") as caught:
        made(x=calls('allow = ["@thread"]'), sets='threads = ["futex"]')
    assert caught.value.hint == "did you mean '@threads'?"


def test_circle_of_includes_is_an_error_that_shows_it() -> None:
    with pytest.raises(PolicyError, match=r"x\.toml: include: expected no circle, got x → a → x"):
        made(x='include = ["a"]', a='include = ["x"]')


def test_file_that_does_not_exist_is_the_readers_error() -> None:
    with pytest.raises(KeyError):
        made(x='include = ["missing"]')


# ---- levels and layers


def test_level_zero_is_no_sandbox_at_all() -> None:
    assert made(0, x=calls('allow = ["read"]')) == policy.ResolvedPolicy("x", 0)


@pytest.mark.parametrize("level", [-1, 3, 99])
def test_level_that_the_policy_lacks_is_an_error(level: int) -> None:
    with pytest.raises(PolicyError, match=f"x.toml: expected a level from 0 to 2, got {level}"):
        made(level, x=calls(level="[[level]]\nfrom = 2"))


def test_layers_come_with_their_level_and_stay() -> None:
    text = calls(level='''
[[level]]
from = 1
capabilities = "drop"
[[level]]
from = 2
landlock = true
namespaces = ["user", "mount", "net"]
root = "empty"
network = "none"
[[level]]
from = 3
reads = "broker"
''')
    got = [made(level, x=text) for level in (1, 2, 3)]
    assert [one.capabilities for one in got] == ["drop"] * 3
    assert [one.landlock for one in got] == [False, True, True]
    assert [one.root for one in got] == ["host", "empty", "empty"]
    assert [one.reads for one in got] == ["kernel", "kernel", "broker"]
    assert got[2].namespaces == ("user", "mount", "net")


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ('namespaces = ["net"]', "x.toml: level 1: expected 'user' among the namespaces"),
        ('root = "empty"', "x.toml: level 1: expected namespace 'mount' for root = 'empty'"),
        ('network = "none"', "x.toml: level 1: expected namespace 'net' for network = 'none'"),
    ],
)
def test_layers_that_no_kernel_could_keep_are_refused(level: int, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        made(x=calls(level=f"[[level]]\nfrom = 1\n{level}"))


def test_policy_without_a_default_is_refused() -> None:
    with pytest.raises(PolicyError, match=r"x\.toml: level 1: expected syscalls\.default, got none"):
        made(x="")


def test_limits_of_the_including_file_replace_single_ones() -> None:
    common = calls() + '\n[limits]\ntasks = 1\nmemory = "1 MiB"'
    assert made(x='include = ["common"]\n[limits]\ntasks = 2', common=common).limits == {"tasks": 2, "memory": 1 << 20}


# ---- files


def files(
    level: int = 1, remote_type: str | None = None, variables: Variables | None = None, text: str = ""
) -> dict[str, Access]:
    return dict(made(level, remote_type, variables, x=calls() + text).files.by_path)


def test_variables_become_paths() -> None:
    text = '\n[files]\n"{home}/.fonts" = "r"\n"{tmp}" = "deny"'
    assert files(variables={"home": "/home/u", "tmp": "/tmp"}, text=text) == {
        "/home/u/.fonts": Access.READ, "/tmp": Access.DENY}  # fmt: skip


def test_variable_of_several_paths_makes_one_rule_each() -> None:
    got = files(variables={"system_libraries": ["/lib", "/usr/lib"]}, text='\n[files]\n"{system_libraries}" = "r"')
    assert got == {"/lib": Access.READ, "/usr/lib": Access.READ}


def test_rule_whose_variable_is_not_given_is_left_out() -> None:
    assert files(text='\n[files]\n"{home}" = "r"') == {}


def test_variable_may_be_the_root() -> None:
    text = '\n[files]\n"{home}" = "deny"\n"{home}/a" = "r"'
    assert files(variables={"home": "/"}, text=text) == {"/": Access.DENY, "/a": Access.READ}


@pytest.mark.parametrize("value", ["", "home", "/home/", "/home/../etc"])
def test_variable_that_is_no_path_is_an_error(value: object) -> None:
    with pytest.raises(PolicyError, match=re.escape("x.toml: files.'{home}/a': {home}: expected a")):
        files(variables={"home": value}, text='\n[files]\n"{home}/a" = "r"')


def test_unknown_variable_is_an_error() -> None:
    with pytest.raises(PolicyError, match=r"expected a variable of policy_text.VARIABLES, got 'hoem'") as caught:
        files(variables={"hoem": "/"})
    assert caught.value.hint == "did you mean 'home'?"


def test_rule_of_a_remote_type_replaces_that_of_every_type() -> None:
    text = '\n[files]\n"/" = "deny"\n"/a" = "r"\n[files.when-remote-type.file]\n"/" = "r"'
    assert files(text=text) == files(remote_type="web", text=text) == {"/": Access.DENY, "/a": Access.READ}
    assert files(remote_type="file", text=text) == {"/": Access.READ, "/a": Access.READ}


def test_unknown_remote_type_is_an_error() -> None:
    with pytest.raises(PolicyError, match=r"expected a remote type, got 'wep'") as caught:
        files(remote_type="wep")
    assert caught.value.hint == "did you mean 'web'?"


def test_rule_of_a_higher_level_replaces_that_of_the_same_text_below() -> None:
    text = '\n[files]\n"/" = "r"\n[[level]]\nfrom = 2\n[level.files]\n"/" = "deny"'
    assert [files(level, text=text)["/"] for level in (1, 2)] == [Access.READ, Access.DENY]


def test_two_texts_that_become_one_path_let_deny_win() -> None:
    text = '\n[files]\n"{profile}" = "deny"\n"{home}" = "r"'
    for first in ("profile", "home"):
        order = {first: "/home/u", "profile": "/home/u", "home": "/home/u"}
        assert files(variables=order, text=text) == {"/home/u": Access.DENY}


def test_rules_are_ready_for_lookup() -> None:
    assert made(x=calls() + '\n[files]\n"/a" = "r"').files.rules() == (FileRule(AbsPath("/a"), Access.READ),)
