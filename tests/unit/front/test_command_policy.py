"""`foxden policy show` and `diff`: words in, tables or JSON out, no process started."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from tests.platforms import sbpl

import foxden
from foxden.front import command_policy_diff, command_policy_show
from foxden.front.group import group
from foxden.front.options import Settings
from foxden.front.policy_target import parse_target
from foxden.front.policy_view import make_view
from foxden.model.process_types import PROCESS_TYPES
from foxden.sandbox.acts import EXAMPLE_PLACES

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(foxden.__file__).parents[1]), "TERM": "xterm", "NO_COLOR": ""}


def run(*words: str, **environment: str) -> Result:
    return CliRunner(env={**{row.disable_env: "" for row in PROCESS_TYPES if row.disable_env}, **environment}).invoke(
        group, ["policy", *words]
    )


def said(*words: str) -> dict[str, Any]:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


# --- show -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row", PROCESS_TYPES, ids=lambda row: row.name)
def test_every_type_of_process_can_be_shown(row: Any) -> None:
    shown = said("show", row.name)
    assert (shown["process_type"], shown["platform"], shown["enforced_here"]) == (row.name, "linux", True)
    assert shown["syscalls"]["default"]
    assert all(rule["from"] and rule["from_level"] >= 1 for rule in shown["syscalls"]["rules"])
    done = run("show", row.name)
    assert done.exit_code == 0
    assert done.stdout.startswith(row.name)
    assert "System calls" in done.stdout


def test_linux_says_every_layer_file_and_call_with_where_it_comes_from() -> None:
    shown = said("show", "content", "--level", "4")
    layers = {row["layer"]: row["value"] for row in shown["layers"]}
    assert layers["root"] == "empty"
    assert "net" in layers["namespaces"].split()
    files = {row["rule"]: (row["access"], row["from"].partition(":")[0]) for row in shown["files"]}
    assert files["{profile}"] == ("deny", "content.toml")
    assert files["{profile}/extensions"] == ("r", "content.toml")
    (futex,) = [row for row in shown["syscalls"]["rules"] if row["name"] == "futex"]
    assert (futex["verdict"], futex["set"], futex["from"]) == ("allow", "threads", "common.toml: syscalls.allow")
    assert futex["reason"]
    assert {row["limit"] for row in shown["limits"]} >= {"memory", "descriptors", "tasks"}


def test_level_is_that_of_the_den_unless_it_is_said() -> None:
    assert said("show", "content")["level"] == 4
    assert said("show", "content", "--pref", "security.sandbox.content.level=3")["level"] == 3
    assert said("show", "content@2")["level"] == 2
    assert said("show", "content", "--level", "2")["level"] == 2
    assert said("show", "content", "--platform", "macos")["level"] == 3
    done = CliRunner().invoke(group, ["--level", "1", "policy", "show", "content", "--json"])
    assert json.loads(done.stdout)["level"] == 1


def test_environment_that_switches_a_sandbox_off_shows() -> None:
    done = run("show", "content", "--json", MOZ_DISABLE_CONTENT_SANDBOX="1")
    shown = json.loads(done.stdout)
    assert (shown["level"], shown["enforced_here"]) == (0, False)
    assert {act["outcome"] for act in shown["acts"]} == {"allowed"}
    assert "level 0 is no sandbox" in shown["standing"]
    asked = json.loads(run("show", "content@4", "--json", MOZ_DISABLE_CONTENT_SANDBOX="1").stdout)
    assert (asked["level"], asked["enforced_here"]) == (4, False)
    assert asked["standing"] == "not enforced here: MOZ_DISABLE_CONTENT_SANDBOX switches it off"


def test_remote_type_changes_what_is_shown() -> None:
    def home(*words: str) -> str:
        acts = {f"{act['operation']} {act['path']}": act["outcome"] for act in said("show", *words)["acts"]}
        return str(acts["read {home}/diary.txt"])

    assert home("content") == home("content", "--remote-type", "web") == "refused"
    assert home("content", "--remote-type", "file") == home("content:file") == "allowed"
    assert said("show", "content")["remote_type"] == "web"
    assert said("show", "gmp")["remote_type"] is None


def test_profile_that_is_given_is_the_one_that_is_shown(tmp_path: Any) -> None:
    shown = said("show", "content", "--profile", str(tmp_path))
    assert shown["places"]["profile"] == str(tmp_path.resolve())
    assert "profile" not in shown["made_up_places"]
    assert "profile" in said("show", "content")["made_up_places"]


@pytest.mark.parametrize(("platform", "name"), [("macos", "macOS"), ("windows", "Windows")])
def test_other_platforms_are_marked_not_enforced_here(platform: str, name: str) -> None:
    shown = said("show", "content", "--platform", platform)
    assert shown["enforced_here"] is False
    assert shown["standing"] == f"not enforced here: {name}"
    assert f"not enforced here: {name}" in run("show", f"content/{platform}").stdout.splitlines()[0]
    assert "enforced here: Linux" in run("show", "content").stdout.splitlines()[0]


def test_macos_has_operations_files_and_services() -> None:
    shown = said("show", "content", "--platform", "macos", "--level", "3")
    assert {row["operation"]: row["verdict"] for row in shown["operations"]}["print"] == "deny"
    assert {"path": "/dev/null", "access": "rw", "below_it_too": False}.items() <= next(
        row for row in shown["files"] if row["path"] == "/dev/null"
    ).items()
    assert all(row["reason"] for row in (*shown["operations"], *shown["files"], *shown["services"]))


def test_windows_has_settings_and_their_meaning_in_win32() -> None:
    shown = said("show", "content", "--platform", "windows", "--level", "4")
    assert {row["setting"]: row["value"] for row in shown["settings"]}["job"] == "JOB_LOCKDOWN"
    assert shown["win32"]["job"]["level"] == "JOB_LOCKDOWN"
    done = run("show", "content@4/windows", "--format", "win32")
    assert json.loads(done.stdout) == shown["win32"]


def test_seatbelt_format_is_a_profile_and_nothing_else() -> None:
    done = run("show", "content", "--platform", "macos", "--level", "2", "--format", "seatbelt")
    places = {name.upper(): path for name, path in EXAMPLE_PLACES["macos"].items()}
    profile = sbpl.read(done.stdout, places)
    assert not profile.answer("file-read-data", places["PROFILE"] + "/cookies.sqlite")
    assert profile.answer("file-read-data", places["PROFILE"] + "/extensions/a")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["show"], "missing argument"),
        (["show", "contnt"], "did you mean 'content'?"),
        (["show", "content", "--level", "5"], "0 to 4; got 5"),
        (["show", "content", "--level", "-1"], "expected a level"),
        (["show", "content", "--level", "two"], "expected a level"),
        (["show", "content", "--platform", "macos", "--level", "4"], "content on macOS, 0 to 3; got 4"),
        (["show", "content/mac"], "did you mean 'macos'?"),
        (["show", "content", "--platform", "beos"], "beos"),
        (["show", "socket", "--platform", "windows"], "one of content, gmp, plugin; got 'socket'"),
        (["show", "gmp", "--remote-type", "web"], "have none"),
        (["show", "content:webb"], "did you mean 'web'?"),
        (["show", "content:web", "--remote-type", "file"], "one remote type"),
        (["show", "content@3", "--level", "4"], "one level"),
        (["show", "content/macos", "--platform", "windows"], "one platform"),
        (["show", "content", "--format", "seatbelt"], "expected --platform macos"),
        (["show", "content/macos", "--format", "win32"], "expected --platform windows"),
        (["show", "content/macos", "--format", "seatbelt", "--json"], "got both"),
        (["show", "@3"], "TYPE[:REMOTE][@LEVEL][/PLATFORM]"),
        (["show", "content@"], "expected a level"),
        (["show", "content", "--pref", "security.sandbox.content.level=9"], "security.sandbox.content.level"),
        (["diff", "content"], "missing argument"),
        (["diff", "content@3", "content@9"], "0 to 4; got 9"),
        (["diff", "content@3", "nobody"], "a process type"),
        (["shwo"], "did you mean `foxden policy show`?"),
    ],
    ids=" ".join,
)
def test_wrong_words_are_a_usage_error_that_says_what_there_is(words: list[str], expected: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert expected.lower() in done.output.lower()


def test_policy_alone_shows_its_commands() -> None:
    done = run()
    assert done.exit_code == 0
    assert "show" in done.stdout
    assert "diff" in done.stdout


# --- diff -------------------------------------------------------------------------------------------------------


def test_diff_says_what_the_higher_level_adds_takes_away_and_changes() -> None:
    sections = said("diff", "content@3", "content@4")["sections"]
    assert sections["layers"]["changed"]["root"] == ["host", "empty"]
    assert sections["syscalls"]["added"]["tgkill"] == "allow"
    assert sections["syscalls"]["removed"]["socket(domain == AF_UNIX)"] == "allow"
    changed = sections["syscalls"]["changed"]["connect"]
    assert changed[0] == "allow"
    assert changed[1].endswith("EACCES")
    files = said("diff", "content@2", "content@3")["sections"]["files"]
    assert files["changed"]["/"] == ["r", "deny"]
    assert files["added"]["{profile}"] == "deny"


def test_diff_turned_round_turns_its_signs_round() -> None:
    one, other = (said("diff", *pair)["sections"] for pair in (("rdd", "socket"), ("socket", "rdd")))
    for section, difference in one.items():
        assert difference["added"] == other[section]["removed"]
        assert difference["changed"] == {name: pair[::-1] for name, pair in other[section]["changed"].items()}
    assert one["syscalls"]["added"]


def test_diff_of_one_policy_with_itself_is_empty() -> None:
    sections = said("diff", "content@4", "content@4")["sections"]
    assert all(not any(difference.values()) for difference in sections.values())
    assert run("diff", "content@4", "content@4").stdout.splitlines()[-1] == "No difference."


def test_diff_of_two_platforms_compares_what_they_answer() -> None:
    shown = said("diff", "content@4/linux", "content@2/macos")
    assert shown["same_platform"] is False
    assert list(shown["sections"]) == ["acts"]
    assert shown["sections"]["acts"]["changed"]["read {home}/diary.txt"] == ["refused", "allowed"]
    assert (shown["a"]["enforced_here"], shown["b"]["enforced_here"]) == (True, False)
    assert "cannot be laid beside each other" in run("diff", "content@4/linux", "content@2/macos").stdout


@pytest.mark.parametrize(
    ("a", "b", "section", "name", "values"),
    [
        ("content@2/macos", "content@3/macos", "files", "/", ["r", "stat"]),
        ("content@3/windows", "content@4/windows", "settings", "alternate_desktop", ["no", "yes"]),
        ("content@1/windows", "content@2/windows", "settings", "job", ["JOB_NONE", "JOB_INTERACTIVE"]),
    ],
)
def test_diff_of_other_platforms_is_by_their_own_rows(
    a: str, b: str, section: str, name: str, values: list[str]
) -> None:
    assert said("diff", a, b)["sections"][section]["changed"][name] == values


def test_diff_with_level_0_loses_everything() -> None:
    sections = said("diff", "content@4", "content@0")["sections"]
    assert "every other call" in sections["syscalls"]["removed"]
    assert sections["syscalls"]["added"] == {}
    assert sections["acts"]["changed"]["exec"] == ["refused", "allowed"]


# --- terminals and pipes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["content", "content:file@3", "content/macos", "gmp/windows", "socket"])
def test_page_fits_the_terminal_and_is_plain_in_a_pipe(words: str) -> None:
    view = make_view(parse_target(words), Settings())
    narrow = command_policy_show.page(view, width=100)
    assert [line for line in narrow if len(line) > 100] == []
    assert "\x1b" not in "".join(narrow)
    assert "\x1b[" in "".join(command_policy_show.page(view, width=100, colour=True))


def test_set_is_one_row_whose_calls_a_pipe_can_grep() -> None:
    view = make_view(parse_target("content@4"), Settings())
    (threads,) = [line for line in command_policy_show.page(view) if "@threads" in line]
    assert threads.split()[:2] == ["allow", "@threads,"]
    assert "any program that runs" in threads
    assert "membarrier" in threads
    (narrow,) = [line for line in command_policy_show.page(view, width=100) if "@threads" in line]
    assert "any program that runs" in narrow
    assert "membarrier" not in narrow


def test_page_of_a_diff_has_a_sign_a_line() -> None:
    first, second = (make_view(parse_target(words), Settings()) for words in ("content@3", "content@4"))
    page = command_policy_diff.page(first, second)
    assert page[0].startswith("- content web, level 3")
    assert page[1].startswith("+ content web, level 4")
    (root,) = [line for line in page if line.startswith("~  root")]
    assert root.split() == ["~", "root", "host", "empty"]
    painted = command_policy_diff.page(first, second, colour=True)
    assert any(line.startswith("\x1b[33m~") for line in painted)


def test_command_on_a_terminal_has_colours_and_in_a_pipe_has_none() -> None:
    words = [sys.executable, "-m", "foxden", "policy", "diff", "content@3", "content@4"]
    piped = subprocess.run(words, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert "\x1b" not in piped.stdout
    assert "~  root" in piped.stdout
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        child = subprocess.Popen(words, stdout=theirs, env=ENVIRONMENT)
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = screen.read(65536)
            except OSError:  # EIO: the terminal's other end is closed
                break
            if not part:
                break
            shown += part
        assert child.wait(10) == 0
    assert b"\x1b[33m~" in shown


def test_error_is_two_lines_and_no_traceback() -> None:
    words = [sys.executable, "-m", "foxden", "policy", "show", "contnt"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 2
    assert done.stdout == ""
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: expected a process type")
    assert hint == "hint: `foxden policy show --help` lists what there is"


def test_showing_starts_no_process_and_loads_no_den() -> None:
    script = (
        "import sys; from foxden.front.group import group; group(['policy', 'show', 'content'], standalone_mode=False);"
        "heavy = {'pycurl', 'selectolax', 'rich', 'foxden.parent.den', 'foxden.launch.launcher'};"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    assert done.stderr.strip() == "[]"


def test_group_names_the_modules_of_its_commands() -> None:
    context = click.Context(group)
    policy = group.get_command(context, "policy")
    assert isinstance(policy, click.Group)
    for name in policy.list_commands(context):
        found = policy.get_command(context, name)
        assert found is not None
        assert found.name == name
    assert policy.get_command(context, "nothing") is None
