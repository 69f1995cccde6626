"""Rows of a policy: what holds, and the line that says so."""

from __future__ import annotations

import msgspec
import pytest
from tests.unit.sandbox.support import NAMES, committed, read, texts

from foxden.sandbox import policy
from foxden.sandbox.paths import AbsPath, Access, FileRule, PathRules
from foxden.sandbox.policy_rows import LinuxRows, limit_text, rows_of

TEXTS = texts(
    sets='both = [\n  "open",   # by path\n  "openat(flags == 1)",\n]\n',
    below='[syscalls]\ndefault = "kill"\nallow = ["@both"]   # from below\n'
    '[limits]\ntasks = 3   # few\nmemory = "1 MiB"\n',
    x='include = ["below"]\n[[level]]   # 1: one\nfrom = 1\nallow = ["read"]   # reads\n'
    '[level.files]\n"/" = "r"   # all\n"{home}" = "rw"   # home\n'
    "[level.files.when-remote-type.file]\n\"/\" = \"deny\"   # file's\n"
    '[[level]]   # 2: two\nfrom = 2\nroot = "host"   # stays\nerrno.EPERM = ["open"]\n[limits]\ntasks = 5   # more\n',
)
VARIABLES = {"home": "/h"}


def rows(level: int, remote_type: str | None = None) -> LinuxRows:
    loaded = policy.load("x", TEXTS)
    resolved = policy.resolve(loaded, level=level, remote_type=remote_type, variables=VARIABLES)
    return rows_of(loaded, resolved, TEXTS, VARIABLES)


def calls(found: LinuxRows) -> dict[str, tuple[str, str, str, int, str]]:
    return {row.call: (row.verdict, row.set_name, row.origin.where, row.origin.level, row.origin.reason)
            for row in found.calls}  # fmt: skip


def test_call_of_a_set_names_set_and_the_line_that_includes_it() -> None:
    assert calls(rows(1)) == {
        "open": ("allow", "both", "below.toml: syscalls.allow", 1, "from below"),
        "openat(flags == 1)": ("allow", "both", "below.toml: syscalls.allow", 1, "from below"),
        "read": ("allow", "", "x.toml: level[0].allow", 1, "reads"),
    }


def test_higher_level_is_named_where_it_changed_the_call() -> None:
    assert calls(rows(2))["open"] == ("errno.EPERM", "", "x.toml: level[1].errno.EPERM", 2, "two")


def test_file_rule_is_shown_as_written_and_as_it_is_here() -> None:
    found = {row.path: (row.rule, row.access, row.remote_type, row.origin.reason) for row in rows(1).files}
    assert found == {"/": ("/", "r", None, "all"), "/h": ("{home}", "rw", None, "home")}
    of_file = {row.path: (row.access, row.remote_type, row.origin.reason) for row in rows(1, "file").files}
    assert of_file["/"] == ("deny", "file", "file's")


def test_rule_that_no_line_explains_comes_from_a_preference() -> None:
    loaded = policy.load("x", TEXTS)
    resolved = policy.resolve(loaded, level=1, remote_type=None, variables=VARIABLES)
    more = PathRules.of([*resolved.files.rules(), FileRule(AbsPath("/extra"), Access.READ)])
    found = rows_of(loaded, msgspec.structs.replace(resolved, files=more), TEXTS, VARIABLES)
    assert [row.origin.where for row in found.files if row.path == "/extra"] == ["a preference"]


def test_two_lines_of_one_path_explain_what_they_give_together() -> None:
    text = texts(x='[syscalls]\ndefault = "kill"\n[files]\n"/h" = "r"   # one\n"{home}" = "w"   # other\n')
    loaded = policy.load("x", text)
    resolved = policy.resolve(loaded, level=1, remote_type=None, variables=VARIABLES)
    (row,) = rows_of(loaded, resolved, text, VARIABLES).files
    assert (row.path, row.access, row.origin.where) == ("/h", "rw", "x.toml: files")


def test_layers_and_limits_name_their_lines() -> None:
    found = rows(2)
    layers = {row.name: (row.value, row.origin.where, row.origin.reason) for row in found.layers}
    assert layers["root"] == ("host", "x.toml: level[1].root", "stays")
    assert layers["landlock"][:2] == ("no", "no line: what a process has by itself")
    limits = {row.name: (row.value, row.origin.where, row.origin.reason) for row in found.limits}
    assert limits == {"tasks": ("5", "x.toml: limits", "more"), "memory": ("1 MiB", "below.toml: limits", "")}
    assert found.default == "kill"


def test_level_0_has_no_rows() -> None:
    assert rows(0) == LinuxRows("", (), (), (), ())


def test_limits_are_written_in_their_greatest_unit() -> None:
    assert [limit_text("memory", value) for value in (0, 1, 1 << 10, 3 << 20, 1 << 30)] == [
        "0 B", "1 B", "1 KiB", "3 MiB", "1 GiB"
    ]  # fmt: skip
    assert limit_text("tasks", 1 << 10) == "1024"


def test_committed_content_is_explained_by_its_own_file_where_it_speaks() -> None:
    loaded = committed("content")
    variables = {"home": "/home/u", "profile": "/home/u/p"}
    resolved = policy.resolve(loaded, level=4, remote_type="web", variables=variables)
    found = rows_of(loaded, resolved, read, variables)
    (cookies,) = [row for row in found.files if row.rule == "{profile}"]
    assert (cookies.access, cookies.origin.level) == ("deny", 3)
    assert "cookies" in cookies.origin.reason


@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_a_committed_policy_comes_from_a_line(name: str) -> None:
    loaded = committed(name)
    variables = {"install": "/opt/foxden", "profile": "/home/u/.foxden", "home": "/home/u",
                 "system_libraries": ("/lib", "/usr/lib")}  # fmt: skip
    for level in range(1, loaded.max_level + 1):
        resolved = policy.resolve(loaded, level=level, remote_type=None, variables=variables)
        found = rows_of(loaded, resolved, read, variables)
        assert [row for row in (*found.calls, *found.files) if ".toml: " not in row.origin.where] == []
        assert {row.name for row in found.calls} == set(resolved.calls)
        assert {row.path for row in found.files} == set(resolved.files.by_path)
        assert all(row.call.startswith(row.name) for row in found.calls)
